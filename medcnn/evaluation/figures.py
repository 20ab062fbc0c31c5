"""All figures of a set of predictions, each with the number of samples that it rests on."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medcnn.data.samples import Task
from medcnn.errors import UserError
from medcnn.evaluation.ranking import Bools, Floats, auroc, average_precision

Integers = NDArray[np.int64]


class Figure(TypedDict):
    """A number with its interval, ready for JSON.

    ``value`` is None where the figure is undefined (an AUROC without a negative sample), ``low``
    and ``high`` are None where no interval was computed. ``n`` is the number of samples that the
    figure rests on: for the sensitivity of a class its own samples, for the specificity all the
    others, else all.
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

    Args:
        probs: (N, K) probabilities in the order of ``class_names``.
        labels: (N,) class indices, or for multi-label data (N, K) of 0 and 1.
        decisions: As ``labels``.
        task: binary, multiclass, multilabel or ordinal.
        class_names: K names.
        positive: Index of the class that is sought, where there are two; None (and always with
            more) for figures that are the mean over the classes.

    Returns:
        Figures by name, values in [0, 1] but for log_loss, mae (≥ 0) and kappa ([-1, 1]).

    Raises:
        UserError: No predictions, shapes or labels that don't fit, or a probability that isn't a
            finite number.

    Example:
        >>> figures = evaluate(
        ...     [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1], [0, 1, 0],
        ...     task="binary", class_names=["healthy", "ill"], positive=1,
        ... )
        >>> figures["sensitivity"]
        {'value': 0.5, 'low': None, 'high': None, 'n': 2}
    """
    probs, labels, decisions = np.asarray(probs), np.asarray(labels), np.asarray(decisions)
    _check(probs, labels, decisions, task, class_names)
    probs = probs.astype(np.result_type(probs, np.float32), copy=False)
    labels, decisions = labels.astype(np.int64), decisions.astype(np.int64)
    truth, chosen = (_one_hot(values, task, len(class_names)) for values in (labels, decisions))
    single = positive if len(class_names) == 2 and task != "multilabel" else None
    figures = _ranking_figures(probs, truth, class_names, single)
    figures |= _rate_figures(truth, chosen, class_names, single)
    figures |= _overall_figures(probs, truth, chosen, task)
    if task == "ordinal":
        figures["kappa"] = _figure(_quadratic_kappa(labels, decisions), len(probs))
        figures["mae"] = _figure(np.abs(labels - decisions).mean(), len(probs))
    return figures


def _ranking_figures(
    probs: Floats, truth: Bools, class_names: Sequence[str], single: int | None
) -> dict[str, Figure]:
    count = len(probs)
    areas, precisions = auroc(probs, truth), average_precision(probs, truth)
    figures = {
        "auroc": _figure(_summary(areas, single), count),
        "average_precision": _figure(_summary(precisions, single), count),
    }
    for name, area in zip(class_names, areas, strict=True):
        figures[f"auroc/{name}"] = _figure(area, count)
    return figures


def _rate_figures(
    truth: Bools, chosen: Bools, class_names: Sequence[str], single: int | None
) -> dict[str, Figure]:
    """F1 and, in general and for each class, sensitivity and specificity."""
    count, called = len(truth), chosen.sum(0)
    hits, positives = (truth & chosen).sum(0), truth.sum(0)
    f1 = _ratio(2 * hits, positives + called)
    figures = {"f1": _figure(_summary(f1, single), count)}
    rates = {
        "sensitivity": (hits, positives),
        "specificity": ((~truth & ~chosen).sum(0), count - positives),
    }
    for key, (right, sizes) in rates.items():
        values = _ratio(right, sizes)
        size = count if single is None else int(sizes[single])
        figures[key] = _figure(_summary(values, single), size)
        for name, value, size in zip(class_names, values, sizes.tolist(), strict=True):
            figures[f"{key}/{name}"] = _figure(value, size)
    return figures


def _overall_figures(probs: Floats, truth: Bools, chosen: Bools, task: Task) -> dict[str, Figure]:
    """Accuracy, balanced accuracy and log loss."""
    agree = truth == chosen
    p = np.clip(probs.astype(np.float64), np.finfo(probs.dtype).eps, None)
    balanced = _ratio((truth & chosen).sum(0), truth.sum(0))
    if task == "multilabel":
        balanced = (balanced + _ratio((~truth & ~chosen).sum(0), (~truth).sum(0))) / 2
        q = np.clip(1 - probs.astype(np.float64), np.finfo(probs.dtype).eps, None)
        right, loss = agree.mean(), -np.log(np.where(truth, p, q)).mean()
    else:
        right, loss = agree.all(1).mean(), -np.log(p[truth]).mean()
    values = {"accuracy": right, "balanced_accuracy": balanced.mean(), "log_loss": loss}
    return {key: _figure(value, len(probs)) for key, value in values.items()}


def _quadratic_kappa(labels: Integers, decisions: Integers) -> float:
    """Cohen's kappa with weights (i − j)² (J. Cohen, "Weighted kappa", Psychol. Bulletin 1968).

    1 − observed / expected disagreement; the mean of (i − j)² over independent i and j is the sum
    of both variances and the squared difference of the means. NaN if that is zero.
    """
    observed = np.square(labels - decisions).mean()
    expected = labels.var() + decisions.var() + (labels.mean() - decisions.mean()) ** 2
    return 1 - float(observed / expected) if expected > 0 else float("nan")


def _ratio(numerator: Integers, denominator: Integers) -> Floats:
    """Quotients (K,), NaN for 0 / 0."""
    with np.errstate(invalid="ignore"):
        return numerator / denominator


def _summary(values: Floats, single: int | None) -> float:
    """The value of the single class, else the mean over all, NaN if one is."""
    return float(values.mean() if single is None else values[single])


def _figure(value: float, n: int) -> Figure:
    number = None if np.isnan(value) else float(value)
    return {"value": number, "low": None, "high": None, "n": n}


def _one_hot(values: Integers, task: Task, num_classes: int) -> Bools:
    """(N, K) bool, True at the class, or where the label is set."""
    return (
        values.astype(bool) if task == "multilabel" else values[:, None] == np.arange(num_classes)
    )


def _check(
    probs: NDArray[np.generic],
    labels: NDArray[np.generic],
    decisions: NDArray[np.generic],
    task: Task,
    class_names: Sequence[str],
) -> None:
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
    shape = probs.shape if task == "multilabel" else probs.shape[:1]
    highest = 1 if task == "multilabel" else classes - 1
    for name, values in (("labels", labels), ("decisions", decisions)):
        if values.shape != shape or values.dtype.kind not in "biu":
            raise UserError(
                f"evaluation: {name} are {values.dtype} of shape {values.shape}, "
                f"a {task} task needs integers of shape {shape}"
            )
        if values.min() < 0 or values.max() > highest:
            raise UserError(f"evaluation: {name} lie outside 0 … {highest}")
