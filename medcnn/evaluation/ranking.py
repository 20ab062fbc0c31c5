"""Metrics of how well probabilities rank the samples, all classes at once."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

_NEARLY_ONE = 1 - 1e-6  # from here on 1 − p is mostly what p was rounded by
_SMALLEST = 5e-324  # number above 0


def ranking_scores(probs: Floats, *, several: bool = False) -> Floats:
    """Return what samples are ranked by: log odds, which don't end at 1 as probabilities do.

    log p_k − log(1 − p_k), with the sum of the other classes in the place of 1 − p_k where that is
    lost in rounding (of two classes everywhere: the ranking for one is the other's, turned round).

    Args:
        probs: (N, K) probabilities; other numbers, which aren't in [0, 1], rank as they are.
        several: Whether the K are labels of their own, not classes of which one is true. There is
            no other class to tell what is left of 1, and they rank as they are.

    Returns:
        (N, K) finite, float64 where they are log odds.

    Example:
        >>> sure = np.array([[1e-20, 1.0], [1e-30, 1.0]])
        >>> ranking_scores(sure).round(1)
        array([[-46.1,  46.1],
               [-69.1,  69.1]])
    """
    if several or probs.size == 0 or probs.min() < 0 or probs.max() > 1:
        return probs
    p = probs.astype(np.float64, copy=False)
    if p.shape[1] == 2:
        rest = p[:, ::-1]
    else:
        rest = 1 - p
        sure = np.flatnonzero(p.max(1) > _NEARLY_ONE)
        others, top = p[sure], (np.arange(len(sure)), p[sure].argmax(1))
        others[top] = 0
        rest[sure, top[1]] = others.sum(1)
    odds: Floats = np.log(np.maximum(p, _SMALLEST)) - np.log(np.maximum(rest, _SMALLEST))
    return odds


def auroc(scores: Floats, truth: Bools) -> Floats:
    """Area under the ROC curve: the probability that a positive sample outscores a negative one.

    (R⁺ − P(P+1)/2) / (P·Q) with P positive and Q negative samples and R⁺ the sum of the positives'
    ranks, ties taking the mean of theirs (Mann–Whitney U; J. A. Hanley, B. J. McNeil, "The meaning
    and use of the area under a receiver operating characteristic (ROC) curve", Radiology 1982).

    Args:
        scores: (N, K), high for positive.
        truth: (N, K), True for positive.

    Returns:
        (K,) in [0, 1]; NaN where a class has no positive or no negative sample.
    """
    groups = _tie_groups(scores, truth)
    mean_ranks = groups.below + (groups.size + 1) / 2
    rank_sums = np.bincount(groups.column, groups.positives * mean_ranks, scores.shape[1])
    positives = truth.sum(0).astype(float)
    negatives = len(truth) - positives
    with np.errstate(invalid="ignore"):
        return (rank_sums - positives * (positives + 1) / 2) / (positives * negatives)


def average_precision(scores: Floats, truth: Bools) -> Floats:
    """Area under the precision–recall curve as a sum of steps, Σ_t (R_t − R_{t−1}) P_t.

    The sum runs over the distinct scores t as thresholds from high to low, without interpolation
    (M. Zhu, "Recall, precision and average precision", University of Waterloo 2004).

    Args:
        scores: (N, K), high for positive.
        truth: (N, K), True for positive.

    Returns:
        (K,) in [0, 1]; NaN where a class has no positive sample.
    """
    groups = _tie_groups(scores, truth)
    positives = truth.sum(0).astype(float)
    reached = np.cumsum(groups.positives)  # positives up to each group, all columns before included
    earlier_columns = np.cumsum(positives) - positives
    below = reached - groups.positives - earlier_columns[groups.column]
    precision = (positives[groups.column] - below) / (len(truth) - groups.below)
    sums = np.bincount(groups.column, groups.positives * precision, scores.shape[1])
    with np.errstate(invalid="ignore"):
        return sums / positives


class _TieGroups(NamedTuple):
    """Runs of equal scores, column by column, each column in ascending order."""

    column: NDArray[np.int64]
    below: NDArray[np.int64]  # samples with a smaller score
    size: NDArray[np.int64]
    positives: NDArray[np.int64]


def _tie_groups(scores: Floats, truth: Bools) -> _TieGroups:
    count, columns = scores.shape
    by_column = np.ascontiguousarray(scores.T)
    order = by_column.argsort(1)
    ranked = np.take_along_axis(by_column, order, 1)
    hits = np.take_along_axis(np.ascontiguousarray(truth.T), order, 1)
    begins = np.ones((columns, count), bool)
    begins[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    first = np.flatnonzero(begins)
    return _TieGroups(
        column=first // count,
        below=first % count,
        size=np.diff(first, append=count * columns),
        positives=np.add.reduceat(hits.ravel(), first, dtype=np.int64),
    )
