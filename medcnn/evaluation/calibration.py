"""Calibration of probabilities: of the samples with score p a share p should be positive."""

import math
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit

from medcnn.errors import UserError, check_whole_number
from medcnn.evaluation.intervals import Interval, group_numbers
from medcnn.evaluation.operating_point import mean_or_nan
from medcnn.evaluation.proportions import proportion_intervals
from medcnn.evaluation.ranking import Bools, Floats
from medcnn.evaluation.recalibration import check_range, fit_logistic

By = Literal["width", "mass"]

_Z = NormalDist().inv_cdf(0.975)


class Reliability(NamedTuple):
    """A reliability diagram: one number for each bin that isn't empty, low scores first."""

    score: Floats  # mean
    share: Floats  # of positive samples, which is the score if that is calibrated
    low: Floats  # bound of the share, at 95 %
    high: Floats
    size: NDArray[np.int64]  # samples


class BrierParts(NamedTuple):
    """The parts of a Brier score.

    It is reliability − resolution + uncertainty + within_variance − within_covariance.
    """

    reliability: (
        float  # mean squared distance of the bins' shares from their mean scores; 0 is best
    )
    resolution: float  # variance of the bins' shares; high is good
    uncertainty: float  # variance of the truth, whatever the forecast
    within_variance: float  # of the scores within the bins
    within_covariance: float  # twice that of scores and truth within the bins


def reliability(
    scores: ArrayLike,
    truth: ArrayLike,
    bins: int = 10,
    by: By = "width",
    groups: ArrayLike | None = None,
) -> Reliability:
    """Return the points of a reliability diagram, with Wilson's intervals (`proportion_intervals`).

    Args:
        scores: (N,) probabilities of being positive.
        truth: (N,) bool, True for positive.
        bins: Number of bins. They hold their upper edge; the first one also 0.
        by: "width" for edges at k / bins; "mass" for bins of the same number of samples, but that
            equal scores are never parted.
        groups: (N,) the group of each sample (patient); None if all are independent. The bounds of
            a bin with samples of one group alone are NaN.

    Raises:
        UserError: Shapes that don't fit, scores outside 0 … 1, or an unknown way of binning.

    Example:
        >>> reliability([0.1, 0.2, 0.9], [False, True, True], bins=2).share
        array([0.5, 1. ])
    """
    values, positive = _checked(scores, truth)
    numbers, score, share, size = _binned(values, positive, bins, by)
    in_bin = numbers[:, None] == np.arange(len(size))
    _, low, high = proportion_intervals(np.where(in_bin, positive[:, None], np.nan), groups)
    return Reliability(score, share, low, high, size)


def brier_decomposition(scores: ArrayLike, truth: ArrayLike, bins: int = 10) -> BrierParts:
    """Return the parts of the Brier score of a binary forecast, over bins of equal width.

    The first three are those of A. H. Murphy, "A new vector partition of the probability score",
    Journal of Applied Meteorology 1973; their sum is exact only where the scores in a bin are
    equal. The two within bins close the gap (D. B. Stephenson, C. A. S. Coelho, I. T. Jolliffe,
    "Two extra components in the Brier score decomposition", Weather and Forecasting 2008).

    Args and errors: As in `reliability`.

    Returns:
        Five numbers, NaN without samples.
    """
    values, positive = _checked(scores, truth)
    numbers, score, share, _ = _binned(values, positive, bins, "width")
    base = mean_or_nan(positive)
    off_score, off_share = values - score[numbers], positive - share[numbers]
    return BrierParts(
        reliability=mean_or_nan((score - share)[numbers] ** 2),
        resolution=mean_or_nan((share[numbers] - base) ** 2),
        uncertainty=base * (1 - base),
        within_variance=mean_or_nan(off_score**2),
        within_covariance=2 * mean_or_nan(off_score * off_share),
    )


