"""One training from end to end: what it leaves behind, and whether it can be repeated."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    recall_score,
    roc_auc_score,
)

import medcnn.train
from medcnn.classifier import Classifier
from medcnn.config import conf_dir
from medcnn.errors import UserError

# A net with dropout and batch norm, augmented images, and a rate that falls with the validation
# AUROC: everything that has a state to lose.
STATEFUL = (
    *jobs.QUICK,
    "~model.name",
    f"model._target_={jobs.SMALL_NET}",
    "augment=standard",
    "batch_size=8",
    "trainer.max_epochs=3",
)
TRUST = [jobs.SMALL_NET]
PLATEAU = ("scheduler=plateau", "scheduler.patience=0", "scheduler.factor=0.5")
STOPS_EARLY = ("callbacks.early_stopping.patience=2", "trainer.max_epochs=6", "optimizer.lr=1.0e-9")


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Lightning ignores SIGINT once it was interrupted; the tests after this one must not."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture(scope="module")
def predictions(phantom_run: Path) -> pd.DataFrame:
    return pd.read_csv(phantom_run / "predictions.csv")


def test_a_run_leaves_exactly_its_files(phantom_run: Path, predictions: pd.DataFrame) -> None:
    files = {str(p.relative_to(phantom_run)) for p in phantom_run.rglob("*") if p.is_file()}
    maps = {name for name in files if name.endswith(".npy")}
    assert files - maps == {
        "config.yaml", "environment.json", "samples.csv", "metrics.csv", "metrics.json",
        "predictions.csv", "curves.png", "status.json", "checkpoints/best.ckpt",
        "checkpoints/last.ckpt", "cams/gallery.png", "cams/scores.json",
    }  # fmt: skip
    rows = [int(Path(name).stem) for name in maps]
    assert len(rows) == 4
    assert set(rows) <= set(predictions["row"][predictions["split"] == "test"])
    assert jobs.status(phantom_run)["state"] == "finished"
    written = {p: p.stat().st_mtime_ns for p in phantom_run.rglob("*") if p.is_file()}
    assert max(written, key=lambda p: written[p]).name == "status.json"


def test_samples_csv_is_the_table_with_its_splits(phantom_run: Path) -> None:
    table = pd.read_csv(phantom_run / "samples.csv")
    assert table["row"].tolist() == list(range(72))
    assert set(table["split"]) == {"train", "val", "test"}
    assert {"image", "patient", "label"} <= set(table.columns)


def test_metrics_csv_has_a_row_an_epoch(phantom_run: Path) -> None:
    table = pd.read_csv(phantom_run / "metrics.csv")
    assert table["epoch"].tolist() == [1, 2, 3]
    assert {"train/loss", "val/loss", "val/auroc", "val/accuracy", "lr"} <= set(table.columns)
    assert table.notna().all(axis=None)


def test_metrics_json_holds_objects_for_both_splits(phantom_run: Path) -> None:
    metrics = jobs.metrics(phantom_run)
    assert {name.partition("/")[0] for name in metrics} == {"val", "test"}
    for name, figure in metrics.items():
        assert set(figure) == {"value", "low", "high", "n"}, name
        assert isinstance(figure["n"], int), name
    assert metrics["test/pointing_game"]["low"] <= metrics["test/pointing_game"]["value"]


def test_predictions_csv_has_a_row_a_sample(phantom_run: Path, predictions: pd.DataFrame) -> None:
    table = pd.read_csv(phantom_run / "samples.csv")
    told = table[table["split"] != "train"]
    assert predictions["row"].tolist() == told["row"].tolist()
    for column in ("image", "patient", "split"):
        assert predictions[column].tolist() == told[column].tolist()
    names = ["normal", "nodule", "effusion"]
    assert predictions["label"].tolist() == [names[k] for k in told["label"]]
    probs = predictions[[f"prob:{name}" for name in names]].to_numpy()
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-6)
    assert predictions["decision"].tolist() == [names[k] for k in probs.argmax(1)]


@pytest.mark.parametrize("split", ["val", "test"])
def test_figures_are_those_of_scikit_learn(
    phantom_run: Path, predictions: pd.DataFrame, split: str
) -> None:
    part = predictions[predictions["split"] == split]
    names = ["normal", "nodule", "effusion"]
    true, decided = (part[column].map(names.index).to_numpy() for column in ("label", "decision"))
    probs = part[[f"prob:{name}" for name in names]].to_numpy()
    onehot = np.eye(3, dtype=int)[true]
    expected = {
        "auroc": roc_auc_score(onehot, probs, average="macro"),
        "average_precision": average_precision_score(onehot, probs, average="macro"),
        "accuracy": accuracy_score(true, decided),
        "balanced_accuracy": balanced_accuracy_score(true, decided),
        "f1": f1_score(true, decided, average="macro", zero_division=0),
        "sensitivity": recall_score(true, decided, average="macro"),
        "loss": log_loss(true, probs / probs.sum(1, keepdims=True)),
        "auroc/nodule": roc_auc_score(true == 1, probs[:, 1]),
        "specificity/nodule": np.mean(decided[true != 1] != 1),
    }
    metrics = jobs.metrics(phantom_run)
    for name, value in expected.items():
        assert metrics[f"{split}/{name}"]["value"] == pytest.approx(value, abs=1e-6), name
        assert metrics[f"{split}/{name}"]["n"] in (len(part), (true != 1).sum()), name


def test_the_best_checkpoint_is_that_of_the_best_validation_auroc(tmp_path: Path) -> None:
    cfg = jobs.compose("train", *jobs.QUICK, "trainer.max_epochs=5", "optimizer.lr=0.01",
                       f"paths.run={tmp_path / 'run'}")  # fmt: skip
    best = medcnn.train.train(cfg, [])
    history = pd.read_csv(tmp_path / "run" / "metrics.csv")["val/auroc"]
    assert best == pytest.approx(history.max(), abs=1e-6)
    assert jobs.checkpoint(tmp_path / "run")["epoch"] == history.argmax()
    assert jobs.metrics(tmp_path / "run")["val/auroc"]["value"] == pytest.approx(best, abs=1e-6)


def plain(value: Any) -> bool:
    """Whether a checkpoint's value is made of tensors and Python's own kinds of values."""
    if isinstance(value, dict):
        return all(plain(k) and plain(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(plain(v) for v in value)
    return value is None or type(value) in (bool, int, float, str, torch.Tensor)


def choices(group: str) -> list[str]:
    return sorted(p.stem for p in (conf_dir() / group).glob("*.yaml"))


@pytest.mark.parametrize(
    "choice",
    [f"{group}={name}" for group in ("optimizer", "scheduler") for name in choices(group)],
)
def test_checkpoints_hold_plain_values(tmp_path: Path, choice: str) -> None:
    run = jobs.train(tmp_path / "run", *jobs.QUICK, choice)
    for name in ("best", "last"):
        content = jobs.checkpoint(run, name)
        assert plain(content), name
        assert content["medcnn"]["class_names"] == ["normal", "nodule", "effusion"]
    assert "optimizer_states" not in jobs.checkpoint(run, "best")


def test_loggers_write_into_the_run_directory(tmp_path: Path) -> None:
    run = jobs.train(tmp_path / "run", *jobs.QUICK, "logger=all", "trainer.max_epochs=1")
    assert list((run / "tensorboard").glob("events.*"))
    assert list((run / "csv").glob("*.csv"))
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.fixture(scope="module")
def stateful_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jobs.train(tmp_path_factory.mktemp("stateful") / "run", *STATEFUL, trust=TRUST)


def assert_same_run(run: Path, other: Path) -> None:
    """To the bit: weights, predictions, figures, and the history but for the seconds."""
    for name in ("best", "last"):
        weights = (jobs.checkpoint(folder, name)["state_dict"] for folder in (run, other))
        assert jobs.same_weights(*weights), name
    for file in ("predictions.csv", "metrics.json", "samples.csv"):
        assert (run / file).read_bytes() == (other / file).read_bytes(), file
    histories = [pd.read_csv(f / "metrics.csv").drop(columns="seconds") for f in (run, other)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


def test_the_same_seed_gives_the_same_run_to_the_bit(stateful_run: Path, tmp_path: Path) -> None:
    torch.rand(7)  # whatever was drawn before
    assert_same_run(jobs.train(tmp_path / "again", *STATEFUL, trust=TRUST), stateful_run)


def test_another_seed_gives_another_run(stateful_run: Path, tmp_path: Path) -> None:
    other = jobs.train(tmp_path / "other", *STATEFUL, "seed=1", trust=TRUST)
    weights = (jobs.checkpoint(run)["state_dict"] for run in (stateful_run, other))
    assert not jobs.same_weights(*weights)


def interrupt(monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int) -> None:
    """Let Ctrl-C be pressed within a training step."""
    step = Classifier.training_step

    def interrupted(self: Classifier, images: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        if (self.current_epoch, index) == (epoch, batch):
            raise KeyboardInterrupt
        return step(self, images, index)

    monkeypatch.setattr(Classifier, "training_step", interrupted)


def interrupt_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ctrl-C be pressed after the training, before the test."""

    def interrupted(self: Classifier) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "on_test_epoch_start", interrupted)


