"""What a run directory has for a tracker."""

from pathlib import Path

import jobs
import pytest
import yaml

from medcnn.jobs.rundir import RunDir
from medcnn.training.trackers.content import curve, figures, files, settings


def test_settings_are_flat_and_tell_no_place(phantom_run: Path) -> None:
    found = settings(RunDir(phantom_run))
    assert found["optimizer.lr"] == "0.001"
    assert found["model.name"] == "lenet"
    assert found["callbacks"] == "{}"
    assert not [key for key in found if key.startswith(("paths", "logger", "cache"))]
    assert str(phantom_run) not in str(found)


def test_the_keys_of_persons_and_secrets_are_hidden(tmp_path: Path) -> None:
    content = {"dataset": {"token": "abc", "path": "/home/anna/x.csv", "size": 28}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    told = {"dataset.token": "HIDDEN", "dataset.path": "PATH", "dataset.size": "28"}
    assert settings(RunDir(tmp_path)) == told


def test_curves_go_on_after_a_row(phantom_run: Path) -> None:
    run = RunDir(phantom_run)
    points = curve(run, "metrics.csv", 1)
    assert {point.at for point in points} == {2, 3}
    assert {"train/loss", "val/auroc", "lr"} < {point.name for point in points}
    health = curve(run, "health.csv", 0)
    assert all(point.name.startswith("health/") for point in health)
    assert "health/gradient_norm" in {point.name for point in health}
    assert curve(run, "metrics.csv", 3) == curve(RunDir(phantom_run / "cams"), "metrics.csv", 0)


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,val/auroc,val/loss\n1,,0.5\n2,inf,0.25\n")
    points = curve(RunDir(tmp_path), "metrics.csv", 0)
    assert points == [("val/loss", 0.5, 1), ("val/loss", 0.25, 2)]


def test_final_figures_have_their_intervals(phantom_run: Path) -> None:
    found, told = figures(RunDir(phantom_run)), jobs.metrics(phantom_run)
    ranges = [name for name in told if told[name]["low"] is not None]
    assert len(ranges) > 5
    for name in ranges:
        assert [found[f"{name}/{end}"] for end in ("low", "high")] == [
            told[name]["low"], told[name]["high"],
        ]  # fmt: skip
    assert found["test/auroc"] == told["test/auroc"]["value"]
    assert found["best/val/auroc"] == told["val/auroc"]["value"]
    assert "val/auroc" not in found  # which is a curve
    assert figures(RunDir(phantom_run / "cams")) == {}


@pytest.mark.parametrize("predictions", [False, True])
def test_tables_of_patients_are_sent_if_asked_for(phantom_run: Path, predictions: bool) -> None:
    names = [path.name for path in files(RunDir(phantom_run), predictions)]
    tables = ["predictions.csv", "predictions_val.csv"] if predictions else []
    assert names == ["report.html", "metrics.json", *tables]
