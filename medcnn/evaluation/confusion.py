"""Figures of decisions, of as many sets of samples at once as there are.

They are made of the sums of a confusion matrix, for its K² cells are too many where there are
thousands of classes. Samples may be weighted. The macro mean of a figure of each class is its mean
over the last axis, NaN where one class is.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64s = NDArray[np.float64]


class Counts(NamedTuple):
    """Numbers of samples of each of K classes, (…, K) each."""

    hits: Float64s  # of the class, and called it
    true: Float64s  # of the class
    called: Float64s  # called it


def accuracy(counts: Counts) -> Float64s:
    """Return the share of right decisions, (…) in [0, 1]; NaN without a sample.

    Example:
        >>> float(accuracy(Counts(np.array([8, 9]), np.array([10, 10]), np.array([9, 11]))))
        0.85
    """
    return _ratio(counts.hits.sum(-1), counts.true.sum(-1))


def balanced_accuracy(counts: Counts) -> Float64s:
    """Return the mean sensitivity, (…) in [0, 1]; NaN where a class has no sample."""
    return sensitivity(counts).mean(-1)


def sensitivity(counts: Counts) -> Float64s:
    """Return the share of each class that is found, (…, K) in [0, 1]; NaN without a sample."""
    return _ratio(counts.hits, counts.true)


def specificity(counts: Counts) -> Float64s:
    """Return the share of the others that aren't taken for a class, (…, K) in [0, 1].

    NaN where there is no sample of another class.
    """
    others = counts.true.sum(-1, keepdims=True) - counts.true
    return _ratio(others - counts.called + counts.hits, others)


def f1(counts: Counts) -> Float64s:
    """Return the harmonic mean of sensitivity and positive predictive value, (…, K) in [0, 1].

    NaN for a class that has no sample and is never decided for.
    """
    return _ratio(2 * counts.hits, counts.true + counts.called)


def mcc(counts: Counts) -> Float64s:
    """Return Matthews' correlation coefficient, for K classes the correlation R_K.

    (n Σ h_k − Σ t_k c_k) / √((n² − Σ t_k²) (n² − Σ c_k²)) with n samples, t_k of class k, c_k
    called it, h_k both (J. Gorodkin, "Comparing two K-category assignments by a K-category
    correlation coefficient", Comput. Biol. Chem. 2004).

    Returns:
        (…) in [-1, 1], 0 for decisions by chance; NaN where all samples or all decisions are of
        one class.
    """
    hits, true, called = counts
    n = true.sum(-1)
    covariance = n * hits.sum(-1) - (true * called).sum(-1)
    spread = (n**2 - (true**2).sum(-1)) * (n**2 - (called**2).sum(-1))
    return _ratio(covariance, np.sqrt(spread))


def cohen_kappa(counts: Counts) -> Float64s:
    """Return Cohen's kappa, the agreement beyond that by chance.

    1 − observed / expected disagreement, expected of independent decisions (J. Cohen, "A
    coefficient of agreement for nominal scales", Educ. Psychol. Meas. 1960).

    Returns:
        (…) in [-1, 1]; NaN where all samples and decisions are of one class.
    """
    hits, true, called = counts
    n = true.sum(-1)
    return 1 - _ratio((n - hits.sum(-1)) * n, n**2 - (true * called).sum(-1))


def quadratic_kappa(counts: Counts, squares: Float64s) -> Float64s:
    """Return Cohen's kappa of ordered classes, each disagreement weighted by its square.

    (J. Cohen, "Weighted kappa", Psychol. Bulletin 1968)

    Args:
        counts: Of the decisions.
        squares: (…) sum of (i − j)² over samples of class i that are called j.

    Returns:
        As `cohen_kappa`.
    """
    classes = np.arange(counts.true.shape[-1], dtype=np.float64)
    cost = (classes[:, None] - classes) ** 2
    expected = ((counts.true @ cost) * counts.called).sum(-1)
    return 1 - _ratio(squares * counts.true.sum(-1), expected)


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Float64s:
    """Return the ratio, NaN for whatever is divided by 0."""
    defined = denominator != 0
    return np.where(defined, numerator / np.where(defined, denominator, 1), np.nan)
