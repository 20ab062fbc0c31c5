"""Figures of predicted numbers, all targets at once, for many sets of weights at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.intervals import group_sums
from medcnn.evaluation.ranking import Floats, Weights

LIMITS = 1.96  # standard deviations from the bias to a limit of agreement


class Targets(NamedTuple):
    """Sums over the samples of each of G groups, for each of K targets."""

    sums: NDArray[np.float64]  # (7, K, G), in the order of `target_sums`
    shift: NDArray[np.float64]  # (K,) the mean error, which is taken off the last two sums
    lowest: NDArray[np.float64]  # (K, G) of the known labels, inf without one
    highest: NDArray[np.float64]


def target_sums(predictions: Floats, labels: Floats, members: NDArray[np.intp]) -> Targets:
    """Return what each group adds to the sums that `target_figures` are made of.

    Args: Predictions (N, K) finite, labels (N, K) with NaN for unknown, and (N,) the number 0 … G-1
    of each sample's group.
    """
    known = ~np.isnan(labels)
    count = np.maximum(known.sum(0), 1)
    truth = np.where(known, labels, 0.0).astype(np.float64)
    errors = np.where(known, predictions.astype(np.float64) - truth, 0.0)
    shift = errors.sum(0) / count
    around = np.where(known, truth - truth.sum(0) / count, 0.0)
    rest = np.where(known, errors - shift, 0.0)
    terms = [known, np.abs(errors), errors**2, around, around**2, rest, rest**2]
    sums = group_sums(members, np.hstack(terms))
    size, targets = len(sums), labels.shape[1]
    sums = sums.reshape(size, 7, targets).transpose(1, 2, 0)
    lowest, highest = np.full((size, targets), np.inf), np.full((size, targets), -np.inf)
    np.minimum.at(lowest, members, np.where(known, labels, np.inf))
    np.maximum.at(highest, members, np.where(known, labels, -np.inf))
    return Targets(np.ascontiguousarray(sums), shift, lowest.T, highest.T)


def target_figures(targets: Targets, weights: Weights) -> dict[str, NDArray[np.float64]]:
    """Return the distances of predictions from the labels that are known.

    With the errors e of a target y: mae = mean |e|, rmse = √(mean e²), both in the target's unit,
    and the coefficient of determination r2 = 1 − Σe² / Σ(y − mean y)², which is 1 for a perfect
    prediction, 0 for that of the mean, and below for worse (N. R. Draper, H. Smith, "Applied
    regression analysis", 1998, section 1.3). The bias is mean e, and the limits of agreement, which
    hold about 95 % of the errors if these are normal, bias ± 1.96 standard deviations of e, n − 1
    in their denominator (J. M. Bland, D. G. Altman, "Statistical methods for assessing agreement
    between two methods of clinical measurement", Lancet 1986).

    Returns:
        Of weights (G, R), at least 0, figures (K, R) by name; NaN for a target of which nothing is
        known, r2 also where the known labels don't differ, limits also of a single one.
    """
    n, absolute, squares, around, spread, rest, rest_squares = targets.sums @ weights
    drawn = weights > 0
    lowest = [np.where(drawn, x[:, None], np.inf).min(0, initial=np.inf) for x in targets.lowest]
    highest = [
        np.where(drawn, x[:, None], -np.inf).max(0, initial=-np.inf) for x in targets.highest
    ]
    varies = np.array(lowest) < np.array(highest)
    with np.errstate(invalid="ignore", divide="ignore"):
        bias = targets.shift[:, None] + rest / n
        variance = np.maximum(rest_squares - rest**2 / n, 0) / np.where(n > 1, n - 1, np.nan)
        half = LIMITS * np.sqrt(variance)
        return {
            "mae": absolute / n,
            "rmse": np.sqrt(squares / n),
            "r2": np.where(varies, 1 - squares / (spread - around**2 / n), np.nan),
            "bias": bias,
            "limit_low": bias - half,
            "limit_high": bias + half,
        }
