"""All figures of a set of predictions, each with the number of samples that it rests on."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medcnn.errors import UserError
from medcnn.evaluation.ranking import (
    Bools,
    Floats,
    auroc,
    average_precision,
    ranking_scores,
)
from medcnn.evaluation.regression import regression_errors
from medcnn.objective import UNKNOWN, Task

Integers = NDArray[np.int64]


class Figure(TypedDict):
    """A number with its interval, ready for JSON.

    ``value`` is None where the figure is undefined (an AUROC without a negative sample), ``low``
    and ``high`` are None where no interval was computed. ``n`` is the number of samples that the
    figure rests on: for the sensitivity of a class its own samples, for the specificity all the
    others, else all. Samples whose label is unknown are never among them; in a mean over several
    labels or targets a sample counts if one of its labels is known.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


def evaluate(
    probs: ArrayLike,
    labels: ArrayLike,
    decisions: ArrayLike,
    *,
    task: Task,
    class_names: Sequence[str],
    positive: int | None,
) -> dict[str, Figure]:
    """Every figure of a set of predictions.

    | key                       | binary                | multiclass, ordinal | multilabel       |
    |---------------------------|-----------------------|---------------------|------------------|
    | auroc, average_precision  | of the positive class | macro, one-vs-rest  | macro            |
    | f1                        | of the positive class | macro, one-vs-rest  | macro            |
    | sensitivity, specificity  | of the positive class | macro, one-vs-rest  | macro            |
    | accuracy                  | share of right ones   | share of right ones | mean over labels |
    | balanced_accuracy         | mean sensitivity      | mean sensitivity    | mean over labels |
    | log_loss (natural log)    | mean                  | mean                | mean over labels |
    | kappa (quadratic), mae    | –                     | ordinal only        | –                |

    and for each class ``auroc/<class>``, ``sensitivity/<class>`` and ``specificity/<class>``.
    "Macro" is the mean over all classes, and undefined where one of them is: a mean over the
    classes that happen to be there would be another figure under the same name.

    A regression has ``mae``, ``rmse`` and ``r2`` (see `regression_errors`); of several targets
    these are means over the targets, and each has ``mae/<target>`` … of its own.

    What is unknown is left out: samples, in multi-label data and regression single labels.

    Args:
        probs: (N, K) probabilities in the order of ``class_names``; in regression predictions.
            Samples are ranked by their log odds (`ranking_scores`).
        labels: (N,) class indices, or for multi-label data (N, K) of 0 and 1; -1 for unknown. In
            regression (N, K) numbers, NaN for unknown.
        decisions: As ``labels``, but all known; not looked at in regression.
        task: One of `medcnn.objective.TASKS`.
        class_names: K names.
        positive: Index of the class that is sought, where there are two; None (and always with
            more) for figures that are the mean over the classes.

    Returns:
        Figures by name, values in [0, 1] but for log_loss, mae, rmse (≥ 0), kappa ([-1, 1]) and r2
        (≤ 1).

    Raises:
        UserError: No predictions, shapes or labels that don't fit, or a probability or prediction
            that isn't a finite number.

    Example:
        >>> figures = evaluate(
        ...     [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1], [0, 1, 0],
        ...     task="binary", class_names=["healthy", "ill"], positive=1,
        ... )
        >>> figures["sensitivity"]
        {'value': 0.5, 'low': None, 'high': None, 'n': 2}
    """
    probs, labels, decisions = np.asarray(probs), np.asarray(labels), np.asarray(decisions)
    _check_probs(probs, class_names)
    if task == "regression":
        _check_targets(probs, labels)
        return _regression_figures(probs, labels, class_names)
    _check_classes(probs, labels, decisions, task)
    probs = probs.astype(np.result_type(probs, np.float32), copy=False)
    labels, decisions = labels.astype(np.int64), decisions.astype(np.int64)
    if task == "multilabel":
        return _class_figures(probs, labels, decisions, task, class_names, None)
    there = labels != UNKNOWN
    kept = (probs[there], labels[there], decisions[there])
    return _class_figures(*kept, task, class_names, positive if len(class_names) == 2 else None)


