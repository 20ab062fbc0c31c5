"""Paired tests of two models on the same samples, and corrections where there are several."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from medcnn.errors import UserError
from medcnn.evaluation.delong import contributions
from medcnn.evaluation.intervals import check_level, wilson_bounds


class Comparison(NamedTuple):
    """A figure of the first model less that of the second; NaN for what is undefined."""

    difference: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan  # two-sided, of no difference


def compare_auroc(
    first: ArrayLike,
    second: ArrayLike,
    truth: ArrayLike,
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> Comparison:
    """Return the difference of two AUROCs on the same samples: the paired test of DeLong.

    difference ± t √V, V from `auroc_covariance`, thus Obuchowski's where there are patients. t is
    Student's, with one degree of freedom less than there are effective patients of the rarer kind
    (`Contributions.effective_groups`), for with few of them V is uncertain; with many this is
    DeLong's normal test.

    Args:
        first: (N,) scores of the first model, high for positive.
        second: (N,) scores of the second model.
        truth: (N,) bool, True for positive.
        groups: (N,) the patient of each sample; None for independent samples.
        level: Confidence level, between 0 and 1.

    Returns:
        Difference and bounds in [-1, 1]; NaN without a positive or without a negative sample. The
        bounds and p also are with fewer than two patients of a kind, and where V is 0, for instance
        because both models separate all samples; p is then 1 if there is no difference.

    Raises:
        UserError: Samples that don't fit (see `auroc_covariance`), or a level out of range.

    Example:
        >>> truth = [False, False, False, True, True, True]
        >>> round(compare_auroc([1, 2, 4, 3, 5, 6], [1, 4, 5, 2, 3, 6], truth).difference, 3)
        0.333
    """
    check_level(level)
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape:
        raise UserError(f"AUROC: the models' scores have shapes {first.shape} and {second.shape}")
    parts = contributions(np.stack([first, second]), truth, groups)
    apart = parts._replace(
        positive=parts.positive[:1] - parts.positive[1:],
        negative=parts.negative[:1] - parts.negative[1:],
    )
    difference, variance = float(parts.areas[0] - parts.areas[1]), float(apart.covariance()[0, 0])
    if not variance > 0:
        return Comparison(difference, p=1.0 if variance == 0 == difference else math.nan)
    freedom, error = parts.effective_groups - 1, math.sqrt(variance)
    half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
    p = 2 * float(special.stdtr(freedom, -abs(difference) / error))
    return Comparison(difference, max(-1.0, difference - half), min(1.0, difference + half), p)


def mcnemar(right_first: ArrayLike, right_second: ArrayLike, level: float = 0.95) -> Comparison:
    """Return the difference of two accuracies on the same independent samples.

    With b samples that only the first model has right, c that only the second has, and X binomial
    (b + c, ½), the p-value is McNemar's mid-p, 2 P(X ≤ min(b, c)) − P(X = min(b, c)), which lacks
    the exact one's excess of caution (M. W. Fagerland, S. Lydersen, P. Laake, "The McNemar test for
    binary matched-pairs data: mid-p and asymptotic are better than exact conditional", BMC Medical
    Research Methodology 2013). Where b = c it is 1. The interval adds the squares of both Wilson
    intervals (R. G. Newcombe, "Improved confidence intervals for the difference between binomial
    proportions based on paired data", Statistics in Medicine 1998, method 10).

    Samples of one patient aren't independent: take the paired bootstrap (`differences`) then.

    Args:
        right_first: (N,) bool, True where the first model was right.
        right_second: The same of the second.
        level: Confidence level, between 0 and 1.

    Returns:
        Difference and bounds in [-1, 1].

    Raises:
        UserError: Not as many of both, none, or not bool; a level out of range.

    Example:
        >>> mcnemar([True] * 9 + [False], [True] * 4 + [False] * 6).p
        0.03125
    """
    first, second = np.asarray(right_first), np.asarray(right_second)
    bools = first.dtype == second.dtype == bool
    if not bools or first.shape != second.shape or first.ndim != 1 or len(first) == 0:
        raise UserError(
            f"McNemar: got {first.dtype} of shape {first.shape} and {second.dtype} of shape "
            f"{second.shape}; give (N,) bool twice, N at least 1"
        )
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    n, phi = len(first), _phi(both, only_first, only_second, neither)
    shares = p_first, p_second = (both + only_first) / n, (both + only_second) / n
    (low_first, low_second), (high_first, high_second) = wilson_bounds(shares, n, level)
    difference = (only_first - only_second) / n
    return Comparison(
        difference,
        max(-1.0, difference - _added(p_first - low_first, high_second - p_second, phi)),
        min(1.0, difference + _added(high_first - p_first, p_second - low_second, phi)),
        _mid_p(only_first, only_second),
    )


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values that keep the chance of any false finding among them at the level.

    max_{j ≤ i} min(1, (m − j + 1) p_(j)) for the i-th smallest of m (S. Holm, "A simple
    sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979).

    Args:
        p_values: (S,) in [0, 1]; NaN for a test that wasn't, which stays NaN and isn't counted.

    Returns:
        (S,) in the given order.

    Raises:
        UserError: Values out of range.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    adjusted = np.array(p_values, float)
    if adjusted.ndim != 1 or (adjusted < 0).any() or (adjusted > 1).any():
        raise UserError(f"p-values: got shape {adjusted.shape}; give (S,) between 0 and 1, or NaN")
    order = adjusted.argsort()[: int((~np.isnan(adjusted)).sum())]  # NaN comes last
    steps = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _mid_p(only_first: int, only_second: int) -> float:
    """Return McNemar's mid-p of the samples that one model alone has right."""
    if only_first == only_second:
        return 1.0
    fewer, apart = min(only_first, only_second), only_first + only_second
    below = special.bdtr(fewer - 1, apart, 0.5) if fewer else 0.0
    return float(below + special.bdtr(fewer, apart, 0.5))


def _phi(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Return the correlation of Newcombe's method 10, continuity-corrected where it is positive."""
    first, second = both + only_first, both + only_second
    product = first * (only_second + neither) * second * (only_first + neither)
    surplus: float = both * neither - only_first * only_second
    if surplus > 0:
        surplus = max(surplus - (first + only_second + neither) / 2, 0.0)
    return surplus / math.sqrt(product) if product else 0.0


def _added(one: float, other: float, phi: float) -> float:
    """Return the length of two halves of intervals of correlation phi, added as squares."""
    return math.sqrt(one**2 - 2 * phi * one * other + other**2)
