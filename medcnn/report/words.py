"""What the figures of a run are called and mean, and how their numbers are written."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Record = Mapping[str, Any]  # of a JSON file

NOTHING = "–"


class Words(NamedTuple):
    """What a figure is called, and what it says."""

    title: str
    what: str = ""


FIGURES = {
    "auroc": Words(
        "AUROC", "area under the ROC curve: how often a case of the class gets a higher score than "
        "one of the others; 0.5 is chance",
    ),
    "auroc_within_folds": Words(
        "AUROC by ranks within folds", "each case by its rank among those of its own fold, as the "
        "networks of the folds have no common scale",
    ),
    "average_precision": Words(
        "average precision", "area under the precision–recall curve; chance is the prevalence",
    ),
    "sensitivity": Words("sensitivity", "share of the cases of the class that are found"),
    "specificity": Words("specificity", "share of the others that are left alone"),
    "ppv": Words(
        "positive predictive value", "share of the positive calls that are right; depends on the "
        "prevalence",
    ),
    "npv": Words(
        "negative predictive value", "share of the negative calls that are right; depends on the "
        "prevalence",
    ),
    "lr_positive": Words(
        "likelihood ratio of a positive call", "how often it comes in the ill for once in the "
        "healthy; above 10 is strong evidence",
    ),
    "lr_negative": Words(
        "likelihood ratio of a negative call", "how often it comes in the ill for once in the "
        "healthy; below 0.1 is strong evidence",
    ),
    "prevalence": Words("prevalence", "share of the class among the cases tested"),
    "accuracy": Words("accuracy", "share of right decisions"),
    "balanced_accuracy": Words("balanced accuracy", "mean of the classes' sensitivities"),
    "f1": Words("F1", "harmonic mean of precision and sensitivity"),
    "mcc": Words("MCC", "Matthews correlation of decision and truth; 0 is chance"),
    "kappa": Words("kappa", "agreement of decision and truth beyond chance"),
    "log_loss": Words("log loss", "mean surprise in nats at the true class; lower is better"),
    "brier": Words("Brier score", "mean squared error of the probabilities; lower is better"),
    "ece": Words(
        "calibration error (ECE)", "mean distance of probability and observed share; lower is "
        "better",
    ),
    "ece_mass": Words(
        "calibration error, bins of equal size", "as the ECE, but with as many cases in each bin",
    ),
    "ece_classwise": Words("calibration error by class", "mean over the classes of each one's ECE"),
    "ece_mass_classwise": Words(
        "calibration error by class, bins of equal size", "mean over the classes",
    ),
    "calibration_slope": Words(
        "calibration slope", "1 is right; below it the probabilities are too extreme, above it too "
        "moderate",
    ),
    "calibration_intercept": Words(
        "calibration intercept", "0 is right; above it the probabilities are too low on the whole, "
        "below it too high",
    ),
    "calibration_slope_classwise": Words("calibration slope by class", "mean over the classes"),
    "calibration_intercept_classwise": Words(
        "calibration intercept by class", "mean over the classes",
    ),
    "micro_auroc": Words(
        "micro-averaged AUROC", "of all pairs of a case and a class taken together",
    ),
    "loss": Words("loss", "what the training makes small"),
    "mae": Words("MAE", "mean absolute error, in the unit of the label; lower is better"),
    "rmse": Words("RMSE", "root of the mean squared error, in the unit of the label"),
    "r2": Words("R²", "share of the variance that is explained; 1 is perfect, 0 the mean alone"),
    "bias": Words("bias", "mean of prediction − truth, in the unit of the label"),
    "limit_low": Words("lower limit of agreement", "bias − 1.96 standard deviations"),
    "limit_high": Words("upper limit of agreement", "bias + 1.96 standard deviations"),
}  # fmt: skip
PERCENT = {
    "accuracy", "balanced_accuracy", "npv", "ppv", "prevalence", "sensitivity", "specificity",
}  # fmt: skip
RULES = {
    "youden": "Youden's index",
    "argmax": "the most probable class",
    "default": "the usual one half",
    "fixed": "fixed beforehand",
}


def words_of(key: str) -> Words:
    """Words for a figure, plain ones for an unknown one.

    >>> words_of("auroc/benign").title, words_of("some_new_one").title
    ('AUROC', 'some new one')
    """
    name = key.split("/")[0]
    return FIGURES.get(name, Words(name.replace("_", " ")))


def number(value: float | None) -> str:
    """Three decimals, fewer where there are digits before the point; a dash for nothing.

    >>> number(0.91249), number(-12.34), number(23456.7), number(-1.2e20), number(None)
    ('0.912', '−12.3', '23,457', '−1.2e+20', '–')
    """
    if value is None:
        return NOTHING
    size = abs(value)
    if size >= 1e9:
        return f"{value:.3g}".replace("-", "−")
    text = f"{value:.3f}" if size < 10 else f"{value:.1f}" if size < 1000 else f"{value:,.0f}"
    return text.replace("-", "−")


def percent(value: float) -> str:
    """A share as a percentage with one decimal.

    >>> percent(0.8571)
    '85.7 %'
    """
    return f"{100 * value:.1f} %"


def show(key: str, value: float | None) -> str:
    """The value of a figure; shares of cases in percent."""
    if value is None:
        return NOTHING
    return percent(value) if key.split("/")[0] in PERCENT else number(value)


def interval(key: str, figure: Record) -> str:
    """The bounds of a figure in brackets, in the unit of `show`; empty where there are none.

    >>> interval("auroc", {"low": 0.8, "high": 0.9}), interval("ppv", {"low": 0.8, "high": 0.9})
    ('[0.800, 0.900]', '[80.0, 90.0]')
    """
    bounds = bounds_of(key, figure)
    return f"[{bounds[0]}, {bounds[1]}]" if bounds else ""


def bounds_of(key: str, figure: Record) -> tuple[str, str] | None:
    """The two bounds as text without a unit; None where there are none."""
    low, high = figure.get("low"), figure.get("high")
    if low is None or high is None:
        return None
    return show(key, low).removesuffix(" %"), show(key, high).removesuffix(" %")


def told(key: str, figure: Record) -> str:
    """Value and interval as words in a sentence.

    >>> told("ppv", {"value": 0.85, "low": 0.8, "high": 0.9, "n": 9})
    '85.0 % (95 % interval 80.0 to 90.0)'
    """
    bounds = bounds_of(key, figure)
    ends = f" (95 % interval {bounds[0]} to {bounds[1]})" if bounds else ""
    return show(key, figure.get("value")) + ends


def thresholds_told(at: Record) -> str:
    """The threshold that decisions were made at, of pooled folds all; empty where there is none.

    >>> thresholds_told({"threshold": 0.31})
    '0.31'
    >>> thresholds_told({"threshold": None, "thresholds": [0.3, 0.51234]})
    '0.3 and 0.512'
    """
    found = [t for t in at.get("thresholds") or [at.get("threshold")] if t is not None]
    return listed(f"{threshold:.3g}" for threshold in found) if found else ""


def listed(names: Iterable[Any]) -> str:
    """``a, b and c``."""
    *most, last = map(str, names)
    return f"{', '.join(most)} and {last}" if most else last


def mean_and_spread(values: Sequence[float | None], key: str = "") -> tuple[str, str]:
    """Of several trainings: mean ± standard deviation (n − 1), and lowest … highest.

    A dash where one of them has no value. With the key of a figure in the unit of `show`.

    >>> mean_and_spread([0.8, 0.9, 1.0])
    ('0.900 ± 0.100', '0.800 … 1.000')
    >>> mean_and_spread([0.5, 0.7], "accuracy")
    ('60.0 % ± 14.1 %', '50.0 % … 70.0 %')
    """
    there = [value for value in values if value is not None]
    if len(there) < max(2, len(values)):
        return NOTHING, ""
    mean, spread = statistics.mean(there), statistics.stdev(there)
    ends = f"{show(key, min(there))} … {show(key, max(there))}"
    return f"{show(key, mean)} ± {show(key, spread)}", ends


def plural(count: int, level: str) -> str:
    """How many there are of a level.

    >>> plural(1, "study"), plural(1200, "study"), plural(2, "image")
    ('1 study', '1,200 studies', '2 images')
    """
    many = f"{level[:-1]}ies" if level.endswith("y") else f"{level}s"
    return f"{count:,} {level if count == 1 else many}"


def split_of(name: Any) -> str:
    """The name of a split as a word.

    >>> split_of("val")
    'validation'
    """
    return {"train": "training", "val": "validation"}.get(str(name), str(name))
