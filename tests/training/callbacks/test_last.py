"""When last.ckpt is written; that a run goes on from it is tested with whole runs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from medcnn.training.callbacks import LastCheckpoint

MODULE: Any = None


def trainer(saved: list[Path], epoch: int, should_stop: bool = False) -> Any:
    """What the callback sees of Lightning's Trainer."""
    return SimpleNamespace(
        current_epoch=epoch, should_stop=should_stop, save_checkpoint=saved.append
    )


def test_saves_before_the_first_epoch_and_after_each(tmp_path: Path) -> None:
    saved: list[Path] = []
    last = LastCheckpoint(tmp_path / "last.ckpt")
    last.on_train_start(trainer(saved, 0), MODULE)
    last.on_train_epoch_end(trainer(saved, 0), MODULE)
    last.on_train_epoch_end(trainer(saved, 1), MODULE)
    assert saved == [tmp_path / "last.ckpt"] * 3


def test_a_run_that_goes_on_keeps_its_checkpoint_until_the_epoch_is_done(tmp_path: Path) -> None:
    saved: list[Path] = []
    LastCheckpoint(tmp_path / "last.ckpt").on_train_start(trainer(saved, 3), MODULE)
    assert saved == []


def test_remembers_that_training_stopped_early(tmp_path: Path) -> None:
    first, second = (LastCheckpoint(tmp_path / "last.ckpt") for _ in range(2))
    assert first.state_dict() == {"stopped": False}
    first.on_train_epoch_end(trainer([], 4, should_stop=True), MODULE)
    second.load_state_dict(first.state_dict())
    resumed = trainer([], 5)
    second.on_train_start(resumed, MODULE)
    assert resumed.should_stop
