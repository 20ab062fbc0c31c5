"""All figures as functions of how often each patient counts.

In a resample of a bootstrap that is how often a patient was drawn; the figures of all samples are
those of one group that counts once. What a group adds to each sum is counted once; the figures of
all sets of weights are then made of products with them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation import confusion
from medcnn.evaluation.confusion import Counts
from medcnn.evaluation.intervals import group_sums
from medcnn.evaluation.proper_scores import brier_terms, log_loss_terms, one_vs_rest
from medcnn.evaluation.ranking import (
    Floats,
    Ranking,
    Weights,
    areas,
    count_pairs,
    rank,
    ranking_scores,
)
from medcnn.evaluation.regression import Targets, target_figures, target_sums
from medcnn.objective import Task

Values = dict[str, NDArray[np.float64]]
FigureFunction = Callable[[Weights], Values]


class _Sums(NamedTuple):
    """Sums over the samples of each of G groups, of which the figures of classes are made."""

    rankings: list[Ranking]
    micro: Ranking | None
    counts: Any  # sparse (3 K, G) of `Counts`; of several labels K two by two
    terms: dict[str, NDArray[np.float64]]  # (L, G) each, of L labels or 1
    known: NDArray[np.float64]  # (L, G) number of samples


def figure_function(
    probs: NDArray[Any],
    labels: NDArray[Any],
    decisions: NDArray[Any],
    members: NDArray[np.intp],
    *,
    task: Task,
    class_names: Sequence[str],
    positive: int | None,
    more: bool = True,
) -> FigureFunction:
    """Return the function from weights (G, R), at least 0, to the figures of `evaluate`, (R,) each.

    They are NaN where undefined.

    Args: As in `evaluate`, and checked; members (N,), the number 0 … G-1 of each sample's group.
    """
    names = list(class_names)
    if task == "regression":
        return partial(_target_values, target_sums(probs, labels, members), names, more)
    labels, decisions = labels.astype(np.int64), decisions.astype(np.int64)
    single = positive if len(names) == 2 and task != "multilabel" else None
    sums = _class_sums(probs, labels, decisions, members, task, more)
    return partial(_class_values, sums, task, names, single, more)


def _class_sums(
    probs: Floats,
    labels: NDArray[np.int64],
    decisions: NDArray[np.int64],
    members: NDArray[np.intp],
    task: Task,
    more: bool,
) -> _Sums:
    """Return what each group adds; unknown labels add nothing."""
    probs, truth, known = one_vs_rest(probs, labels)
    several, size = task == "multilabel", int(members.max(initial=-1)) + 1
    scores = ranking_scores(probs, several=several)
    columns = zip(scores.T, truth.T, known.T, strict=True)
    rankings = [rank(s[k], t[k], members[k], size) for s, t, k in columns]
    micro = None
    if more and task != "binary":
        everyone = np.broadcast_to(members[:, None], known.shape)
        micro = rank(scores[known], truth[known], everyone[known], size)
    parts = {"log_loss": log_loss_terms(probs, truth, known, several=several)}
    if more:
        parts["brier"] = brier_terms(probs, truth, known, several=several)
    if task == "ordinal":
        steps = np.where(known[:, 0], np.abs(labels - decisions), np.nan)[:, None]
        parts |= {"steps": steps, "squares": steps**2}
    there = known if several else known[:, :1]
    terms = {k: group_sums(members, np.where(there, part, 0.0)).T for k, part in parts.items()}
    counts = _counts(labels, decisions, members, probs.shape[1], size)
    return _Sums(rankings, micro, counts, terms, group_sums(members, there).T)


def _counts(
    labels: NDArray[np.int64],
    decisions: NDArray[np.int64],
    members: NDArray[np.intp],
    classes: int,
    size: int,
) -> Any:
    """Return the `Counts` of each group, one below the other: sparse (3 K, size).

    Each of several labels has two classes of its own, without and with it.
    """
    known = labels >= 0
    width = classes * labels.ndim
    first = 2 * np.arange(classes) if labels.ndim == 2 else 0
    true, called = ((side + first)[known] for side in (labels, decisions))
    groups = np.broadcast_to(members, labels.T.shape).T[known]
    right = true == called
    rows = np.concatenate([true[right], width + true, 2 * width + called])
    columns = np.concatenate([groups[right], groups, groups])
    return count_pairs(rows, columns, (3 * width, size))


def _class_values(
    sums: _Sums, task: Task, names: list[str], single: int | None, more: bool, weights: Weights
) -> Values:
    """Return the figures of classes, (R,) each, of weights (G, R)."""
    several = task == "multilabel"
    aurocs, precisions = np.stack([areas(ranking, weights) for ranking in sums.rankings], axis=2)
    values = {"auroc": _summary(aurocs, single), "average_precision": _summary(precisions, single)}
    values |= _of_each("auroc", aurocs, names)
    table = np.ascontiguousarray((sums.counts @ weights).T)
    shape = (-1, 3, len(names), 2) if several else (-1, 3, len(names))
    counts = Counts(*np.moveaxis(table.reshape(shape), 1, 0))
    for key, rate in _RATES.items():
        rates = rate(counts)[..., 1] if several else rate(counts)
        values[key] = _summary(rates, single)
        if key != "f1":
            values |= _of_each(key, rates, names)
    values["accuracy"], values["balanced_accuracy"], mcc = (
        figure(counts).mean(-1) if several else figure(counts) for figure in _OVERALL
    )
    terms = {key: part @ weights for key, part in sums.terms.items()}
    with np.errstate(invalid="ignore"):
        means = {key: (part / (sums.known @ weights)).mean(0) for key, part in terms.items()}
    values["log_loss"] = means["log_loss"]
    if task == "ordinal":
        values["kappa"] = confusion.quadratic_kappa(counts, terms["squares"][0])
        values["mae"] = means["steps"]
    if not more:
        return values
    values["mcc"] = mcc
    if task not in ("ordinal", "multilabel"):
        values["kappa"] = confusion.cohen_kappa(counts)
    values["brier"] = means["brier"]
    if sums.micro is not None:
        values["micro_auroc"] = areas(sums.micro, weights)[0]
    return values


_RATES = {
    "f1": confusion.f1,
    "sensitivity": confusion.sensitivity,
    "specificity": confusion.specificity,
}
_OVERALL = (confusion.accuracy, confusion.balanced_accuracy, confusion.mcc)


def _target_values(targets: Targets, names: list[str], more: bool, weights: Weights) -> Values:
    """Return the figures of targets, (R,) each, of weights (G, R)."""
    values = {}
    for key, by_target in target_figures(targets, weights).items():
        errors = key in ("mae", "rmse", "r2")
        if not (errors or more):
            continue
        if errors or len(names) == 1:
            values[key] = by_target.mean(0)
        if len(names) > 1:
            values |= _of_each(key, by_target.T, names)
    return values


def _summary(values: NDArray[np.float64], single: int | None) -> NDArray[np.float64]:
    """Return the values (R, K) of the single class, else their mean over all: (R,)."""
    return values.mean(-1) if single is None else values[..., single]


def _of_each(key: str, values: NDArray[np.float64], names: list[str]) -> Values:
    """Return the columns of values (R, K) by name."""
    return {f"{key}/{name}": column for name, column in zip(names, values.T, strict=True)}
