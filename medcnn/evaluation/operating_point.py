"""Thresholds of binary decisions: chosen by a rule, and those of an operating point.

Everywhere here a sample is called positive if ``score >= threshold``.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit, ndtr

from medcnn.errors import UserError
from medcnn.evaluation.ranking import Bools, Floats
from medcnn.objective import Objective

_RULES = (
    "give youden, argmax, a threshold such as 0.3, sensitivity=0.95 or specificity=0.9 (at least "
    "that; above 0, up to 1), or cost=5 (of a miss in false alarms)"
)

MOST = 1000  # samples of a class, and thresholds, that smoothing looks at
NEAREST = 1e-7  # that a probability comes to 0 and 1 in log-odds


class Rule(NamedTuple):
    """A rule by which a threshold is chosen."""

    kind: str  # youden, sensitivity, specificity, cost or threshold
    value: float | None  # the least rate, the cost of a miss in false alarms, or the threshold


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and where it comes from."""

    threshold: float
    rule: str
    sensitivity: float  # on the data on which it was chosen; NaN without a positive sample
    specificity: float  # likewise; NaN without a negative one


def parse_rule(rule: str | float) -> Rule:
    """Read a rule: youden, argmax, sensitivity=0.95, specificity=0.9, cost=5 or 0.3.

    A sensitivity or specificity is the least that is asked for, with or without a ``>`` before the
    equals sign (which a shell takes for itself unless it is quoted). argmax is the threshold 0.5:
    the more probable of two classes, the positive one if both are.

    Raises:
        UserError: Anything else.

    Example:
        >>> parse_rule("sensitivity=0.95")
        Rule(kind='sensitivity', value=0.95)
    """
    text = str(rule).replace(" ", "")
    if text == "youden":
        return Rule(text, None)
    if text == "argmax":
        return Rule("threshold", 0.5)
    read = re.fullmatch(
        r"(?:(sensitivity>?|specificity>?|cost)=)?((?:\d+\.?\d*|\.\d+)(?:e-?\d+)?)", text
    )
    if read is None:
        raise UserError(f"evaluation.operating_point={rule}: {_RULES}")
    kind, value = (read[1] or "threshold").rstrip(">"), float(read[2])
    if (value <= 0 and kind != "threshold") or (value > 1 and kind != "cost") or math.isinf(value):
        raise UserError(f"evaluation.operating_point={rule}: {_RULES}")
    return Rule(kind, value)


def choose_threshold(scores: ArrayLike, truth: ArrayLike, rule: str | float) -> OperatingPoint:
    """Return the threshold that a rule asks for on these data, half-way between two scores.

    - youden: highest sensitivity + specificity − 1 (W. J. Youden, "Index for rating diagnostic
      tests", Cancer 1950), both of distributions that are smoothed; see `smoothed_rates`.
    - sensitivity=s: highest specificity of those that reach it; specificity=s the other way.
    - cost=c: lowest mean cost, c · π · (1 − sensitivity) + (1 − π) · (1 − specificity) at the
      prevalence π of the data (C. E. Metz, "Basic principles of ROC analysis", Seminars in Nuclear
      Medicine 1978).
    - argmax or a number: that, whatever the data.

    Of several that are as good: with specificity=s the highest specificity, else the highest
    sensitivity. A threshold below all scores lies half-way to 0, one above all half-way to 1 (or at
    1.5 if one of them is 1: nothing is positive).

    Args:
        scores: (N,) probabilities of the positive class, finite.
        truth: (N,) True for positive.
        rule: See `parse_rule`.

    Raises:
        UserError: A rule that there is not, or one that needs both classes where one is absent.
    """
    kind, value = parse_rule(rule)
    scores, truth = checked(scores, truth)
    if kind == "threshold" and value is not None:
        called = scores >= value
        found = (mean_or_nan(right) for right in (called[truth], ~called[~truth]))
        return OperatingPoint(value, str(rule), *found)
    if truth.all() or not truth.any():
        absent = "negative" if truth.all() else "positive"
        raise UserError(
            f"evaluation.operating_point={rule}: the data hold no {absent} sample, and this rule "
            "needs both; give a threshold such as 0.5"
        )
    distinct, hits, alarms = corner_counts(scores, truth)
    sensitivity, specificity = hits / hits[-1], (alarms[-1] - alarms) / alarms[-1]
    weight, share = 1.0, float(truth.mean())
    if kind == "cost" and value is not None:
        weight = value * share / (1 - share)
    thresholds, gain = _between(distinct[1:]), weight * sensitivity + specificity
    if kind == "youden":
        some = np.unique(np.linspace(0, len(gain) - 1, min(len(gain), MOST)).astype(int))
        smooth = np.full(len(gain), -1.0)
        smooth[some] = smoothed_rates(scores, truth, thresholds[some]).sum(0)
        gain = np.where(smooth >= smooth.max() - 1e-13, gain, -1)  # of equal ones as counted
    if kind == "sensitivity":
        gain = np.where(sensitivity >= value, specificity, -1)
    elif kind == "specificity":
        gain = np.where(specificity >= value, sensitivity, -1)
    best = np.flatnonzero(gain >= gain.max() - 1e-13 * (1 + weight))
    chosen = best[0] if kind == "specificity" else best[-1]
    rates = float(sensitivity[chosen]), float(specificity[chosen])
    return OperatingPoint(float(thresholds[chosen]), str(rule), *rates)


