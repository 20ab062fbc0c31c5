"""Confidence intervals of means and of proportions."""

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from medcnn.errors import UserError

NUMBERS_AT_ONCE = 4_000_000  # keeps the memory of a bootstrap below 100 MB


class Interval(NamedTuple):
    """A figure with the bounds of its confidence interval; NaN for what is undefined."""

    value: float
    low: float = math.nan
    high: float = math.nan


def bootstrap_means(
    values: NDArray[np.float64],
    groups: ArrayLike,
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return means with their percentile bootstrap intervals, resampling whole groups (patients).

    Images of one patient resemble each other, so the patients are drawn with replacement and each
    brings all of its images (A. C. Davison, D. V. Hinkley, "Bootstrap methods and their
    application", 1997, sections 3.8 and 5.3). The same groups are drawn for all columns.

    Args:
        values: (N, S); NaN where an image has no such value, and doesn't count.
        groups: (N,) the group of each row, of any sortable type.
        resamples: Number of bootstrap samples.
        level: Confidence level, between 0 and 1.
        seed: Of the random draws; the same seed gives the same intervals.

    Returns:
        Means, lower and upper bounds, (S,) each; bounds are NaN where fewer than two groups have a
        value, means where none has.

    Raises:
        UserError: Groups that don't fit, or a level out of range.

    Example:
        >>> mean, low, high = bootstrap_means(np.array([[1.0], [1], [0], [1]]), list("aabc"))
        >>> mean.tolist(), low.tolist(), high.tolist()
        ([0.75], [0.0], [1.0])
    """
    check_level(level)
    members, there = group_numbers(groups, len(values)), ~np.isnan(values)
    sums, counts = (group_sums(members, x) for x in (np.where(there, values, 0.0), there))
    with np.errstate(invalid="ignore"):
        drawn = draws(len(sums), resamples, seed, at_once=NUMBERS_AT_ONCE // len(sums))
        means = np.concatenate([(part @ sums) / (part @ counts) for part in drawn])
        mean = sums.sum(0) / counts.sum(0)
    bounds = np.full((2, values.shape[1]), np.nan)
    enough = (counts > 0).sum(0) > 1
    bounds[:, enough] = np.nanquantile(means[:, enough], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return mean, bounds[0], bounds[1]


def draws(groups: int, resamples: int, seed: int, at_once: int) -> Iterator[NDArray[np.float64]]:
    """Yield the `resample_counts` of bootstrap samples, which don't depend on how many at once."""
    generator, step = np.random.default_rng(seed), max(1, at_once)
    for start in range(0, resamples, step):
        yield resample_counts(generator, min(step, resamples - start), groups)


def resample_counts(
    generator: np.random.Generator, resamples: int, groups: int
) -> NDArray[np.float64]:
    """Return how often each group is in each bootstrap sample: (resamples, groups)."""
    drawn = generator.integers(groups, size=(resamples, groups), dtype=np.int32)
    drawn += groups * np.arange(resamples, dtype=np.int32)[:, None]
    counted = np.bincount(drawn.ravel(), minlength=resamples * groups)
    return counted.reshape(resamples, groups).astype(float)


def group_numbers(groups: ArrayLike | None, count: int) -> NDArray[np.int64]:
    """Return the groups (N,) of N samples, of any sortable type, as numbers 0 … G-1 in their order.

    None is for samples of which each is a group of its own.

    Raises:
        UserError: Not one group for each of `count` samples, or one that is missing.
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


def group_sums(members: NDArray[np.int64], values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the sums (G, S) of values (N, S) over the groups 0 … G-1, whose numbers are (N,)."""
    count = len(members)
    places, shape = (members, np.arange(count)), (int(members.max(initial=-1)) + 1, count)
    sums: NDArray[np.float64] = csr_array((np.ones(count), places), shape) @ values
    return sums


def wilson_bounds(
    share: ArrayLike, size: ArrayLike, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the bounds of Wilson's score interval, within [0, 1]; NaN where an argument is.

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)
    (E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA
    1927).

    Args:
        share: p (…), in [0, 1].
        size: n (…), the number of trials, above 0, which needn't be whole; NaN for unknown.
        level: Confidence level, between 0 and 1.

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


def check_level(level: float) -> None:
    """Raise UserError unless a confidence level lies between 0 and 1."""
    if not 0 < level < 1:
        raise UserError(f"interval: level={level} must lie between 0 and 1")
