"""Learning-rate schedules over the whole training, in the form that Lightning takes."""

from collections.abc import Callable, Sequence
from math import cos, pi
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from medcnn.errors import UserError, check_whole_number
from medcnn.jobs.settings.values import is_number


def cosine(optimizer: Optimizer, *, total_steps: int, warmup: float) -> dict[str, Any]:
    """Return a linear rise, then half a cosine to zero (Loshchilov and Hutter 2017, eq. 5).

    Args:
        optimizer: Its learning rate is the highest.
        total_steps: Optimiser steps of the whole training.
        warmup: Share of the steps, 0 … 1, in which the rate rises.
    """
    rising = _rising(total_steps, warmup)
    falling = CosineAnnealingLR(optimizer, T_max=max(1, total_steps - rising))
    if rising < 1:
        return {"scheduler": falling, "interval": "step"}
    rise = LinearLR(optimizer, start_factor=1 / (rising + 1), total_iters=rising)
    return {"scheduler": SequentialLR(optimizer, [rise, falling], [rising]), "interval": "step"}


def cosine_restarts(
    optimizer: Optimizer, *, total_steps: int, cycles: int, growth: float, warmup: float
) -> dict[str, Any]:
    """Return half a cosine to zero in each cycle, which the next begins from the highest rate.

    I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, eq. 5.
    The cycles end with the training, and a rise takes place within the first.

    Args:
        optimizer: Its learning rate is the highest.
        total_steps: Optimiser steps of the whole training.
        cycles: How many.
        growth: Length of a cycle as a multiple of that of the one before (there T_mult).
        warmup: Share of the steps, 0 … 1, in which the rate rises linearly.
    """
    check_whole_number("scheduler.cycles", cycles, least=1)
    if not is_number(growth) or not 1 <= growth <= 10:
        raise UserError(f"scheduler.growth={growth}: a multiple, 1 … 10")
    lengths = [growth**k for k in range(cycles)]
    ends = [round(total_steps * sum(lengths[: k + 1]) / sum(lengths)) for k in range(cycles)]

    def share(step: int) -> float:
        start = max((end for end in ends if end <= step), default=0)
        end = min((end for end in ends if end > step), default=total_steps)
        return (1 + cos(pi * min(1, (step - start) / max(1, end - start)))) / 2

    return _by_step(optimizer, share, total_steps, warmup)


def polynomial(
    optimizer: Optimizer, *, total_steps: int, power: float, warmup: float
) -> dict[str, Any]:
    """Return a linear rise, then a fall to zero as a power of what is left of the training.

    So do DeepLab (L.-C. Chen et al. 2017, section 4.1) and nnU-Net, with a power of 0.9.

    Args:
        optimizer: Its learning rate is the highest.
        total_steps: Optimiser steps of the whole training.
        power: 1 for a straight line.
        warmup: Share of the steps, 0 … 1, in which the rate rises.
    """
    if not is_number(power) or power <= 0:
        raise UserError(f"scheduler.power={power}: a number above 0")
    rising = _rising(total_steps, warmup)

    def share(step: int) -> float:
        left = (total_steps - max(step, rising)) / (total_steps - rising)
        return float(max(0.0, left) ** power)

    return _by_step(optimizer, share, total_steps, warmup)


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
    cycle = OneCycleLR(optimizer, max_lr=rates, total_steps=total, pct_start=float(warmup))
    return {"scheduler": cycle, "interval": "step"}


def step(
    optimizer: Optimizer,
    *,
    total_steps: int,
    milestones: Sequence[float],
    factor: float,
    warmup: float = 0.0,
) -> dict[str, Any]:
    """Multiply the rate at each milestone.

    Args:
        optimizer: Its learning rate is the first.
        total_steps: Optimiser steps of the whole training.
        milestones: Shares of the training, 0 … 1, after which the rate changes.
        factor: What it is multiplied by.
        warmup: Share of the steps, 0 … 1, in which the rate rises linearly to the first.
    """
    if not isinstance(milestones, Sequence) or isinstance(milestones, str):
        raise UserError(
            f"scheduler.milestones={milestones}: give shares of the training in brackets"
        )
    for share in milestones:
        _check_share("milestones", share)
    if not is_number(factor) or factor <= 0:
        raise UserError(f"scheduler.factor={factor}: give a number above 0")
    _check_share("warmup", warmup)
    at = [max(1, round(share * total_steps)) for share in milestones]
    if warmup:
        return _by_step(
            optimizer, lambda step: factor ** sum(step >= one for one in at), total_steps, warmup
        )
    return {"scheduler": MultiStepLR(optimizer, at, gamma=factor), "interval": "step"}


class Plateau(ReduceLROnPlateau):
    """PyTorch's schedule, with a linear rise of the rate over the first steps of the optimiser.

    The rise multiplies the rate, as a plateau does, so that neither has to know of the other.
    """

    def __init__(self, optimizer: Optimizer, rising: int, **options: Any) -> None:
        super().__init__(optimizer, **options)
        self.rising, self.risen = rising, 0
        self._multiply(1 / (rising + 1))
        optimizer.register_step_post_hook(lambda *_: self._rise())

    def _rise(self) -> None:
        if self.risen < self.rising:
            self.risen += 1
            self._multiply((self.risen + 1) / self.risen)

    def _multiply(self, factor: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] *= factor


def plateau(
    optimizer: Optimizer, *, total_steps: int, factor: float, patience: int, warmup: float = 0.0
) -> dict[str, Any]:
    """Multiply the rate when the validation AUROC (of a regression R²) has stopped rising.

    Which of them ``monitor`` names is left to the classifier, which knows the task.

    Args:
        optimizer: Its learning rate is the first.
        total_steps: Optimiser steps of the whole training.
        factor: What it is multiplied by.
        patience: Epochs without a better value before that.
        warmup: Share of the steps, 0 … 1, in which the rate rises linearly to the first.
    """
    if not is_number(factor) or not 0 < factor < 1:
        raise UserError(f"scheduler.factor={factor}: give a number between 0 and 1")
    check_whole_number("scheduler.patience", patience, least=0)
    rising = _rising(total_steps, warmup)
    scheduler = Plateau(optimizer, rising, mode="max", factor=factor, patience=patience)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": None, "strict": False}


def _by_step(
    optimizer: Optimizer, share: Callable[[int], float], total_steps: int, warmup: float
) -> dict[str, Any]:
    """Return the rates whose share of the highest is a function of the step, with a linear rise."""
    rising = _rising(total_steps, warmup)

    def rate(step: int) -> float:
        return share(step) * min(1.0, (step + 1) / (rising + 1))

    return {"scheduler": LambdaLR(optimizer, rate), "interval": "step"}


def _rising(total_steps: int, warmup: float) -> int:
    """Return the steps of a rise, at most all but the last; raise UserError for no share."""
    _check_share("warmup", warmup)
    return min(int(warmup * total_steps), total_steps - 1)


def _check_share(key: str, value: float) -> None:
    if not is_number(value) or not 0 <= value <= 1:
        raise UserError(f"scheduler.{key}={value}: a share of the training, 0 … 1")
