"""Corrections of a net's outputs by their calibration on a validation split."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, softmax
from sklearn.isotonic import IsotonicRegression

from medcnn.errors import UserError
from medcnn.evaluation.intervals import group_sums
from medcnn.evaluation.proper_scores import check_labels
from medcnn.evaluation.ranking import Bools, Floats
from medcnn.objective import UNKNOWN, Task

_LEAST_T, _MOST_T = 0.01, 100.0
_LEAST_SAMPLES = 2  # of a class, and of the others, for its isotonic curve


def fit_temperature(
    logits: ArrayLike, labels: ArrayLike, *, task: Task, positive: int | None = None
) -> float:
    """Return the temperature T, one for all outputs, by which logits are to be divided.

    It minimises the log loss of the labels given logits / T, with no class weighted (C. Guo, G.
    Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017). That
    is convex in 1/T, so T is where the derivative is 0. Labels that aren't known don't count.

    The caller applies it: ``objective.probs(logits / temperature)``. The most probable class, or
    a label's being above 0.5, doesn't change with it; the median grade of an ordinal task can.

    Args:
        logits: (N, outputs) as `medcnn.objective.Objective` takes them for the task.
        labels: (N,) class indices, or for multi-label data (N, K) of 0 and 1; -1 for unknown.
        task: One of `medcnn.objective.TASKS` but regression.
        positive: The class that the single logit of a binary task speaks for; None for the last.

    Returns:
        Between 0.01 and 100; above 1 for logits that are too confident.

    Raises:
        UserError: Shapes or labels that don't fit, logits that aren't finite, a regression, fewer
            than two different labels, or no such T: it would be 0 where the logits tell the labels
            without error, and infinite where they are no better than chance.

    Example:
        >>> logits, labels = [[4.0], [4.0], [4.0], [4.0], [-4.0], [-4.0]], [1, 1, 1, 0, 0, 0]
        >>> round(fit_temperature(logits, labels, task="binary"), 3)  # logit of 5/6: 1.609
        2.485
    """
    z, y = np.asarray(logits, np.float64), np.asarray(labels)
    if z.ndim != 2 or not np.isfinite(z).all():
        raise UserError(f"temperature: need finite logits (N, outputs), got shape {z.shape}")
    _check_labels(y, len(z), z.shape[1] + (task in ("binary", "ordinal")), task)
    if len(np.unique(y[y != UNKNOWN])) < 2:
        raise UserError("temperature: the labels are all the same; use a larger val split")
    if task == "multilabel":
        z, y = z.reshape(-1, 1), y.ravel()
    z, y = z[y != UNKNOWN], y[y != UNKNOWN]
    nominal = task == "multiclass"
    margins = (
        np.take_along_axis(z, y[:, None], 1) - z if nominal else _margins(z, y, task, positive)
    )

    def slope(inverse: float) -> float:
        """Return the derivative of the log loss, summed over the samples, with respect to 1/T."""
        wrong = softmax(inverse * z, axis=1) if nominal else expit(-inverse * margins)
        return -float((margins * wrong).sum())

    if slope(1 / _MOST_T) >= 0:
        raise UserError("temperature: the logits of the val split are no better than chance")
    if slope(1 / _LEAST_T) <= 0:
        raise UserError(
            "temperature: the logits of the val split tell its labels without error, so that no "
            "temperature fits; use a larger val split"
        )
    return 1 / float(brentq(slope, 1 / _MOST_T, 1 / _LEAST_T))


def fit_isotonic(
    probs: ArrayLike, labels: ArrayLike, *, task: Task, positive: int | None = None
) -> dict[str, Any]:
    """Return a rising curve from probability to share for each class, by isotonic regression.

    Binary: one curve, of the positive class. Multilabel: one a label. Multiclass and ordinal: one a
    class against the rest, divided by their sum (B. Zadrozny, C. Elkan, "Transforming classifier
    scores into accurate multiclass probability estimates", KDD 2002). Labels that aren't known
    don't count.

    The curves have flat parts, so that different probabilities become equal, also exactly 0 or 1,
    and the log loss of a sample can be infinite. They need many samples; a temperature needs few.

    Args: As in `fit_temperature`, of probabilities (N, K).

    Returns:
        For `apply_isotonic`, ready for JSON: the ``task``, the number of ``classes``, which ones
        are ``fitted``, and the corners ``x`` and ``y`` of each one's curve.

    Raises:
        UserError: Shapes or labels that don't fit, probabilities outside 0 … 1, a regression, or
            fewer than 2 samples of a class, or of all others.
    """
    probs, labels = _check_probs(np.asarray(probs, np.float64)), np.asarray(labels)
    _check_labels(labels, len(probs), probs.shape[1], task)
    fitted = list(range(probs.shape[1]))
    if task == "binary":
        fitted = [1 if positive is None else positive]
    x, y = [], []
    for k in fitted:
        own, value = (labels[:, k], 1) if task == "multilabel" else (labels, k)
        known = own != UNKNOWN
        curve = _isotonic_curve(probs[known, k], own[known] == value, k)
        x.append(curve.X_thresholds_.tolist())
        y.append(curve.y_thresholds_.tolist())
    return {"task": task, "classes": probs.shape[1], "fitted": fitted, "x": x, "y": y}


def apply_isotonic(probs: ArrayLike, fitted: Mapping[str, Any]) -> Floats:
    """Return probabilities after the curves of `fit_isotonic`, which are level beyond their ends.

    Returns:
        (N, K) float64, as the probabilities that are given; rows sum to 1 but in multilabel. Where
        the curves give 0 for all classes, all are equally probable.

    Raises:
        UserError: Another number of classes, or probabilities outside 0 … 1.
    """
    probs = _check_probs(np.asarray(probs, np.float64), fitted["classes"])
    columns = zip(fitted["fitted"], fitted["x"], fitted["y"], strict=True)
    curves = np.stack([np.interp(probs[:, k], x, y) for k, x, y in columns], 1)
    if fitted["task"] == "multilabel":
        return curves
    if fitted["task"] == "binary":
        both = np.hstack([1 - curves, curves])
        return both if fitted["fitted"] == [1] else both[:, ::-1]
    total = curves.sum(1, keepdims=True)
    return np.where(total > 0, curves / np.where(total > 0, total, 1), 1 / curves.shape[1])


def fit_logistic(
    design: Floats, offset: Floats, truth: Bools, members: NDArray[np.int64] | None = None
) -> tuple[Floats, Floats]:
    """Return a logistic regression by maximum likelihood, with no penalty: Newton's method.

    P(truth) = expit(offset + design · coefficients). Long steps are cut, so that probabilities
    don't underflow, and halved until the loss falls.

    Args:
        design: (N, P) finite, of a scale near 1.
        offset: (N,) finite.
        truth: (N,); that there is a maximum is for the caller to know.
        members: (N,) the number 0 … G-1 of each sample's group; None if all are independent.

    Returns:
        The coefficients (P,) and their covariance (P, P): the inverse information, or with groups
        the sandwich (K.-Y. Liang, S. L. Zeger, "Longitudinal data analysis using generalized linear
        models", Biometrika 1986) times G/(G−1) · (N−1)/(N−P), NaN for a single group.
    """
    signs = np.where(truth, 1.0, -1.0)

    def loss(coefficients: Floats) -> float:
        return float(np.logaddexp(0, -signs * (offset + design @ coefficients)).sum())

    coefficients = np.zeros(design.shape[1])
    for _ in range(200):
        log_odds = offset + design @ coefficients
        fitted, other = expit(log_odds), expit(-log_odds)
        rest = np.where(truth, other, -fitted)
        inverse = np.linalg.inv((design.T * (fitted * other)) @ design)
        step = inverse @ (design.T @ rest)
        gain = step @ (design.T @ rest)  # twice what the loss will fall by, near the maximum
        if gain < 1e-20:
            break
        step /= max(1, np.abs(step).max() / (5 + np.abs(coefficients).max()))
        while gain > 1e-8 and loss(coefficients + step) > loss(coefficients):
            step = step / 2
        coefficients = coefficients + step
    if members is None:
        return coefficients, inverse
    sums = group_sums(members, design * rest[:, None])
    groups, (count, terms) = len(sums), design.shape
    factor = groups / (groups - 1) * (count - 1) / (count - terms) if groups > 1 else math.nan
    return coefficients, factor * inverse @ (sums.T @ sums) @ inverse


def _check_probs(probs: NDArray[Any], classes: int | None = None) -> NDArray[Any]:
    """Return `check_range` of (N, classes), N at least 1; raise UserError of other shapes."""
    if probs.ndim != 2 or len(probs) == 0 or probs.shape[1] != (classes or probs.shape[1]):
        wanted = "classes" if classes is None else classes
        raise UserError(
            f"calibration: probabilities of shape {probs.shape} where (samples, {wanted}) are "
            "needed, at least one sample"
        )
    return check_range(probs)


def check_range(probs: NDArray[Any]) -> NDArray[Any]:
    """Return probabilities within 0 … 1; raise UserError if they are off by more than 1e-6."""
    if not ((probs >= -1e-6) & (probs <= 1 + 1e-6)).all():
        raise UserError("calibration: probabilities must lie in 0 … 1; give no logits and no NaN")
    return np.clip(probs, 0, 1)


def _check_labels(labels: NDArray[Any], rows: int, classes: int, task: Task) -> None:
    if task == "regression":
        raise UserError("calibration: a regression has no probabilities; leave recalibration out")
    check_labels(labels, (rows, classes), task, what="calibration: labels")


def _margins(
    logits: Floats, labels: NDArray[np.int64], task: Task, positive: int | None
) -> NDArray[np.float64]:
    """Return numbers m (N, outputs) of which the log loss is the sum of log(1 + exp(−m)).

    0 for an ordinal task's thresholds above the grade: that part is the same at each temperature.
    """
    if task == "ordinal":
        thresholds, grade = np.arange(logits.shape[1]), labels[:, None]
        return logits * (np.where(thresholds < grade, 1, -1) * (thresholds <= grade))
    sought = 1 if positive is None or task == "multilabel" else positive
    return np.where(labels[:, None] == sought, logits, -logits)


def _isotonic_curve(scores: Floats, truth: Bools, index: int) -> IsotonicRegression:
    """Return the rising curve of one class."""
    count = int(truth.sum())
    if min(count, len(truth) - count) < _LEAST_SAMPLES:
        raise UserError(
            f"isotonic: the val split has {count} of {len(truth)} samples in class "
            f"{index}; it takes {_LEAST_SAMPLES} in it and out of it: choose a temperature"
        )
    return IsotonicRegression().fit(scores, truth.astype(np.float64))