def resume(run: Path) -> None:
    medcnn.train.train(jobs.compose("train", f"resume='{run}'"), TRUST)


@pytest.mark.parametrize("at", [(0, 1), (1, 0), (1, 2)])
def test_an_interrupted_run_goes_on_to_the_same_weights(
    at: tuple[int, int], stateful_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "a run"
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, *at)
        with pytest.raises(KeyboardInterrupt, match=rf"resume={run}"):
            jobs.train(run, *STATEFUL, trust=TRUST)
    assert jobs.status(run)["state"] == "interrupted"
    assert not (run / "metrics.json").exists()
    torch.rand(11)  # another process, other random numbers before
    resume(run)
    assert jobs.status(run)["state"] == "finished"
    assert_same_run(run, stateful_run)


@pytest.mark.parametrize("options", [PLATEAU, STOPS_EARLY], ids=["plateau", "stops early"])
@pytest.mark.parametrize("at", [(2, 1), None], ids=["in an epoch", "before the test"])
def test_schedule_and_early_stopping_go_on(
    options: tuple[str, ...], at: tuple[int, int] | None, tmp_path: Path
) -> None:
    settings = (*jobs.QUICK, "trainer.max_epochs=4", *options)
    whole = jobs.train(tmp_path / "whole", *settings)
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, *at) if at else interrupt_test(patch)
        with pytest.raises(KeyboardInterrupt, match="resume="):
            jobs.train(run, *settings)
    resume(run)
    assert_same_run(run, whole)


