"""Metrics of how well probabilities rank the samples, for many sets of weights at once.

The scores are sorted once. What counts in a sum over sorted samples is then a product of a sparse
table (score × group) with the weights (group × set).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Weights = NDArray[np.float64]

_NEARLY_ONE = 1 - 1e-6  # from here on 1 − p is mostly what p was rounded by
_SMALLEST = 5e-324  # number above 0


def ranking_scores(probs: Floats, *, several: bool = False) -> Floats:
    """Return log odds, by which samples are ranked: they don't end at 1 as probabilities do.

    log p_k − log(1 − p_k), with the sum of the other classes in the place of 1 − p_k where that is
    lost in rounding (of two classes everywhere: the ranking for one is the other's, turned round).

    Args:
        probs: (N, K) probabilities; other numbers, which aren't in [0, 1], rank as they are.
        several: True where the K are labels of their own, not classes of which one is true. There
            is no other class to tell what is left of 1, and they rank as they are.

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


class Ranking(NamedTuple):
    """Samples sorted by score, with the D distinct scores of positive ones as steps, from the top.

    Sparse counts of samples, a column for each of G groups.
    """

    positives: Any  # (D, G)
    negatives: Any  # (D + 1, G), at the step's score or above, below the step before; last the rest
    ties: Any  # (D, G), negatives with exactly the step's score; None without ties


def rank(scores: Floats, truth: Bools, members: NDArray[np.intp], size: int) -> Ranking:
    """Return the samples of one class sorted, once for all weights.

    Of finite scores (N,), high for positive, and the truth (N,). Members (N,) are the numbers
    0 … G-1 of the samples' groups, which have the weights; the size is G.
    """
    levels = np.unique(scores[truth])
    reached = np.searchsorted(levels, scores, "right")  # levels at the score or below
    step = len(levels) - reached
    tied = ~truth & (reached > 0)
    tied[tied] = levels[reached[tied] - 1] == scores[tied]
    return Ranking(
        count_pairs(step[truth], members[truth], (len(levels), size)),
        count_pairs(step[~truth], members[~truth], (len(levels) + 1, size)),
        count_pairs(step[tied], members[tied], (len(levels), size)) if tied.any() else None,
    )


def areas(ranking: Ranking, weights: Weights) -> NDArray[np.float64]:
    """Return AUROC and average precision of one class.

    The AUROC is the probability that a positive sample outscores a negative one: 1 − L / (P·Q) with
    P positive and Q negative samples and L the pairs in which the negative one outscores the
    positive one, ties counting one half (Mann–Whitney U; J. A. Hanley, B. J. McNeil, "The meaning
    and use of the area under a receiver operating characteristic (ROC) curve", Radiology 1982).

    The average precision is the area under the precision–recall curve as a sum of steps,
    Σ_t (R_t − R_{t−1}) P_t over the distinct scores t as thresholds from high to low, without
    interpolation (M. Zhu, "Recall, precision and average precision", University of Waterloo 2004).

    Args:
        ranking: Of `rank`.
        weights: (G, R), at least 0, how much each group counts in each of R sets; C-contiguous to
            be fast.

    Returns:
        (2, R) in [0, 1]; NaN where the positive samples weigh nothing, the AUROC also where the
        negative ones don't.

    Example:
        >>> scores, truth = np.array([0.1, 0.4, 0.8]), np.array([False, True, False])
        >>> areas(rank(scores, truth, np.arange(3), 3), np.array([[1.0, 3], [1, 1], [1, 1]]))
        array([[0.5 , 0.75],
               [0.5 , 0.5 ]])
    """
    gained = ranking.positives @ weights
    alarms = np.cumsum(ranking.negatives @ weights, axis=0)
    negatives, alarms = alarms[-1], alarms[:-1]
    positives = gained.sum(0)
    lost = np.einsum("dr,dr->r", gained, alarms)  # pairs in which the negative is not below
    if ranking.ties is not None:
        lost -= np.einsum("dr,dr->r", gained, ranking.ties @ weights) / 2
    found = np.cumsum(gained, axis=0)
    called = np.maximum(alarms + found, np.finfo(np.float64).tiny)
    found /= called
    precision = np.einsum("dr,dr->r", gained, found)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([1 - lost / (positives * negatives), precision / positives])


def count_pairs(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int]) -> Any:
    """Return how often each pair of row and column, (N,) each, occurs: a sparse table."""
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
