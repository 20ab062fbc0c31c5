"""A checkpoint at the end of each cycle of the learning rate."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from medcnn.errors import UserError, check_whole_number


class Snapshots(Callback):
    """Checkpoints ``snapshot-1.ckpt`` … of the weights with which cycles of the rate end.

    G. Huang et al., "Snapshot ensembles: train 1, get M for free", 2017. After the training they
    are tested as an ensemble (`medcnn.training.snapshots`).

    Args:
        cycles: Of scheduler=cosine_restarts; None where the schedule has none.

    Raises:
        UserError: Fewer than two.
    """

    def __init__(self, cycles: int | None) -> None:
        if cycles is None:
            raise UserError("average=snapshots needs cycles: scheduler=cosine_restarts")
        check_whole_number("scheduler.cycles", cycles, least=2)
        self.cycles = cycles

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the weights at the end of a cycle."""
        length = (trainer.max_epochs or 1) // self.cycles
        number, within = divmod(trainer.current_epoch + 1, length)
        if trainer.state.fn == "fit" and within == 0:
            folder = Path(trainer.checkpoint_callback.dirpath)  # type: ignore[union-attr]
            trainer.save_checkpoint(folder / f"snapshot-{number}.ckpt", weights_only=True)
