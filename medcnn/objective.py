"""What a label means: loss, probabilities, decision, and the score that a map explains."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medcnn.errors import UserError

Task = Literal["binary", "multiclass", "multilabel", "ordinal", "regression"]
TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel", "ordinal", "regression")
UNKNOWN = -1  # a label that isn't known; in regression NaN


class Objective(nn.Module):
    r"""Turns the logits of a net into a loss, probabilities, a decision and a score to explain.

    | task       | logits            | probabilities of the K classes           |
    |------------|-------------------|------------------------------------------|
    | binary     | 1: positive class | sigmoid, and its complement              |
    | multiclass | K                 | softmax                                  |
    | multilabel | K                 | sigmoid of each                          |
    | ordinal    | K-1: P(y>k\|y≥k)   | continuation ratios (Shi et al. 2021)    |

    The ordinal form is CORN (X. Shi, W. Cao, S. Raschka, "Deep neural networks for rank-consistent
    ordinal regression based on conditional probabilities", 2021, eq. 4-6): its cumulative
    probabilities fall with k by construction.

    Args:
        task: One of `TASKS`.
        num_classes: K, at least 2 (at least 1 for multilabel).
        positive: The class that the single logit of a binary task speaks for.
        class_weights: K factors of the loss, one a class (multi-label: of its positive term);
            None for all ones.

    Raises:
        UserError: Unknown task, or a count of classes or weights that doesn't fit it.
    """

    class_weights: Tensor

    def __init__(
        self,
        task: Task,
        num_classes: int,
        *,
        positive: int | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if task not in TASKS:
            raise UserError(f"objective.task={task}: choose one of {', '.join(TASKS)}")
        if num_classes < (1 if task == "multilabel" else 2):
            raise UserError(f"objective {task} needs at least 2 classes, got {num_classes}")
        if task == "binary" and num_classes != 2:
            raise UserError(f"objective binary needs 2 classes, got {num_classes}; use multiclass")
        if class_weights is not None and len(class_weights) != num_classes:
            raise UserError(
                f"objective.class_weights holds {len(class_weights)} numbers for "
                f"{num_classes} classes"
            )
        self.task: Task = task
        self.num_classes = num_classes
        self.positive = 1 if positive is None else positive
        weights = torch.ones(num_classes) if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("class_weights", weights.float(), persistent=False)

    @property
    def num_outputs(self) -> int:
        """How many logits the net has to give."""
        return {"binary": 1, "ordinal": self.num_classes - 1}.get(self.task, self.num_classes)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss, scalar, of logits (N, outputs) and labels (N,) or, multilabel, (N, K)."""
        factors = self.class_weights.to(logits.device)  # logits of a whole epoch lie on the CPU
        if self.task == "multiclass":
            return F.cross_entropy(logits, labels, weight=factors)
        if self.task == "multilabel":
            return F.binary_cross_entropy_with_logits(
                logits, labels.to(logits.dtype), pos_weight=factors
            )
        weights = factors[labels]
        if self.task == "binary":
            truth = (labels == self.positive).to(logits.dtype)
            losses = F.binary_cross_entropy_with_logits(logits[:, 0], truth, reduction="none")
        else:
            losses = -self._ordinal_log_probs(logits).gather(1, labels[:, None])[:, 0]
        return (weights * losses).sum() / weights.sum()

    def probs(self, logits: Tensor) -> Tensor:
        """Probabilities (N, K) in the order of the class names; rows sum to 1 but in multilabel."""
        logits = logits.float()
        if self.task == "multiclass":
            return logits.softmax(1)
        if self.task == "multilabel":
            return logits.sigmoid()
        if self.task == "ordinal":
            return self._ordinal_log_probs(logits).exp()
        signed = torch.cat([-logits, logits], 1).sigmoid()  # negative class, positive class
        return signed if self.positive == 1 else signed.flip(1)

    def decide(self, probs: Tensor) -> Tensor:
        """Decisions from probabilities (N, K).

        Multi-label: (N, K) of 0 and 1, at 0.5. Ordinal: (N,), the median class. Otherwise: (N,),
        the most probable class.
        """
        if self.task == "multilabel":
            return (probs >= 0.5).long()
        if self.task == "ordinal":
            return (probs.cumsum(1)[:, :-1] < 0.5).sum(1)
        return probs.argmax(1)

    def score(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The scalar (N,) that a map for class targets (N,) explains.

        The logit of the class; for a binary task the single logit with the sign of the class, for
        an ordinal one the log-probability of the class.
        """
        if self.task == "binary":
            return torch.where(targets == self.positive, logits[:, 0], -logits[:, 0])
        if self.task == "ordinal":
            logits = self._ordinal_log_probs(logits)
        return logits.gather(1, targets[:, None])[:, 0]

    @staticmethod
    def _ordinal_log_probs(logits: Tensor) -> Tensor:
        """Log-probabilities (N, K) of y = k: passes every threshold below k, fails the one at k."""
        passed = F.logsigmoid(logits).cumsum(1)
        failed = F.logsigmoid(-logits)
        before = F.pad(passed, (1, 0))[:, :-1]
        return torch.cat([before + failed, passed[:, -1:]], 1)


def balanced_weights(labels: Tensor, task: Task, num_classes: int) -> list[float]:
    """Weights that give every class the same share of the loss.

    Args:
        labels: (N,) class indices, or for multi-label data (N, K) of 0 and 1.
        task: One of `TASKS`.
        num_classes: K.

    Returns:
        N / (K · N_k) for each class; multi-label: negatives / positives of each label. A class
        without a sample gets 1.
    """
    if task == "multilabel":
        positives = labels.sum(0).float()
        ratio = (len(labels) - positives) / positives.clamp(min=1)
        return torch.where(positives > 0, ratio, 1.0).tolist()
    counts = torch.bincount(labels, minlength=num_classes).float()
    return torch.where(counts > 0, len(labels) / (num_classes * counts.clamp(min=1)), 1.0).tolist()