def smoothed_rates(scores: Floats, truth: Bools, thresholds: Floats) -> Floats:
    """Return sensitivity and specificity (2, T) of smoothed distributions at thresholds (T,).

    Of few samples the counted ones jump, and the threshold that is best for them is often a poor
    one for others (R. Fluss, D. Faraggi, B. Reiser, "Estimation of the Youden index and its
    associated cutoff point", Biometrical Journal 2005). Here each class is smoothed by a Gaussian
    kernel on the scale of log-odds, with the bandwidth of B. W. Silverman ("Density estimation for
    statistics and data analysis", 1986, equation 3.31): 0.9 · min(SD, IQR / 1.34) · n^(−1/5).

    Args:
        scores: (N,) probabilities of the positive class.
        truth: (N,) True for positive; both classes are there.
        thresholds: (T,); at one of 1 or more nothing is positive, at one of 0 or less all is.
    """
    log_odds = logit(np.clip(scores.astype(float), NEAREST, 1 - NEAREST))
    at = np.where(thresholds >= 1, np.inf, np.where(thresholds <= 0, -np.inf, 0.0))
    inside = np.isfinite(at)
    at[inside] = logit(np.clip(thresholds[inside].astype(float), NEAREST, 1 - NEAREST))
    reached = []
    for own in (log_odds[truth], log_odds[~truth]):
        low, high = np.quantile(own, [0.25, 0.75])
        spread = min(filter(None, (own.std(), (high - low) / 1.34)), default=0.0)
        width = 0.9 * spread * len(own) ** -0.2
        if len(own) > MOST:
            own = np.quantile(own, (np.arange(MOST) + 0.5) / MOST)
        apart = own - at[:, None]
        reached.append((ndtr(apart / width) if width > 0 else apart >= 0).mean(1))
    return np.stack([reached[0], 1 - reached[1]])


def thresholds_of(
    point: Mapping[str, Any] | None, class_names: Sequence[str]
) -> list[float] | None:
    """Return the thresholds of an operating point, as `medcnn.objective.decide` takes them.

    Args:
        point: ``threshold``; of several labels ``labels``, from each name to such a point, None
            where there is none. Pooled folds have ``thresholds``, a list, in its place: the table
            of predictions says which is whose.
        class_names: K names.

    Returns:
        One threshold, or of several labels K; NaN where there is none. None without a point.
    """
    if point is None:
        return None
    several = point.get("labels")
    points = [point] if several is None else [several.get(name) for name in class_names]
    found = [None if one is None else one.get("threshold") for one in points]
    return [math.nan if threshold is None else float(threshold) for threshold in found]


def threshold_of(
    point: Mapping[str, Any] | None, objective: Objective, class_names: Sequence[str]
) -> float | dict[str, float] | None:
    """Return the thresholds that decisions are made at, in words: one, or by label.

    0.5 where none was chosen; None in tasks that have none.
    """
    if objective.task not in ("binary", "multilabel"):
        return None
    found = thresholds_of(point, class_names) or [0.5] * len(class_names)
    found = [0.5 if math.isnan(threshold) else threshold for threshold in found]
    return found[0] if objective.task == "binary" else dict(zip(class_names, found, strict=True))


def checked(scores: ArrayLike, truth: ArrayLike) -> tuple[Floats, Bools]:
    """Return scores and truth (N,) as arrays; raise UserError unless they fit."""
    scores, truth = np.asarray(scores), np.asarray(truth)
    if scores.ndim != 1 or scores.shape != truth.shape or len(scores) == 0:
        raise UserError(
            "operating point: need as many scores as true or false and at least one, got shapes "
            f"{scores.shape} and {truth.shape}"
        )
    if truth.dtype.kind not in "biu" or truth.min() < 0 or truth.max() > 1:
        raise UserError("operating point: the truth must be true or false, for one class at a time")
    scores = scores.astype(np.result_type(scores, np.float32), copy=False)
    if not np.isfinite(scores).all():
        raise UserError("operating point: scores hold numbers that aren't finite; leave those out")
    return scores, truth.astype(bool)


def corner_counts(
    scores: Floats, truth: Bools
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Return thresholds, infinity and then each score, and how many of both classes reach them."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of each run of ties
    hits = np.append(0, np.cumsum(truth[order])[last])
    return np.append(np.inf, ranked[last]), hits, np.append(0, last + 1) - hits


def _between(distinct: Floats) -> Floats:
    """Return thresholds above, between and below scores (D,) that fall: (D + 1,).

    Float32 of scores that are: they then part them for whoever compares in float32 or in float64.
    """
    short = distinct.astype(np.float32)
    exact = short if (short == distinct).all() else distinct
    top = 1 if exact[0] < 1 else exact[0] + 1
    edges = np.concatenate([[top], exact, [min(0, exact[-1])]]).astype(exact.dtype)
    upper, lower = edges[:-1], edges[1:]
    middle = lower + (upper - lower) / 2
    return np.where(middle > lower, middle, upper)  # neighbouring numbers have none between them


def mean_or_nan(values: NDArray[Any]) -> float:
    """Return the mean, NaN of nothing."""
    return float(values.mean()) if len(values) else math.nan
