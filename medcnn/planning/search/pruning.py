"""The report of each epoch's validation score, and the end of trials that aren't worth more."""

import math
from collections.abc import Callable

import pytorch_lightning as pl
from optuna.trial import Trial
from pytorch_lightning.callbacks import Callback

from medcnn.errors import PrunedRunError
from medcnn.jobs.rundir import RunDir
from medcnn.planning.search.heartbeat import Stamp
from medcnn.training.callbacks.history import rows_before
from medcnn.training.module import MONITOR


class LostTrialError(Exception):
    """Another worker has taken a trial over, as this one gave no sign of life for long."""


class ScoreReport(Callback):
    """Tells Optuna the validation score of each epoch, and ends a trial that is pruned.

    A trial that goes on reports its earlier epochs again, so that it is judged as if nothing had
    happened.

    Args:
        trial: Optuna's.
        run: Its run directory, with the epochs so far in metrics.csv.
        stamp: Of this worker.
        seconds_left: Of the search's budget.
    """

    def __init__(
        self, trial: Trial, run: RunDir, stamp: Stamp, seconds_left: Callable[[], float]
    ) -> None:
        self.trial, self.run, self.stamp, self.seconds_left = trial, run, stamp, seconds_left
        self.reported = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the epochs before."""
        self.catch_up(trainer.current_epoch)

    def catch_up(self, epochs: int) -> None:
        """Report so many epochs as metrics.csv has them, without those that were reported."""
        for row in rows_before(self.run / "metrics.csv", epochs):
            if row["epoch"] > self.reported:
                self._report(int(row["epoch"]), float(row.get(MONITOR, math.nan)))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report an epoch.

        Raises:
            PrunedRunError: The trial's further epochs aren't worth their time.
            LostTrialError: It is another worker's by now.
        """
        if self.stamp.lost:
            raise LostTrialError
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs
        hopeless = self._report(epoch, float(trainer.callback_metrics.get(MONITOR, math.nan)))
        if epoch == epochs:
            return
        if hopeless:
            raise PrunedRunError(f"behind after epoch {epoch} of {epochs}")
        if self.seconds_left() <= 0:
            raise PrunedRunError(f"search.budget was spent after epoch {epoch} of {epochs}")

    def _report(self, epoch: int, score: float) -> bool:
        """Report a score; gives back whether to stop."""
        self.reported = epoch
        if math.isfinite(score):
            self.trial.report(score, epoch)
        return bool(self.trial.should_prune())
