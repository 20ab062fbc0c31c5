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
def test_a_sweep_of_which_a_job_is_killed_is_whole(tmp_path: Path) -> None:
    done = run("kill_sweep.py", "--runs", "4", "--engines", "slurm", cwd=tmp_path)
    assert done.returncode == 0, done.stdout


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
    assert "resnet, 28 px" in done.stdout
    assert "resnet, 32 px" in done.stdout
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


def test_the_rules_of_a_plan_are_judged_on_patients_that_nothing_else_sees(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import plan_ablation as ablation

    table = pd.DataFrame({"patient": np.repeat(np.arange(100), 3)}, index=np.arange(300) + 7)
    table["label"] = np.where(table["patient"] < 60, "glioma", "meningioma")
    tested = ablation.drawn(table, ablation.TESTED, seed=0) == "test"
    for seed in (0, 1):
        parts = ablation.held_out(table, seed)
        assert parts.isna().equals(tested)
        patients = table.assign(part=parts).dropna().groupby("part")["patient"].agg(set)
        assert patients["train"].isdisjoint(patients["test"])
        counts = table[parts == "test"].groupby("label")["patient"].nunique()
        assert counts.to_dict() == {"glioma": 12, "meningioma": 8}
    assert not parts.equals(ablation.held_out(table, 0))

    generator, (shape, folder) = np.random.default_rng(0), ((28, 28), tmp_path / "medmnist")
    folder.mkdir()
    arrays = {}
    for name, count in {"train": 40, "val": 8, "test": 12}.items():
        arrays[f"{name}_images"] = generator.integers(0, 256, (count, *shape), np.uint8)
        arrays[f"{name}_labels"] = np.arange(count)[:, None] % 2
    arrays["train_images"][5] = arrays["val_images"][0]  # and so in no other part
    np.savez(folder / "breastmnist.npz", **arrays)
    ablation.medmnist("breastmnist", None, tmp_path, tmp_path, seed=0)
    copy = np.load(tmp_path / "breastmnist.npz")
    seen = {part: {one.tobytes() for one in copy[f"{part}_images"]} for part in ("train", "test")}
    assert (len(seen["train"]), len(seen["test"]), len(copy["val_images"])) == (29, 10, 8)
    kept = {one.tobytes() for k, one in enumerate(arrays["train_images"]) if k != 5}
    assert seen["train"] | seen["test"] == kept


def test_what_a_rule_of_a_plan_is_worth_is_pooled_over_pairs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import plan_ablation as ablation
    from sklearn.metrics import roc_auc_score

    rows = [
        ("breast", ablation.NOTHING, 0, 0.80),
        ("breast", ablation.NOTHING, 1, 0.90),
        ("brain", ablation.NOTHING, 0, 0.70),
        ("breast", "folds", 0, 0.77),
        ("breast", "folds", 1, 0.89),
        ("brain", "folds", 0, 0.65),
        ("brain", "net", 0, None),  # failed
        ("chest", "folds", 0, 0.50),  # has nothing to be compared with
    ]
    table = pd.DataFrame(rows, columns=["data", "without", "seed", "auroc"]).assign(budget="3min")
    (row,) = ablation.summary(table).reset_index().to_dict("records")
    assert (row["without"], row["pairs"]) == ("folds", 3)
    assert row["change"] == pytest.approx(-0.03)  # of -0.03, -0.01, -0.05
    assert row["error"] == pytest.approx(0.02 / 3**0.5)
    assert (row["breast"], row["brain"]) == pytest.approx((-0.02, -0.05))

    generator, names = np.random.default_rng(0), ["Mass", "Hernia", "Edema"]
    truth = generator.random((80, 3)) < [0.3, 0.0, 0.4]
    truth[:3, 1] = True  # of too few patients to count
    scores = 0.8 * generator.random((80, 3)) + 0.2 * truth
    predicted = pd.DataFrame({"patient": np.arange(80) // 2, "split": "test"})
    for k, name in enumerate(names):
        predicted[f"label:{name}"] = truth[:, k].astype(int)
        predicted[f"prob:{name}"] = scores[:, k]
        predicted[f"decision:{name}"] = (scores[:, k] > 0.5).astype(int)
    predicted.to_csv(tmp_path / "predictions.csv", index=False)
    found = ablation.with_interval("auroc", ablation.auroc(tmp_path))
    expected = np.mean([roc_auc_score(truth[:, k], scores[:, k]) for k in (0, 2)])
    assert found["auroc"] == pytest.approx(expected)
    assert found["auroc_low"] < expected < found["auroc_high"]


def test_the_benchmark_of_gpus_needs_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run_here(monkeypatch, "benchmark_gpu.py") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("benchmark_gpu.py: torch finds no CUDA GPU")


@pytest.mark.slow
def test_each_part_of_the_benchmark_of_gpus_runs(tmp_path: Path) -> None:
    output = tmp_path / "gpu.csv"
    done = run("benchmark_gpu.py", "--device", "cpu", "--quick", "--output", output, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(output)
    assert set(table["part"]) == {"training", "engines", "feeding", "maps", "ddp"}
    assert (table["images_per_s"] > 0).all()


@pytest.mark.slow
def test_predictions_that_are_killed_end_as_those_left_alone(tmp_path: Path) -> None:
    tiny = ("--rows", "40000", "--files", "3000", "--folder", tmp_path, "--output", "a.csv")
    done = run("benchmark_predict.py", *tiny, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "a.csv")
    assert table["number"].tolist() == [40000, 3000]
    assert table["same bytes"].all()
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.slow
def test_the_benchmark_of_tiles(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    done = run("benchmark_tiles.py", "--edge", "3000", "--output", "a.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "a.csv")
    assert table["tiles"].tolist() == [0, 196, 40, 1]
    assert (table["anonymous"] >= table["at rest"]).all()
