"""What a binary decision at a threshold is worth to those who act on it."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from medcnn.errors import UserError
from medcnn.evaluation.figures import Figure
from medcnn.evaluation.intervals import Interval, group_numbers
from medcnn.evaluation.operating_point import check_share, checked
from medcnn.evaluation.proportions import (
    effective_sizes,
    mean_interval,
    proportion_interval,
    ratio_interval,
)
from medcnn.evaluation.ranking import Bools


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
    check_share(prevalence)
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
    members = None if groups is None else group_numbers(groups, len(truth))
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
    tp, fp = float((called & truth).sum()), float((called & ~truth).sum())
    fn, tn = float(truth.sum()) - tp, float((~truth).sum()) - fp
    wrong, margins = fp + fn, (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return {
        "balanced_accuracy": mean_interval(rates["sensitivity"], rates["specificity"]),
        "f1": Interval(2 * tp / (2 * tp + wrong) if tp + wrong else math.nan),
        "mcc": Interval((tp * tn - fp * fn) / math.sqrt(margins) if margins else math.nan),
    }


def _figure(interval: Interval, n: int) -> Figure:
    value, low, high = (float(x) if math.isfinite(x) else None for x in interval)
    return {"value": value, "low": low, "high": high, "n": n}
