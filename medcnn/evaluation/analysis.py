"""All that a report says of a set of predictions, as plain values: ``evaluation.json``."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medcnn.errors import UserError
from medcnn.evaluation.at_operating_point import at_operating_point
from medcnn.evaluation.calibration_figures import calibration_figures
from medcnn.evaluation.class_curves import CURVES_AT_MOST, curves_by_class
from medcnn.evaluation.delong import auroc_interval
from medcnn.evaluation.figures_with_intervals import MANY, figures_with_intervals
from medcnn.evaluation.interval_coverage import coverage_figures
from medcnn.evaluation.predictions import Predictions
from medcnn.evaluation.selective import coverage_risk
from medcnn.evaluation.subgroups import subgroups
from medcnn.objective import UNKNOWN

FORMAT = 1
POINTS_AT_MOST = 2_000  # of a scatter plot, and of a selective curve
DOUBT = ("entropy", "mutual_information")  # columns of predictions by several views
WORST = 12  # errors that are listed
NAMED = 10  # classes that a sentence names
FEW = 30  # samples of the smaller class below which bootstrap intervals are too narrow


class Settings(NamedTuple):
    """The settings of an evaluation.

    Attributes:
        operating_point: The one chosen on the validation split: rule, chosen_on, threshold,
            sensitivity and specificity there, of several labels ``labels`` with the last three
            of each; None where nothing was. Of pooled folds rule, chosen_on and ``thresholds``,
            see `medcnn.evaluation.operating_point.thresholds_of`.
        subgroups: Columns whose values make subgroups.
        least: Samples that a subgroup needs to be shown.
        prevalence: Of the positive class where the classifier is to be used, for PPV and NPV.
        aggregate: From images to patients: mean, max or noisy-or.
        resamples: Bootstrap samples.
        seed: Of the bootstrap.
    """

    operating_point: Mapping[str, Any] | None = None
    subgroups: Sequence[str] = ("sex", "age", "site")
    least: int = 20
    prevalence: float | None = None
    aggregate: str = "mean"
    resamples: int = 2_000
    seed: int = 0


def analyse(
    levels: Mapping[str, Predictions], settings: Settings, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all that a report says of the predictions of one split, ready for JSON.

    Args:
        levels: Predictions of images, and of volumes those of the ``study``. Those of patients are
            added here where patients have several samples with one label.
        settings: See `Settings`.
        facts: More of the file's entries: data, split, temperature …

    Returns:
        ``format``, ``task``, ``class_names``, ``positive``, ``operating_point``, ``intervals``
        (how they were made), ``notes`` (sentences), and ``levels``: for each of image, study and
        patient what `analyse_level` gives; and the facts.
    """
    first = next(iter(levels.values()))
    levels, notes = _with_patients(dict(levels), settings.aggregate)
    content = {
        "format": FORMAT,
        "task": first.task,
        "class_names": list(first.class_names),
        "positive": first.single,
        **facts,
        "operating_point": settings.operating_point,
        "intervals": _how(first, settings),
        "notes": [*notes, *_warnings(first)],
        "level_names": list(levels),
        "levels": {name: analyse_level(one, settings) for name, one in levels.items()},
    }
    return _plain(content)


def analyse_level(predictions: Predictions, settings: Settings) -> dict[str, Any]:
    """Return figures, curves, calibration, subgroups and errors of one level.

    Decisions are those of the operating point (`Predictions.at`), whatever is counted. Without a
    known label there are undefined figures alone.
    """
    known = predictions.where(predictions.known).at(settings.operating_point)
    if not len(known):
        undefined = figures_with_intervals(predictions, resamples=0)
        return {"n": 0, "patients": 0, "counts": _counts(known), "figures": undefined}
    figures = figures_with_intervals(known, resamples=settings.resamples, seed=settings.seed)
    level: dict[str, Any] = {
        "n": len(known),
        "patients": len(np.unique(known.patients)),
        "counts": _counts(known),
        "figures": figures,
        "subgroups": subgroups(
            known, settings.subgroups, least=settings.least, resamples=settings.resamples
        ),
    }
    if known.task == "regression":
        level["figures"] = figures | coverage_figures(known)
        return level | {"scatter": _scatter(known)}
    level["figures"] = figures | calibration_figures(
        known, resamples=settings.resamples, seed=settings.seed
    )
    return level | {
        "clinic": at_operating_point(known, settings.operating_point, figures, settings.prevalence),
        "confusion": _confusion(known),
        **curves_by_class(known, settings.seed),
        "selective": _selective(known),
        "errors": _errors(known) if "row" in known.table else [],
    }


