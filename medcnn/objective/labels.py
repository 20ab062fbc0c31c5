"""The labels of each task: which are known, and the decisions that are made of probabilities."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Task = Literal["binary", "multiclass", "multilabel", "ordinal", "regression"]
TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel", "ordinal", "regression")
UNKNOWN = -1  # a label that isn't known; in regression NaN


def decide(
    probs: Tensor,
    task: Task,
    *,
    positive: int = 1,
    thresholds: Sequence[float] | Tensor | None = None,
) -> Tensor:
    """Return decisions from probabilities: whatever medcnn writes, draws or counts is of these.

    Args:
        probs: (N, K).
        task: One of `TASKS`.
        positive: The class that is sought, of two.
        thresholds: From which probability on the positive class is called (1,), or each of K labels
            (K,); or (N, 1) and (N, K), where each image has its own. NaN, and None for all, are
            0.5. Other tasks have none.

    Returns:
        Binary: (N,) class indices. Multi-label: (N, K) of 0 and 1. Ordinal: (N,), the median class.
        Regression: (N, K), the predictions themselves. Multiclass: (N,), the most probable class.

    Example:
        >>> decide(torch.tensor([[0.7, 0.3], [0.9, 0.1]]), "binary", thresholds=[0.25])
        tensor([1, 0])
    """
    if task == "regression":
        return probs
    if task == "ordinal":
        return (probs.cumsum(1)[:, :-1] < 0.5).sum(1)
    if task == "multiclass":
        return probs.argmax(1)
    least = torch.as_tensor([0.5] if thresholds is None else thresholds, dtype=probs.dtype)
    least = least.nan_to_num(0.5).to(probs.device)
    if task == "multilabel":
        return (probs >= least).long()
    called = probs[:, positive] >= least[..., 0]
    return torch.where(called, positive, 1 - positive)


def known(labels: Tensor) -> Tensor:
    """Return the labels that are known, bool of their shape: not `UNKNOWN`, or as floats not NaN.

    >>> known(torch.tensor([2, -1])), known(torch.tensor([[1.5], [torch.nan]]))
    (tensor([ True, False]), tensor([[ True],
            [False]]))
    """
    return ~labels.isnan() if labels.is_floating_point() else labels != UNKNOWN
