"""A training that ends in time, by a clock of our own."""

from pathlib import Path

import jobs
import pandas as pd
import pytest

from medcnn.training import trainer as module
from medcnn.training.callbacks import Deadline
from medcnn.training.module import TrainingModule


def train(
    folder: Path, monkeypatch: pytest.MonkeyPatch, at: float, seconds: float, slow: float = 1.0
) -> Path:
    """Eight epochs whose steps take some seconds, more by a factor from the third epoch on."""
    times = [0.0]
    step = TrainingModule.training_step

    def timed(self: TrainingModule, batch: dict[str, object], index: int) -> object:
        times[0] += seconds * (slow if self.current_epoch >= 2 else 1.0)
        return step(self, batch, index)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainingModule, "training_step", timed)
    monkeypatch.setattr(module, "Deadline", lambda at: Deadline(at, now=lambda: times[0]))
    options = ("plan=auto", f"+plan.deadline={at}", "trainer.max_epochs=8", "batch_size=8")
    cfg = jobs.compose("train", *jobs.QUICK, *options)
    cfg.paths.run = str(folder)
    from medcnn.jobs.rundir import RunDir
    from medcnn.training.one_run import train_in

    run = RunDir(folder)
    run.claim(overwrite=False)
    (folder / "config.yaml").write_text(cfg.yaml())
    train_in(cfg, run, [])
    assert times[0] <= at + seconds * slow
    return folder


def rates(run: Path) -> list[float]:
    return [float(rate) for rate in pd.read_csv(run / "metrics.csv")["lr"]]


def test_a_training_in_time_is_as_without_a_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = jobs.train(tmp_path / "free", *jobs.QUICK, "trainer.max_epochs=8", "batch_size=8")
    timed = train(tmp_path / "timed", monkeypatch, at=1000, seconds=1)
    weights = [jobs.checkpoint(run)["state_dict"] for run in (free, timed)]
    assert jobs.same_weights(*weights)


def test_where_the_machine_slows_down_the_rate_still_falls_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    batches = 8 * 5
    run = train(tmp_path / "run", monkeypatch, at=1.0 * batches, seconds=1, slow=2)
    epochs = rates(run)
    assert 4 <= len(epochs) < 8
    assert epochs[-1] < 0.05 * max(epochs)
    assert jobs.checkpoint(run, "last")["callbacks"]["Deadline"]["skipped"] > 5
    assert f"{len(epochs)} of 8 epochs, so as to be done in time" in caplog.text


def test_without_any_time_it_is_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(tmp_path / "run", monkeypatch, at=0.5, seconds=1)
    assert len(rates(run)) == 1
    assert jobs.status(run)["state"] == "running"
    assert (run / "report.html").exists()
