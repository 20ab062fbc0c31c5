"""The mean of two answers, as logits."""

import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.objective.labels import Task
from medcnn.objective.losses import continuation_log_probs

LOG_2 = 0.6931471805599453


def mean_logits(first: Tensor, second: Tensor, task: Task) -> Tensor:
    """Return logits (N, outputs) whose probabilities are the mean of those of two others.

    With p = (p₁ + p₂) / 2 of each class they are by task

    - binary, multilabel: log p − log(1 − p);
    - multiclass: log p_k, whose softmax is p;
    - ordinal: log P(y > k) − log P(y = k), by which the continuation ratios give p;
    - regression, which has no probabilities: the mean of the two predictions.

    Computed by sums of exponentials of logarithms, so that no probability is rounded to 0 or 1.

    Args:
        first: (N, outputs), as `medcnn.objective.Objective` takes them.
        second: As the first.
        task: Of an ordinal task with the loss ``corn``.

    Example:
        >>> both = mean_logits(torch.tensor([[0.0]]), torch.tensor([[20.0]]), "binary")
        >>> both.sigmoid()
        tensor([[0.7500]])
    """
    if task == "regression":
        return (first + second) / 2
    if task in ("binary", "multilabel"):
        yes = torch.logaddexp(F.logsigmoid(first), F.logsigmoid(second))
        no = torch.logaddexp(F.logsigmoid(-first), F.logsigmoid(-second))
        return yes - no
    if task == "multiclass":
        return torch.logaddexp(first.log_softmax(1), second.log_softmax(1)) - LOG_2
    logs = torch.logaddexp(continuation_log_probs(first), continuation_log_probs(second))
    above = logs.flip(1).logcumsumexp(1).flip(1)[:, 1:]  # log P(y > k), but for log 2
    return above - logs[:, :-1]
