"""Figures for the clinic, at the thresholds that were chosen on the validation split."""

from collections.abc import Mapping
from typing import Any

from medcnn.evaluation.clinic import clinic
from medcnn.evaluation.figures import Figure
from medcnn.evaluation.predictions import Predictions

OVERALL = ("sensitivity", "specificity", "accuracy", "balanced_accuracy", "f1", "mcc")


def at_operating_point(
    known: Predictions,
    point: Mapping[str, Any] | None,
    figures: Mapping[str, Figure],
    prevalence: float | None = None,
) -> dict[str, Any] | None:
    """Return figures at the operating point of two classes, or at those of several labels.

    Args:
        known: Samples with a known label and the decisions of the point (`Predictions.at`).
        point: See `medcnn.evaluation.operating_point.thresholds_of`.
        figures: Of the same (`figures_with_intervals`), for those that only a bootstrap gives an
            interval: F1 and MCC of two classes, and the means over labels.
        prevalence: See `clinic`; of two classes only.

    Returns:
        ``threshold`` (None where pooled folds had each its own, and ``thresholds`` a list of them)
        and ``figures`` (`clinic`) of two classes. Of several labels these for each name in
        ``labels``, and in ``figures`` the means over all labels. None without a point, and of other
        tasks.
    """
    if point is None:
        return None
    if "labels" in point and known.labels.ndim == 2:
        overall = {key: figures[key] for key in OVERALL}
        return {"figures": overall, "labels": _by_label(known, point["labels"])}
    if "labels" in point or known.single is None:
        return None
    found = _clinic(known, known.single, prevalence)
    found |= {key: figures[key] for key in ("f1", "mcc")}  # which have no closed form
    return {**_applied(known, "threshold", point), "figures": found}


def _by_label(known: Predictions, points: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the figures of each label that is known and has a threshold."""
    found = {}
    for k, name in enumerate(known.class_names):
        point = points.get(name)
        if point is not None and len(known.versus_rest(k).truth):
            thresholds = _applied(known, f"threshold:{name}", point)
            found[name] = {**thresholds, "figures": _clinic(known, k)}
    return found


def _clinic(known: Predictions, k: int, prevalence: float | None = None) -> dict[str, Figure]:
    """Return `clinic` of the calls for class k."""
    _, _, truth, called, groups = known.versus_rest(k)
    return clinic(called, truth, groups, prevalence=prevalence)


def _applied(known: Predictions, column: str, point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the threshold of the decisions: the point's, or each fold's own."""
    table = known.table
    if column not in table:
        return {"threshold": float(point["threshold"])}
    by_fold = table.sort_values("fold", kind="stable") if "fold" in table else table
    found = by_fold[column].fillna(0.5).astype(float).drop_duplicates().tolist()
    return {"threshold": None, "thresholds": found} if len(found) > 1 else {"threshold": found[0]}
