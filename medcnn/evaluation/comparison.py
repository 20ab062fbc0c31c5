"""Is one model better than another on the same samples? And corrections where several are."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from medcnn.errors import UserError
from medcnn.evaluation.delong import contributions
from medcnn.evaluation.intervals import DRAWS_AT_ONCE, check_level, group_numbers, wilson

Floats = NDArray[np.float64]


class Comparison(NamedTuple):
    """How much greater a figure of the first model is than that of the second.

    Args:
        difference: First less second.
        low: Lower bound of the difference; NaN where there is no interval.
        high: Upper bound.
        p: Two-sided p-value of no difference, in [0, 1]; NaN where there is no test.
    """

    difference: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan


def compare_auroc(
    first: ArrayLike,
    second: ArrayLike,
    truth: ArrayLike,
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> Comparison:
    """Difference of two AUROCs on the same samples: the paired test of DeLong.

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
    """Difference of two accuracies on the same independent samples.

    With b samples that only the first model has right, c that only the second has, and X binomial
    (b + c, ½), the p-value is McNemar's mid-p, 2 P(X ≤ min(b, c)) − P(X = min(b, c)), which lacks
    the exact one's excess of caution (M. W. Fagerland, S. Lydersen, P. Laake, "The McNemar test for
    binary matched-pairs data: mid-p and asymptotic are better than exact conditional", BMC Medical
    Research Methodology 2013). Where b = c it is 1. The interval adds the squares of both Wilson
    intervals (R. G. Newcombe, "Improved confidence intervals for the difference between binomial
    proportions based on paired data", Statistics in Medicine 1998, method 10).

    Samples of one patient aren't independent: use `permutation_test` and `bootstrap_means` then.

    Args:
        right_first: (N,) bool, whether the first model was right.
        right_second: (N,) bool, whether the second was.
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
    low_first, high_first = wilson(both + only_first, n, level)
    low_second, high_second = wilson(both + only_second, n, level)
    p_first, p_second = (both + only_first) / n, (both + only_second) / n
    difference = (only_first - only_second) / n
    return Comparison(
        difference,
        max(-1.0, difference - _added(p_first - low_first, high_second - p_second, phi)),
        min(1.0, difference + _added(high_first - p_first, p_second - low_second, phi)),
        _mid_p(only_first, only_second),
    )


def permutation_test(
    first_values: ArrayLike,
    second_values: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of no difference between two means of per-sample values.

    If the models are exchangeable, each patient's difference could as well have had the other sign:
    the share of sign patterns whose mean is as far from 0 as what was seen (R. A. Fisher, "The
    design of experiments", 1935). All patterns are tried where there are no more than
    ``resamples``, else that many are drawn and the one that was seen is added (B. Phipson,
    G. K. Smyth, "Permutation p-values should never be zero", Statistical Applications in Genetics
    and Molecular Biology 2010).

    Args:
        first_values: (N,) finite values of the first model: right or not, log loss, Brier score …
        second_values: (N,) of the second.
        groups: (N,) the patient of each sample, whose signs change together; None for independent
            samples.
        resamples: Number of patterns, at least 1.
        seed: Of the random draws; the same seed gives the same p-value.

    Returns:
        In (0, 1]; 1 where there is only one patient.

    Raises:
        UserError: Shapes that don't fit, no samples, values that aren't finite, or no resamples.

    Example:
        >>> permutation_test([1, 1, 1, 1, 1], [0, 0, 0, 0, 0])
        0.0625
    """
    _check_resamples(resamples)
    first, second = np.asarray(first_values, float), np.asarray(second_values, float)
    if first.shape != second.shape or first.ndim != 1 or len(first) == 0:
        raise UserError(
            f"permutation test: the values' shapes are {first.shape} and {second.shape}; "
            "give (N,) twice, N at least 1"
        )
    differences = first - second
    if not np.isfinite(differences).all():
        at = int((~np.isfinite(differences)).argmax())
        raise UserError(f"permutation test: sample {at} isn't finite; leave such samples out")
    sums = np.bincount(group_numbers(groups, len(first)), differences)
    sums = sums[sums != 0]  # the others have no sign
    if 2 ** len(sums) <= resamples:
        patterns = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float(_as_far(patterns, sums).mean())
    generator, step, far = np.random.default_rng(seed), max(1, DRAWS_AT_ONCE // len(sums)), 1
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        patterns = generator.integers(2, size=(rows, len(sums)), dtype=np.int8)
        far += int(_as_far(patterns, sums).sum())
    return far / (1 + resamples)


def holm(p_values: ArrayLike) -> Floats:
    """P-values that keep the chance of any false finding among them at the level.

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
    adjusted, order = _ascending(p_values)
    steps = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """P-values that keep the expected share of false findings among all findings at the level.

    min_{j ≥ i} min(1, m p_(j) / j) for the i-th smallest of m (Y. Benjamini, Y. Hochberg,
    "Controlling the false discovery rate", JRSS B 1995), for tests that are independent or
    positively dependent.

    Args:
        p_values: (S,) in [0, 1]; NaN for a test that wasn't, which stays NaN and isn't counted.

    Returns:
        (S,) in the given order.

    Raises:
        UserError: Values out of range.

    Example:
        >>> benjamini_hochberg([0.01, 0.5, 0.02]).tolist()
        [0.03, 0.5, 0.03]
    """
    adjusted, order = _ascending(p_values)
    steps = adjusted[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1.0)
    return adjusted


def _ascending(p_values: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """A copy, and the places of what isn't NaN, smallest first."""
    values = np.array(p_values, float)
    if values.ndim != 1 or (values < 0).any() or (values > 1).any():
        raise UserError(f"p-values: got shape {values.shape}; give (S,) between 0 and 1, or NaN")
    return values, values.argsort()[: int((~np.isnan(values)).sum())]


def _as_far(patterns: NDArray[np.integer], sums: Floats) -> NDArray[np.bool_]:
    """Whether the sum, with the signs of each pattern (R, G), is as far from 0 as without."""
    flipped = 2 * (patterns @ sums) - sums.sum()
    return np.abs(flipped) >= abs(sums.sum()) - 1e-12 * np.abs(sums).sum()


def _mid_p(only_first: int, only_second: int) -> float:
    fewer, apart = min(only_first, only_second), only_first + only_second
    if only_first == only_second:
        return 1.0
    below = float(special.bdtr(fewer - 1, apart, 0.5)) if fewer else 0.0
    return below + float(special.bdtr(fewer, apart, 0.5))


def _phi(both: int, only_first: int, only_second: int, neither: int) -> float:
    """The correlation of Newcombe's method 10, continuity-corrected where it is positive."""
    first, second = both + only_first, both + only_second
    product = first * (only_second + neither) * second * (only_first + neither)
    surplus: float = both * neither - only_first * only_second
    if surplus > 0:
        surplus = max(surplus - (first + only_second + neither) / 2, 0.0)
    return surplus / math.sqrt(product) if product else 0.0


def _added(one: float, other: float, phi: float) -> float:
    return math.sqrt(one**2 - 2 * phi * one * other + other**2)


def _check_resamples(resamples: int) -> None:
    if resamples < 1:
        raise UserError(f"resamples={resamples}: give a whole number, at least 1")
