"""Learning-rate schedules over the whole training, in the form that Lightning takes."""

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from medcnn.errors import UserError


def cosine(optimizer: Optimizer, *, total_steps: int, warmup: float) -> dict[str, Any]:
    """Return a linear rise, then half a cosine to zero (Loshchilov and Hutter 2017, eq. 5).

    Args:
        optimizer: Its learning rate is the highest.
        total_steps: Optimiser steps of the whole training.
        warmup: Share of the steps, 0 … 1, in which the rate rises.
    """
    _check_share("warmup", warmup)
    rising = min(int(warmup * total_steps), total_steps - 1)
    falling = CosineAnnealingLR(optimizer, T_max=max(1, total_steps - rising))
    if rising < 1:
        return {"scheduler": falling, "interval": "step"}
    rise = LinearLR(optimizer, start_factor=1 / (rising + 1), total_iters=rising)
    return {"scheduler": SequentialLR(optimizer, [rise, falling], [rising]), "interval": "step"}


def onecycle(optimizer: Optimizer, *, total_steps: int, warmup: float) -> dict[str, Any]:
    """Return one cycle up and down (Smith and Topin 2018).

    Args:
        optimizer: Its learning rate is the highest.
        total_steps: Optimiser steps of the whole training.
        warmup: Share of the steps, 0 … 1, in which the rate rises.
    """
    _check_share("warmup", warmup)
    rates = [group["lr"] for group in optimizer.param_groups]
    total = total_steps + 1
    if abs(warmup * total - 1) < 1e-6:  # PyTorch's class divides by zero at a rise of no step
        warmup = 0.0
    cycle = OneCycleLR(optimizer, max_lr=rates, total_steps=total, pct_start=warmup)
    return {"scheduler": cycle, "interval": "step"}


def step(
    optimizer: Optimizer, *, total_steps: int, milestones: Sequence[float], factor: float
) -> dict[str, Any]:
    """Multiply the rate at each milestone.

    Args:
        optimizer: Its learning rate is the first.
        total_steps: Optimiser steps of the whole training.
        milestones: Shares of the training, 0 … 1, after which the rate changes.
        factor: What it is multiplied by.
    """
    for share in milestones:
        _check_share("milestones", share)
    at = [max(1, round(share * total_steps)) for share in milestones]
    return {"scheduler": MultiStepLR(optimizer, at, gamma=factor), "interval": "step"}


def plateau(
    optimizer: Optimizer, *, total_steps: int, factor: float, patience: int
) -> dict[str, Any]:
    """Multiply the rate when the validation AUROC (of a regression R²) has stopped rising.

    Which of them ``monitor`` names is left to the classifier, which knows the task.

    Args:
        optimizer: Its learning rate is the first.
        total_steps: Not used; every schedule is called with it.
        factor: What it is multiplied by.
        patience: Epochs without a better value before that.
    """
    if not 0 < factor < 1:
        raise UserError(f"scheduler.factor={factor}: between 0 and 1")
    scheduler = ReduceLROnPlateau(optimizer, mode="max", factor=factor, patience=patience)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": None, "strict": False}


def _check_share(key: str, value: float) -> None:
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"scheduler.{key}={value}: a share of the training, 0 … 1")
