"""The AUROC's variance without a model of the scores, for independent images and for patients."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medcnn.errors import UserError
from medcnn.evaluation.intervals import Interval, check_level, group_numbers, wilson_bounds

_WORST_CASE = 2.0  # patients' worth of belief in the greatest possible variance


class Contributions(NamedTuple):
    """Contributions of each of G groups to the areas of M models."""

    areas: NDArray[np.float64]  # (M,) AUROC in [0, 1]; NaN without samples of one of the kinds
    positive: NDArray[np.float64]  # (M, G) by how much the group's positive samples move the area
    negative: NDArray[np.float64]  # (M, G) the same of its negative samples
    positives: NDArray[np.int64]  # (G,) positive samples
    negatives: NDArray[np.int64]  # (G,) negative samples

    @property
    def effective_groups(self) -> float:
        """Effective number of groups of the rarer kind, min over both of (Σn)² / Σn².

        With n samples in each of its groups (L. Kish, "Survey sampling", 1965): the number of
        groups where they are of one size. NaN where there are no samples of a kind.
        """
        return min(_effective(self.positives), _effective(self.negatives))

    def covariance(self) -> NDArray[np.float64]:
        """Return (M, M), NaN with fewer than two groups of positive, or of negative, samples."""
        in_all = _correction(self.positives + self.negatives)
        cross = self.positive @ self.negative.T
        return (
            _correction(self.positives) * (self.positive @ self.positive.T)
            + _correction(self.negatives) * (self.negative @ self.negative.T)
            + in_all * (cross + cross.T)
        )


def auroc_covariance(
    scores: ArrayLike, truth: ArrayLike, groups: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the AUROCs of several models on the same samples, and their covariance.

    The placement of a positive sample is the share of negative samples that it outscores (ties
    count one half), that of a negative sample the share of positive samples that outscore it; the
    area is the mean of either. Its variance is that of the mean placements (E. R. DeLong,
    D. M. DeLong, D. L. Clarke-Pearson, "Comparing the areas under two or more correlated receiver
    operating characteristic curves", Biometrics 1988), found in O(M N log N) by sorting, as X. Sun
    and W. Xu, "Fast implementation of DeLong's algorithm", IEEE Signal Processing Letters 2014, do.

    With groups, placements are summed within each patient, and the positive and negative images
    of a patient may be correlated (N. A. Obuchowski, "Nonparametric analysis of clustered ROC curve
    data", Biometrics 1997). Her factors I / (I − 1), with I patients that have positive images,
    negative ones, or any, make it DeLong's figure exactly (denominators P − 1 and Q − 1) where each
    patient has one image.

    Args:
        scores: (M, N), high for positive; infinite ones are allowed.
        truth: (N,) bool, True for positive.
        groups: (N,) the patient of each sample, of any type; None for independent samples.

    Returns:
        Areas (M,) in [0, 1], NaN without a positive or without a negative sample; and covariance
        (M, M), NaN with fewer than two patients that have positive, or negative, samples.

    Raises:
        UserError: Shapes that don't fit, no samples, scores that are NaN, labels that aren't bool
            or a sample without group.

    Example:
        >>> areas, covariance = auroc_covariance([[0.1, 0.4, 0.3, 0.8]], [False, False, True, True])
        >>> areas, covariance
        (array([0.75]), array([[0.125]]))
    """
    parts = contributions(scores, truth, groups)
    return parts.areas, parts.covariance()


