"""Confidence intervals of shares of images whose patients have several, and of two such shares."""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from medcnn.errors import UserError
from medcnn.evaluation.intervals import (
    Interval,
    check_level,
    group_numbers,
    group_sums,
    wilson_bounds,
)
from medcnn.evaluation.ranking import Bools, Floats


def proportion_interval(
    hits: ArrayLike, groups: ArrayLike | None = None, level: float = 0.95
) -> Interval:
    """Return the share of hits with Wilson's interval, for as many images as patients' are worth.

    Args:
        hits: (N,) True for a hit; NaN for what doesn't count.
        groups: (N,) the patient of each image, of any sortable type; None for independent images.
        level: Confidence level, between 0 and 1.

    Returns:
        Share and bounds within [0, 1]; all NaN of nothing, the bounds NaN of a single patient, who
        says nothing about how patients vary. See `effective_sizes` for the method.

    Raises:
        UserError: Hits that aren't true or false, shapes that differ, or a level out of range.

    Example:
        >>> interval = proportion_interval([1, 1, 1, 0, 1, 1], ["p", "p", "q", "q", "r", "s"])
        >>> [round(number, 3) for number in interval]
        [0.833, 0.358, 0.978]
    """
    found = proportion_intervals(np.asarray(hits)[:, None], groups, level)
    return Interval(*(float(number[0]) for number in found))


def proportion_intervals(
    hits: ArrayLike, groups: ArrayLike | None = None, level: float = 0.95
) -> tuple[Floats, Floats, Floats]:
    """Return `proportion_interval` of hits (N, S): shares, lower and upper bounds, (S,) each."""
    values, there = _checked(hits)
    with np.errstate(invalid="ignore"):
        share = values.sum(0) / there.sum(0)
    return share, *wilson_bounds(share, effective_sizes(hits, groups, level), level)


def effective_sizes(
    hits: ArrayLike, groups: ArrayLike | None = None, level: float = 0.95
) -> Floats:
    """Return the number of independent images that say as much of a share p as n of G patients.

    n / d · (t_{n−1} / t_{G−1})², with quantiles of Student's t at the level, which widen the
    interval of few patients (E. L. Korn, B. I. Graubard, "Confidence intervals for proportions with
    small expected number of positive counts estimated from survey data", Survey Methodology 1998;
    for Wilson's interval N. Dean, M. Pagano, "Evaluating confidence interval methods for binomial
    proportions in clustered surveys", J. Survey Statistics and Methodology 2015). The design effect
    d is the variance of the ratio estimator over patients g of n_g images and x_g hits,
    G/(G−1) · Σ (x_g − p n_g)² / n², over that of independent images, p(1−p)/(n−1) (J. N. K. Rao,
    A. J. Scott, "A simple method for the analysis of clustered binary data", Biometrics 1992).

    It is 1 if each patient has one image, and never taken as less, which is chance.
    Where one or two patients have all the misses (or hits) they say little about how alike a
    patient's images are, and d comes out too low, so our own addition: d is computed with a quarter
    of a patient of all hits and one of all misses more, each of G's mean size. If there are no
    misses or no hits at all, a patient's images count as if they were all the same: n² / Σ n_g²,
    which is G for patients of equally many.

    Args and errors: As in `proportion_intervals`.

    Returns:
        (S,), up to n, which it is without groups; NaN for fewer than two patients.
    """
    check_level(level)
    values, there = _checked(hits)
    n = there.sum(0).astype(float)
    if groups is None:
        return n
    members = group_numbers(groups, len(values))
    x_g, n_g = group_sums(members, values), group_sums(members, there)
    patients = (n_g > 0).sum(0).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        tails = stdtrit(np.array([n - 1, patients - 1]), (1 + level) / 2)
        sizes = n / _design_effects(x_g, n_g) * (tails[0] / tails[1]) ** 2
        p = x_g.sum(0) / n
        sizes = np.where((p > 0) & (p < 1), sizes, n**2 / (n_g**2).sum(0))
    return np.where(patients > 1, sizes, np.nan)


