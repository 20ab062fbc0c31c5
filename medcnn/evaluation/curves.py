"""Curves over all thresholds: ROC, precision and recall, and net benefit."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from medcnn.errors import UserError
from medcnn.evaluation.intervals import NUMBERS_AT_ONCE, draws, group_numbers
from medcnn.evaluation.operating_point import checked, corner_counts
from medcnn.evaluation.ranking import Bools, Floats

MOST_POINTS = 500
"""Points of a curve to draw."""

_MOST_STEPS = 4_000  # of the curves of a band


def roc_points(scores: ArrayLike, truth: ArrayLike) -> tuple[Floats, Floats]:
    """Return the corners of the ROC curve, at most `MOST_POINTS` of them.

    Args:
        scores: (N,) finite, high for positive.
        truth: (N,) True for positive.

    Returns:
        False positive rates and sensitivities; both rise from 0 to 1, NaN without a sample of that
        class.

    Raises:
        UserError: No samples, or shapes that differ.
    """
    _, hits, alarms = corner_counts(*checked(scores, truth))
    right, up = np.diff(alarms), np.diff(hits)
    corner = np.ones(len(hits), bool)
    corner[1:-1] = right[1:] * up[:-1] != right[:-1] * up[1:]
    hits, alarms = hits[corner], alarms[corner]
    kept = _thin(alarms / max(alarms[-1], 1), hits / max(hits[-1], 1))
    return _shares(alarms)[kept], _shares(hits)[kept]


def pr_points(scores: ArrayLike, truth: ArrayLike) -> tuple[Floats, Floats]:
    """Return the corners of the precision–recall curve, at most `MOST_POINTS` of them.

    Args and errors: As in `roc_points`.

    Returns:
        Recalls (they rise from 0 to 1; NaN without a positive sample) and precisions (the first, of
        no calls, is set to 1).
    """
    _, hits, alarms = corner_counts(*checked(scores, truth))
    corner = np.ones(len(hits), bool)
    corner[1:-1] = (hits[1:-1] != hits[:-2]) | (hits[1:-1] != hits[2:])
    hits, alarms = hits[corner], alarms[corner]
    precision = np.append(1.0, hits[1:] / (hits[1:] + alarms[1:]))
    kept = _thin(hits / max(hits[-1], 1), precision)
    return _shares(hits)[kept], precision[kept]


def roc_band(
    scores: ArrayLike,
    truth: ArrayLike,
    groups: ArrayLike | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> tuple[Floats, Floats, Floats]:
    """Return a pointwise 95 % band of the sensitivity, resampling whole patients.

    The percentiles of the ROC curves of bootstrap samples (J. Carpenter, J. Bithell, "Bootstrap
    confidence intervals", Statistics in Medicine 2000). Samples without one of the classes are left
    out.

    Args and errors: As in `roc_points`; groups (N,), the patients, None for independent samples.

    Returns:
        False positive rates 0, 0.01 … 1 and lower and upper bounds of the sensitivity there, (101,)
        each; NaN where fewer than two patients have positive samples or fewer than two negative.
    """
    scores, truth = checked(scores, truth)
    members = group_numbers(groups, len(truth))
    grid, unknown = np.linspace(0, 1, 101), np.full((2, 101), np.nan)
    if min(len(np.unique(members[truth])), len(np.unique(members[~truth]))) < 2:
        return grid, *unknown
    steps = _steps(scores, truth)
    patients, corners = int(members.max()) + 1, int(steps.max()) + 1
    samples = csr_array(  # of each patient, the positive ones by step and then the negative ones
        (np.ones(len(truth)), (members, steps + corners * ~truth)), shape=(patients, 2 * corners)
    )
    at_once, curves = NUMBERS_AT_ONCE // 2 // max(patients, 2 * corners), []
    for counts in draws(patients, resamples, seed, at_once):
        drawn = counts @ samples
        hits, alarms = drawn[:, :corners].cumsum(1), drawn[:, corners:].cumsum(1)
        curves.append(_sensitivities(hits, alarms, grid))
    sampled = np.concatenate(curves)
    if len(sampled) == 0:
        return grid, *unknown
    return grid, *np.quantile(sampled, [0.025, 0.975], axis=0)


class NetBenefit(NamedTuple):
    """Decision curves of the model, of treating all samples and of treating none; (K,) each."""

    model: Floats
    all: Floats
    none: Floats


def net_benefit(scores: ArrayLike, truth: ArrayLike, thresholds: ArrayLike) -> NetBenefit:
    """Return the net benefit: right calls less false alarms, in right calls a sample.

    TP/N − FP/N · t/(1−t), where t is the probability from which one would treat, so that a false
    alarm costs t/(1−t) of what a right call gains (A. J. Vickers, E. B. Elkin, "Decision curve
    analysis: a novel method for evaluating prediction models", Medical Decision Making 2006).

    Args:
        scores: (N,) calibrated probabilities of the positive class.
        truth: (N,) True for positive.
        thresholds: (K,) t, from 0 to below 1.

    Raises:
        UserError: No samples, shapes that differ, or a threshold out of range.
    """
    scores, truth = checked(scores, truth)
    thresholds = np.asarray(thresholds, np.float64)
    if not ((thresholds >= 0) & (thresholds < 1)).all():
        raise UserError("net benefit: thresholds must be at least 0 and below 1")
    odds = thresholds / (1 - thresholds)
    hits, alarms = (
        len(s) - np.searchsorted(np.sort(s), thresholds) for s in (scores[truth], scores[~truth])
    )
    share = truth.mean()
    model = (hits - alarms * odds) / len(truth)
    return NetBenefit(model, share - (1 - share) * odds, np.zeros_like(odds))


def _shares(counts: NDArray[np.int64]) -> Floats:
    """Return the shares of the last and highest count, NaN if that is 0."""
    return counts / counts[-1] if counts[-1] else np.full(len(counts), np.nan)


def _thin(x: Floats, y: Floats) -> NDArray[np.int64]:
    """Return the places of `MOST_POINTS` points that draw a curve (N,) as well as all of them.

    Evenly spaced by the way |Δx| + |Δy| along the curve, and both ends; all if there are no more.
    """
    if len(x) <= MOST_POINTS:
        return np.arange(len(x))
    way = np.append(0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    return np.unique(np.searchsorted(way, np.linspace(0, way[-1], MOST_POINTS)))


def _steps(scores: Floats, truth: Bools) -> NDArray[np.int64]:
    """Return each sample's step of the ROC curve, (N,) from 0 for the highest score.

    One step for each score; if there are very many, for each 1/2000 of one of the axes.
    """
    distinct, ties = np.unique(-scores, return_inverse=True)
    if len(distinct) <= _MOST_STEPS:
        return ties
    hits, alarms = (np.bincount(ties, of).cumsum() for of in (truth, ~truth))
    way = hits / hits[-1] + alarms / alarms[-1]
    return (way * (_MOST_STEPS // 2)).astype(np.int64)[ties]


def _sensitivities(hits: Floats, alarms: Floats, grid: Floats) -> Floats:
    """Return ROC curves of weighted counts (R, D) at false positive rates (F,): (≤ R, F).

    Where a curve is upright its upper end, between corners a straight line.
    """
    both = (hits[:, -1] > 0) & (alarms[:, -1] > 0)
    hits, alarms = (np.pad(counts[both], ((0, 0), (1, 0))) for counts in (hits, alarms))
    wanted = grid * alarms[:, -1:]
    apart = np.arange(len(hits))[:, None] * (alarms.max(initial=0) + 1)
    whole = np.floor(wanted + 1e-9)  # counts, so that rounding doesn't move a corner
    after = np.searchsorted((alarms + apart).ravel(), (whole + apart).ravel(), side="right")
    after = after.reshape(whole.shape) - np.arange(len(hits))[:, None] * hits.shape[1]
    before, after = after - 1, np.minimum(after, hits.shape[1] - 1)
    x, y = (np.take_along_axis(c, before, 1) for c in (alarms, hits))
    dx, dy = (np.take_along_axis(c, after, 1) - at for c, at in ((alarms, x), (hits, y)))
    return (y + dy * (wanted - x).clip(min=0) / np.maximum(dx, 1)) / hits[:, -1:]
