"""All figures of a set of predictions, each with the number of samples that it rests on."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medcnn.errors import UserError
from medcnn.evaluation.figure_function import figure_function
from medcnn.evaluation.intervals import Interval
from medcnn.evaluation.proper_scores import check_labels, one_vs_rest
from medcnn.objective import Task


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
    more: bool = False,
) -> dict[str, Figure]:
    """Return every figure of a set of predictions.

    | key                       | binary                | multiclass, ordinal | multilabel       |
    |---------------------------|-----------------------|---------------------|------------------|
    | auroc, average_precision  | of the positive class | macro, one-vs-rest  | macro            |
    | f1                        | of the positive class | macro, one-vs-rest  | macro            |
    | sensitivity, specificity  | of the positive class | macro, one-vs-rest  | macro            |
    | accuracy                  | share of right ones   | share of right ones | mean over labels |
    | balanced_accuracy         | mean sensitivity      | mean sensitivity    | mean over labels |
    | log_loss (natural log)    | mean                  | mean                | mean over labels |
    | kappa (quadratic), mae    | –                     | ordinal only        | –                |
    | with ``more``: mcc        | of both classes       | of all classes      | mean over labels |
    | … kappa (without weights) | of both classes       | multiclass only     | –                |
    | … brier (`brier_terms`)   | mean                  | mean                | mean over labels |
    | … micro_auroc             | –                     | one ranking of all  | as there         |

    and for each class ``auroc/<class>``, ``sensitivity/<class>`` and ``specificity/<class>``.
    "Macro" is the mean over all classes, and undefined where one of them is: a mean over the
    classes that happen to be there would be another figure under the same name.

    The micro-AUROC ranks all classes' probabilities together, so that frequent classes weigh more
    than in the macro mean.

    A regression has ``mae``, ``rmse`` and ``r2`` (see `target_figures`); of several targets these
    are means over the targets, and each has ``mae/<target>`` … of its own. With ``more`` it has
    ``bias``, ``limit_low`` and ``limit_high``, of several targets for each alone.

    What is unknown is left out: samples, in multi-label data and regression single labels.

    Args:
        probs: (N, K) probabilities in the order of ``class_names``; in regression predictions.
            Samples are ranked by their log odds (`ranking_scores`).
        labels: (N,) class indices, or for multi-label data (N, K) of 0 and 1; -1 for unknown. In
            regression (N, K) numbers, NaN for unknown.
        decisions: As ``labels``, but all known; not used in regression.
        task: One of `medcnn.objective.TASKS`.
        class_names: K names.
        positive: Index of the class that is sought, where there are two; None (and always with
            more) for figures that are the mean over the classes.
        more: True for those that a training doesn't need, too.

    Returns:
        Figures by name, values in [0, 1] but for log_loss, mae, rmse (≥ 0), brier (≤ 2), mcc, kappa
        ([-1, 1]), r2 (≤ 1), bias and limits.

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
    arrays = check_predictions(probs, labels, decisions, task, class_names)
    names: dict[str, Any] = {"task": task, "class_names": class_names, "positive": positive}
    together = np.zeros(len(arrays[0]), np.intp)
    values = figure_function(*arrays, together, **names, more=more)(np.ones((1, 1)))
    known, of_class = _sizes(arrays[0], arrays[1], **names)
    return {
        key: figure_of(Interval(value[0]), of_class.get(key, known))
        for key, value in values.items()
    }


def _sizes(
    probs: NDArray[Any],
    labels: NDArray[Any],
    task: Task,
    class_names: Sequence[str],
    positive: int | None,
) -> tuple[int, dict[str, int]]:
    """Return the number of samples with a known label, and by name those of figures of fewer."""
    if task == "regression":
        there = ~np.isnan(labels)
        keys = ("mae", "rmse", "r2", "bias", "limit_low", "limit_high")
        sizes = dict.fromkeys(keys, there.sum(0))
    else:
        _, truth, there = one_vs_rest(probs, labels)
        positives = (truth & there).sum(0)
        sizes = {"auroc": there.sum(0), "sensitivity": positives}
        sizes["specificity"] = there.sum(0) - positives
    found = {
        f"{key}/{name}": int(size)
        for key, of_class in sizes.items()
        for name, size in zip(class_names, of_class, strict=True)
    }
    two_classes = len(class_names) == 2 and task not in ("multilabel", "regression")
    if positive is not None and two_classes:
        found |= {key: int(sizes[key][positive]) for key in ("sensitivity", "specificity")}
    return int(there.any(1).sum()), found


def figure_of(interval: Interval, n: int) -> Figure:
    """Return a figure that rests on n samples; what isn't a finite number is None."""
    value, low, high = (float(part) if np.isfinite(part) else None for part in interval)
    return {"value": value, "low": low, "high": high, "n": n}


def check_predictions(
    probs: ArrayLike,
    labels: ArrayLike,
    decisions: ArrayLike,
    task: Task,
    class_names: Sequence[str],
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the three as arrays; raise UserError as `evaluate` does."""
    p, y, d = np.asarray(probs), np.asarray(labels), np.asarray(decisions)
    if p.ndim != 2 or p.shape[1] != len(class_names):
        raise UserError(
            f"evaluation: probabilities of shape {p.shape} don't fit {len(class_names)} class names"
        )
    if len(p) == 0:
        raise UserError("evaluation: there are no predictions")
    bad = ~np.isfinite(p).all(1)
    if bad.any():
        raise UserError(
            f"evaluation: {int(bad.sum())} of {len(p)} predictions are not finite numbers (the "
            f"first at {int(bad.argmax())}); if training diverged, lower optimizer.lr"
        )
    if task != "regression":
        check_labels(y, p.shape, task)
        check_labels(d, p.shape, task, what="evaluation: decisions", least=0)
        return p.astype(np.result_type(p, np.float32), copy=False), y.astype(np.int64), d
    if y.shape != p.shape or y.dtype.kind not in "biuf":
        raise UserError(
            f"evaluation: labels are {y.dtype} of shape {y.shape}, "
            f"a regression task needs numbers of shape {p.shape}"
        )
    if np.isinf(y).any():
        raise UserError("evaluation: labels hold infinite numbers; NaN is for unknown ones")
    return p, y, y
