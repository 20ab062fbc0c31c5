"""Figures beside those of the table in `evaluate`: micro-averages, Brier score, agreement."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from medcnn.errors import UserError
from medcnn.evaluation.intervals import Interval
from medcnn.evaluation.ranking import Floats, auroc, ranking_scores
from medcnn.objective import UNKNOWN

LIMITS = 1.96  # standard deviations from the bias to a limit of agreement


def micro_auroc(probs: ArrayLike, labels: ArrayLike) -> float:
    """AUROC of all classes' probabilities in one ranking, of classes one-vs-rest.

    Frequent classes weigh more in it than in the macro mean.

    Args:
        probs: (N, K).
        labels: (N,) class indices, or for multi-label data (N, K) of 0 and 1; -1 for unknown.

    Returns:
        In [0, 1]; NaN where nothing is positive or nothing negative.

    Raises:
        UserError: Shapes or labels that don't fit; so in `brier`.

    Example:
        >>> micro_auroc([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.6, 0.4]], [0, 1, 0, 1])
        0.875
    """
    probs, truth, known = one_vs_rest(probs, labels)
    scores = ranking_scores(probs, several=np.ndim(labels) == 2)
    return float(auroc(scores[known][:, None], truth[known][:, None])[0])


def brier(probs: ArrayLike, labels: ArrayLike) -> float:
    """Brier score: the mean squared distance of the probabilities from the truth.

    Of K classes it is mean Σ_k (p_k − y_k)² (G. W. Brier, "Verification of forecasts expressed in
    terms of probability", Mon. Weather Rev. 1950); of two classes half of that, which is
    (p − y)² of either class; of several labels the mean over the labels of mean (p − y)².

    Args:
        probs: (N, K).
        labels: As in `micro_auroc`.

    Returns:
        0 for perfect to 1, with more than two classes to 2; NaN where nothing is known of a label.

    Example:
        >>> brier([[0.9, 0.1], [0.4, 0.6]], [0, 0])
        0.185
    """
    terms = brier_terms(probs, labels)
    known = ~np.isnan(terms)
    with np.errstate(invalid="ignore"):
        return float((np.where(known, terms, 0.0).sum(0) / known.sum(0)).mean())


def brier_terms(probs: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """What each sample adds to the Brier score.

    Args:
        probs: (N, K).
        labels: As in `micro_auroc`.

    Returns:
        (N, 1), or (N, K) for multi-label data; NaN where the label is unknown.
    """
    probs, truth, known = one_vs_rest(probs, labels)
    terms = np.where(known, np.square(probs.astype(np.float64) - truth), np.nan)
    if np.ndim(labels) == 2:
        return terms
    return terms.sum(1, keepdims=True) / (2 if probs.shape[1] == 2 else 1)


def log_loss_terms(probs: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """What each sample adds to the log loss, in nats: −log p of the truth, p at least its epsilon.

    Args:
        probs: (N, K).
        labels: As in `micro_auroc`.

    Returns:
        (N, 1), or (N, K) for multi-label data; NaN where the label is unknown.
    """
    probs, truth, known = one_vs_rest(probs, labels)
    smallest, p = np.finfo(probs.dtype).eps, probs.astype(np.float64)
    p = np.clip(np.where(truth, p, 1 - p), smallest, None)
    terms = np.where(known, -np.log(p), np.nan)
    if np.ndim(labels) == 2:
        return terms
    return np.where(truth | ~known, terms, 0.0).sum(1, keepdims=True)


def one_vs_rest(
    probs: ArrayLike, labels: ArrayLike
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Each class against the others, for figures that look at one class after the other.

    Args:
        probs: (N, K).
        labels: As in `micro_auroc`.

    Returns:
        (N, K) each: probabilities in floating point, whether a sample is of the class, and whether
        that is known.

    Raises:
        UserError: Shapes or labels that don't fit.
    """
    p, y = np.asarray(probs), np.asarray(labels)
    p = p.astype(np.result_type(p, np.float32), copy=False)
    several = y.ndim == 2
    if p.ndim != 2 or y.shape != (p.shape if several else p.shape[:1]) or y.dtype.kind not in "biu":
        raise UserError(
            f"figures: labels are {y.dtype} of shape {y.shape}, probabilities of shape {p.shape} "
            "need integers (N,) for classes or (N, K) for several labels"
        )
    highest = 1 if several else p.shape[1] - 1
    if y.size and (y.min() < UNKNOWN or y.max() > highest):
        raise UserError(f"figures: labels lie outside 0 … {highest} (and {UNKNOWN} for unknown)")
    if several:
        return p, y == 1, y != UNKNOWN
    return p, y[:, None] == np.arange(p.shape[1]), np.broadcast_to(y[:, None] != UNKNOWN, p.shape)


class BlandAltman(NamedTuple):
    """Agreement of predictions with measured values, all in their unit.

    Args:
        bias: Mean difference, prediction minus label.
        sd: Standard deviation of the differences, n − 1 in its denominator.
        lower: Lower limit of agreement, bias − 1.96 sd.
        upper: Upper limit of agreement, bias + 1.96 sd.
    """

    bias: Interval
    sd: float
    lower: Interval
    upper: Interval


def bland_altman(predictions: ArrayLike, labels: ArrayLike, level: float = 0.95) -> BlandAltman:
    """Bias and the limits that hold about 95 % of the differences if these are normal.

    Intervals are those of Student's t with n − 1 degrees of freedom and the standard errors
    sd/√n of the bias, sd √(1/n + 1.96²/(2(n − 1))) of the limits (J. M. Bland, D. G. Altman,
    "Statistical methods for assessing agreement between two methods of clinical measurement",
    Lancet 1986; "Measuring agreement in method comparison studies", Stat. Methods Med. Res. 1999).
    They take samples for independent; for several images of a patient use `bootstrap_figures`.

    Args:
        predictions: (N,) finite numbers, of one target.
        labels: (N,) numbers, NaN for unknown.
        level: Confidence level, between 0 and 1.

    Returns:
        NaN for what is undefined: all but the bias's value of one sample, all of none.

    Raises:
        UserError: Shapes that differ, numbers that aren't finite, a level out of range.

    Example:
        >>> found = bland_altman([1.0, 2.0, 4.0], [1.0, 1.0, 2.0])
        >>> found.bias.value, found.sd, round(found.upper.value, 2)
        (1.0, 1.0, 2.96)
    """
    p, y = np.asarray(predictions, np.float64), np.asarray(labels, np.float64)
    if p.ndim != 1 or p.shape != y.shape:
        raise UserError(
            f"Bland–Altman: predictions of shape {p.shape} and labels of shape {y.shape} must both "
            "be (N,); give one target after the other"
        )
    if not np.isfinite(p).all() or np.isinf(y).any():
        raise UserError("Bland–Altman: predictions and labels must be finite (NaN: unknown label)")
    if not 0 < level < 1:
        raise UserError(f"Bland–Altman: level={level} must lie between 0 and 1")
    differences = (p - y)[~np.isnan(y)]
    return _agreement(differences, len(differences), level)


def _agreement(differences: NDArray[np.float64], n: int, level: float) -> BlandAltman:
    bias = float(differences.mean()) if n else math.nan
    if n < 2:
        return BlandAltman(Interval(bias), math.nan, Interval(math.nan), Interval(math.nan))
    sd, t = float(differences.std(ddof=1)), float(stats.t.ppf((1 + level) / 2, n - 1))
    half, half_limit = t * sd / math.sqrt(n), t * sd * math.sqrt(1 / n + LIMITS**2 / (2 * (n - 1)))
    low, high = bias - LIMITS * sd, bias + LIMITS * sd
    return BlandAltman(
        Interval(bias, bias - half, bias + half),
        sd,
        Interval(low, low - half_limit, low + half_limit),
        Interval(high, high - half_limit, high + half_limit),
    )
