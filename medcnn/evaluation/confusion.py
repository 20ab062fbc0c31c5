"""Figures of confusion matrices, as many matrices at once as there are.

A matrix counts samples: rows are the true classes, columns the decisions. Counts may be weighted.
The macro mean of a figure of each class is its mean over the last axis, NaN where one class is.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medcnn.errors import UserError

Float64s = NDArray[np.float64]


def accuracy(confusion: ArrayLike) -> Float64s:
    """Share of right decisions.

    Args:
        confusion: (…, K, K), at least 0.

    Returns:
        (…) in [0, 1]; NaN without a sample.

    Raises:
        UserError: The last two axes differ or there are fewer than two axes; so everywhere here.

    Example:
        >>> float(accuracy([[8, 2], [1, 9]]))
        0.85
    """
    counts = _counts(confusion)
    return _ratio(_hits(counts).sum(-1), counts.sum((-2, -1)))


def balanced_accuracy(confusion: ArrayLike) -> Float64s:
    """Mean sensitivity of all classes, (…) in [0, 1]; NaN where a class has no sample.

    Args:
        confusion: (…, K, K), at least 0.
    """
    return sensitivity(confusion).mean(-1)


def sensitivity(confusion: ArrayLike) -> Float64s:
    """Share of each class's samples that are found, (…, K) in [0, 1]; NaN without a sample.

    Args:
        confusion: (…, K, K), at least 0.
    """
    counts = _counts(confusion)
    return _ratio(_hits(counts), counts.sum(-1))


def specificity(confusion: ArrayLike) -> Float64s:
    """Share of the other classes' samples that aren't taken for a class, (…, K) in [0, 1].

    Args:
        confusion: (…, K, K), at least 0.

    Returns:
        NaN where there is no sample of another class.
    """
    counts = _counts(confusion)
    others = counts.sum((-2, -1))[..., None] - counts.sum(-1)
    return _ratio(others - counts.sum(-2) + _hits(counts), others)


def ppv(confusion: ArrayLike) -> Float64s:
    """Positive predictive value: share of the decisions for a class that are right, (…, K).

    Args:
        confusion: (…, K, K), at least 0.

    Returns:
        In [0, 1]; NaN for a class that is never decided for.
    """
    counts = _counts(confusion)
    return _ratio(_hits(counts), counts.sum(-2))


def npv(confusion: ArrayLike) -> Float64s:
    """Negative predictive value: share of the decisions against a class that are right, (…, K).

    Args:
        confusion: (…, K, K), at least 0.

    Returns:
        In [0, 1]; NaN for a class that is always decided for.
    """
    counts = _counts(confusion)
    against = counts.sum((-2, -1))[..., None] - counts.sum(-2)
    return _ratio(against - counts.sum(-1) + _hits(counts), against)


def f1(confusion: ArrayLike) -> Float64s:
    """Harmonic mean of sensitivity and positive predictive value of each class, (…, K).

    Args:
        confusion: (…, K, K), at least 0.

    Returns:
        In [0, 1]; NaN for a class that has no sample and is never decided for.
    """
    counts = _counts(confusion)
    return _ratio(2 * _hits(counts), counts.sum(-1) + counts.sum(-2))


def mcc(confusion: ArrayLike) -> Float64s:
    """Matthews' correlation coefficient, for K classes the correlation R_K.

    (n Σ C_kk − Σ t_k p_k) / √((n² − Σ t_k²) (n² − Σ p_k²)) with n samples, t_k of class k, p_k
    taken for it (J. Gorodkin, "Comparing two K-category assignments by a K-category correlation
    coefficient", Comput. Biol. Chem. 2004).

    Args:
        confusion: (…, K, K), at least 0.

    Returns:
        (…) in [-1, 1], 0 for decisions by chance; NaN where all samples or all decisions are of
        one class.

    Example:
        >>> float(mcc([[8, 2], [1, 9]]).round(3))
        0.704
    """
    counts = _counts(confusion)
    return mcc_of_sums(_hits(counts).sum(-1), counts.sum(-1), counts.sum(-2))


def mcc_of_sums(hits: ArrayLike, true: ArrayLike, called: ArrayLike) -> Float64s:
    """`mcc` without the matrix, whose K² cells are too many where there are thousands of classes.

    Args:
        hits: (…) right decisions.
        true: (…, K) samples of each class.
        called: (…, K) decisions for each class.
    """
    hits, true, called = (np.asarray(sums, np.float64) for sums in (hits, true, called))
    n = true.sum(-1)
    covariance = n * hits - (true * called).sum(-1)
    spread = (n**2 - (true**2).sum(-1)) * (n**2 - (called**2).sum(-1))
    return _ratio(covariance, np.sqrt(spread))


def kappa_of_sums(hits: ArrayLike, true: ArrayLike, called: ArrayLike) -> Float64s:
    """`cohen_kappa` without weights, of what `mcc_of_sums` takes."""
    hits, true, called = (np.asarray(sums, np.float64) for sums in (hits, true, called))
    n = true.sum(-1)
    return 1 - _ratio((n - hits) * n, n**2 - (true * called).sum(-1))


def cohen_kappa(confusion: ArrayLike, weights: Literal["quadratic"] | None = None) -> Float64s:
    """Cohen's kappa, the agreement beyond that by chance.

    1 − Σ w_ij C_ij / Σ w_ij E_ij, E the counts that are expected of independent decisions; w_ij is
    1 off the diagonal (J. Cohen, "A coefficient of agreement for nominal scales", Educ. Psychol.
    Meas. 1960) or (i − j)² (J. Cohen, "Weighted kappa", Psychol. Bulletin 1968).

    Args:
        confusion: (…, K, K), at least 0.
        weights: "quadratic" where the classes have an order.

    Returns:
        (…) in [-1, 1]; NaN where all samples and decisions are of one class.
    """
    counts = _counts(confusion)
    steps = _steps(counts)
    cost = np.minimum(steps, 1) if weights is None else steps**2
    true, called = counts.sum(-1), counts.sum(-2)
    expected = np.einsum("...i,ij,...j->...", true, cost, called)
    observed = np.einsum("...ij,ij->...", counts, cost) * counts.sum((-2, -1))
    return 1 - _ratio(observed, expected)


def mean_absolute_error(confusion: ArrayLike) -> Float64s:
    """Mean of |i − j| over true class i and decision j of ordered classes.

    Args:
        confusion: (…, K, K), at least 0.

    Returns:
        (…) in classes, at least 0; NaN without a sample.
    """
    counts = _counts(confusion)
    return _ratio(np.einsum("...ij,ij->...", counts, _steps(counts)), counts.sum((-2, -1)))


def _counts(confusion: ArrayLike) -> Float64s:
    counts = np.asarray(confusion, np.float64)
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise UserError(
            f"confusion matrix: shape {counts.shape} has no rows and columns of the same classes; "
            "give (…, K, K)"
        )
    return counts


def _hits(counts: Float64s) -> Float64s:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _steps(counts: Float64s) -> Float64s:
    """|i − j| of the classes, (K, K)."""
    classes = np.arange(counts.shape[-1], dtype=np.float64)
    return np.abs(classes[:, None] - classes)


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Float64s:
    """NaN for 0 / 0 and whatever else is divided by 0."""
    defined = denominator != 0
    return np.where(defined, numerator / np.where(defined, denominator, 1), np.nan)
