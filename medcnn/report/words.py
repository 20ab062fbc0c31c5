"""Names and meanings of the figures of a run, and numbers as text."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Record = Mapping[str, Any]  # of a JSON file
NOTHING = "–"


class Words(NamedTuple):
    """Words for a figure of a run or a score of maps."""

    title: str
    what: str = ""  # its meaning, a sentence without full stop
    better: Literal["higher", "lower"] | None = "higher"
    source: str = ""  # authors, title, year; empty where it is ours or everyone's
    family: str = ""  # the caption of the table that it shares with its like

    @property
    def way(self) -> int:
        """1 where higher is better, -1 where lower is, 0 where neither."""
        return {"higher": 1, "lower": -1, None: 0}[self.better]


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
        "healthy; below 0.1 is strong evidence", "lower",
    ),
    "prevalence": Words("prevalence", "share of the class among the cases tested", None),
    "accuracy": Words("accuracy", "share of right decisions"),
    "balanced_accuracy": Words("balanced accuracy", "mean of the classes' sensitivities"),
    "f1": Words("F1", "harmonic mean of precision and sensitivity"),
    "mcc": Words("MCC", "Matthews correlation of decision and truth; 0 is chance"),
    "kappa": Words("kappa", "agreement of decision and truth beyond chance"),
    "log_loss": Words(
        "log loss", "mean surprise in nats at the true class; lower is better", "lower",
    ),
    "brier": Words(
        "Brier score", "mean squared error of the probabilities; lower is better", "lower",
    ),
    "ece": Words(
        "calibration error (ECE)", "mean distance of probability and observed share; lower is "
        "better", "lower",
    ),
    "ece_mass": Words(
        "calibration error, bins of equal size", "as the ECE, but with as many cases in each bin",
        "lower",
    ),
    "ece_classwise": Words(
        "calibration error by class", "mean over the classes of each one's ECE", "lower",
    ),
    "ece_mass_classwise": Words(
        "calibration error by class, bins of equal size", "mean over the classes", "lower",
    ),
    "calibration_slope": Words(
        "calibration slope", "1 is right; below it the probabilities are too extreme, above it too "
        "moderate", None,
    ),
    "calibration_intercept": Words(
        "calibration intercept", "0 is right; above it the probabilities are too low on the whole, "
        "below it too high", None,
    ),
    "calibration_slope_classwise": Words(
        "calibration slope by class", "mean over the classes", None,
    ),
    "calibration_intercept_classwise": Words(
        "calibration intercept by class", "mean over the classes", None,
    ),
    "micro_auroc": Words(
        "micro-averaged AUROC", "of all pairs of a case and a class taken together",
    ),
    "loss": Words("loss", "what the training makes small", "lower"),
    "mae": Words("MAE", "mean absolute error, in the unit of the label; lower is better", "lower"),
    "rmse": Words("RMSE", "root of the mean squared error, in the unit of the label", "lower"),
    "r2": Words("R²", "share of the variance that is explained; 1 is perfect, 0 the mean alone"),
    "coverage": Words(
        "coverage of the interval", "share of the labels that lie in the predicted interval, which "
        "is to hold that percentage of them", None,
    ),
    "bias": Words("bias", "mean of prediction − truth, in the unit of the label", None),
    "limit_low": Words("lower limit of agreement", "bias − 1.96 standard deviations", None),
    "limit_high": Words("upper limit of agreement", "bias + 1.96 standard deviations", None),
}  # fmt: skip
PERCENT = {
    "accuracy", "balanced_accuracy", "coverage", "npv", "ppv", "prevalence", "sensitivity",
    "specificity",
}  # fmt: skip
RULES = {
    "youden": "Youden's index",
    "argmax": "the most probable class",
    "default": "the usual one half",
    "fixed": "fixed beforehand",
}


def words_of(key: str) -> Words:
    """Return the words for a figure, plain ones for an unknown one.

    >>> words_of("auroc/benign").title, words_of("some_new_one").title
    ('AUROC', 'some new one')
    >>> words_of("coverage/90").title
    'coverage of the interval of 90 %'
    """
    name, *rest = key.split("/")
    if name == "coverage" and rest:
        title = f"{FIGURES[name].title} of {rest[0]} %"
        return FIGURES[name]._replace(title=title)
    return FIGURES.get(name, Words(name.replace("_", " ")))


def number(value: float | None) -> str:
    """Return three decimals, fewer where there are digits before the point; a dash for nothing.

    >>> number(0.91249), number(-12.34), number(23456.7), number(-1.2e20), number(None)
    ('0.912', '−12.3', '23,457', '−1.2e+20', '–')
    """
    if value is None:
        return NOTHING
    size = abs(value)
    if size >= 1e9:
        return digits(value)
    text = f"{value:.3f}" if size < 10 else f"{value:.1f}" if size < 1000 else f"{value:,.0f}"
    return text.replace("-", "−")


def digits(value: float, most: int = 3) -> str:
    """Return a number with so many digits, without zeros at the end.

    >>> digits(-1.3149), digits(0.25), digits(1234.5, 6)
    ('−1.31', '0.25', '1234.5')
    """
    return f"{value:.{most}g}".replace("-", "−")


def percent(value: float) -> str:
    """Return a share as a percentage with one decimal.

    >>> percent(0.8571)
    '85.7 %'
    """
    return f"{100 * value:.1f} %".replace("-", "−")


def show(key: str, value: float | None) -> str:
    """Return the value of a figure as text; shares of cases in percent."""
    if value is None:
        return NOTHING
    return percent(value) if key.split("/")[0] in PERCENT else number(value)


def interval(key: str, figure: Record) -> str:
    """Return the bounds of a figure in brackets, in the unit of `show`; empty without bounds.

    >>> interval("auroc", {"low": 0.8, "high": 0.9}), interval("ppv", {"low": 0.8, "high": 0.9})
    ('[0.800, 0.900]', '[80.0, 90.0]')
    """
    return "[{}, {}]".format(*bounds) if (bounds := _bounds(key, figure)) else ""


def with_interval(key: str, figure: Record) -> str:
    """Return value and interval as words in a sentence.

    >>> with_interval("ppv", {"value": 0.85, "low": 0.8, "high": 0.9, "n": 9})
    '85.0 % (95 % interval 80.0 to 90.0)'
    """
    bounds = _bounds(key, figure)
    beside = " (95 % interval {} to {})".format(*bounds) if bounds else ""
    return show(key, figure.get("value")) + beside


def _bounds(key: str, figure: Record) -> list[str]:
    """Return the two bounds as text without a unit; none where one is unknown."""
    return [show(key, end).removesuffix(" %") for end in bounds_of(figure)]


def bounds_of(figure: Record) -> tuple[float, ...]:
    """Return low and high of a figure; nothing where one is unknown."""
    low, high = figure.get("low"), figure.get("high")
    return () if low is None or high is None else (low, high)


def thresholds_of(decisions: Record) -> str:
    """Return the threshold of decisions, of pooled folds all; empty where there is none.

    >>> thresholds_of({"threshold": 0.31})
    '0.31'
    >>> thresholds_of({"threshold": None, "thresholds": [0.3, 0.51234]})
    '0.3 and 0.512'
    """
    found = decisions.get("thresholds") or [decisions.get("threshold")]
    return listed(f"{threshold:.3g}" for threshold in found if threshold is not None)


def listed(names: Iterable[Any]) -> str:
    """Return ``a, b and c``; empty for no names."""
    *most, last = ["", *map(str, names)]
    return f"{', '.join(most[1:])} and {last}" if most[1:] else last


def shorten(text: str, most: int) -> str:
    """Return text of at most so many characters, its end cut off where it is too long.

    >>> shorten("a long name", 8)
    'a long…'
    """
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def in_words(value: Any, nothing: str = NOTHING) -> str:
    """Return a value of a config as text.

    >>> in_words([0.5, "a"]), in_words(True), in_words([]), in_words(None)
    ('0.5, a', 'yes', 'none', '–')
    """
    if isinstance(value, list):
        return ", ".join(in_words(one, nothing) for one in value) or "none"
    if value is None or isinstance(value, bool):
        return {None: nothing, True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def mean_and_spread(values: Sequence[float | None], key: str = "") -> tuple[str, str]:
    """Return mean ± standard deviation (n − 1) of several trainings, and lowest … highest.

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
    """Return how many there are of a level.

    >>> plural(1, "study"), plural(1200, "study"), plural(2, "image")
    ('1 study', '1,200 studies', '2 images')
    """
    return f"{count:,} {level if count == 1 else plurals(level)}"


def plurals(level: str) -> str:
    """Return the plural of a level or of another regular word."""
    return f"{level[:-1]}ies" if level.endswith("y") else f"{level}s"


def tested_on(level: Record, name: str) -> str:
    """Return the numbers of images, or of another level, and of their patients; empty if unknown.

    >>> tested_on({"n": 4, "patients": 2}, "image")
    '4 images of 2 patients'
    """
    if "n" not in level:
        return ""
    patients = level.get("patients", level["n"])
    several = name != "patient" and patients < level["n"]
    return plural(level["n"], name) + f" of {plural(patients, 'patient')}" * several


def split_of(name: Any) -> str:
    """Return the name of a split as a word.

    >>> split_of("val")
    'validation'
    """
    return {"train": "training", "val": "validation"}.get(str(name), str(name))
