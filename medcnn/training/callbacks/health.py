"""health.csv: how a training fares, every few steps."""

import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from medcnn.jobs.atomic_files import write_csv
from medcnn.jobs.notes import note
from medcnn.nets.base import stages_of
from medcnn.report.judge import judge
from medcnn.training.callbacks.history import History, rows_before
from medcnn.training.compiled import is_compiled


class Health(Callback):
    """A CSV file of what a careful teacher watches, a row every few steps and one an epoch.

    The norm of the gradient before it is clipped; by stage the size of a step beside that of the
    weights, ‖Δw‖ / ‖w‖, which in a sound training is near 1e-3; by stage the share of channels that
    are zero for all images of a batch (not of a compiled net); the share of time in which the net
    waits for its next batch, from the end of a step to the start of the next; images a second;
    memory. Loggers get the same.
    Nothing of it touches the training: its weights are the same to the bit.

    What is wrong by these figures (`medcnn.report.judge`) is said, each thing once.

    Args:
        path: The file. A resumed run keeps the rows of the epochs before.
        every: Optimiser steps from row to row.
        history: Has the rows of metrics.csv; called before this one.
    """

    def __init__(self, path: Path, every: int, history: History) -> None:
        self.path, self.every, self.history = path, every, history
        self.said: set[str] = set()
        self.rows: list[dict[str, Any]] = []
        self.clock = Clock()
        self.step: Step | None = None  # the one that is looked at

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the rows of an interrupted run, up to where it goes on."""
        self.rows = rows_before(self.path, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.clock = Clock()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note how long the net has waited; where a row is due, begin to look."""
        self.clock.go_on(len(batch["row"]) * trainer.world_size)
        due = (batch_idx + 1) % (self.every * trainer.accumulate_grad_batches) == 0
        if due or trainer.is_last_batch:
            self.step = Step(pl_module.classifier.net)  # type: ignore[arg-type, union-attr]

    def on_before_optimizer_step(self, trainer: pl.Trainer, *_: Any) -> None:
        """Measure the gradient, not yet clipped."""
        if self.step is not None:
            self.step.measure_gradient()
            self.step.lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Add a row where one is due."""
        if self.step is not None:
            figures = self.step.figures(trainer.strategy)
            self.step = None
            figures |= self.clock.figures() | {"memory_gb": memory(pl_module.device)}
            row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, **figures}
            self.rows.append(row)
            for logger in trainer.loggers if trainer.is_global_zero else ():
                known = {f"health/{k}": v for k, v in figures.items() if v is not None}
                logger.log_metrics(known, step=trainer.global_step)
            self.clock.start()
        self.clock.stop(pl_module.device)

    def on_validation_start(self, *_: Any) -> None:
        """Stop the clock where the validation is in the midst of an epoch."""
        self.clock.pause()

    def on_validation_end(self, *_: Any) -> None:
        """Let it run again."""
        self.clock.resume()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file, and say what is wrong so far."""
        self._write(trainer)
        self._say(trainer, over=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what is wrong with the whole."""
        self._say(trainer, over=True)

    def on_exception(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write the rows up to the fault, which may tell why it came."""
        if self.step is not None:
            self.step.end()
        self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero and self.rows:
            write_csv(self.path, pd.DataFrame(self.rows))

    def _say(self, trainer: pl.Trainer, *, over: bool) -> None:
        if not trainer.is_global_zero:
            return
        tables = (pd.DataFrame(rows) for rows in (self.history.rows, self.rows))
        for about, line in judge(*tables, over=over):
            if about not in self.said:
                self.said.add(about)
                note(line)


class Step:
    """One step, looked at from before its forward pass to after its optimiser.

    Args:
        net: `features` and `head`.
    """

    def __init__(self, net: nn.Module) -> None:
        self.parts = {**stages_of(net), "head": getattr(net, "head", nn.Identity())}
        self.weights = {
            name: [p for p in part.parameters() if p.ndim > 1 and p.requires_grad]
            for name, part in self.parts.items()
        }
        self.weights = {name: values for name, values in self.weights.items() if values}
        self.before = {k: [p.detach().clone() for p in v] for k, v in self.weights.items()}
        self.net, self.gradient, self.lr = net, torch.tensor(math.nan), math.nan
        self.alive: dict[str, Tensor] = {}
        self.handles = [
            part.register_forward_hook(partial(self._look_at, name))
            for name, part in stages_of(net).items()
            if not is_compiled(net)  # which passes hooks by
            if any(p.requires_grad for p in part.parameters())  # of others features may be kept
        ]

    def _look_at(self, name: str, part: nn.Module, given: Any, made: Any) -> None:
        """Note which channels of a stage's output aren't zero everywhere."""
        if isinstance(made, Tensor) and made.ndim > 1:
            alive = (made.detach() != 0).any(0).reshape(made.shape[1], -1).any(1)
            self.alive[name] = alive | self.alive.get(name, False)

    def measure_gradient(self) -> None:
        """Take the norm of the whole gradient."""
        given = [p.grad for p in self.net.parameters() if p.grad is not None]
        self.gradient = _norm(given) if given else self.gradient

    def end(self) -> None:
        """Look no more."""
        for handle in self.handles:
            handle.remove()

    @torch.no_grad()
    def figures(self, strategy: Any) -> dict[str, float | None]:
        """Return the columns of a row that are of the step; after the optimiser."""
        self.end()
        ratios = {}
        for name, values in self.weights.items():
            size = _norm(values)
            torch._foreach_sub_(self.before[name], values)
            ratios[f"update/{name}"] = _norm(self.before[name]) / size
        dead = self._dead(strategy)
        found = {"gradient_norm": self.gradient, **ratios, **dead}
        device = next(self.net.parameters()).device
        numbers = torch.stack([value.to(device, torch.float32) for value in found.values()])
        named = zip(found, numbers.tolist(), strict=True)  # one wait for a GPU
        known = {name: value if math.isfinite(value) else None for name, value in named}
        return {"lr": self.lr, **known}

    def _dead(self, strategy: Any) -> dict[str, Tensor]:
        """Return the share of dead channels by stage, those that are so in all processes."""
        if not self.alive:
            return {}
        flags = torch.cat([*self.alive.values()]).float()
        alive = strategy.reduce(flags, reduce_op="sum") > 0
        shares = alive.split([len(flags) for flags in self.alive.values()])
        return {
            f"dead/{name}": 1 - one.float().mean()
            for name, one in zip(self.alive, shares, strict=True)
        }


def _norm(values: list[Tensor]) -> Tensor:
    """Return the Euclidean norm of tensors together."""
    return torch.stack(torch._foreach_norm(values, 2, dtype=torch.float32)).norm()


class Clock:
    """The time of a training's steps, and the part of it in which the net waited for a batch."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self.done: torch.cuda.Event | None = None
        self.start()
        self.stopped = self.paused = self.started

    def start(self) -> None:
        """Count from here."""
        self.started, self.waited, self.images = self.now(), 0.0, 0

    def stop(self, device: torch.device) -> None:
        """Note the end of a step."""
        if device.type == "cuda":
            self.done = torch.cuda.Event()
            self.done.record()
        self.stopped = self.now()

    def go_on(self, images: int) -> None:
        """Note the start of a step, with so many images; a GPU that is busy didn't wait."""
        if self.done is None or self.done.query():
            self.waited += self.now() - self.stopped
        self.images += images

    def pause(self) -> None:
        """Note the start of something else."""
        self.paused = self.now()

    def resume(self) -> None:
        """Leave out the time since the pause."""
        away = self.now() - self.paused
        self.started, self.stopped = self.started + away, self.stopped + away

    def figures(self) -> dict[str, float | None]:
        """Return the speed and the share of waiting since the start."""
        seconds = self.now() - self.started
        speed = round(self.images / seconds, 2)
        return {"images_per_second": speed, "waiting": round(self.waited / seconds, 4)}


def memory(device: torch.device) -> float | None:
    """Return the most memory in GB that a GPU, or without one this process, has held so far."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e9, 3)
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 3)
