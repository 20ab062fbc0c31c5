"""metrics.csv: a row an epoch, also when a run goes on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch

from medcnn.training.callbacks import History

MODULE: Any = None


def trainer(epoch: int, **options: Any) -> Any:
    """What the callback sees of Lightning's Trainer."""
    figures = {"train/loss": torch.tensor(2.0 - epoch), "val/auroc": torch.tensor(0.5), "x": 1}
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1 * (epoch + 1)}, {"lr": 7}])
    facts = {"callback_metrics": figures, "optimizers": [optimizer], "is_global_zero": True}
    return SimpleNamespace(current_epoch=epoch, **{**facts, **options})


def run(history: History, epochs: range, **options: Any) -> None:
    history.on_train_start(trainer(epochs[0]), MODULE)
    for epoch in epochs:
        history.on_train_epoch_start(trainer(epoch), MODULE)
        history.on_train_epoch_end(trainer(epoch, **options), MODULE)


def test_a_row_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    run(History(path), range(2))
    table = pd.read_csv(path)
    assert list(table.columns) == ["epoch", "train/loss", "val/auroc", "lr", "seconds"]
    assert table["epoch"].tolist() == [1, 2]
    assert table["train/loss"].tolist() == [2.0, 1.0]
    assert table["lr"].tolist() == [0.1, 0.2]
    assert (table["seconds"] >= 0).all()
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_resumed_run_has_each_epoch_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    run(History(path), range(3))
    run(History(path), range(2, 4))  # killed after the third row, before the checkpoint
    table = pd.read_csv(path)
    assert table["epoch"].tolist() == [1, 2, 3, 4]


def test_a_run_from_the_start_forgets_old_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    run(History(path), range(3))
    run(History(path), range(1))
    assert pd.read_csv(path)["epoch"].tolist() == [1]


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    run(History(tmp_path / "metrics.csv"), range(2), is_global_zero=False)
    assert list(tmp_path.iterdir()) == []


def test_a_regression_has_figures_of_its_own(tmp_path: Path) -> None:
    figures = {"val/r2": torch.tensor(0.25), "val/mae": torch.tensor(3.5)}
    run(History(tmp_path / "metrics.csv"), range(1), callback_metrics=figures)
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert list(table.columns) == ["epoch", "val/r2", "val/mae", "lr", "seconds"]
    assert table["val/mae"].tolist() == [3.5]
