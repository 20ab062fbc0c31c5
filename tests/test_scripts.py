import os
import runpy
import subprocess
import sys
from pathlib import Path

import jobs
import numpy as np
import pandas as pd
import pytest
import torch

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
NAMES = sorted(path.name for path in SCRIPTS.glob("*.py"))


def run(name: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPTS / name), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def run_here(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> int:
    """Run a script in this process; gives its exit code back."""
    path = str(SCRIPTS / name)
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return jobs.exit_code(
        monkeypatch, lambda: runpy.run_path(path, run_name="__main__"), path, *arguments
    )


@pytest.mark.parametrize("name", [name for name in NAMES if "visualize" not in name])
def test_each_script_explains_itself(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, which has torch already."""
    monkeypatch.chdir(tmp_path)
    assert run_here(monkeypatch, name, "--help") == 0
    assert name in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_list_of_scripts_names_each() -> None:
    listed = (SCRIPTS / "README.md").read_text()
    assert [name for name in NAMES if f"`{name}`" not in listed] == []


@pytest.mark.slow
def test_a_search_whose_workers_are_killed_ends_as_one_left_alone(tmp_path: Path) -> None:
    done = run("kill_search.py", "--trials", "5", "--every", "12", cwd=tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("average=swa", "model=lenet"),
        ("average=soup", "optimizer=lion"),
        ("average=ema", "trainer=ddp", "trainer.devices=2"),
    ],
)
def test_a_killed_training_ends_as_one_left_alone(
    tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    done = run("kill_and_resume.py", "--kills", "4", *overrides, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "4 of 4 ended as the run left alone" in done.stdout


@pytest.mark.slow
def test_the_cost_of_the_looks_at_a_training(tmp_path: Path) -> None:
    tiny = ("--model", "lenet", "--size", "28", "--batch-size", "4", "--steps", "3", "--pairs", "2")
    done = run("benchmark_diagnosis_cost.py", *tiny, "--output", "a.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "a.csv")
    assert len(table) == 2
    assert table["ratio"].tolist() == pytest.approx(
        (table["with_ms"] / table["without_ms"]).tolist(), rel=0.02
    )
    assert "lenet, 28 px: a step takes" in done.stdout


@pytest.mark.slow
def test_training_is_compared_with_a_bare_loop(tmp_path: Path) -> None:
    tiny = ("--sizes", "28", "32", "--batch-size", "4", "--steps", "3", "--pairs", "2")
    done = run(
        "benchmark_training.py", *tiny, "--precision", "32-true", "--output", "a.csv", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "a.csv")
    assert table["size"].tolist() == [28, 28, 32, 32]
    assert table["pair"].tolist() == [1, 2, 1, 2]
    speeds = table["medcnn_images_per_s"] / table["bare_images_per_s"]
    assert table["ratio"].tolist() == pytest.approx(speeds.tolist(), rel=0.02)
    assert "ResNet-18, 28 px" in done.stdout
    assert "ResNet-18, 32 px" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_feeding_is_compared_with_other_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # those of the tests stay
    tiny = ("--images", "4", "--rounds", "1", "--seconds", "0", "--threads", "1")
    cases = ("--cases", "28", "nifti")
    assert run_here(monkeypatch, "benchmark_data.py", *cases, *tiny, "--csv", "a.csv") == 0
    table = pd.read_csv(tmp_path / "a.csv", dtype={"case": str})
    monai = ["MONAI Dataset", "MONAI CacheDataset", "MONAI untracked"]
    pictures, volumes = table[table["case"] == "28"], table[table["case"] == "nifti"]
    assert pictures["engine"].tolist() == ["medcnn", *monai, "torchvision"]
    assert volumes["engine"].tolist() == ["medcnn", *monai]
    for case in (pictures, volumes):
        ratios = case["images_per_s"].iloc[0] / case["images_per_s"]
        assert case["ratio_median"].tolist() == pytest.approx(ratios.tolist(), rel=0.05, abs=0.001)
    assert table["difference"].max() < 1e-5
    assert set(table["images"]) == {4}
    assert "MONAI CacheDataset" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "apart"), [("224", 1e-5), ("png", 0.03), ("dicom", 0.03)])
def test_feeding_gives_the_same_images(case: str, apart: float, tmp_path: Path) -> None:
    tiny = ("--images", "4", "--rounds", "1", "--seconds", "0", "--workers", "1")
    done = run("benchmark_data.py", "--cases", case, *tiny, "--csv", "a.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "a.csv")
    assert len(table) == 5
    assert table["difference"].max() < apart


@pytest.mark.slow
def test_the_start_is_timed_up_to_the_first_step(tmp_path: Path) -> None:
    overrides = ("dataset.patients=36", "dataset.size=28", "model=lenet")
    done = run(
        "benchmark_startup.py", "--pairs", "1", "--output", "a.csv", *overrides, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (row,) = pd.read_csv(tmp_path / "a.csv").to_dict("records")
    assert row["first_step_s"] > 0.5
    assert row["difference_s"] == pytest.approx(row["first_step_s"] - row["imports_s"], abs=0.002)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.slow
def test_a_training_that_cannot_start_is_an_error(tmp_path: Path) -> None:
    done = run("benchmark_startup.py", "--pairs", "1", "model=nonesuch", cwd=tmp_path)
    assert done.returncode == 1
    assert "nonesuch" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_nets_are_measured(tmp_path: Path) -> None:
    done = run(
        "benchmark_nets.py", "--rounds", "1", "--parts", "frozen", "--output", "a.csv", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "a.csv")
    assert len(table) == 4
    assert table["ratio"].between(table["lowest"], table["highest"]).all()
    assert table["ratio"].iloc[0] > 1.5


def test_the_transfer_experiment_draws_fair_samples_and_sums_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import transfer_experiment as experiment

    labels = np.repeat([0, 1], [300, 100])
    rows = experiment.drawn(labels, 40, seed=0)
    assert np.bincount(labels[rows]).tolist() == [30, 10]
    assert len(set(rows)) == 40
    assert not np.array_equal(rows, experiment.drawn(labels, 40, seed=1))
    table = pd.DataFrame({"case": "a", "seed": [0, 1] * 5, "images": 100, "auto": None})
    table["mode"] = np.repeat([*experiment.MODES, "auto"], 2)
    table["auroc"] = [0.7, 0.9] * 5
    table.loc[8:, "auto"] = "head"
    row = experiment.summary(table).iloc[0]
    # Student's t of one degree of freedom at 97.5 %: 12.706; standard error 0.1
    assert row["head"] == "0.800 ± 1.271"
    assert row["auto chose"] == "head"


def test_the_training_experiment_thins_a_class_and_measures_where_it_is_as_rare(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import training_experiment as experiment
    from sklearn.metrics import roc_auc_score, roc_curve

    labels = np.repeat([0, 1], [200, 300])
    rows = experiment.thinned(labels, 50, seed=0)
    assert np.bincount(labels[rows]).tolist() == [200, 4]
    truth = labels == 1
    scores = np.random.default_rng(0).beta(2 + truth, 3).round(2)
    found = experiment.figures(truth, scores, share=0.02)
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, scores))
    alarms, hits, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert found["sensitivity_at_95"] == hits[alarms <= 0.05].max()
    weights = np.where(truth, 0.02 / 300, 0.98 / 200)
    assert found["mean_probability"] == pytest.approx((weights * scores).sum())
    assert found["calibration_error"] == pytest.approx(found["mean_probability"] - 0.02, abs=0.02)
    both = experiment.with_intervals(
        np.stack([truth, ~truth], 1), np.stack([scores, 1 - scores], 1), np.array([0.02, 0.98])
    )
    assert both["auroc_low"] < both["auroc"] < both["auroc_high"]
    assert both["auroc"] == pytest.approx(found["auroc"])
    for case in experiment.CASES.values():
        for overrides in case.variants.values():
            experiment.compose(*experiment.PLAIN, *overrides)  # raises at what there is not