def test_a_run_that_failed_before_it_trained_is_no_obstacle(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size"):
        jobs.train(tmp_path / "run", *jobs.QUICK, "batch_size=0")
    assert jobs.status(tmp_path / "run")["state"] == "failed"
    assert "batch_size" in jobs.status(tmp_path / "run")["error"]
    jobs.train(tmp_path / "run", *jobs.QUICK, "trainer.max_epochs=1")


def test_resume_of_a_finished_run(phantom_run: Path) -> None:
    with pytest.raises(UserError, match="this run is finished"):
        resume(phantom_run)


@pytest.mark.parametrize("there", [True, False])
def test_resume_of_a_folder_that_is_no_run(tmp_path: Path, there: bool) -> None:
    folder = tmp_path if there else tmp_path / "nothing"
    with pytest.raises(UserError, match="holds no run of medcnn"):
        resume(folder)
    assert not (tmp_path / "nothing").exists()


def test_resume_takes_only_what_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, 1, 0)
        with pytest.raises(KeyboardInterrupt):
            jobs.train(run, *jobs.QUICK)
    capsys.readouterr()
    for override in ("optimizer.lr=0.1", "model=mlp", "trainer=cpu"):
        code = jobs.command(monkeypatch, medcnn.train.train, "train", f"resume={run}", override)
        error = capsys.readouterr().err
        assert code == 2
        assert error.count("\n") == 1
        assert f"not {override.partition('=')[0]}" in error
    more = ("trainer.max_epochs=3", "cam.n=2")
    assert jobs.command(monkeypatch, medcnn.train.train, "train", f"resume={run}", *more) == 0
    assert pd.read_csv(run / "metrics.csv")["epoch"].tolist() == [1, 2, 3]
    assert len(list((run / "cams").glob("*.npy"))) == 2


def test_the_last_line_names_the_run_and_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "lr=0.1 [é], (1)"
    arguments = [*jobs.QUICK, f"paths.run={run}"]
    assert jobs.command(monkeypatch, medcnn.train.train, "train", *arguments) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"{run}: test AUROC 0.")
    assert all(word in last for word in ("accuracy", "sensitivity", "specificity"))
    assert jobs.status(run)["overrides"] == list(jobs.QUICK) + [f"paths.run='{run}'"]
    capsys.readouterr()
    assert jobs.command(monkeypatch, medcnn.train.train, "train", *arguments) == 2
    assert "already holds a finished run; overwrite=true replaces it" in capsys.readouterr().err