def calibration_line(
    scores: ArrayLike, truth: ArrayLike, groups: ArrayLike | None = None
) -> tuple[Interval, Interval]:
    """Return slope and intercept of logistic recalibration; of a calibrated forecast 1 and 0.

    The slope is b of logit P(positive) = a + b logit(score), below 1 where scores are too extreme
    (overfitting). The intercept is a with b fixed at 1, calibration in the large: below 0 where
    scores are too high on the whole (D. R. Cox, "Two further applications of a model for binary
    regression", Biometrika 1958). Both by maximum likelihood, with Wald's intervals at 95 %; where
    there are groups by the sandwich variance (K.-Y. Liang, S. L. Zeger, "Longitudinal data analysis
    using generalized linear models", Biometrika 1986), times G/(G−1) · (N−1)/(N−P) for G groups and
    P coefficients. It takes some 30 groups to be trusted.

    Args and errors: As in `reliability`. Scores of 0 and 1 are moved inwards by the machine epsilon
    of their type, so that their logits are finite.

    Returns:
        Slope and intercept; both NaN where a class is absent, the slope also where all scores are
        equal or part the classes without error. The bounds are NaN where there is one group.
    """
    values, positive = _checked(scores, truth)
    members = None if groups is None else group_numbers(groups, len(values))
    if positive.all() or not positive.any():
        return Interval(math.nan), Interval(math.nan)
    eps = np.finfo(np.result_type(np.asarray(scores), np.float32)).eps
    logits = logit(np.clip(values, eps, 1 - eps))
    ones, none = np.ones((len(logits), 1)), np.zeros(len(logits))
    intercept = _wald(*fit_logistic(ones, logits, positive, members))
    above, below = logits[positive], logits[~positive]
    if above.min() >= below.max() or below.min() >= above.max():  # without error, or all are equal
        return Interval(math.nan), intercept
    spread = logits.std()
    design = np.hstack([ones, (logits - logits.mean())[:, None] / spread])
    slope = _wald(*fit_logistic(design, none, positive, members), spread)
    return slope, intercept


def _binned(
    scores: Floats, truth: Bools, bins: int, by: By
) -> tuple[NDArray[np.int64], Floats, Floats, NDArray[np.int64]]:
    """Return each sample's bin (N,); mean score, share of positives and size of the filled bins."""
    present, numbers, size = np.unique(
        bin_numbers(scores, bins, by), return_inverse=True, return_counts=True
    )
    score, share = (np.bincount(numbers, x, len(present)) / size for x in (scores, truth))
    return numbers, score, share, size


def bin_numbers(scores: Floats, bins: int, by: By) -> NDArray[np.int64]:
    """Return the bin 0 … bins-1 of each score."""
    check_whole_number("calibration: bins", bins, least=1)
    if by not in ("width", "mass"):
        raise UserError(f"calibration: by={by}: choose width or mass")
    inner = np.arange(1, bins)
    if by == "width" or len(scores) == 0:
        return np.searchsorted(inner / bins, scores)
    return np.searchsorted(np.sort(scores)[-(-len(scores) * inner // bins) - 1], scores)


def _checked(scores: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.float64], Bools]:
    """Return scores and truth, (N,) each; raise UserError unless they fit."""
    values, positive = np.asarray(scores), np.asarray(truth)
    if values.ndim != 1 or positive.shape != values.shape:
        raise UserError(
            f"calibration: scores of shape {values.shape} and labels of shape {positive.shape} "
            "don't fit"
        )
    if not np.isin(positive, (0, 1)).all():
        raise UserError("calibration: the truth of a sample must be True or False")
    return check_range(values.astype(np.float64)), positive.astype(bool)


def _wald(coefficients: Floats, covariance: Floats, unit: float = 1) -> Interval:
    """Return Wald's interval of the last coefficient, divided by a unit."""
    value, half = coefficients[-1] / unit, _Z * math.sqrt(covariance[-1, -1]) / unit
    return Interval(float(value), float(value - half), float(value + half))
