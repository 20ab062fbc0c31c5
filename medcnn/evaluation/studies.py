"""One prediction of a volume (the study) from those of its slices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medcnn.errors import UserError
from medcnn.evaluation.ranking import Bools, Floats
from medcnn.objective import UNKNOWN, Task

AGGREGATIONS = ("mean", "max", "noisy-or")


def check_aggregation(how: str, task: Task, num_classes: int) -> None:
    """Raise UserError unless `aggregate` can do this for such a task."""
    if how not in AGGREGATIONS:
        raise UserError(f"aggregate={how}: choose one of {', '.join(AGGREGATIONS)}")
    nominal = task == "multiclass" and num_classes > 2
    if how == "noisy-or" and (nominal or task == "regression"):
        raise UserError(
            f"aggregate=noisy-or: a {task} task has no class whose presence in a single slice "
            "decides; choose mean or max"
        )


def aggregate(
    probs: ArrayLike, studies: ArrayLike, how: str, *, task: Task, positive: int | None = None
) -> Floats:
    """Return the probabilities of studies from those of their slices p_s.

    mean is the mean over the slices. The others say that a study has what one of its slices has:

    - multilabel, each label for itself: max is max p_s, noisy-or is 1 − Π (1 − p_s), which holds if
      the slices err independently (J. Pearl, "Probabilistic reasoning in intelligent systems",
      1988, section 4.3.2).
    - binary: so for the positive class; the other one gets the rest.
    - ordinal: so for each P(grade ≥ k), which makes the study's grade the highest of its slices'.
      noisy-or is the distribution of the highest of independent grades.
    - multiclass has neither order nor a class that is sought: max is the highest probability of
      each class, divided by their sum; there is no noisy-or.
    - regression: max is the highest prediction; there is no noisy-or.

    Args:
        probs: (N, K) probabilities of the slices; in regression predictions.
        studies: (N,) int, the number 0 … M-1 of each slice's study, in any order; none is left out.
        how: One of `AGGREGATIONS`.
        task: One of `medcnn.objective.TASKS`.
        positive: The class that is sought where there are two; None for the last.

    Returns:
        (M, K) float64.

    Raises:
        UserError: An aggregation that there is not, or not for this task.

    Example:
        >>> slices = [[0.8, 0.2], [0.5, 0.5], [0.9, 0.1]]
        >>> aggregate(slices, [0, 0, 1], "noisy-or", task="binary", positive=1).round(2)
        array([[0.4, 0.6],
               [0.9, 0.1]])
    """
    probs = np.asarray(probs, np.float64)
    check_aggregation(how, task, probs.shape[1])
    if how == "mean":
        return _over_slices(np.add, probs, studies) / np.bincount(np.asarray(studies))[:, None]
    if task == "multiclass" and probs.shape[1] > 2:
        highest = _over_slices(np.maximum, probs, studies)
        return highest / highest.sum(1, keepdims=True)
    if task in ("multilabel", "regression"):
        return _some_slice(probs, studies, how)
    if probs.shape[1] == 2 and positive == 0:
        return aggregate(probs[:, ::-1], studies, how, task=task)[:, ::-1]
    at_least = probs[:, ::-1].cumsum(1)[:, -2::-1].clip(max=1)  # P(grade ≥ k), k = 1 … K-1
    at_least = _some_slice(at_least, studies, how)
    return -np.diff(at_least, prepend=1, append=0)


def study_labels(
    labels: NDArray[Any], studies: ArrayLike, names: Sequence[object], what: str = "study"
) -> NDArray[Any]:
    """Return the labels of M studies, which are those of all their slices that are known.

    Args:
        labels: (N,) class indices or (N, K) of 0 and 1, -1 for unknown; or float, NaN for unknown.
        studies: As in `aggregate`.
        names: (M,) of the studies, for messages.
        what: study, or patient where all images of one are joined.

    Raises:
        UserError: Two slices of a study contradict each other.
    """
    unknown: Bools = np.isnan(labels) if labels.dtype.kind == "f" else labels == UNKNOWN
    extreme = np.inf if labels.dtype.kind == "f" else np.iinfo(labels.dtype).max
    lowest = _over_slices(np.minimum, np.where(unknown, extreme, labels), studies)
    highest = _over_slices(np.maximum, np.where(unknown, -extreme, labels), studies)
    apart = (lowest < highest).reshape(len(lowest), -1).any(1)
    if apart.any():
        if what == "patient":
            raise UserError(f"{int(apart.sum())} patients have images of different labels")
        raise UserError(
            f"column study: the slices of {names[int(apart.argmax())]} have different labels "
            f"({int(apart.sum())} such studies); it joins the slices of a volume, which has one "
            "label: where slices are labelled one by one, leave it out (dataset.columns.study=null)"
        )
    nothing = np.nan if labels.dtype.kind == "f" else UNKNOWN
    return np.where(lowest > highest, nothing, lowest).astype(labels.dtype)


def _some_slice(probs: Floats, studies: ArrayLike, how: str) -> Floats:
    """Return the probability that a slice at least has it, (M, K)."""
    if how == "max":
        return _over_slices(np.maximum, probs, studies)
    return 1 - _over_slices(np.multiply, 1 - probs, studies)


def _over_slices(combine: np.ufunc, values: NDArray[Any], studies: ArrayLike) -> NDArray[Any]:
    """Return the rows (N, …) of each study combined: (M, …)."""
    numbers = np.asarray(studies)
    order = numbers.argsort(kind="stable")
    starts = np.searchsorted(numbers[order], np.arange(numbers.max() + 1))
    combined: NDArray[Any] = combine.reduceat(values[order], starts, axis=0)
    return combined
