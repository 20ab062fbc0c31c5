"""The meaning of a label: loss, probabilities, decision, and the score that a map explains."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medcnn.errors import UserError

Task = Literal["binary", "multiclass", "multilabel", "ordinal", "regression"]
TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel", "ordinal", "regression")
UNKNOWN = -1  # a label that isn't known; in regression NaN
_NO_CLASSES = "objective.class_weights: a regression has no classes to weigh; set it to null"


class Objective(nn.Module):
    r"""The meaning of a net's logits: loss, probabilities, decision, and the score to explain.

    | task       | logits            | probabilities of the K classes           |
    |------------|-------------------|------------------------------------------|
    | binary     | 1: positive class | sigmoid, and its complement              |
    | multiclass | K                 | softmax                                  |
    | multilabel | K                 | sigmoid of each                          |
    | ordinal    | K-1: P(y>k\|y≥k)   | continuation ratios (Shi et al. 2021)    |
    | regression | K: standardised   | none; instead the K predicted values     |

    The ordinal form is CORN (X. Shi, W. Cao, S. Raschka, "Deep neural networks for rank-consistent
    ordinal regression based on conditional probabilities", 2021, eq. 4-6): its cumulative
    probabilities fall with k by construction.

    A regression has K targets in the place of classes. Its net gives them standardised, by their
    mean and standard deviation in the training split, so that targets of any unit weigh alike.

    Args:
        task: One of `TASKS`.
        num_classes: K, at least 2 (at least 1 for multilabel and regression).
        positive: The class that the single logit of a binary task speaks for.
        class_weights: K factors of the loss, one a class (multi-label: of its positive term);
            None for all ones.
        target_mean: Mean of each of the K targets of a regression; None for zeros.
        target_std: Standard deviation of each, above 0; None for ones.

    Raises:
        UserError: Unknown task, or a number of classes or weights that doesn't fit it.
    """

    class_weights: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        task: Task,
        num_classes: int,
        *,
        positive: int | None = None,
        class_weights: Sequence[float] | None = None,
        target_mean: Sequence[float] | None = None,
        target_std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        _check_counts(task, num_classes, class_weights)
        self.task: Task = task
        self.num_classes = num_classes
        self.positive = 1 if positive is None else positive
        given = {
            "class_weights": class_weights or [1.0] * num_classes,
            "target_mean": target_mean or [0.0] * num_classes,
            "target_std": target_std or [1.0] * num_classes,
        }
        for name, values in given.items():
            self.register_buffer(name, torch.tensor(values).float(), persistent=False)

    @property
    def num_outputs(self) -> int:
        """Number of logits that the net has to give."""
        return {"binary": 1, "ordinal": self.num_classes - 1}.get(self.task, self.num_classes)

    @property
    def monitor(self) -> Literal["auroc", "r2"]:
        """The figure of the validation, the higher the better, that tells how good a net is."""
        return "r2" if self.task == "regression" else "auroc"

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss, scalar, over what is known of the labels; 0 if nothing is.

        Args:
            logits: (N, outputs).
            labels: (N,), or (N, K) in multilabel and regression, with unknown ones (see `known`).
        """
        there = known(labels)
        filled = torch.where(there, labels, 0)  # a number that does no harm, and counts for nothing
        factors = self.class_weights.to(logits.device)  # logits of a whole epoch lie on the CPU
        weights = factors[filled] * there if labels.ndim == 1 else there.to(logits.dtype)
        if self.task == "multiclass":
            losses = F.cross_entropy(logits, filled, reduction="none")
        elif self.task == "multilabel":
            losses = F.binary_cross_entropy_with_logits(
                logits, filled.to(logits.dtype), pos_weight=factors, reduction="none"
            )
        elif self.task == "binary":
            truth = (labels == self.positive).to(logits.dtype)
            losses = F.binary_cross_entropy_with_logits(logits[:, 0], truth, reduction="none")
        elif self.task == "ordinal":
            losses = -self._ordinal_log_probs(logits).gather(1, filled[:, None])[:, 0]
        else:
            mean, std = self.target_mean.to(logits.device), self.target_std.to(logits.device)
            losses = (logits - (filled - mean) / std).square()  # of standardised targets
        total = weights.sum()
        return (weights * losses).sum() / torch.where(total > 0, total, 1.0)

    def probs(self, logits: Tensor) -> Tensor:
        """Return probabilities (N, K) in the order of the class names.

        Rows sum to 1 but in multilabel. In regression, which has none, the predictions (N, K) in
        the labels' own units: what is done with probabilities elsewhere (collected, averaged,
        written) is done with these.

        float64 of float64 logits, else float32, in which a logit of 17 is the probability 1.
        """
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self.task == "regression":
            return logits * self.target_std.to(logits.device) + self.target_mean.to(logits.device)
        if self.task == "multiclass":
            return logits.softmax(1)
        if self.task == "multilabel":
            return logits.sigmoid()
        if self.task == "ordinal":
            return self._ordinal_log_probs(logits).exp()
        signed = torch.cat([-logits, logits], 1).sigmoid()  # negative class, positive class
        return signed if self.positive == 1 else signed.flip(1)

    def decide(self, probs: Tensor, thresholds: Sequence[float] | Tensor | None = None) -> Tensor:
        """Return decisions from probabilities (N, K); see `decide`."""
        return decide(probs, self.task, positive=self.positive, thresholds=thresholds)

    def explained(
        self, probs: Tensor, thresholds: Sequence[float] | Tensor | None = None
    ) -> Tensor:
        """Return the class (N,) that a map explains, from probabilities (N, K); see `decide`.

        That is the decision; of several labels the most probable, of several targets the first.
        """
        if self.task == "regression":
            return torch.zeros(len(probs), dtype=torch.int64, device=probs.device)
        return probs.argmax(1) if self.task == "multilabel" else self.decide(probs, thresholds)

    def score(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar (N,) that a map for class targets (N,) explains.

        The logit of the class; for a binary task the single logit with the sign of the class, for
        an ordinal one the log-probability of the class. In regression a target is an index into
        the K targets, and its score the net's standardised prediction of it.
        """
        if self.task == "binary":
            return torch.where(targets == self.positive, logits[:, 0], -logits[:, 0])
        if self.task == "ordinal":
            logits = self._ordinal_log_probs(logits)
        return logits.gather(1, targets[:, None])[:, 0]

    @staticmethod
    def _ordinal_log_probs(logits: Tensor) -> Tensor:
        """Return log P(y = k) (N, K): it passes every threshold below k and fails the one at k."""
        passed = F.logsigmoid(logits).cumsum(1)
        failed = F.logsigmoid(-logits)
        before = F.pad(passed, (1, 0))[:, :-1]
        return torch.cat([before + failed, passed[:, -1:]], 1)


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


def balanced_weights(labels: Tensor, task: Task, num_classes: int) -> list[float]:
    """Return weights of the K classes that give each the same share of the loss.

    They are N / (K · N_k); of several labels negatives / positives of each. A class without a
    sample gets 1.

    Args:
        labels: (N,) class indices, or (N, K) of 0 and 1; unknown ones (see `known`) don't count.
        task: One of `TASKS`; raises UserError at regression.
        num_classes: K.
    """
    if task == "regression":
        raise UserError(_NO_CLASSES)
    if task == "multilabel":
        positives, negatives = ((labels == value).sum(0).float() for value in (1, 0))
        return torch.where(positives > 0, negatives / positives.clamp(min=1), 1.0).tolist()
    labels = labels[known(labels)]
    counts = torch.bincount(labels, minlength=num_classes).float()
    return torch.where(counts > 0, len(labels) / (num_classes * counts.clamp(min=1)), 1.0).tolist()


def target_statistics(targets: Tensor, names: Sequence[str]) -> dict[str, list[float]]:
    """Return ``{"mean": […], "std": […]}`` by which K targets of a regression are standardised.

    The standard deviation of a target that never changes is 1.

    Args:
        targets: (N, K) float, NaN for unknown; of the training split alone.
        names: Of the K targets.

    Raises:
        UserError: Fewer than 2 known labels of a target, or an infinite one.
    """
    statistics: dict[str, list[float]] = {"mean": [], "std": []}
    for column, name in zip(targets.double().T, names, strict=True):
        values = column[known(column)]
        if len(values) < 2 or not values.isfinite().all():
            raise UserError(
                f"regression of {name}: the training split has {len(values)} known labels of it, "
                f"{int(values.isfinite().sum())} of them finite; it takes at least 2, all finite"
            )
        std = float(values.std(correction=0))
        statistics["mean"].append(float(values.mean()))
        statistics["std"].append(std if std > 0 else 1.0)
    return statistics


def _check_counts(task: Task, num_classes: int, class_weights: Sequence[float] | None) -> None:
    if task not in TASKS:
        raise UserError(f"objective.task={task}: choose one of {', '.join(TASKS)}")
    if num_classes < (1 if task in ("multilabel", "regression") else 2):
        raise UserError(f"objective {task} needs at least 2 classes, got {num_classes}")
    if task == "binary" and num_classes != 2:
        raise UserError(f"objective binary needs 2 classes, got {num_classes}; use multiclass")
    if class_weights is None:
        return
    if task == "regression":
        raise UserError(_NO_CLASSES)
    if len(class_weights) != num_classes:
        raise UserError(
            f"objective.class_weights holds {len(class_weights)} numbers for {num_classes} classes"
        )
