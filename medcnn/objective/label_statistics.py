"""What a loss takes from the labels of the training split: weights, shares, standardisation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from medcnn.errors import UserError
from medcnn.objective.labels import Task, known

NO_CLASSES = "objective.class_weights: a regression has no classes to weigh; set it to null"
BETA = 0.999  # of `effective_weights`, among the values that its paper tries


def balanced_weights(labels: Tensor, task: Task, num_classes: int) -> list[float]:
    """Return weights that give every class the same share of the loss.

    Args:
        labels: (N,) class indices, or for multi-label data (N, K) of 0 and 1; unknown ones (see
            `known`) don't count.
        task: One of `TASKS` but regression.
        num_classes: K.

    Returns:
        N / (K · N_k) for each class; multi-label: negatives / positives of each label. A class
        without a sample gets 1.

    Raises:
        UserError: A regression has no classes.
    """
    counts, rest = _counts(labels, task, num_classes)
    if task == "multilabel":
        return torch.where(counts > 0, rest / counts.clamp(min=1), 1.0).tolist()
    total = int(counts.sum())
    return torch.where(counts > 0, total / (num_classes * counts.clamp(min=1)), 1.0).tolist()


def effective_weights(labels: Tensor, task: Task, num_classes: int) -> list[float]:
    """Return weights by the effective number of samples, E_n = (1 − β^n) / (1 − β), β = 0.999.

    Samples of a class overlap, so that each further one adds less: of a few E_n is nearly n, as in
    `balanced_weights`, and it never passes 1,000 (Y. Cui, M. Jia, T.-Y. Lin, Y. Song, S. Belongie,
    "Class-balanced loss based on effective number of samples", CVPR 2019, eq. 2 and 5).

    Args: As `balanced_weights`.

    Returns:
        Proportional to 1 / E_n of each class, with sum K; multi-label: E of the negatives / E of
        the positives of each label. A class without a sample gets 1.

    Raises:
        UserError: A regression has no classes.
    """
    counts, rest = (1 - BETA ** n.double() for n in _counts(labels, task, num_classes))
    if task == "multilabel":
        return torch.where(counts > 0, rest / counts.clamp(min=1 - BETA), 1.0).tolist()
    inverse = torch.where(counts > 0, 1 / counts.clamp(min=1 - BETA), 0.0)
    there = (counts > 0).sum()
    return torch.where(counts > 0, there * inverse / inverse.sum(), 1.0).tolist()


def class_prior(labels: Tensor, task: Task, num_classes: int) -> list[float]:
    """Return the share of each class among the known labels; multi-label: of 1 in each label.

    Args: As `balanced_weights`.

    Returns:
        K numbers between 0 and 1, neither included: a class counts as half a sample at least, and
        so does what isn't of it.
    """
    counts, rest = _counts(labels, task, num_classes)
    counts, rest = counts.clamp(min=0.5), rest.clamp(min=0.5)
    return (counts / (counts + rest)).tolist()


def _counts(labels: Tensor, task: Task, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the known samples (K,) of each class, or with each label, and those without."""
    if task == "regression":
        raise UserError(NO_CLASSES)
    if task == "multilabel":
        positives, negatives = ((labels == value).sum(0).float() for value in (1, 0))
        return positives, negatives
    labels = labels[known(labels)]
    counts = torch.bincount(labels, minlength=num_classes).float()
    return counts, len(labels) - counts


def target_statistics(targets: Tensor, names: Sequence[str]) -> dict[str, list[float]]:
    """Return mean and standard deviation by which the targets of a regression are standardised.

    Args:
        targets: (N, K) float, NaN for unknown; of the training split alone.
        names: Of the K targets.

    Returns:
        ``{"mean": […], "std": […]}`` of what is known, K numbers each; the standard deviation of a
        target that never changes is 1.

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
