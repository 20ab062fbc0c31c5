"""Figures of calibration of the probabilities of any task, with intervals."""

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import check_whole_number
from medcnn.evaluation.calibration import bin_numbers, calibration_line
from medcnn.evaluation.figures import Figure, figure_of
from medcnn.evaluation.figures_with_intervals import MANY
from medcnn.evaluation.intervals import NUMBERS_AT_ONCE, Interval, draws, group_numbers
from medcnn.evaluation.predictions import Predictions
from medcnn.evaluation.ranking import Bools, Floats
from medcnn.evaluation.recalibration import check_range
from medcnn.objective import UNKNOWN

BINS = 15


def calibration_figures(
    predictions: Predictions, *, resamples: int = 2000, seed: int = 0
) -> dict[str, Figure]:
    """Return every figure of calibration of a set of predictions.

    | key                               | two classes   | more classes    | multilabel       |
    |-----------------------------------|---------------|-----------------|------------------|
    | ece, ece_mass (15 bins)           | positive one  | top label       | mean over labels |
    | calibration_slope, …_intercept    | positive one  | top label       | mean over labels |
    | the four with ``_classwise`` added | –             | mean over them  | –                |

    The top label is the most probable class; class-wise is each class against the rest (M. Kull et
    al., "Beyond temperature scaling", NeurIPS 2019). A mean is undefined where one of its parts is.
    A regression has no such figures. Of more than `MANY` classes there are no class-wise ones, and
    of as many labels the ECEs alone, without bounds.

    The expected calibration error is Σ w_b d_b, with the share w_b of samples in bin b and the
    distance d_b of its mean score from its share of positives (M. P. Naeini, G. F. Cooper,
    M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015), in
    bins of equal width, or with ``_mass`` of equally many samples (K. Nguyen, B. O'Connor,
    "Posterior calibration and exploratory analysis for natural language processing models", EMNLP
    2015). It is biased upwards: chance alone parts shares from scores, the more the fewer samples
    are in a bin (R. Roelofs, N. Cain, J. Shlens, M. C. Mozer, "Mitigating bias in calibration error
    estimation", AISTATS 2022).

    The ECEs have percentile intervals from a bootstrap of the groups (patients), slopes and
    intercepts Wald's (see `calibration_line`) where they are no means. **The interval of an ECE is
    not centred on it**: each resample adds the bias of chance once more, so that both bounds lie
    high, and the lower one can lie above the ECE. Bins of equal mass keep the edges of all the
    samples.

    Args:
        predictions: Without a positive class the last of two is sought.
        resamples: Of the bootstrap, at least 1.
        seed: Of the bootstrap.

    Returns:
        Figures by name, empty for a regression. ``n`` counts samples of which a label is known.

    Raises:
        UserError: Probabilities outside 0 … 1, or no resamples.
    """
    if predictions.task == "regression":
        return {}
    check_whole_number("calibration: resamples", resamples, least=1)
    known = predictions.where(predictions.known)
    probs, labels, size = check_range(known.probs), known.labels, len(known.class_names)
    figures = partial(_figures, groups=known.groups, resamples=resamples, seed=seed)
    if known.task == "multilabel":
        return figures(probs, labels == 1, labels != UNKNOWN)
    truth = labels[:, None] == np.arange(size)
    if size == 2:
        column = [1 if known.positive is None else known.positive]
        return figures(probs[:, column], truth[:, column])
    right = probs.argmax(1) == labels  # of equally probable ones the first counts
    top = figures(probs.max(1)[:, None], right[:, None])
    if size > MANY:
        return top
    classwise = figures(probs, truth)
    return top | {f"{key}_classwise": figure for key, figure in classwise.items()}


def _figures(
    scores: Floats,
    truth: Bools,
    known: Bools | None = None,
    *,
    groups: NDArray[Any] | None,
    resamples: int,
    seed: int,
) -> dict[str, Figure]:
    """Return the figures of columns (N, L), as means over them, with bounds where there are."""
    known = np.ones_like(truth) if known is None else known
    many = scores.shape[1] > MANY
    members = np.zeros(len(scores), np.int64) if many else group_numbers(groups, len(scores))
    sums = _group_sums(scores, truth, known, members)
    bounds = zip(_from_sums(sums.sum(0)), *_bootstrap(sums, resamples, seed), strict=True)
    found = dict(zip(("ece", "ece_mass"), (Interval(*b) for b in bounds), strict=True))
    lines = [
        calibration_line(
            scores[there, k], truth[there, k], None if groups is None else groups[there]
        )
        for k, there in enumerate(known.T)
        if not many
    ]
    for place, key in enumerate(("slope", "intercept")):
        parts = [line[place] for line in lines] or [Interval(math.nan)]
        mean = Interval(float(np.mean([part.value for part in parts])))
        found[f"calibration_{key}"] = parts[0] if len(parts) == 1 else mean
    return {key: figure_of(interval, len(scores)) for key, interval in found.items()}


def _group_sums(
    scores: Floats, truth: Bools, known: Bools, members: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the sums over each group of which the figures of a resample are made.

    (groups, L, 2 bins + 1): score − truth in the bins of equal width and in those of equal mass,
    and the number of samples.
    """
    sums = np.zeros((int(members.max(initial=-1)) + 1, known.shape[1], 2 * BINS + 1))
    for column, there in enumerate(known.T):
        score, group = scores[there, column].astype(np.float64), members[there]
        gap, own = score - truth[there, column], sums[:, column]
        np.add.at(own, (group, bin_numbers(score, BINS, "width")), gap)
        np.add.at(own, (group, BINS + bin_numbers(score, BINS, "mass")), gap)
        own[:, -1] = np.bincount(group, minlength=len(sums))
    return sums


def _from_sums(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ece and ece_mass (…, 2), means over the columns, from sums (…, L, 2 bins + 1)."""
    errors = np.abs(sums[..., :-1]).reshape(*sums.shape[:-1], 2, BINS).sum(-1)
    with np.errstate(invalid="ignore"):
        return (errors / sums[..., -1:]).mean(-2)


def _bootstrap(
    sums: NDArray[np.float64], resamples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return 95 % bounds (2,) of `_from_sums`, NaN where a column has fewer than two groups."""
    groups, columns, width = sums.shape
    if (sums[..., -1] > 0).sum(0).min() < 2:
        return np.full(2, math.nan), np.full(2, math.nan)
    at_once, by_group = NUMBERS_AT_ONCE // max(groups, columns * width), sums.reshape(groups, -1)
    found = np.concatenate(
        [
            _from_sums((counts @ by_group).reshape(-1, columns, width))
            for counts in draws(groups, resamples, seed, at_once)
        ]
    )
    found = found[~np.isnan(found[:, 0])]  # not those that miss all samples of a column
    low, high = np.quantile(found, [0.025, 0.975], axis=0)
    return low, high
