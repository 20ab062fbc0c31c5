"""The curves of single classes that a report draws."""

from typing import Any

import numpy as np

from medcnn.evaluation.calibration import brier_decomposition, reliability
from medcnn.evaluation.curves import net_benefit, pr_points, roc_band, roc_points
from medcnn.evaluation.predictions import Predictions

CURVES_AT_MOST = 20  # classes of which curves are kept
THRESHOLDS = np.linspace(0.01, 0.99, 99)


def curves_by_class(known: Predictions, seed: int) -> dict[str, dict[str, Any]]:
    """Return curves, reliability and decision curves of the positive class, or of each class.

    Args:
        known: Samples with a known label.
        seed: Of the band of the ROC curve.

    Returns:
        ``curves`` (``roc``, its ``band``, ``pr``, and ``folds``, see `_fold_curves`),
        ``reliability`` and ``decision_curve``, of each by the class's name.
    """
    single = known.single
    chosen = range(len(known.class_names)) if single is None else [single]
    found: dict[str, dict[str, Any]] = {"curves": {}, "reliability": {}, "decision_curve": {}}
    for k in list(chosen)[:CURVES_AT_MOST]:
        name = known.class_names[k]
        probs, scores, truth, _, groups = known.versus_rest(k)
        if truth.all() or not truth.any():
            continue
        fpr, sensitivity = roc_points(scores, truth)
        recall, precision = pr_points(scores, truth)
        band = roc_band(scores, truth, groups, seed=seed)
        found["curves"][name] = {
            "roc": {"fpr": fpr, "sensitivity": sensitivity},
            "band": dict(zip(("fpr", "low", "high"), band, strict=True)),
            "pr": {"recall": recall, "precision": precision},
        }
        if folds := _fold_curves(known, k):
            found["curves"][name]["folds"] = folds
        bins = reliability(probs, truth, groups=groups)._asdict()
        parts = brier_decomposition(probs, truth)._asdict()
        found["reliability"][name] = {"count": bins.pop("size"), **bins, "brier": parts}
        curve = net_benefit(probs, truth, THRESHOLDS)
        found["decision_curve"][name] = {"threshold": THRESHOLDS, **curve._asdict()}
    return found


def _fold_curves(known: Predictions, k: int) -> list[dict[str, Any]]:
    """Return ROC curves of pooled folds, each with the point of its own threshold.

    On the curve of all folds together it lies nowhere.
    """
    table = known.table
    column = f"threshold:{known.class_names[k]}" if known.task == "multilabel" else "threshold"
    if "fold" not in table or column not in table or table[column].nunique(dropna=False) < 2:
        return []
    curves = []
    for fold in sorted(table["fold"].unique().tolist()):
        _, scores, truth, called, _ = known.where((table["fold"] == fold).to_numpy()).versus_rest(k)
        if truth.any() and not truth.all():
            fpr, sensitivity = roc_points(scores, truth)
            point = {"fpr": called[~truth].mean(), "sensitivity": called[truth].mean()}
            curves.append({"fold": fold, "fpr": fpr, "sensitivity": sensitivity, "point": point})
    return curves