def _class_figures(
    probs: Floats,
    labels: Integers,
    decisions: Integers,
    task: Task,
    class_names: Sequence[str],
    single: int | None,
) -> dict[str, Figure]:
    """Figures of all tasks but regression; `single` is the class that the summary speaks of."""
    cases = _cases(labels, decisions, task, len(class_names))
    scores = ranking_scores(probs, several=task == "multilabel")
    figures = _ranking_figures(scores, cases, class_names, single)
    figures |= _rate_figures(cases, class_names, single)
    figures |= _overall_figures(probs, cases, task)
    if task == "ordinal":
        figures["kappa"] = _figure(_quadratic_kappa(labels, decisions), len(probs))
        figures["mae"] = _figure(_mean(np.abs(labels - decisions)), len(probs))
    return figures


class _Cases(NamedTuple):
    """What is known of N samples and K classes, and what was said of them; (N, K) each."""

    truth: Bools  # of the class
    others: Bools  # of another class; neither of both where that is unknown
    chosen: Bools  # said to be of the class

    @property
    def known(self) -> int:
        """Samples of which a label is known."""
        return int((self.truth | self.others).any(1).sum())


def _cases(labels: Integers, decisions: Integers, task: Task, num_classes: int) -> _Cases:
    """From class indices (N,) that are all known, or from multi-label columns (N, K)."""
    if task == "multilabel":
        return _Cases(labels == 1, labels == 0, decisions == 1)
    classes = np.arange(num_classes)
    truth = labels[:, None] == classes
    return _Cases(truth, ~truth, decisions[:, None] == classes)


def _ranking_figures(
    scores: Floats, cases: _Cases, class_names: Sequence[str], single: int | None
) -> dict[str, Figure]:
    areas, precisions = (_by_class(metric, scores, cases) for metric in (auroc, average_precision))
    figures = {
        "auroc": _figure(_summary(areas, single), cases.known),
        "average_precision": _figure(_summary(precisions, single), cases.known),
    }
    sizes = (cases.truth | cases.others).sum(0).tolist()
    for name, area, size in zip(class_names, areas, sizes, strict=True):
        figures[f"auroc/{name}"] = _figure(area, size)
    return figures


def _by_class(metric: Callable[[Floats, Bools], Floats], scores: Floats, cases: _Cases) -> Floats:
    """A metric of all classes at once, or where labels are unknown of one after the other."""
    there = cases.truth | cases.others
    if there.all():
        return metric(scores, cases.truth)
    columns = zip(scores.T, cases.truth.T, there.T, strict=True)
    return np.concatenate([metric(s[k][:, None], t[k][:, None]) for s, t, k in columns])


def _rate_figures(
    cases: _Cases, class_names: Sequence[str], single: int | None
) -> dict[str, Figure]:
    """F1 and, in general and for each class, sensitivity and specificity."""
    truth, others, chosen = cases
    hits, positives, negatives = (truth & chosen).sum(0), truth.sum(0), others.sum(0)
    called = hits + (others & chosen).sum(0)
    f1 = _ratio(2 * hits, positives + called)
    figures = {"f1": _figure(_summary(f1, single), cases.known)}
    rates = {
        "sensitivity": (hits, positives),
        "specificity": ((others & ~chosen).sum(0), negatives),
    }
    for key, (right, sizes) in rates.items():
        values = _ratio(right, sizes)
        size = cases.known if single is None else int(sizes[single])
        figures[key] = _figure(_summary(values, single), size)
        for name, value, size in zip(class_names, values, sizes.tolist(), strict=True):
            figures[f"{key}/{name}"] = _figure(value, size)
    return figures


def _overall_figures(probs: Floats, cases: _Cases, task: Task) -> dict[str, Figure]:
    """Accuracy, balanced accuracy and log loss."""
    truth, others, chosen = cases
    p = np.clip(probs.astype(np.float64), np.finfo(probs.dtype).eps, None)
    balanced = _ratio((truth & chosen).sum(0), truth.sum(0))
    if task == "multilabel":
        q = np.clip(1 - probs.astype(np.float64), np.finfo(probs.dtype).eps, None)
        sizes = (truth | others).sum(0)
        balanced = (balanced + _ratio((others & ~chosen).sum(0), others.sum(0))) / 2
        right = _ratio((np.where(truth, chosen, ~chosen) & (truth | others)).sum(0), sizes).mean()
        surprise = np.where(truth, -np.log(p), np.where(others, -np.log(q), 0))
        loss = _ratio(surprise.sum(0), sizes).mean()
    else:
        right, loss = _mean((truth == chosen).all(1)), _mean(-np.log(p[truth]))
    values = {"accuracy": right, "balanced_accuracy": balanced.mean(), "log_loss": loss}
    return {key: _figure(value, cases.known) for key, value in values.items()}


