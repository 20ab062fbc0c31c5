"""The speed of a training's steps, by a few of them."""

import time

import numpy as np
import torch
from torch import Tensor

from medcnn.jobs.hardware import autocast
from medcnn.training.diagnosis.parts import Parts
from medcnn.training.diagnosis.rate_test import batches
from medcnn.training.diagnosis.steps import new_optimizer

WARM_UP = 2  # steps that aren't counted: the first ones of a shape are slow
LONGEST, STEPS = 1.0, 8  # seconds and steps of a measurement


def seconds_an_image(parts: Parts) -> float:
    """Return the seconds that an image takes in training, by the median step.

    The module learns meanwhile, on its device.
    """
    parts.module.train()
    optimizer = new_optimizer(parts, parts.module.make_optimizer)
    taken: list[float] = []
    for stored in batches(parts):
        begun = time.perf_counter()
        if len(taken) == WARM_UP:
            start = begun
        _step(parts, stored, optimizer)
        if parts.module.device.type == "cuda":
            torch.cuda.synchronize()
        taken.append((time.perf_counter() - begun) / len(stored["row"]))
        counted = len(taken) - WARM_UP
        if counted >= STEPS or (counted > 0 and time.perf_counter() - start > LONGEST):
            break
    return float(np.median(taken[WARM_UP:]))


def _step(parts: Parts, batch: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    def closure() -> float:
        optimizer.zero_grad()
        with autocast(parts.cfg.trainer.precision, parts.module.device):
            loss = parts.module.training_loss(batch)
        loss.backward()
        return float(loss.detach())

    optimizer.step(closure)
