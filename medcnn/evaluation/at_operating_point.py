"""Figures for the clinic, at the thresholds that were chosen on the validation split."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from medcnn.evaluation.clinic import clinic
from medcnn.evaluation.figures import Figure
from medcnn.evaluation.figures_with_intervals import figures_with_intervals
from medcnn.evaluation.predictions import Predictions
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
    """Return figures at the operating point of two classes, or at those of several labels.

    Args:
        known: Samples with a known label and the decisions of the point (`Predictions.at`).
        point: See `medcnn.evaluation.operating_point.thresholds_of`.
        prevalence: See `clinic`; of two classes only.
        resamples: Of the bootstrap over patients, which makes the intervals of the figures without
            a closed form: F1 and MCC of two classes, and the means over labels.
        seed: Of the bootstrap.

    Returns:
        ``threshold`` (None where pooled folds had each its own, and ``thresholds`` a list of them)
        and ``figures`` (`clinic`) of two classes. Of several labels these for each name in
        ``labels``, and in ``figures`` the means over all labels. None without a point, and of other
        tasks.
    """
    if point is None:
        return None
    if "labels" in point and known.labels.ndim == 2:
        return _of_labels(known, point["labels"], resamples, seed)
    if "labels" in point or known.single is None:
        return None
    figures = _clinic(known, known.single, prevalence)
    overall = _overall(known, resamples, seed)
    figures |= {key: overall[key] for key in ("f1", "mcc")}  # which have no closed form
    return {**applied(known, "threshold", point), "figures": figures}


def _of_labels(
    known: Predictions, points: Mapping[str, Any], resamples: int, seed: int
) -> dict[str, Any]:
    """Return the means over labels, and the figures of each that is known and has a threshold."""
    found = {}
    for k, name in enumerate(known.class_names):
        point = points.get(name)
        if point is not None and (known.labels[:, k] != UNKNOWN).any():
            thresholds = applied(known, f"threshold:{name}", point)
            found[name] = {**thresholds, "figures": _clinic(known, k)}
    return {"figures": _overall(known, resamples, seed), "labels": found}


def _clinic(known: Predictions, k: int, prevalence: float | None = None) -> dict[str, Figure]:
    """Return `clinic` of the calls for class k."""
    _, _, truth, called, patients = known.versus_rest(k)
    groups = patients if known.clustered else None
    return clinic(called, truth, groups, prevalence=prevalence)


def applied(known: Predictions, column: str, point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the threshold of the decisions: the point's, or each fold's own."""
    table = known.table
    if column not in table:
        return {"threshold": float(point["threshold"])}
    by_fold = table.sort_values("fold", kind="stable") if "fold" in table else table
    found = by_fold[column].fillna(0.5).astype(float).drop_duplicates().tolist()
    return {"threshold": None, "thresholds": found} if len(found) > 1 else {"threshold": found[0]}


def _overall(known: Predictions, resamples: int, seed: int) -> dict[str, Figure]:
    """Return figures of decisions alone, with drawn bounds; equal scores are ranked fastest."""
    judged = replace(known, probs=np.full(known.probs.shape, 0.5))
    figures = figures_with_intervals(judged, resamples=resamples, seed=seed, by_class=False)
    return {key: figures[key] for key in OVERALL}