def auroc_interval(
    scores: ArrayLike,
    truth: ArrayLike,
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> Interval:
    """Return the AUROC with a score interval that also holds near 1 and with few patients.

    Wilson's interval of a proportion A among m / r patients. m is the effective number of patients
    of the rarer kind (`Contributions.effective_groups`). The variance of an area of independent
    samples is A (1 − A) / m at most (D. van Dantzig, "On the consistency and the power of
    Wilcoxon's two sample test", 1951; Z. W. Birnbaum, O. M. Klose, "Bounds for the variance of the
    Mann–Whitney statistic", Annals of Mathematical Statistics 1957), and r, the share of it that
    is there, is estimated:

        r = ((m − 1) r̂ + 2) / (m + 1),   r̂ = m V̂ / (A (1 − A)),   V̂ from `auroc_covariance`

    so that few patients, whose V̂ is often much too small, are helped by two more with the greatest
    variance, and many are not. At A = 0 or 1 there is nothing to estimate from, and r = 1: the
    bound then holds whatever the scores' distribution. The weight of two was chosen by simulation:
    see docs/coverage.csv, made by scripts/coverage_experiment.py, for where the interval covers.
    It can't know of what no patient in the sample shows: where a rare kind of positive is missed
    altogether, it covers less often until some of them are there.

    Args and errors: As in `auroc_covariance`, of the scores (N,) of one model; level, of
    confidence, between 0 and 1.

    Returns:
        Area and bounds in [0, 1]. The area is NaN without a positive or without a negative sample,
        the bounds also with fewer than two patients of a kind.

    Example:
        >>> separated = auroc_interval([0.1, 0.2, 0.3, 0.7, 0.8], [False] * 3 + [True] * 2)
        >>> separated.value, round(separated.low, 3), separated.high
        (1.0, 0.342, 1.0)
    """
    check_level(level)
    parts = contributions(np.asarray(scores)[None], truth, groups)
    area, variance = float(parts.areas[0]), float(parts.covariance()[0, 0])
    if math.isnan(variance):
        return Interval(area)
    patients, greatest = parts.effective_groups, area * (1 - area)
    ratio = 1.0
    if greatest > 0:
        seen = patients * variance / greatest
        ratio = ((patients - 1) * seen + _WORST_CASE) / (patients - 1 + _WORST_CASE)
    low, high = wilson_bounds(area, patients / ratio, level)
    return Interval(area, float(low), float(high))


def contributions(
    scores: ArrayLike, truth: ArrayLike, groups: ArrayLike | None = None
) -> Contributions:
    """Return the parts of `auroc_covariance`; arguments and errors are the same."""
    scores, truth = np.asarray(scores), np.asarray(truth)
    _check(scores, truth)
    members = group_numbers(groups, len(truth))
    size = int(members.max()) + 1
    positives = np.bincount(members[truth], minlength=size)
    negatives = np.bincount(members[~truth], minlength=size)
    areas = np.full(len(scores), np.nan)
    positive, negative = np.zeros((2, len(scores), size))
    if truth.any() and not truth.all():
        for model, values in enumerate(scores):
            above, below = values[truth], values[~truth]
            wins, losses = _outscored(above, below), len(above) - _outscored(below, above)
            areas[model] = wins.sum() / (len(above) * len(below))
            for moved, rivals, into, kind in (
                (wins, len(below), positive, truth),
                (losses, len(above), negative, ~truth),
            ):
                shift = (moved / rivals - areas[model]) / len(moved)
                into[model] = np.bincount(members[kind], shift, size)
    return Contributions(areas, positive, negative, positives, negatives)


def _outscored(values: NDArray[np.generic], rivals: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the number of rivals that each value outscores, ties counting one half."""
    ranked = np.sort(rivals)
    less = np.searchsorted(ranked, values, "left")
    return (less + np.searchsorted(ranked, values, "right")) / 2


def _effective(sizes: NDArray[np.int64]) -> float:
    """Return (Σn)² / Σn², NaN of nothing."""
    return float(sizes.sum()) ** 2 / float(np.square(sizes).sum()) if sizes.any() else math.nan


def _correction(sizes: NDArray[np.int64]) -> float:
    """Return I / (I − 1) for I groups that aren't empty, NaN for fewer than two."""
    filled = int((sizes > 0).sum())
    return filled / (filled - 1) if filled > 1 else math.nan


def _check(scores: NDArray[np.generic], truth: NDArray[np.generic]) -> None:
    if truth.ndim != 1 or truth.dtype != bool or len(truth) == 0:
        raise UserError(
            f"AUROC: truth is {truth.dtype} of shape {truth.shape}; give (N,) bool, N at least 1"
        )
    if scores.ndim != 2 or scores.shape[1] != len(truth) or scores.dtype.kind not in "biuf":
        raise UserError(
            f"AUROC: scores are {scores.dtype} of shape {scores.shape}; "
            f"give a number for each of {len(truth)} samples"
        )
    unknown = np.isnan(scores).any(0)
    if unknown.any():
        raise UserError(
            f"AUROC: scores of {int(unknown.sum())} samples are NaN (the first at "
            f"{int(unknown.argmax())}); leave these samples out"
        )