def difference_interval(first: Interval, second: Interval) -> Interval:
    """Return first − second of two independent groups (square-and-add).

    d − √((p₁ − l₁)² + (u₂ − p₂)²) and d + √((u₁ − p₁)² + (p₂ − l₂)²)  (R. G. Newcombe, "Interval
    estimation for the difference between independent proportions: comparison of eleven methods",
    Statistics in Medicine 1998, method 10; for any figures G. Y. Zou, A. Donner, "Construction of
    confidence limits about effect measures", Statistics in Medicine 2008).

    Both are of the same level, and no patient is in both groups. Bounds are NaN where one of those
    that they need is.
    """
    low = math.hypot(first.value - first.low, second.high - second.value)
    high = math.hypot(first.high - first.value, second.value - second.low)
    difference = first.value - second.value
    return Interval(difference, difference - low, difference + high)


def mean_interval(first: Interval, second: Interval) -> Interval:
    """Return (first + second) / 2 of shares of two independent groups (square-and-add).

    Of sensitivity and specificity that is the balanced accuracy.
    """
    value, low, high = second
    youden = difference_interval(first, Interval(1 - value, 1 - high, 1 - low))
    return Interval(*((bound + 1) / 2 for bound in youden))


def ratio_interval(first: float, first_size: float, second: float, second_size: float) -> Interval:
    """Return first / second of two independent shares, with 95 % bounds (log method).

    exp(log p/q ± z √((1−p)/(p n) + (1−q)/(q m)))  (D. Katz et al., "Obtaining confidence intervals
    for the risk ratio in cohort studies", Biometrics 1978; for likelihood ratios D. L. Simel,
    G. P. Samsa, D. B. Matchar, "Likelihood ratios with confidence", J. Clinical Epidemiology 1991).

    If one of the shares is 0 or 1, the bounds are of n + 1 and m + 1 images with half a hit more in
    each. Then they still hold the ratio: 0 is its own lower bound, infinity its own upper one.

    Args:
        first: Share p in [0, 1], NaN for undefined.
        first_size: Independent images n that it rests on, or what others are worth
            (`effective_sizes`).
        second: Share q.
        second_size: Its images m.

    Returns:
        Ratio and bounds in [0, ∞]; all NaN for 0 / 0, the bounds NaN where a size is.
    """
    z = NormalDist().inv_cdf(0.975)
    p, n, q, m = (np.float64(number) for number in (first, first_size, second, second_size))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = p / q
        if np.isnan(ratio):
            return Interval(math.nan)
        if {first, second} & {0, 1}:
            p, n, q, m = (p * n + 0.5) / (n + 1), n + 1, (q * m + 0.5) / (m + 1), m + 1
        half = z * np.sqrt((1 - p) / (p * n) + (1 - q) / (q * m))
        low, high = p / q * np.exp(-half), p / q * np.exp(half)
    if np.isnan(half):
        return Interval(float(ratio))
    return Interval(float(ratio), float(np.minimum(low, ratio)), float(np.maximum(high, ratio)))


def _checked(hits: ArrayLike) -> tuple[Floats, Bools]:
    """Return hits as numbers, 0 where unknown, and where they are known; (N, S) each."""
    hits = np.asarray(hits)
    if hits.ndim != 2 or hits.dtype.kind not in "biuf":
        raise UserError(
            f"proportion: hits are {hits.dtype} of shape {hits.shape}, need true or false in (N, S)"
        )
    values = hits.astype(np.float64)
    there = ~np.isnan(values)
    values[~there] = 0
    if not ((values == 0) | (values == 1)).all():
        raise UserError("proportion: hits hold numbers other than 0, 1 and NaN; give true or false")
    return values, there


def _design_effects(x_g: Floats, n_g: Floats) -> Floats:
    """Return design effects, 1 at least, of patients' hits and images (G, S): (S,)."""
    patients, n = (n_g > 0).sum(0), n_g.sum(0)
    added = n / patients  # images of a patient of all hits and of one of all misses, ¼ of each
    patients, n = patients + 0.5, n + 0.5 * added
    p = (x_g.sum(0) + 0.25 * added) / n
    squares = np.square(x_g - p * n_g).sum(0) + 0.25 * added**2 * ((1 - p) ** 2 + p**2)
    variance = patients / (patients - 1) * squares / n**2
    return np.maximum(variance / (p * (1 - p) / (n - 1)), 1)
