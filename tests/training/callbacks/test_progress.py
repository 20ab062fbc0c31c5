"""What the person at the screen sees."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import RichProgressBar

from medcnn.training.callbacks import EpochLines, ProgressBar

MODULE: Any = None


def test_a_bar_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal in (True, False):
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda t=terminal: t))
        assert ProgressBar.useful() is terminal


def test_the_bar_shows_no_version_number(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {"v_num": 3, "train/loss": 0.5, "val/auroc": 0.9}
    monkeypatch.setattr(RichProgressBar, "get_metrics", lambda *_: dict(shown))
    figures = ProgressBar().get_metrics(MODULE, MODULE)
    assert figures == {"train/loss": 0.5, "val/auroc": 0.9}


@pytest.mark.parametrize("first", [True, False])
def test_a_line_an_epoch(first: bool, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"train/loss": torch.tensor(0.25), "val/loss": torch.tensor(0.5)}
    trainer: Any = SimpleNamespace(
        current_epoch=4, max_epochs=30, is_global_zero=first, callback_metrics=figures
    )
    trainer.num_training_batches = 2
    lines = EpochLines()
    lines.on_train_epoch_start(trainer, MODULE)
    lines.on_train_batch_end(trainer)
    within = lines.within
    lines.on_train_epoch_end(trainer, MODULE)
    assert lines.within is None
    assert (within is not None) == first
    if within is not None:
        assert within.line().startswith("1 of 2 steps of epoch 5, ")
    text = capsys.readouterr().out
    if first:
        assert text.startswith("epoch   5/30  train loss 0.2500  val loss 0.5000  val AUROC nan")
    else:
        assert text == ""


def test_the_line_of_a_regression(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"val/r2": torch.tensor(-0.5), "val/mae": torch.tensor(3.0)}
    trainer: Any = SimpleNamespace(
        current_epoch=0, max_epochs=9, is_global_zero=True, callback_metrics=figures
    )
    EpochLines().on_train_epoch_end(trainer, MODULE)
    assert "val R² -0.5000" in capsys.readouterr().out