def _regression_figures(
    predictions: Floats, labels: Floats, names: Sequence[str]
) -> dict[str, Figure]:
    there = ~np.isnan(labels)
    figures = {}
    for key, values in regression_errors(predictions, labels).items():
        figures[key] = _figure(float(values.mean()), int(there.any(1).sum()))
        if len(names) > 1:
            for name, value, size in zip(names, values, there.sum(0).tolist(), strict=True):
                figures[f"{key}/{name}"] = _figure(value, size)
    return figures


def _quadratic_kappa(labels: Integers, decisions: Integers) -> float:
    """Cohen's kappa with weights (i − j)² (J. Cohen, "Weighted kappa", Psychol. Bulletin 1968).

    1 − observed / expected disagreement; the mean of (i − j)² over independent i and j is the sum
    of both variances and the squared difference of the means. NaN if that is zero.
    """
    if len(labels) == 0:
        return float("nan")
    observed = np.square(labels - decisions).mean()
    expected = labels.var() + decisions.var() + (labels.mean() - decisions.mean()) ** 2
    return 1 - float(observed / expected) if expected > 0 else float("nan")


def _ratio(numerator: NDArray[Any], denominator: Integers) -> Floats:
    """Quotients (K,), NaN for 0 / 0."""
    with np.errstate(invalid="ignore"):
        return numerator / denominator


def _mean(values: NDArray[Any]) -> float:
    """NaN of nothing."""
    return float(values.mean()) if len(values) else float("nan")


def _summary(values: Floats, single: int | None) -> float:
    """The value of the single class, else the mean over all, NaN if one is."""
    return float(values.mean() if single is None else values[single])


def _figure(value: float, n: int) -> Figure:
    number = None if np.isnan(value) else float(value)
    return {"value": number, "low": None, "high": None, "n": n}


def _check_probs(probs: NDArray[Any], class_names: Sequence[str]) -> None:
    classes = len(class_names)
    if probs.ndim != 2 or probs.shape[1] != classes:
        raise UserError(
            f"evaluation: probabilities of shape {probs.shape} don't fit {classes} class names"
        )
    if len(probs) == 0:
        raise UserError("evaluation: there are no predictions")
    bad = ~np.isfinite(probs).all(1)
    if bad.any():
        raise UserError(
            f"evaluation: {int(bad.sum())} of {len(probs)} predictions are not finite numbers (the "
            f"first at {int(bad.argmax())}); if training diverged, lower optimizer.lr"
        )


def _check_targets(predictions: NDArray[Any], labels: NDArray[Any]) -> None:
    if labels.shape != predictions.shape or labels.dtype.kind not in "biuf":
        raise UserError(
            f"evaluation: labels are {labels.dtype} of shape {labels.shape}, "
            f"a regression task needs numbers of shape {predictions.shape}"
        )
    if np.isinf(labels).any():
        raise UserError("evaluation: labels hold infinite numbers; NaN is for unknown ones")


def _check_classes(
    probs: NDArray[Any], labels: NDArray[Any], decisions: NDArray[Any], task: Task
) -> None:
    shape = probs.shape if task == "multilabel" else probs.shape[:1]
    highest = 1 if task == "multilabel" else probs.shape[1] - 1
    for name, values, lowest in (("labels", labels, UNKNOWN), ("decisions", decisions, 0)):
        if values.shape != shape or values.dtype.kind not in "biu":
            raise UserError(
                f"evaluation: {name} are {values.dtype} of shape {values.shape}, "
                f"a {task} task needs integers of shape {shape}"
            )
        if values.min() < lowest or values.max() > highest:
            raise UserError(f"evaluation: {name} lie outside 0 … {highest}")
