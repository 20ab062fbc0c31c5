"""Confidence intervals of means and of proportions."""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from medcnn.errors import UserError

_DRAWS_AT_ONCE = 4_000_000  # keeps the memory of a bootstrap below 100 MB


def bootstrap_mean(
    values: ArrayLike,
    groups: ArrayLike,
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float | None, float | None]:
    """Mean with its percentile bootstrap interval, resampling whole groups (patients).

    Images of one patient resemble each other, so the patients are drawn with replacement and each
    brings all of its images (A. C. Davison, D. V. Hinkley, "Bootstrap methods and their
    application", 1997, sections 3.8 and 5.3).

    Args:
        values: (N,) finite numbers; 0 and 1 for a share.
        groups: (N,) the group of each value, of any sortable type.
        resamples: Number of bootstrap samples.
        level: Confidence level, between 0 and 1.
        seed: Of the random draws; the same seed gives the same interval.

    Returns:
        Mean of all values, lower and upper bound. The bounds are None where there is only one
        group, for it says nothing about how groups vary.

    Raises:
        UserError: No values, values that aren't finite, or counts that differ.

    Example:
        >>> bootstrap_mean([1, 1, 0, 1], ["p1", "p1", "p2", "p3"])
        (0.75, 0.0, 1.0)
    """
    values, groups = np.asarray(values, float), np.asarray(groups)
    _check_level(level)
    if values.ndim != 1 or len(values) == 0 or groups.shape != values.shape:
        raise UserError(
            f"bootstrap: need as many groups as values and at least one, "
            f"got shapes {values.shape} and {groups.shape}"
        )
    if not np.isfinite(values).all():
        raise UserError("bootstrap: values hold numbers that aren't finite")
    members = np.unique(groups, return_inverse=True)[1]
    counts, sums = np.bincount(members), np.bincount(members, values)
    mean = float(values.mean())
    if len(counts) == 1:
        return mean, None, None
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, _DRAWS_AT_ONCE // len(counts))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(len(counts), size=(rows, len(counts)), dtype=np.int32)
        means[start : start + rows] = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return mean, float(low), float(high)


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion.

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n),  p = k/n
    (E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA
    1927).

    Args:
        k: Successes, 0 … n.
        n: Independent trials, at least 1.
        level: Confidence level, between 0 and 1.

    Returns:
        Lower and upper bound, within [0, 1].

    Raises:
        UserError: Counts or a level out of range.

    Example:
        >>> low, high = wilson(8, 10)
        >>> round(low, 3), round(high, 3)
        (0.49, 0.943)
    """
    _check_level(level)
    if not 0 <= k <= n or n < 1:
        raise UserError(f"Wilson interval: {k} of {n} isn't a proportion")
    z = NormalDist().inv_cdf((1 + level) / 2)
    p, spread = k / n, z**2 / n
    centre = p + spread / 2
    half = math.sqrt(spread * (p * (1 - p) + spread / 4))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    return (0.0 if k == 0 else low), (1.0 if k == n else high)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UserError(f"interval: level={level} must lie between 0 and 1")