def _with_patients(
    levels: dict[str, Predictions], how: str
) -> tuple[dict[str, Predictions], list[str]]:
    """Return the levels with that of patients, or the reason why there is none."""
    finest = next(iter(levels.values()))
    known = finest.where(finest.known)
    if not known.clustered or "patient" not in known.table:
        return levels, []
    try:
        return levels | {"patient": known.by_patient(how)}, []
    except UserError as error:
        return levels, [f"There are no figures by patient: {error}."]


def _how(predictions: Predictions, settings: Settings) -> dict[str, str]:
    """Return the methods of the intervals in words, by figure."""
    drawn = f"bootstrap over patients, {settings.resamples:,} resamples"
    if predictions.task == "regression":
        return {"*": drawn}
    clusters = ", the images of a patient as one cluster" if predictions.clustered else ""
    area, share = f"score interval with DeLong's variance{clusters}", f"Wilson{clusters}"
    if predictions.single is not None:
        how = {"auroc": area, "accuracy, sensitivity, specificity": share}
        how["balanced_accuracy"] = "square-and-add of sensitivity and specificity"
    else:
        how = {"auroc of a class": area}
        if predictions.task != "multilabel":
            how["accuracy"] = share
        how["sensitivity of a class, specificity of a class"] = share
    return how | {
        "calibration_slope, calibration_intercept": f"Wald{clusters}",
        "ece, ece_mass, ece_classwise, ece_mass_classwise": f"{drawn}; lies high",
        "*": drawn,
    }


def _warnings(predictions: Predictions) -> list[str]:
    """Return sentences that a reader should know before the figures."""
    known = predictions.where(predictions.known)
    notes = []
    if len(known) < len(predictions):
        notes.append(f"{len(predictions) - len(known)} samples have no known label; left out.")
    if known.task == "regression":
        return notes
    counts = _counts(known)
    missing = [name for name, count in counts.items() if count == 0]
    if len(counts) > MANY:
        notes.append(
            f"{len(counts):,} classes: with more than {MANY}, intervals by bootstrap, calibration "
            "class by class and the confusion matrix are left out, and curves are those of "
            f"{CURVES_AT_MOST} classes."
        )
    if not len(known):
        notes.append("No label is known, so that no figure is defined.")
    elif missing:
        more = f" and {len(missing) - NAMED:,} others" if len(missing) > NAMED else ""
        names = f"{', '.join(missing[:NAMED])}{more}"
        notes.append(f"No sample of {names}: figures that need one are undefined.")
    smallest = min((count for count in counts.values() if count), default=FEW)
    if smallest < FEW:
        notes.append(
            f"The smallest class has {smallest} sample{'s' * (smallest != 1)}: with fewer than "
            f"{FEW}, intervals by bootstrap are too narrow; those of one class's AUROC and of "
            "shares hold (docs/coverage.csv)."
        )
    patients = len(np.unique(known.patients))
    if known.clustered and patients < FEW:
        notes.append(f"Only {patients} patients: bootstrap intervals over them are too narrow.")
    return notes


def _counts(known: Predictions) -> dict[str, int]:
    """Return the samples of each class, or with each label or known target."""
    if known.task == "regression":
        counts = (~np.isnan(known.labels)).sum(0)
    elif known.task == "multilabel":
        counts = (known.labels == 1).sum(0)
    else:
        counts = np.bincount(known.labels, minlength=len(known.class_names))
    return dict(zip(known.class_names, counts.tolist(), strict=True))


