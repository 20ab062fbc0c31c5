"""Figures of binary decisions for those who act on them."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from medcnn.errors import UserError
from medcnn.evaluation.confusion import Counts, f1, mcc
from medcnn.evaluation.figures import Figure, figure_of
from medcnn.evaluation.intervals import Interval
from medcnn.evaluation.proportions import (
    effective_sizes,
    mean_interval,
    proportion_intervals,
    ratio_interval,
)
from medcnn.evaluation.ranking import Bools


def clinic(
    called: Bools,
    truth: Bools,
    groups: ArrayLike | None = None,
    *,
    prevalence: float | None = None,
) -> dict[str, Figure]:
    """Return what a reader of the decisions wants to know, with intervals.

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
        called: (N,) bool, True for samples that are called positive.
        truth: (N,) bool, True for positive.
        groups: (N,) the patient of each sample, of any sortable type; None for independent ones.
        prevalence: Of another population, between 0 and 1, for ppv and npv; None for the data's.

    Returns:
        Figures by name; ``n`` is what a figure rests on: the positive samples for the sensitivity,
        those called positive for ppv … A value that is undefined or infinite is None; an infinite
        lr_positive still has its lower bound. A stated prevalence is a value without bounds.

    Raises:
        UserError: Groups that don't fit, or a prevalence out of range.
    """
    if prevalence is not None and not 0 < prevalence < 1:
        raise UserError(f"prevalence={prevalence} must lie between 0 and 1")
    everyone, right = np.ones(len(truth), bool), called == truth
    cases: dict[str, tuple[Bools, Bools]] = {  # hits, among whom
        "sensitivity": (called, truth),
        "specificity": (~called, ~truth),
        "ppv": (truth, called),
        "npv": (~truth, ~called),
        "accuracy": (right, everyone),
        "prevalence": (truth, everyone),
    }
    table = np.stack([np.where(among, hits, np.nan) for hits, among in cases.values()], axis=1)
    found = zip(*proportion_intervals(table, groups), strict=True)
    intervals = {key: Interval(*map(float, one)) for key, one in zip(cases, found, strict=True)}
    counts = {key: int(among.sum()) for key, (_, among) in cases.items()}
    rates = intervals["sensitivity"], intervals["specificity"]
    intervals |= _likelihood_ratios(*rates, *effective_sizes(table[:, :2], groups).tolist())
    intervals["balanced_accuracy"] = mean_interval(*rates)
    kinds = (truth[right], truth, called)
    decided = Counts(*(np.bincount(kind, minlength=2).astype(float) for kind in kinds))
    intervals |= {"f1": Interval(f1(decided)[1]), "mcc": Interval(float(mcc(decided)))}
    if prevalence is not None:
        intervals |= _predictive_values(intervals, prevalence)
        del counts["ppv"], counts["npv"]
    return {key: figure_of(one, counts.get(key, len(truth))) for key, one in intervals.items()}


def _likelihood_ratios(
    sensitivity: Interval, specificity: Interval, n: float, m: float
) -> dict[str, Interval]:
    """Return likelihood ratios, of rates and the numbers of images n and m that these rest on."""
    se, sp = sensitivity.value, specificity.value
    return {
        "lr_positive": ratio_interval(se, n, 1 - sp, m),
        "lr_negative": ratio_interval(1 - se, n, sp, m),
    }


def _predictive_values(rates: dict[str, Interval], prevalence: float) -> dict[str, Interval]:
    """Return predictive values at a stated prevalence, from the likelihood ratios."""
    with np.errstate(divide="ignore"):
        positive, negative = np.log(rates["lr_positive"]), np.log(rates["lr_negative"])
    ppv = expit(logit(prevalence) + positive)
    value, high, low = expit(-logit(prevalence) - negative)
    return {
        "ppv": Interval(*ppv.tolist()),
        "npv": Interval(float(value), float(low), float(high)),
        "prevalence": Interval(prevalence),
    }
