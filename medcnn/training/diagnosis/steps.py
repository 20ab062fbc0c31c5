"""Steps of training, outside a trainer."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from medcnn.data.row_batches import Batch
from medcnn.training.diagnosis.parts import Parts

Maker = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


def new_optimizer(parts: Parts, make: Maker) -> torch.optim.Optimizer:
    """Return an optimiser of the weights that a training would change."""
    optimizer = make(parts.module.groups())
    if (to_training := getattr(optimizer, "train", None)) is not None:  # schedule-free ones
        to_training()
    return optimizer


def weights_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return all parameters of an optimiser."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def do_step(parts: Parts, batch: Batch, optimizer: torch.optim.Optimizer) -> float:
    """Do a step as the training does, and return the loss before it."""

    def closure() -> float:
        optimizer.zero_grad()
        loss = parts.module.training_loss(batch)
        loss.backward()
        if clip := parts.cfg.trainer.gradient_clip_val:
            nn.utils.clip_grad_norm_(weights_of(optimizer), clip)
        return float(loss.detach())

    parts.objective.keep_within_bounds()
    return float(optimizer.step(closure))
