"""The time by which a training has to be done."""

import time
from collections.abc import Callable
from math import nan
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch.optim.lr_scheduler import ReduceLROnPlateau

from medcnn.jobs.notes import note

WARM_UP = 3  # steps of a process whose time says nothing: the first ones are slow
RECENT = 0.1  # share of the last step in the mean time of a step
PATIENCE = 1 / 3  # of the time, in which a machine may be slow without that anything is skipped


class Deadline(Callback):
    """Ends a training in time, with its learning rate at its end.

    Where the epochs that are left would take longer than there is time, the schedule of the
    learning rate goes on by more than a step a batch, as much as is needed, and the training ends
    when it is through. So a training on a machine that slows down is a shorter one, not one that
    is cut off at a high rate. A training that is in time is not changed in any bit.

    Args:
        at: When it has to be done, by `now`.
        now: The clock, in seconds.
    """

    def __init__(self, at: float, now: Callable[[], float] = time.time) -> None:
        self.at, self.now = at, now
        self.skipped = 0  # steps of the schedule
        self.seen = 0  # steps of this process
        self.step = self.gap = 0.0  # seconds of a step; between two epochs
        self.begun = nan  # when this process took its first step
        self.last = nan  # when the last step ended
        self.owed = 0.0  # steps of the schedule that are still to be skipped

    def state_dict(self) -> dict[str, Any]:
        """Return how many steps of the schedule were skipped."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what the checkpoint says."""
        self.skipped = state_dict["skipped"]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Measure what lies between two epochs."""
        now = self._time(trainer)
        if self.seen == 0:
            self.begun = self.last = now
        if batch_idx == 0:
            self.gap, self.last = now - self.last, now

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Measure the step; stop where time is over, and skip where it will be."""
        now = self._time(trainer)
        taken, self.last = now - self.last, now
        self.seen += 1
        if self.seen > WARM_UP:
            share = 1.0 if self.seen == WARM_UP + 1 else RECENT
            self.step += share * (taken - self.step)
            if now - self.begun > PATIENCE * (self.at - self.begun):
                self._skip(trainer, now)
        if now >= self.at:
            trainer.should_stop = True

    def _time(self, trainer: pl.Trainer) -> float:
        """Return the time; of several processes that of the first, so that all do the same."""
        return float(
            trainer.strategy.broadcast(self.now()) if trainer.world_size > 1 else self.now()
        )

    def _skip(self, trainer: pl.Trainer, now: float) -> None:
        configs = trainer.lr_scheduler_configs
        if len(configs) != 1 or configs[0].interval != "step":
            return
        scheduler: Any = configs[0].scheduler
        if isinstance(scheduler, ReduceLROnPlateau):
            return
        total = trainer.estimated_stepping_batches
        batches = trainer.num_training_batches * (trainer.max_epochs or 1)
        each = self.step + self.gap / trainer.num_training_batches
        needed = (1 - scheduler.last_epoch / total) * batches * each
        left = self.at - now - self.gap
        if needed > left > 0:
            self.owed += (needed / left - 1) / trainer.accumulate_grad_batches
        while self.owed >= 1 and scheduler.last_epoch < total:
            scheduler.step()
            self.skipped += 1
            self.owed -= 1
        if self.skipped and scheduler.last_epoch >= total:
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say that it was shorter than planned."""
        if trainer.current_epoch < (trainer.max_epochs or 0) and trainer.is_global_zero:
            note(
                f"the machine was slower than planned: {trainer.current_epoch} of "
                f"{trainer.max_epochs} epochs, so as to be done in time"
            )
