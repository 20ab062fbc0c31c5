"""Progress of a training, on the screen or in a log."""

import sys
import time
from math import isfinite
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, RichProgressBar
from torch import Tensor

from medcnn.jobs.progress import Progress


class ProgressBar(RichProgressBar):
    """Rich's progress bar with the loss and the validation AUROC or R², and no version number."""

    loss: Tensor | None = None

    @staticmethod
    def useful() -> bool:
        """Return True if the output is a terminal, on which a bar can be redrawn."""
        return sys.stdout.isatty()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Keep the loss of the step, which the first epoch has no mean of yet."""
        self.loss = outputs["loss"]
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """The figures beside the bar."""
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        if self.loss is not None:
            shown.setdefault("train/loss", f"{float(self.loss):.3f}")
        return dict(shown)


class EpochLines(Callback):
    """One line an epoch, for output that goes to a file or a pipe; in a long one, lines between."""

    def __init__(self) -> None:
        self.start = 0.0
        self.within: Progress | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.start = time.perf_counter()
        steps = trainer.num_training_batches
        what = f"steps of epoch {trainer.current_epoch + 1}"
        self._begin(trainer, what, int(steps) if isfinite(steps) else None)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Count a step."""
        if self.within is not None:
            self.within.advance()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say that it is the validation now."""
        if trainer.state.fn == "fit":
            self._begin(trainer, f"validation of epoch {trainer.current_epoch + 1}")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say that it is the test now."""
        self._begin(trainer, "test")

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say no more."""
        self._end()

    def on_exception(self, trainer: pl.Trainer, *_: Any) -> None:
        """Say no more."""
        self._end()

    def _begin(self, trainer: pl.Trainer, what: str, total: int | None = None) -> None:
        self._end()
        if trainer.is_global_zero:
            self.within = Progress(what, total)
            self.within.__enter__()

    def _end(self) -> None:
        if self.within is not None:
            self.within.__exit__()
            self.within = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the epoch's line."""
        self._end()
        if not trainer.is_global_zero:
            return
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        title, name = ("R²", "val/r2") if "val/r2" in figures else ("AUROC", "val/auroc")
        print(
            f"epoch {trainer.current_epoch + 1:3d}/{trainer.max_epochs}"
            f"  train loss {figures.get('train/loss', float('nan')):.4f}"
            f"  val loss {figures.get('val/loss', float('nan')):.4f}"
            f"  val {title} {figures.get(name, float('nan')):.4f}"
            f"  {time.perf_counter() - self.start:.1f} s",
            flush=True,
        )
