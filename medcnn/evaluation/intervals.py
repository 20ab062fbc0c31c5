"""Confidence intervals of means and of proportions."""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medcnn.errors import UserError


class Interval(NamedTuple):
    """A figure with its confidence interval; NaN for what is undefined.

    Args:
        value: The figure.
        low: Lower bound.
        high: Upper bound.
    """

    value: float
    low: float = math.nan
    high: float = math.nan


DRAWS_AT_ONCE = 4_000_000  # keeps the memory of a bootstrap below 100 MB


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
    if values.ndim != 1 or len(values) == 0 or groups.shape != values.shape:
        raise UserError(
            f"bootstrap: need as many groups as values and at least one, "
            f"got shapes {values.shape} and {groups.shape}"
        )
    if not np.isfinite(values).all():
        raise UserError("bootstrap: values hold numbers that aren't finite")
    means, low, high = bootstrap_means(
        values[:, None], groups, resamples=resamples, level=level, seed=seed
    )
    alone = np.isnan(low[0])
    return float(means[0]), None if alone else float(low[0]), None if alone else float(high[0])


def bootstrap_means(
    values: NDArray[np.float64],
    groups: ArrayLike,
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """`bootstrap_mean` of several columns at once, with the same groups drawn for all.

    Args:
        values: (N, S); NaN where an image has no such value, and doesn't count.
        groups: (N,) the group of each row, of any sortable type.
        resamples: Number of bootstrap samples.
        level: Confidence level, between 0 and 1.
        seed: Of the random draws.

    Returns:
        Means, lower and upper bounds, (S,) each; bounds are NaN where fewer than two groups have a
        value, means where none has.
    """
    check_level(level)
    members, there = group_numbers(groups, len(values)), ~np.isnan(values)
    groups_in_all = int(members.max()) + 1
    sums = np.zeros((groups_in_all, values.shape[1]))
    np.add.at(sums, members, np.where(there, values, 0.0))
    counts = np.zeros_like(sums)
    np.add.at(counts, members, there)
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    step = max(1, DRAWS_AT_ONCE // groups_in_all)
    with np.errstate(invalid="ignore"):
        for start in range(0, resamples, step):
            rows = min(step, resamples - start)
            drawn = resample_counts(generator, rows, groups_in_all)
            means[start : start + rows] = (drawn @ sums) / (drawn @ counts)
        mean = sums.sum(0) / counts.sum(0)
    bounds = np.full((2, values.shape[1]), np.nan)
    enough = (counts > 0).sum(0) > 1
    bounds[:, enough] = np.nanquantile(means[:, enough], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return mean, bounds[0], bounds[1]


def resample_counts(
    generator: np.random.Generator, resamples: int, groups: int
) -> NDArray[np.float64]:
    """How often each of the groups is in each bootstrap sample, (resamples, groups)."""
    drawn = generator.integers(groups, size=(resamples, groups), dtype=np.int32)
    drawn += groups * np.arange(resamples, dtype=np.int32)[:, None]
    counted = np.bincount(drawn.ravel(), minlength=resamples * groups)
    return counted.reshape(resamples, groups).astype(float)


def group_numbers(groups: ArrayLike | None, count: int) -> NDArray[np.int64]:
    """The groups of samples as numbers 0 … G-1, in sorted order.

    Args:
        groups: (N,) of any sortable type; None where each sample is a group of its own.
        count: N.

    Returns:
        (N,).

    Raises:
        UserError: Another number of groups, or one that is missing.
    """
    if groups is None:
        return np.arange(count)
    names = np.asarray(groups)
    if names.shape != (count,):
        raise UserError(f"groups have shape {names.shape}: give one for each of {count} samples")
    numbers = pd.factorize(names, sort=True)[0]
    if (numbers < 0).any():
        first = int((numbers < 0).argmax())
        raise UserError(f"groups: sample {first} has none; give each sample its patient")
    return numbers


def wilson_bounds(
    share: ArrayLike, size: ArrayLike, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's score interval of shares of a number of trials, which needn't be whole.

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)
    (E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA
    1927).

    Args:
        share: p (…), in [0, 1].
        size: n (…), above 0; NaN for unknown.
        level: Confidence level, between 0 and 1.

    Returns:
        Lower and upper bound (…), within [0, 1]; NaN where an argument is.

    Raises:
        UserError: A level out of range.
    """
    check_level(level)
    p = np.asarray(share, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = NormalDist().inv_cdf((1 + level) / 2) ** 2 / np.asarray(size, float)
        centre = p + spread / 2
        half = np.sqrt(spread * (p * (1 - p) + spread / 4))
        low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    there = np.isfinite(low)
    return np.where(there & (p == 0), 0.0, low), np.where(there & (p == 1), 1.0, high)


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion k/n; see `wilson_bounds`.

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
    check_level(level)
    if not 0 <= k <= n or n < 1:
        raise UserError(f"Wilson interval: {k} of {n} isn't a proportion")
    low, high = wilson_bounds(k / n, n, level)
    return float(low), float(high)


def check_level(level: float) -> None:
    """Raise UserError unless a confidence level lies between 0 and 1."""
    if not 0 < level < 1:
        raise UserError(f"interval: level={level} must lie between 0 and 1")
