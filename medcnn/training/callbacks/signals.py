"""Signals that keep their own handlers while Lightning runs."""

import signal
import threading
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from medcnn.jobs.interruption import SIGNALS, raise_if_received


class OwnSignals(Callback):
    """The signals that Lightning lays its hands on, taken back.

    Its handler of SIGTERM waits for all other processes of the run, one of which may be gone.
    """

    def __init__(self) -> None:
        self.handlers: dict[int, Any] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Note what signals do, before Lightning changes it."""
        self.handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let them do that again."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self.handlers.items():
                signal.signal(number, handler)

    on_test_start = on_train_start

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop where a library swallowed what a signal raised."""
        raise_if_received()
