"""A checkpoint tested again, on its own data and on others."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import in_parts
import jobs
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medcnn.errors import UserError
from medcnn.inference import split_parts
from medcnn.inference.results import table_file

BREAST = ("dataset=breastmnist", "dataset.download=false")


@pytest.fixture(scope="module")
def breast_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on a small BreastMNIST-like file, of which only the run directory is left."""
    folder = tmp_path_factory.mktemp("breast")
    root = jobs.write_medmnist(folder / "data", "breastmnist", 2)
    options = ("model=lenet", "cam.n=0", *jobs.PLAIN, *BREAST, f"dataset.root='{root}'")
    run = jobs.train(folder / "run", *options)
    shutil.rmtree(root)
    return run


@pytest.mark.no_cover
@pytest.mark.parametrize("split", ["val", "test"])
def test_the_figures_are_those_of_the_training(
    phantom_run: Path, tmp_path: Path, split: str
) -> None:
    figures = jobs.evaluate(tmp_path / "again", jobs.best(phantom_run), f"split={split}")
    trained = {
        name: figure
        for name, figure in jobs.metrics(phantom_run).items()
        if name.startswith(f"{split}/") and "pointing_game" not in name
    }
    assert figures == jobs.metrics(tmp_path / "again")
    if split == "test":
        assert figures == trained
    else:  # training says less of the split by which it chose
        values = {name: figures[name]["value"] for name in trained}
        assert values == {name: figure["value"] for name, figure in trained.items()}
    table = pd.read_csv(tmp_path / "again" / "predictions.csv")
    told = pd.read_csv(phantom_run / table_file(other=None if split == "test" else split))
    pd.testing.assert_frame_equal(table, told, check_exact=True)


