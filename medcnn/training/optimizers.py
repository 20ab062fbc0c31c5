"""Optimisers that PyTorch doesn't have."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from medcnn.errors import UserError, check_whole_number
from medcnn.jobs.settings.values import is_number
from medcnn.nets.chunks import uncounted

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]


class Lion(Optimizer):
    """Steps of one size, in the direction of the sign of a mean of gradients.

    X. Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2:
    w ← w − η (sign(β₁ m + (1 − β₁) g) + λ w), then m ← β₂ m + (1 − β₂) g. Its learning rate is
    to be 3 to 10 times lower than that of AdamW, its weight decay as many times higher (section 5).

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate η.
        betas: β₁ and β₂.
        weight_decay: λ.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        pair = isinstance(betas, Sequence) and len(betas) == 2
        if not pair or not all(is_number(beta) and 0 <= beta < 1 for beta in betas):
            raise UserError(f"optimizer.betas={betas}: give two numbers, at least 0 and below 1")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; returns what the closure gives."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            first, second = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["mean"] = torch.zeros_like(weight)
                mean = state["mean"]
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(mean.lerp(weight.grad, 1 - first).sign_(), alpha=-group["lr"])
                mean.lerp_(weight.grad, 1 - second)
        return loss


class SharpnessAware(Optimizer):
    """A step by the gradient where the loss is highest nearby: to be put before an optimiser.

    P. Foret et al., "Sharpness-aware minimization for efficiently improving generalization", 2021,
    algorithm 1: at w the gradient g is taken, then at w + ρ g / ‖g‖ (eq. 2) the gradient by which
    the optimiser steps from w. So a step takes twice the time. It has no state of its own.
    """

    rho: float
    climbed = False  # the weights are those of the second gradient

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; returns the loss at w."""
        if closure is None:
            raise ValueError("SAM needs a closure, which it calls twice")
        with torch.enable_grad():
            loss = closure()
        weights = [weight for group in self.param_groups for weight in group["params"]]
        weights = [weight for weight in weights if weight.grad is not None]
        before = [weight.clone() for weight in weights]
        norm = torch.stack([weight.grad.norm() for weight in weights]).norm()
        for weight in weights:
            weight.add_(weight.grad * (self.rho / (norm + 1e-12)))
        self.climbed = True
        try:
            with torch.enable_grad():
                closure()
        finally:
            self.climbed = False
            for weight, value in zip(weights, before, strict=True):
                weight.copy_(value)
        super().step()
        return loss


class _SAMofSGD(SharpnessAware, SGD):
    """`SharpnessAware` before SGD."""


class _SAMofAdamW(SharpnessAware, AdamW):
    """`SharpnessAware` before AdamW."""


def sam(
    params: Parameters,
    *,
    base: str,
    rho: float,
    lr: float,
    weight_decay: float,
    momentum: float = 0.9,
) -> SharpnessAware:
    """Return sharpness-aware minimisation; see `SharpnessAware`.

    Args:
        params: Parameters, or groups of them.
        base: What steps: ``sgd``, with Nesterov's momentum, or ``adamw``.
        rho: How far the second gradient is from the weights.
        lr: Learning rate.
        weight_decay: Of the base.
        momentum: Of sgd.

    Raises:
        UserError: Another base, or a rho that isn't above 0.
    """
    if base not in ("sgd", "adamw"):
        raise UserError(f"optimizer.base={base}: choose one of sgd, adamw")
    if not is_number(rho) or rho <= 0:
        raise UserError(f"optimizer.rho={rho}: give a number above 0")
    made: SharpnessAware
    if base == "sgd":
        more = {"momentum": momentum, "nesterov": momentum > 0, "weight_decay": weight_decay}
        made = _SAMofSGD(params, lr=lr, **more)  # type: ignore[arg-type]
    else:
        made = _SAMofAdamW(params, lr=lr, weight_decay=weight_decay)
    made.rho = rho
    return made


@contextmanager
def second_pass(net: nn.Module, optimizers: list[Optimizer]) -> Iterator[bool]:
    """Keep a pass for the second gradient of SAM from counting in the statistics of batch norms.

    Yields:
        Whether it is one.
    """
    second = any(getattr(optimizer, "climbed", False) for optimizer in optimizers)
    with uncounted(net) if second else nullcontext():
        yield second


def schedule_free(
    params: Parameters, *, base: str, lr: float, weight_decay: float, warmup_steps: int
) -> Optimizer:
    """Return an optimiser that needs no schedule, as it averages its weights (Meta's package).

    A. Defazio et al., "The road less scheduled", 2024, algorithm 1. `OptimizerModes` has the
    averaged weights validated and saved.

    Args:
        params: Parameters, or groups of them.
        base: ``adamw`` or ``sgd``.
        lr: Learning rate.
        weight_decay: Taken at the point of the gradient.
        warmup_steps: Steps in which the rate rises linearly.

    Raises:
        UserError: The package isn't installed, another base, or warmup_steps that can't be.
    """
    kinds = {"adamw": "AdamWScheduleFree", "sgd": "SGDScheduleFree"}
    check_whole_number("optimizer.warmup_steps", warmup_steps, least=0)
    if base not in kinds:
        raise UserError(f"optimizer.base={base}: choose one of {', '.join(kinds)}")
    try:
        import schedulefree
    except ImportError as error:
        raise UserError(
            'optimizer=schedule_free needs a further package: pip install "medcnn[schedulefree]"'
        ) from error
    options = {"lr": lr, "weight_decay": weight_decay, "warmup_steps": warmup_steps}
    made: Optimizer = getattr(schedulefree, kinds[base])(params, **options)
    return made
