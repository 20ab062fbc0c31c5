"""All figures of weighted patients, for many sets of weights at once: what a bootstrap asks for.

A resample is a weight for each patient: how often it was drawn. What a patient adds to each sum is
counted once; the figures of all resamples are then made of products with their weights.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation import confusion
from medcnn.evaluation.proper_scores import LIMITS, brier_terms, log_loss_terms, one_vs_rest
from medcnn.evaluation.ranking import Floats, ranking_scores
from medcnn.evaluation.weighted_ranking import Ranking, Weights, areas, count_pairs, rank
from medcnn.objective import Task

Replicates = dict[str, NDArray[np.float64]]
FigureFunction = Callable[[Weights], Replicates]


class _Sums(NamedTuple):
    """All that the figures of classes need to know of the samples of each of G groups."""

    rankings: list[Ranking]
    micro: Ranking | None
    cells: Any  # sparse (cells of all confusion matrices, G)
    losses: NDArray[np.float64]  # (2 L, G) log losses, then Brier scores, of L labels or 1
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
) -> FigureFunction:
    """What gives the figures of weighted groups, those of `bootstrap_figures` by name.

    Args:
        probs: As in `evaluate`, which has seen them and the following.
        labels: (N,) or (N, K), of each sample one at least known.
        decisions: (N,) or (N, K).
        members: (N,) the number 0 … G-1 of each sample's group.
        task: One of `medcnn.objective.TASKS`.
        class_names: K names.
        positive: Index of the class that is sought, or None.

    Returns:
        A function of weights (G, R), at least 0, to figures (R,), NaN where undefined.
    """
    names = list(class_names)
    if task == "regression":
        return partial(_regression_figures, _regression_sums(probs, labels, members), names)
    labels, decisions = labels.astype(np.int64), decisions.astype(np.int64)
    single = positive if len(names) == 2 and task != "multilabel" else None
    sums = _class_sums(probs, labels, decisions, members, task)
    return partial(_class_figures, sums, task, names, single)


def _class_sums(
    probs: Floats,
    labels: NDArray[np.int64],
    decisions: NDArray[np.int64],
    members: NDArray[np.intp],
    task: Task,
) -> _Sums:
    probs, truth, known = one_vs_rest(probs, labels)
    size, classes = _size(members), probs.shape[1]
    scores = ranking_scores(probs, several=task == "multilabel")
    columns = zip(scores.T, truth.T, known.T, strict=True)
    rankings = [rank(s[k], t[k], members[k], size) for s, t, k in columns]
    everyone = np.broadcast_to(members[:, None], known.shape)
    micro = None
    if task != "binary":
        micro = rank(scores[known], truth[known], everyone[known], size)
    if task == "multilabel":
        cells = (4 * np.arange(classes) + 2 * labels + decisions)[known]
        table = count_pairs(cells, everyone[known], (4 * classes, size))
    else:
        table = count_pairs(classes * labels + decisions, members, (classes**2, size))
    terms = np.hstack([log_loss_terms(probs, labels), brier_terms(probs, labels)])
    there = ~np.isnan(terms)
    of_group = count_pairs(members, np.arange(len(members)), (size, len(members)))
    known_of_group = of_group @ there[:, : there.shape[1] // 2].astype(float)
    losses = of_group @ np.where(there, terms, 0.0)
    return _Sums(rankings, micro, table, losses.T.copy(), known_of_group.T.copy())


def _class_figures(
    sums: _Sums, task: Task, names: list[str], single: int | None, weights: Weights
) -> Replicates:
    aurocs, precisions = np.stack([areas(ranking, weights) for ranking in sums.rankings], axis=2)
    figures = {"auroc": _summary(aurocs, single), "average_precision": _summary(precisions, single)}
    figures |= _of_each("auroc", aurocs, names)
    if sums.micro is not None:
        figures["micro_auroc"] = areas(sums.micro, weights)[0]
    several = task == "multilabel"
    cells = np.ascontiguousarray((sums.cells @ weights).T)
    shape = (len(names), 2, 2) if several else (len(names), len(names))
    tables = cells.reshape(-1, *shape)
    for key, rate in _RATES.items():
        values = rate(tables)[..., 1] if several else rate(tables)
        figures[key] = _summary(values, single)
        if key != "f1":
            figures |= _of_each(key, values, names)
    for key, overall in _OVERALL.items():
        figures[key] = overall(tables).mean(-1) if several else overall(tables)
    if not several:
        figures["kappa"] = confusion.cohen_kappa(tables, "quadratic" if task == "ordinal" else None)
    if task == "ordinal":
        figures["mae"] = confusion.mean_absolute_error(tables)
    with np.errstate(invalid="ignore"):
        losses = (sums.losses @ weights).reshape(2, -1, weights.shape[1]) / (sums.known @ weights)
    figures["log_loss"], figures["brier"] = losses.mean(1)
    return figures


_RATES = {
    "f1": confusion.f1,
    "sensitivity": confusion.sensitivity,
    "specificity": confusion.specificity,
}
_OVERALL = {
    "accuracy": confusion.accuracy,
    "balanced_accuracy": confusion.balanced_accuracy,
    "mcc": confusion.mcc,
}


def _summary(values: NDArray[np.float64], single: int | None) -> NDArray[np.float64]:
    """Of values (R, K) those of the single class, else the mean over all, (R,)."""
    return values.mean(-1) if single is None else values[..., single]


def _of_each(key: str, values: NDArray[np.float64], names: list[str]) -> Replicates:
    """The columns of values (R, K) by name."""
    return {f"{key}/{name}": column for name, column in zip(names, values.T, strict=True)}


class _Targets(NamedTuple):
    """What a regression needs to know of the samples of each of G groups, for each of K targets."""

    sums: NDArray[np.float64]  # (7, K, G), in the order of `_regression_sums`
    shift: NDArray[np.float64]  # (K,) the mean error, which is taken off the last two sums
    lowest: NDArray[np.float64]  # (K, G) of the known labels, inf without one
    highest: NDArray[np.float64]


def _regression_sums(predictions: Floats, labels: Floats, members: NDArray[np.intp]) -> _Targets:
    known = ~np.isnan(labels)
    count = np.maximum(known.sum(0), 1)
    truth = np.where(known, labels, 0.0).astype(np.float64)
    errors = np.where(known, predictions.astype(np.float64) - truth, 0.0)
    shift = errors.sum(0) / count
    around = np.where(known, truth - truth.sum(0) / count, 0.0)
    rest = np.where(known, errors - shift, 0.0)
    terms = [known, np.abs(errors), errors**2, around, around**2, rest, rest**2]
    size, targets = _size(members), labels.shape[1]
    of_group = count_pairs(members, np.arange(len(members)), (size, len(members)))
    sums = (of_group @ np.hstack(terms)).reshape(size, 7, targets).transpose(1, 2, 0)
    lowest, highest = np.full((size, targets), np.inf), np.full((size, targets), -np.inf)
    np.minimum.at(lowest, members, np.where(known, labels, np.inf))
    np.maximum.at(highest, members, np.where(known, labels, -np.inf))
    return _Targets(np.ascontiguousarray(sums), shift, lowest.T, highest.T)


def _regression_figures(targets: _Targets, names: list[str], weights: Weights) -> Replicates:
    n, absolute, squares, around, spread, rest, rest_squares = targets.sums @ weights
    drawn = weights > 0
    lowest = [np.where(drawn, x[:, None], np.inf).min(0, initial=np.inf) for x in targets.lowest]
    highest = [
        np.where(drawn, x[:, None], -np.inf).max(0, initial=-np.inf) for x in targets.highest
    ]
    varies = np.array(lowest) < np.array(highest)
    with np.errstate(invalid="ignore", divide="ignore"):
        bias = targets.shift[:, None] + rest / n
        variance = np.maximum(rest_squares - rest**2 / n, 0) / np.where(n > 1, n - 1, np.nan)
        half = LIMITS * np.sqrt(variance)
        values = {
            "mae": absolute / n,
            "rmse": np.sqrt(squares / n),
            "r2": np.where(varies, 1 - squares / (spread - around**2 / n), np.nan),
            "bias": bias,
            "limit_low": bias - half,
            "limit_high": bias + half,
        }
    figures = {}
    for key, by_target in values.items():
        if len(names) == 1 or key in ("mae", "rmse", "r2"):
            figures[key] = by_target.mean(0)
        if len(names) > 1:
            figures |= _of_each(key, by_target.T, names)
    return figures


def _size(members: NDArray[np.intp]) -> int:
    """Number of groups."""
    return int(members.max(initial=-1)) + 1
