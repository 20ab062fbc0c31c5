"""A binary decision at a threshold: choosing it, and what it is worth.

Everywhere here a sample is called positive if ``score >= threshold``.
"""

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from medcnn.errors import UserError
from medcnn.evaluation.figures import Figure
from medcnn.evaluation.intervals import Interval
from medcnn.evaluation.proportions import (
    difference_interval,
    effective_sizes,
    proportion_interval,
    ratio_interval,
)
from medcnn.evaluation.ranking import Bools, Floats

_RULES = (
    "give youden, argmax, a threshold such as 0.3, sensitivity>=0.95 or specificity>=0.9 (above 0, "
    "up to 1), or cost=5 (of a miss in false alarms)"
)


class Rule(NamedTuple):
    """How a threshold is chosen.

    Args:
        kind: "youden", "sensitivity", "specificity", "cost" or "threshold".
        value: What is asked for: the least sensitivity or specificity, the cost of a miss (that of
            a false alarm is 1; None if it is given elsewhere), the threshold; None for "youden".
    """

    kind: str
    value: float | None


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and where it comes from.

    Args:
        threshold: A sample is positive if its score is at least this.
        rule: By which it was chosen, such as "youden" or "sensitivity>=0.95".
        sensitivity: On the data on which it was chosen; NaN without a positive sample.
        specificity: Likewise; NaN without a negative one.
    """

    threshold: float
    rule: str
    sensitivity: float
    specificity: float


def parse_rule(rule: str | float) -> Rule:
    """Read a rule: youden, argmax, sensitivity>=0.95, specificity>=0.9, cost, cost=5 or 0.3.

    argmax is the threshold 0.5: the more probable of two classes, the positive one if both are.

    Raises:
        UserError: Anything else.

    Example:
        >>> parse_rule("sensitivity>=0.95")
        Rule(kind='sensitivity', value=0.95)
    """
    text = str(rule).replace(" ", "")
    if text in ("youden", "cost"):
        return Rule(text, None)
    if text == "argmax":
        return Rule("threshold", 0.5)
    read = re.fullmatch(
        r"(?:(sensitivity>|specificity>|cost)=)?((?:\d+\.?\d*|\.\d+)(?:e-?\d+)?)", text
    )
    if read is None:
        raise UserError(f"operating_point={rule}: {_RULES}")
    kind, value = (read[1] or "threshold").rstrip(">"), float(read[2])
    if (value <= 0 and kind != "threshold") or (value > 1 and kind != "cost") or math.isinf(value):
        raise UserError(f"operating_point={rule}: {_RULES}")
    return Rule(kind, value)


def choose_threshold(
    scores: ArrayLike,
    truth: ArrayLike,
    rule: str | float,
    *,
    costs: tuple[float, float] | None = None,
    prevalence: float | None = None,
) -> OperatingPoint:
    """The threshold that a rule asks for on these data, half-way between two neighbouring scores.

    - youden: highest sensitivity + specificity − 1 (W. J. Youden, "Index for rating diagnostic
      tests", Cancer 1950).
    - sensitivity>=s: highest specificity of those that reach it; specificity>=s the other way.
    - cost: lowest mean cost, c_miss · π · (1 − sensitivity) + c_alarm · (1 − π) ·
      (1 − specificity) at prevalence π (C. E. Metz, "Basic principles of ROC analysis", Seminars in
      Nuclear Medicine 1978).
    - argmax or a number: that, whatever the data.

    Of several that are as good: with specificity>=s the highest specificity, else the highest
    sensitivity. A threshold below all scores lies half-way to 0, one above all half-way to 1 (or at
    1.5 if one of them is 1: nothing is positive).

    Args:
        scores: (N,) probabilities of the positive class, finite.
        truth: (N,) True for positive.
        rule: See `parse_rule`.
        costs: Of a miss and of a false alarm, above 0; with the rule "cost" only.
        prevalence: π of the cost, between 0 and 1; None for that of the data.

    Raises:
        UserError: A rule that there is not, or one that needs both classes where one is absent.
    """
    kind, value = parse_rule(rule)
    scores, truth = checked(scores, truth)
    weight = _weight(str(rule), costs, prevalence, truth)
    if kind == "threshold" and value is not None:
        called = scores >= value
        return OperatingPoint(value, str(rule), _mean(called[truth]), _mean(~called[~truth]))
    if truth.all() or not truth.any():
        raise UserError(
            f"operating_point={rule}: the data hold no {'negative' if truth.all() else 'positive'} "
            "sample, and this rule needs both; give a threshold such as 0.5"
        )
    distinct, hits, alarms = corner_counts(scores, truth)
    sensitivity, specificity = hits / hits[-1], (alarms[-1] - alarms) / alarms[-1]
    gain = weight * sensitivity + specificity
    if kind == "sensitivity":
        gain = np.where(sensitivity >= value, specificity, -1)
    elif kind == "specificity":
        gain = np.where(specificity >= value, sensitivity, -1)
    best = np.flatnonzero(gain >= gain.max() - 1e-13 * (1 + weight))
    chosen = best[0] if kind == "specificity" else best[-1]
    rates = float(sensitivity[chosen]), float(specificity[chosen])
    return OperatingPoint(float(_between(distinct[1:])[chosen]), str(rule), *rates)


def clinic(
    scores: ArrayLike,
    truth: ArrayLike,
    threshold: float,
    groups: ArrayLike | None = None,
    *,
    prevalence: float | None = None,
    level: float = 0.95,
) -> dict[str, Figure]:
    """What a reader of the decision at a threshold wants to know, with intervals.

    | key                             | interval                                                |
    |---------------------------------|---------------------------------------------------------|
    | sensitivity, specificity,       | Wilson, of the size that patients' images are worth     |
    | accuracy, prevalence            | (`proportion_interval`)                                 |
    | ppv, npv                        | likewise; at a stated prevalence that of lr_positive or |
    |                                 | lr_negative on the scale of log odds                    |
    | lr_positive, lr_negative        | log method (`ratio_interval`)                           |
    | balanced_accuracy               | square-and-add of sensitivity and specificity           |
    | f1, mcc                         | none                                                    |

    The logit of a predictive value is that of the prevalence plus or minus a log likelihood ratio,
    which makes the interval that of N. D. Mercaldo, K. F. Lau, X. H. Zhou, "Confidence intervals
    for predictive values with an emphasis to case-control studies", Statistics in Medicine 2007.
    Both take sensitivity and specificity as independent, which they are if all images of a patient
    have the same label; if those of some patients tend to be called positive, the bounds are wide.

    Args:
        scores: (N,) probabilities of the positive class, finite.
        truth: (N,) True for positive.
        threshold: A sample is called positive if its score is at least this.
        groups: (N,) the patient of each sample, of any sortable type; None for independent ones.
        prevalence: Of another population, between 0 and 1, for ppv and npv; None for the data's.
        level: Confidence level, between 0 and 1.

    Returns:
        Figures by name; ``n`` is what a figure rests on: the positive samples for the sensitivity,
        those called positive for ppv … A value that is undefined or infinite is None; an infinite
        lr_positive still has its lower bound. A stated prevalence is a value without bounds.

    Raises:
        UserError: No samples, shapes that differ, or a prevalence, threshold or level out of range.
    """
    scores, truth = checked(scores, truth)
    _check_share(prevalence)
    if math.isnan(threshold):
        raise UserError("threshold=nan: give a number, such as 0.5")
    everyone, called = np.ones(len(truth), bool), scores >= threshold
    cases: dict[str, tuple[Bools, Bools]] = {  # hits, among whom
        "sensitivity": (called, truth),
        "specificity": (~called, ~truth),
        "ppv": (truth, called),
        "npv": (~truth, ~called),
        "accuracy": (called == truth, everyone),
        "prevalence": (truth, everyone),
    }
    members = member_numbers(groups, len(truth))
    intervals, sizes = {}, {}
    for key, (hits, among) in cases.items():
        own = None if members is None else members[among]
        intervals[key] = proportion_interval(hits[among], own, level)
        if key in ("sensitivity", "specificity"):
            sizes[key] = float(effective_sizes(hits[among, None], own, level)[0])
    counts = {key: int(among.sum()) for key, (_, among) in cases.items()}
    intervals |= _likelihood_ratios(intervals, sizes, level)
    intervals |= _overall(called, truth, intervals)
    if prevalence is not None:
        intervals |= _predictive_values(intervals, prevalence)
        del counts["ppv"], counts["npv"]
    return {key: _figure(one, counts.get(key, len(truth))) for key, one in intervals.items()}


def checked(scores: ArrayLike, truth: ArrayLike) -> tuple[Floats, Bools]:
    """Scores and truth (N,) as arrays; raises UserError unless they fit."""
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


def member_numbers(groups: ArrayLike | None, n: int) -> NDArray[np.int64] | None:
    """Numbers 0 … G-1 of the patients."""
    if groups is None:
        return None
    if np.shape(groups) != (n,):
        raise UserError(f"operating point: {n} scores need as many groups, got {np.shape(groups)}")
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def _weight(
    rule: str, costs: tuple[float, float] | None, prevalence: float | None, truth: Bools
) -> float:
    """What sensitivity counts against specificity."""
    kind, value = parse_rule(rule)
    if kind != "cost":
        if costs is not None or prevalence is not None:
            raise UserError(f"operating_point={rule}: costs and prevalence are for the rule cost")
        return 1.0
    if (value is None) == (costs is None):
        raise UserError(f"operating_point={rule}: give one of cost=<number> and two costs")
    miss, alarm = costs or (value or 0.0, 1.0)
    if not (0 < miss < math.inf and 0 < alarm < math.inf):
        raise UserError(f"operating_point={rule}: costs={costs} must be above 0")
    _check_share(prevalence)
    share = truth.mean() if prevalence is None else prevalence
    return float(miss * share / (alarm * max(1 - share, 1e-300)))


def _check_share(prevalence: float | None) -> None:
    if prevalence is not None and not 0 < prevalence < 1:
        raise UserError(f"prevalence={prevalence} must lie between 0 and 1")


def corner_counts(
    scores: Floats, truth: Bools
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Thresholds, infinity and then each score, and how many of both classes reach them."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of each run of ties
    hits = np.append(0, np.cumsum(truth[order])[last])
    return np.append(np.inf, ranked[last]), hits, np.append(0, last + 1) - hits


def _between(distinct: Floats) -> Floats:
    """Thresholds above, between and below scores (D,) that fall: (D + 1,).

    Float32 of scores that are: they then part them for whoever compares in float32 or in float64.
    """
    short = distinct.astype(np.float32)
    exact = short if (short == distinct).all() else distinct
    top = 1 if exact[0] < 1 else exact[0] + 1
    edges = np.concatenate([[top], exact, [min(0, exact[-1])]]).astype(exact.dtype)
    upper, lower = edges[:-1], edges[1:]
    middle = lower + (upper - lower) / 2
    return np.where(middle > lower, middle, upper)  # neighbouring numbers have none between them


def _mean(values: Bools) -> float:
    """NaN of nothing."""
    return float(values.mean()) if len(values) else math.nan


def shares(counts: NDArray[np.int64]) -> Floats:
    """Of the last and highest, NaN if that is 0."""
    return counts / counts[-1] if counts[-1] else np.full(len(counts), np.nan)


def _likelihood_ratios(
    rates: dict[str, Interval], sizes: dict[str, float], level: float
) -> dict[str, Interval]:
    se, sp = rates["sensitivity"].value, rates["specificity"].value
    n, m = sizes["sensitivity"], sizes["specificity"]
    return {
        "lr_positive": ratio_interval(se, n, 1 - sp, m, level),
        "lr_negative": ratio_interval(1 - se, n, sp, m, level),
    }


def _predictive_values(rates: dict[str, Interval], prevalence: float) -> dict[str, Interval]:
    """At a stated prevalence, from the likelihood ratios."""
    with np.errstate(divide="ignore"):
        positive, negative = np.log(rates["lr_positive"]), np.log(rates["lr_negative"])
    ppv = expit(logit(prevalence) + positive)
    value, high, low = expit(-logit(prevalence) - negative)
    return {
        "ppv": Interval(*ppv.tolist()),
        "npv": Interval(float(value), float(low), float(high)),
        "prevalence": Interval(prevalence),
    }


def _overall(called: Bools, truth: Bools, rates: dict[str, Interval]) -> dict[str, Interval]:
    """Balanced accuracy, F1 and Matthews' correlation."""
    sensitivity, (value, low, high) = rates["sensitivity"], rates["specificity"]
    youden = difference_interval(sensitivity, Interval(1 - value, 1 - high, 1 - low))
    tp, fp = float((called & truth).sum()), float((called & ~truth).sum())
    fn, tn = float(truth.sum()) - tp, float((~truth).sum()) - fp
    wrong, margins = fp + fn, (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return {
        "balanced_accuracy": Interval(*((bound + 1) / 2 for bound in youden)),
        "f1": Interval(2 * tp / (2 * tp + wrong) if tp + wrong else math.nan),
        "mcc": Interval((tp * tn - fp * fn) / math.sqrt(margins) if margins else math.nan),
    }


def _figure(interval: Interval, n: int) -> Figure:
    value, low, high = (float(x) if math.isfinite(x) else None for x in interval)
    return {"value": value, "low": low, "high": high, "n": n}
