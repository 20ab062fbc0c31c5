"""One training from end to end: what it leaves behind."""

from itertools import zip_longest
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
import medcnn.training.run
from medcnn.errors import UserError
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.rundir import RunDir

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines


@pytest.fixture(scope="module")
def predictions(phantom_run: Path) -> pd.DataFrame:
    """What was tested, and after it the validation split."""
    files = [
        pd.read_csv(phantom_run / f"{name}.csv") for name in ("predictions", "predictions_val")
    ]
    assert [set(table["split"]) for table in files] == [{"test"}, {"val"}]
    return pd.concat(files)


def test_a_run_leaves_exactly_its_files(phantom_run: Path, predictions: pd.DataFrame) -> None:
    files = {str(p.relative_to(phantom_run)) for p in phantom_run.rglob("*") if p.is_file()}
    maps = {name for name in files if name.endswith(".npy")}
    layers = {name for name in files if name.startswith("cams/layers/")}
    assert len(layers) >= 8
    assert files - maps - layers == {
        "config.yaml", "environment.json", "samples.csv", "metrics.csv", "metrics.json",
        "health.csv", "predictions.csv", "predictions_val.csv", "problems.csv", "curves.png",
        "status.json", "diagnosis.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
        "cams/gallery.png", "cams/scores.json", "cams/layers.json", "evaluation.json",
        "report.html", "MODEL_CARD.md",
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
    told = table[table["split"] != "train"].sort_values("split", kind="stable")  # test, val
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
                       "++dataset.split_shares.val=60",
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


PAIRS = zip_longest(
    [name for name in choices("optimizer") if name != "schedule_free"],
    [name for name in choices("scheduler") if name != "none"],
)


@pytest.mark.parametrize(("optimizer", "scheduler"), [*PAIRS, ("schedule_free", "none")])
def test_checkpoints_hold_plain_values(
    tmp_path: Path, optimizer: str | None, scheduler: str | None
) -> None:
    """Of every optimiser and every schedule, in pairs; what is left over has the default."""
    if optimizer == "schedule_free":
        pytest.importorskip("schedulefree")
    chosen = {"optimizer": optimizer, "scheduler": scheduler}
    run = jobs.train(
        tmp_path / "run",
        *jobs.QUICK,
        *(f"{group}={name}" for group, name in chosen.items() if name),
    )
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


def test_a_run_that_failed_before_it_trained_is_no_obstacle(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="class_weights"):
        jobs.train(tmp_path / "run", *jobs.QUICK, "objective.class_weights=[1]")
    assert jobs.status(tmp_path / "run")["state"] == "failed"
    assert "class_weights" in jobs.status(tmp_path / "run")["error"]
    jobs.train(tmp_path / "run", *jobs.QUICK, "trainer.max_epochs=1")


def test_a_run_that_is_ended_as_it_begins_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(medcnn.training.run, "write_text", interrupt)
        with pytest.raises(KeyboardInterrupt):
            jobs.train(tmp_path / "run", *jobs.QUICK)
    assert jobs.status(tmp_path / "run")["state"] == "failed"
    RunDir(tmp_path / "run").claim(overwrite=False)


@pytest.mark.parametrize(
    "override",
    [
        "seed=-1", "seed=4294967296", "seed=null", "batch_size=0", "batch_size=2.5",
        "batch_size=few", "overfit_batches=-1", "cam.n=true", "trainer.max_epochs=0",
        "trainer.max_epochs=few", "trainer.accumulate_grad_batches=0",
        "trainer.log_every_n_steps=few",
    ],
)  # fmt: skip
def test_numbers_are_checked_first(tmp_path: Path, override: str) -> None:
    key, _, value = override.partition("=")
    value = {"null": "None", "true": "True"}.get(value, value)
    with pytest.raises(UserError, match=rf"^{key}={value}: give a whole number"):
        jobs.train(tmp_path / "run", *jobs.QUICK, override)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.accelerator=gpu", "trainer.accelerator=gpu: torch finds no supported GPU"),
        (
            "trainer.accelerator=tpu",
            "trainer.accelerator=tpu: there is no support of this hardware yet",
        ),
        ("trainer.accelerator=abacus", "trainer.accelerator=abacus: choose one of"),
        ("trainer.devices=0", "trainer.devices=0: a number of processes"),
        ("trainer.devices=many", "trainer.devices=many: a number of processes"),
        ("trainer=ddp", "trainer.devices=auto counts GPUs and there is none"),
        ("trainer.strategy=dance", "trainer: .*dance"),
        ("trainer.precision=8", "precision=8: choose one of"),
        ("trainer.threads=0", "threads=0: give a whole number"),
        ("trainer.gradient_clip_val=much", "trainer.gradient_clip_val=much: give a number"),
        ("trainer.limit_train_batches=0", "trainer.limit_train_batches=0: give a share"),
        ("trainer.limit_val_batches=few", "trainer.limit_val_batches=few: give a share"),
        ("trainer.limit_test_batches=1.5", "trainer.limit_test_batches=1.5: give a share"),
        ("trainer.limit_test_batches=true", "trainer.limit_test_batches=True: give a share"),
        ("trainer.profiler=me", "trainer.profiler=me"),
    ],
)
def test_bad_trainer_settings(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        jobs.train(tmp_path / "run", *jobs.QUICK, override)
    assert not (tmp_path / "run" / "metrics.csv").exists()


def test_the_last_line_names_the_run_and_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "lr=0.1 [é], (1)"
    arguments = [*jobs.QUICK, f"paths.run={run}"]
    assert jobs.command(monkeypatch, medcnn.train.train, "train", *arguments) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"{run}: test AUROC 0.")
    assert all(word in last for word in ("accuracy", "sensitivity", "specificity"))
    assert jobs.status(run)["overrides"] == [*jobs.QUICK, f"paths.run='{run}'"]
    capsys.readouterr()
    assert jobs.command(monkeypatch, medcnn.train.train, "train", *arguments) == 2
    assert "already holds a finished run; overwrite=true replaces it" in capsys.readouterr().err
