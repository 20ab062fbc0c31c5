"""Optimisers whose weights are others in training than in validation."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class OptimizerModes(Callback):
    """Calls of ``eval`` before validation and ``train`` before a step, where an optimiser has them.

    Those of optimizer=schedule_free have: in between, the net has the averaged weights, which are
    validated and saved; a run that goes on takes its next step from them, as one that wasn't
    interrupted does.
    """

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the averaged weights in."""
        self._call(trainer, "eval")

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Put the weights of the next gradient in."""
        self._call(trainer, "train")

    @staticmethod
    def _call(trainer: pl.Trainer, mode: str) -> None:
        for optimizer in trainer.optimizers if trainer.state.fn == "fit" else ():
            if hasattr(optimizer, mode):
                getattr(optimizer, mode)()