def _confusion(known: Predictions) -> dict[str, Any] | None:
    """Return counts, rows truth, columns decision; of several labels two by two for each.

    None of more than `MANY` classes, whose pairs are too many to write down.
    """
    size = len(known.class_names)
    if known.task != "multilabel":
        if size > MANY:
            return None
        counts = np.bincount(known.labels * size + known.decisions, minlength=size**2)
        return {"names": known.class_names, "counts": counts.reshape(size, size)}
    tables = {}
    for k, name in enumerate(known.class_names):
        there = known.labels[:, k] != UNKNOWN
        pairs = 2 * known.labels[there, k] + known.decisions[there, k]
        tables[name] = np.bincount(pairs, minlength=4).reshape(2, 2)
    return {"per_label": tables}


def _selective(known: Predictions) -> dict[str, Any] | None:
    """Return the share of errors among the surest, by the number that is taken.

    The confidence of a decision is the probability of the class that is decided for, taken as log
    odds (`ranking_scores`): where that is the most probable class, the softmax response of
    Y. Geifman, R. El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017.
    Several labels an image are no one decision; they have no such curve. ``aurc``, the mean risk
    over the coverages 1/N … 1, is low if the errors are the least confident decisions (Y. Geifman,
    G. Uziel, R. El-Yaniv, "Bias-reduced uncertainty estimation for deep neural classifiers", 2018).

    Of several views ``auroc_of_errors`` has the AUROC, with its interval, by which low confidence
    and each measure of `DOUBT` tell wrong decisions from right ones.
    """
    if known.task == "multilabel":
        return None
    right = known.labels == known.decisions
    confidence = known.scores[np.arange(len(known)), known.decisions]
    coverage, risk = coverage_risk(confidence, right)
    thin = np.unique(np.linspace(0, len(risk) - 1, min(len(risk), 500)).round().astype(int))
    found = {"coverage": coverage[thin], "risk": risk[thin], "aurc": float(risk.mean())}
    doubts = {name: known.table[name].to_numpy() for name in DOUBT if name in known.table}
    if doubts and all(
        doubt.dtype.kind == "f" and np.isfinite(doubt).all() for doubt in doubts.values()
    ):
        found["auroc_of_errors"] = {
            name: auroc_interval(doubt, ~right, known.groups)._asdict()
            for name, doubt in {"confidence": -confidence, **doubts}.items()
        }
    return found


def _errors(known: Predictions) -> list[dict[str, Any]]:
    """Return the wrong decisions of which the classifier was surest; by row number alone."""
    if known.task == "multilabel":
        return []
    wrong = np.flatnonzero(known.labels != known.decisions)
    confidence = known.probs[wrong, known.decisions[wrong]]
    wrong = wrong[np.argsort(-confidence, kind="stable")][:WORST]
    names, rows = known.class_names, known.table["row"].tolist()
    return [
        {
            "row": rows[i],
            "true": names[known.labels[i]],
            "predicted": names[known.decisions[i]],
            "confidence": float(known.probs[i, known.decisions[i]]),
        }
        for i in wrong.tolist()
    ]


def _scatter(known: Predictions) -> dict[str, Any]:
    """Return truth and prediction of the first target."""
    there = ~np.isnan(known.labels[:, 0])
    pairs = np.stack([known.labels[there, 0], known.probs[there, 0]])
    if pairs.shape[1] > POINTS_AT_MOST:
        kept = np.random.default_rng(0).choice(pairs.shape[1], POINTS_AT_MOST, replace=False)
        pairs = pairs[:, np.sort(kept)]
    return {"truth": pairs[0], "prediction": pairs[1]}


def _plain(value: Any) -> Any:
    """Return plain values for JSON: arrays as lists, NaN as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
