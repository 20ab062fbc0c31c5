"""Ranking metrics of weighted samples, for many sets of weights at once.

The scores are sorted once. What counts in a sum over sorted samples is then a product of a sparse
table (score × group) with the weights (group × set).
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from medcnn.errors import UserError
from medcnn.evaluation.ranking import Bools, Floats

Weights = NDArray[np.float64]

_IN_CACHE = 500_000  # numbers of a table that the processor's cache holds
_IN_MEMORY = 3_000_000  # numbers of the largest table; about six of them are there at a time


def weighted_auroc(scores: Floats, truth: Bools, weights: Floats) -> NDArray[np.float64]:
    """`auroc` of samples that count more or less, as many times as there are sets of weights.

    Args:
        scores: (N, K), finite, high for positive.
        truth: (N, K), True for positive.
        weights: (R, N), at least 0, such as how often each sample is in each of R resamples.

    Returns:
        (R, K) in [0, 1]; NaN where the positive or the negative samples of a class weigh nothing.

    Raises:
        UserError: Shapes that don't fit, or weights that are negative or not finite.

    Example:
        >>> truth = np.array([[False], [True], [False]])
        >>> weighted_auroc(np.array([[0.1], [0.4], [0.8]]), truth, np.array([[1, 1, 1], [3, 1, 1]]))
        array([[0.5 ],
               [0.75]])
    """
    return _weighted(scores, truth, weights, 0)


def weighted_average_precision(
    scores: Floats, truth: Bools, weights: Floats
) -> NDArray[np.float64]:
    """`average_precision` of samples that count more or less, for several sets of weights.

    Args:
        scores: As in `weighted_auroc`.
        truth: (N, K).
        weights: (R, N).

    Returns:
        (R, K) in [0, 1]; NaN where the positive samples of a class weigh nothing.

    Raises:
        UserError: As in `weighted_auroc`.
    """
    return _weighted(scores, truth, weights, 1)


def _weighted(
    scores: Floats, truth: Bools, weights: Floats, which: Literal[0, 1]
) -> NDArray[np.float64]:
    shape, rows = np.shape(scores), np.shape(weights)
    if len(shape) != 2 or np.shape(truth) != shape or len(rows) != 2 or rows[1] != shape[0]:
        raise UserError(
            f"weighted ranking: scores of shape {shape}, truth {np.shape(truth)} and weights "
            f"{rows} don't fit; give (N, K), (N, K) and (R, N)"
        )
    if not (np.isfinite(weights).all() and (np.asarray(weights) >= 0).all()):
        raise UserError("weighted ranking: weights must be finite and at least 0")
    samples = np.arange(shape[0])
    rankings = [rank(s, t, samples, shape[0]) for s, t in zip(scores.T, truth.T, strict=True)]
    found = np.empty((rows[0], shape[1]))
    for part in parts(rows[0], shape[0], shape[0]):
        by_sample = np.ascontiguousarray(weights[part].T, np.float64)
        found[part] = np.stack([areas(r, by_sample)[which] for r in rankings], axis=1)
    return found


class Ranking(NamedTuple):
    """Who has which score, with the D distinct scores of positive samples as steps, from the top.

    Sparse counts of samples, a column for each of G groups.
    """

    positives: Any  # (D, G)
    negatives: Any  # (D + 1, G), at the step's score or above, below the step before; last the rest
    ties: Any  # (D, G), negatives with exactly the step's score; None without ties


def rank(scores: Floats, truth: Bools, members: NDArray[np.intp], size: int) -> Ranking:
    """Sort the samples of one class, once for all weights.

    Args:
        scores: (N,), finite, high for positive.
        truth: (N,), True for positive.
        members: (N,) the number 0 … G-1 of each sample's group, the unit that has a weight.
        size: G.
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
    """AUROC and average precision of one class (see `auroc`, `average_precision`).

    Args:
        ranking: Of `rank`.
        weights: (G, R), at least 0, C-contiguous to be fast.

    Returns:
        (2, R) in [0, 1], NaN where undefined.
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


def parts(rows: int, numbers: int, widest: int) -> Iterator[slice]:
    """Slices of as many rows as are fast to work on, and need less than 200 MB.

    Args:
        rows: To be cut, in all.
        numbers: In each row of what is worked on.
        widest: Numbers that a row has where it is widest.
    """
    step = max(1, min(max(8, _IN_CACHE // max(1, numbers)), _IN_MEMORY // max(1, widest)))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def count_pairs(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int]) -> Any:
    """How often each pair of a row and a column occurs, as a sparse table.

    Args:
        rows: (N,) numbers of rows.
        columns: (N,) numbers of columns.
        shape: Of the table.
    """
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
