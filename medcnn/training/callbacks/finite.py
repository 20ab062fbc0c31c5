"""The end of a training whose loss is no longer a number."""

from math import isfinite, isnan
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from medcnn.data.row_names import names_of_rows
from medcnn.errors import UserError
from medcnn.jobs.notes import shortened
from medcnn.training.divergence import SLOWER, Place, first_not_finite


class FiniteLoss(Callback):
    """A stop at the first step whose loss is NaN or infinite, before the weights take it in.

    The message names the images and the layer. The checkpoints stay as they are. Of several
    processes each looks at the losses of all, so that all stop at one step.

    On a GPU the loss is read once the backward pass is queued behind it: the processor waits for
    the forward pass alone, and the GPU for nothing.
    """

    def __init__(self) -> None:
        self.batch: dict[str, Tensor] = {}
        self.before: Tensor | None = None  # rows of the step before
        self.losses = torch.zeros(0)
        self.copied: torch.cuda.Event | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the batch, to look for the cause in."""
        self.batch = batch

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Look at the loss; on a GPU begin to copy it."""
        losses = _of_each(loss.detach(), trainer.world_size)
        if losses.device.type == "cuda":
            self.losses = losses.to("cpu", non_blocking=True)
            self.copied = torch.cuda.Event()
            self.copied.record()
            return
        self.losses = losses
        self._check(trainer, pl_module)

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the loss that was copied from a GPU."""
        if self.copied is not None:
            self.copied.synchronize()
            self.copied = None
            self._check(trainer, pl_module)

    def on_train_batch_end(self, *_: Any) -> None:
        """Let go of the batch."""
        self.before, self.batch = self.batch.get("row"), {}

    def _check(self, trainer: pl.Trainer, pl_module: Any) -> None:
        losses = self.losses.flatten().tolist()
        bad = [rank for rank, loss in enumerate(losses) if not isfinite(loss)]
        if not bad:
            return
        with trainer.precision_plugin.forward_context():
            place = first_not_finite(pl_module, self.batch)
        if place.rows is None:
            place = place._replace(rows=[] if self.before is None else self.before.tolist())
        raise UserError(_message(trainer, losses[bad[0]], _of_all(place, bad, len(losses))))


def _of_each(loss: Tensor, world: int) -> Tensor:
    """Return the losses (world,) of all processes."""
    losses = [torch.empty_like(loss) for _ in range(world)]
    if world > 1:
        torch.distributed.all_gather(losses, loss)
    return torch.stack(losses) if world > 1 else loss[None]


def _of_all(place: Place, bad: list[int], world: int) -> Place:
    """Return the place that the first of some processes found, with the rows of all of these."""
    if world == 1:
        return place
    found: list[Any] = [None] * world
    torch.distributed.all_gather_object(found, place)
    first: Place = found[bad[0]]
    same = [found[rank].rows for rank in bad if found[rank].what == first.what]
    return first._replace(rows=sorted(row for rows in same for row in rows))


def _message(trainer: pl.Trainer, loss: float, place: Place) -> str:
    """Return the line on a loss that isn't finite."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    names = shortened(names_of_rows(data.samples.table, place.rows or []), ", ")
    epoch = trainer.current_epoch
    kept = f"are those of epoch {epoch}" if epoch else "hold nothing of it"
    way = place.way
    if way == SLOWER and str(trainer.precision) == "16-mixed":
        way += "; 16-mixed ends at 65,504, which trainer.precision=32-true doesn't"
    return (
        f"in epoch {epoch + 1}, step {trainer.fit_loop.epoch_loop.batch_idx + 1}, the loss is "
        f"{'NaN' if isnan(loss) else 'infinite'}; the first not to be finite: {place.what}"
        f"{f' ({names})' if names else ''}: {way}; the checkpoints {kept}"
    )
