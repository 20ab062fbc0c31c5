"""The checkpoint that an interrupted training goes on from."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint


class LastCheckpoint(Checkpoint):
    """The ``last.ckpt``, saved before the first epoch and after each one, never within one.

    An interrupted epoch is repeated whole by the resumed run, so that it ends with the same weights
    as a run that was not interrupted.

    Args:
        path: The file, replaced each time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stopped = False

    def state_dict(self) -> dict[str, Any]:
        """Return True if early stopping has ended the training."""
        return {"stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what the checkpoint says."""
        self.stopped = state_dict["stopped"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the state before the first step of a new run; end one that had stopped early."""
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)
        trainer.should_stop |= self.stopped

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the state between two epochs."""
        self.stopped = trainer.should_stop
        trainer.save_checkpoint(self.path)
