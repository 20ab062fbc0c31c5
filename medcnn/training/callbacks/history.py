"""metrics.csv: a row an epoch."""

import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from medcnn.jobs.atomic_files import write_csv

# Of classes AUROC and accuracy are logged, of a regression the others; a penalty if there is one.
COLUMNS = (
    *("train/loss", "train/penalty", "val/loss", "val/auroc", "val/accuracy", "val/r2", "val/mae"),
    "val/score",
)


class History(Callback):
    """A CSV file with losses, validation figures, learning rate and seconds of each epoch.

    A resumed run keeps the rows of the epochs before.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.start = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the rows of an interrupted run, up to where it goes on."""
        self.rows = rows_before(self.path, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's row and write the file."""
        figures = trainer.callback_metrics
        row: dict[str, Any] = {"epoch": trainer.current_epoch + 1}
        row |= {name: float(figures[name]) for name in COLUMNS if name in figures}
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        row["seconds"] = round(time.perf_counter() - self.start, 3)
        self.rows.append(row)
        if trainer.is_global_zero:
            write_csv(self.path, pd.DataFrame(self.rows))


def rows_before(path: Path, epoch: int) -> list[dict[str, Any]]:
    """Return the rows that a run wrote into a table of its epochs, up to one; from 0 on none."""
    if epoch == 0 or not path.exists():
        return []
    table = pd.read_csv(path)
    records = table[table["epoch"] <= epoch].to_dict("records")
    return [{str(k): v for k, v in row.items()} for row in records]