def test_several_processes_give_the_figures_of_one(
    tmp_path: Path, phantom_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted on the way, too."""
    given = (jobs.best(phantom_run), "batch_size=4")
    one = jobs.evaluate(tmp_path / "one", *given)
    monkeypatch.setattr(split_parts, "BATCHES", 1)
    with monkeypatch.context() as patch:
        in_parts.stop_after(patch, 2)
        in_parts.in_this_process(patch, split_parts.begin_in_worker)
        with pytest.raises(KeyboardInterrupt, match=r"after 2 of 5 batches tested; the same com"):
            jobs.evaluate(tmp_path / "two", *given, "processes=2")
    in_parts.in_this_process(monkeypatch, split_parts.begin_in_worker)
    assert jobs.evaluate(tmp_path / "two", *given, "processes=2") == one
    tables = [pd.read_csv(tmp_path / run / "predictions.csv") for run in ("one", "two")]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert not list((tmp_path / "two").glob("collected*"))


@pytest.mark.slow
def test_real_processes_share_a_test(tmp_path: Path, phantom_run: Path) -> None:
    given = (jobs.best(phantom_run), "batch_size=4", "evaluation.resamples=50")
    assert jobs.evaluate(tmp_path / "two", *given, "processes=2") == jobs.evaluate(
        tmp_path / "one", *given
    )


@pytest.mark.no_cover
def test_the_figures_in_mixed_precision(tmp_path: Path) -> None:
    run = jobs.train(tmp_path / "run", *jobs.QUICK, "trainer.precision=bf16-mixed")
    figures, trained = jobs.evaluate(tmp_path / "again", jobs.best(run)), jobs.metrics(run)
    assert figures == {name: trained[name] for name in figures}
    plain = jobs.evaluate(tmp_path / "plain", jobs.best(run), "precision=32-true")
    assert plain["test/loss"]["value"] != figures["test/loss"]["value"]


def test_another_process_gives_the_same_figures(phantom_run: Path, tmp_path: Path) -> None:
    arguments = [jobs.best(phantom_run), "accelerator=cpu", f"paths.run={tmp_path / 'again'}"]
    arguments.append("evaluation.resamples=50")
    subprocess.run(
        [sys.executable, "-m", "medcnn.evaluate", *arguments],
        check=True,
        cwd=jobs.ROOT,
        env={**os.environ, "PYTHONPATH": str(jobs.ROOT)},
        timeout=300,
    )
    figures, trained = jobs.metrics(tmp_path / "again"), jobs.metrics(phantom_run)
    assert figures == {name: trained[name] for name in figures}
    assert "test/auroc" in figures


def test_training_split(phantom_run: Path, tmp_path: Path) -> None:
    figures = jobs.evaluate(tmp_path / "train", jobs.best(phantom_run), "split=train")
    assert figures["train/accuracy"]["n"] == 48


@pytest.mark.no_cover
def test_what_it_leaves_behind(
    phantom_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.evaluate(tmp_path / "again", jobs.best(phantom_run))
    assert {path.name for path in (tmp_path / "again").iterdir()} == {
        "config.yaml", "environment.json", "samples.csv", "problems.csv", "predictions.csv",
        "metrics.json", "status.json", "evaluation.json", "report.html",
    }  # fmt: skip
    assert jobs.status(tmp_path / "again")["state"] == "finished"
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'again'}: test AUROC 0.")
    with pytest.raises(UserError, match="already holds a finished run"):
        jobs.evaluate(tmp_path / "again", jobs.best(phantom_run))
    jobs.evaluate(tmp_path / "again", jobs.best(phantom_run), "overwrite=true", "batch_size=5")


@pytest.mark.no_cover
def test_external_validation(breast_run: Path, tmp_path: Path) -> None:
    root = jobs.write_medmnist(tmp_path / "other", "breastmnist", 2, sizes=(4, 4, 21), seed=3)
    options = (*BREAST, f"dataset.root='{root}'")
    figures = jobs.evaluate(tmp_path / "run", jobs.best(breast_run), *options)
    assert figures["test/accuracy"]["n"] == 21
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert table["row"].tolist() == list(range(8, 29))
    right = (table["label"] == table["decision"]).mean()
    assert figures["test/accuracy"]["value"] == pytest.approx(right)


def test_other_classes(breast_run: Path, tmp_path: Path) -> None:
    root = jobs.write_medmnist(tmp_path, "pneumoniamnist", 2)
    options = ("dataset=pneumoniamnist", f"dataset.root='{root}'", "dataset.download=false")
    with pytest.raises(UserError, match=r"has the classes normal, pneumonia, but .* malignant"):
        jobs.evaluate(tmp_path / "run", jobs.best(breast_run), *options)
    assert not (tmp_path / "run").exists()


def test_another_size(phantom_run: Path, tmp_path: Path) -> None:
    options = ("dataset=phantom", *jobs.PHANTOM, "++dataset.size=32")
    with pytest.raises(UserError, match=r"1×32×32 .* was trained on 1×28×28"):
        jobs.evaluate(tmp_path / "run", jobs.best(phantom_run), *options)


def test_data_that_are_gone(breast_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"breastmnist\.npz is missing: download http"):
        jobs.evaluate(tmp_path / "run", jobs.best(breast_run))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("split=all", "split=all: choose one of train, val, test, holdout, new"),
        ("checkpoint=nothing.ckpt", "checkpoint=nothing.ckpt: there is no such file"),
        ("accelerator=gpu", "accelerator=gpu"),
        ("accelerator=abacus", "accelerator=abacus"),
        ("precision=8", "precision=8: choose one of"),
        ("threads=0", "threads=0: give a whole number, at least 1"),
        ("batch_size=-1", "batch_size=-1: "),
        ("batch_size=0", "batch_size=0: "),
        ("batch_size=few", "batch_size=few: "),
    ],
)
def test_bad_input_leaves_no_run(
    phantom_run: Path, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        jobs.evaluate(tmp_path / "run", jobs.best(phantom_run), override)
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_used_replace_nothing(phantom_run: Path, tmp_path: Path) -> None:
    for k in range(6):
        Image.fromarray(np.full((28, 28), 30 * k, np.uint8)).save(tmp_path / f"{k}.png")
    rows = [f"{k}.png,{label},p{k}" for k, label in enumerate(["normal", "nodule", "effusion"] * 2)]
    (tmp_path / "table.csv").write_text("\n".join(["image,label,patient", *rows]))
    dataset = ("dataset=csv", f"dataset.path='{tmp_path / 'table.csv'}'")
    given = (jobs.best(phantom_run), *dataset, f"paths.data='{tmp_path / 'data'}'")
    run = tmp_path / "run"
    jobs.evaluate(run, *given)
    before = {path: path.read_bytes() for path in run.iterdir()}
    (tmp_path / "0.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"all listed in .*/problems_failed_start\.csv; mend"):
        jobs.evaluate(run, *given, "overwrite=true")
    assert "0.png" in (run / "problems_failed_start.csv").read_text()
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.no_cover
def test_a_sweep_over_checkpoints_exits_cleanly(
    phantom_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcnn.evaluate import evaluate

    sweep = (f"hydra.sweep.dir={tmp_path}", "split=val,test", "threads=1", "accelerator=cpu")
    arguments = ("-m", jobs.best(phantom_run), *sweep)
    assert jobs.command(monkeypatch, evaluate, "evaluate", *arguments) == 0
    assert "val/auroc" in jobs.metrics(tmp_path / "0")
    assert "test/auroc" in jobs.metrics(tmp_path / "1")
