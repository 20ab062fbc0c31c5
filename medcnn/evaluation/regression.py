"""Errors of predicted numbers, all targets at once."""

import numpy as np

from medcnn.evaluation.ranking import Floats


def regression_errors(predictions: Floats, labels: Floats) -> dict[str, Floats]:
    """How far predictions lie from what is known of the labels.

    With the errors e of a target y: mae = mean |e|, rmse = √(mean e²), both in the target's unit,
    and the coefficient of determination r2 = 1 − Σe² / Σ(y − mean y)², which is 1 for a perfect
    prediction, 0 for that of the mean, and below for worse (N. R. Draper, H. Smith, "Applied
    regression analysis", 1998, section 1.3).

    Args:
        predictions: (N, K), finite.
        labels: (N, K), NaN for unknown.

    Returns:
        mae, rmse and r2, (K,) each; NaN for a target of which nothing is known, r2 also where the
        known labels don't differ.
    """
    there = ~np.isnan(labels)
    truth = np.where(there, labels, 0.0).astype(np.float64)
    errors = np.where(there, predictions.astype(np.float64) - truth, 0.0)
    with np.errstate(invalid="ignore"):
        count = there.sum(0)
        mean = truth.sum(0) / count
        spread = np.where(there, truth - mean, 0.0)
        squares, total = np.square(errors).sum(0), np.square(spread).sum(0)
        varies = np.where(there, labels, np.inf).min(0) < np.where(there, labels, -np.inf).max(0)
        return {
            "mae": np.abs(errors).sum(0) / count,
            "rmse": np.sqrt(squares / count),
            "r2": np.where(varies, 1 - squares / np.where(varies, total, 1.0), np.nan),
        }
