"""What the clinic asks of predictions, at the thresholds that were chosen for them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.clinic import clinic
from medcnn.evaluation.figures import Figure
from medcnn.evaluation.figures_with_intervals import figures_with_intervals
from medcnn.evaluation.predictions import Predictions
from medcnn.evaluation.ranking import Floats
from medcnn.objective import UNKNOWN

OVERALL = ("sensitivity", "specificity", "accuracy", "balanced_accuracy", "f1", "mcc")


def at_operating_point(
    known: Predictions,
    point: Mapping[str, Any] | None,
    *,
    prevalence: float | None = None,
    resamples: int = 2_000,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Figures at the operating point of two classes, or at those of several labels.

    A sample is judged by the threshold of its own row, where the table has a column ``threshold``
    (several labels: ``threshold:<label>``, where it isn't empty): pooled folds have each their own.

    Args:
        known: Samples with a known label.
        point: ``threshold``; of several labels ``labels``, from each name to such a point, None
            where there is none. Decisions of such a label, and of a row whose fold chose none, are
            those of `Predictions`.
        prevalence: See `clinic`; of two classes only.
        resamples: Of the bootstrap over patients, which makes the intervals of the figures without
            a closed form: F1 and MCC of two classes, and the means over labels.
        seed: Of the bootstrap.

    Returns:
        ``threshold`` and ``figures`` (`clinic`) of two classes. Of several labels these two for
        each name in ``labels``, and in ``figures`` the means over all labels. None without a point,
        and of other tasks.
    """
    if point is None:
        return None
    if "labels" not in point:
        return None if known.single is None else _binary(known, point, prevalence, resamples, seed)
    return _of_labels(known, point["labels"], resamples, seed) if known.labels.ndim == 2 else None


def _binary(
    known: Predictions,
    point: Mapping[str, Any],
    prevalence: float | None,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    k = known.single
    assert k is not None
    called = known.probs[:, k] >= _thresholds(known, "threshold", point)
    groups = known.patients if known.clustered else None
    figures = clinic(called.astype(float), known.labels == k, 0.5, groups, prevalence=prevalence)
    overall = _overall(known, np.where(called, k, 1 - k), resamples, seed)
    figures |= {key: overall[key] for key in ("f1", "mcc")}  # which have no closed form
    return {"threshold": float(point["threshold"]), "figures": figures}


def _of_labels(
    known: Predictions, points: Mapping[str, Any], resamples: int, seed: int
) -> dict[str, Any]:
    decisions, found = known.decisions.copy(), {}
    for k, name in enumerate(known.class_names):
        there, point = known.labels[:, k] != UNKNOWN, points.get(name)
        if point is None:
            continue
        thresholds = _thresholds(known, f"threshold:{name}", point)
        called = known.probs[:, k] >= thresholds
        decisions[:, k] = np.where(np.isnan(thresholds), known.decisions[:, k], called)
        if there.any():
            groups = known.patients[there] if known.clustered else None
            judged, truth = decisions[there, k].astype(float), known.labels[there, k] == 1
            figures = clinic(judged, truth, 0.5, groups)
            found[name] = {"threshold": float(point["threshold"]), "figures": figures}
    return {"figures": _overall(known, decisions, resamples, seed), "labels": found}


def _thresholds(known: Predictions, column: str, point: Mapping[str, Any]) -> Floats | float:
    """Of each row (N,) where the table has them, else the point's for all."""
    if column in known.table:
        return known.table[column].to_numpy(float)
    return float(point["threshold"])


def _overall(
    known: Predictions, decisions: NDArray[np.int64], resamples: int, seed: int
) -> dict[str, Figure]:
    """What decisions alone say, with drawn bounds; of equal scores, which are soon ranked."""
    judged = replace(known, probs=np.full(known.probs.shape, 0.5), decisions=decisions)
    figures = figures_with_intervals(judged, resamples=resamples, seed=seed, by_class=False)
    return {key: figures[key] for key in OVERALL}
