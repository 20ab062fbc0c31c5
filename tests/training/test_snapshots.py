"""Snapshots are the weights with which cycles end, and answer as an ensemble."""

from pathlib import Path

import jobs
import numpy as np
import pandas as pd
import pytest

import medcnn
from medcnn.classifier.ensemble import Ensemble


@pytest.mark.no_cover
def test_snapshots_are_an_ensemble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("average=snapshots", "scheduler.cycles=2", "trainer.max_epochs=4")
    run = jobs.train(tmp_path / "run", *jobs.QUICK, *options)
    assert "2 snapshots together" in capsys.readouterr().out
    snapshots = [jobs.checkpoint(run, f"snapshot-{k}") for k in (1, 2)]
    assert [one["epoch"] for one in snapshots] == [1, 3]
    last = jobs.checkpoint(run, "last")["state_dict"]
    assert jobs.same_weights(snapshots[1]["state_dict"], last)
    rates = pd.read_csv(run / "metrics.csv")["lr"]
    assert rates[1] == pytest.approx(1e-3)  # of the step after the first cycle
    assert rates[0] == pytest.approx(rates[2]) == pytest.approx(5e-4)
    assert isinstance(medcnn.load(run / "checkpoints"), Ensemble)
    members = [run / "checkpoints" / f"snapshot-{k}.ckpt" for k in (1, 2)]
    listed = ",".join(f"'{path}'" for path in members)
    jobs.evaluate(tmp_path / "again", f"ensemble=[{listed}]")
    tables = [pd.read_csv(f / "predictions.csv") for f in (run / "ensemble", tmp_path / "again")]
    probs = [table.filter(like="prob:").to_numpy() for table in tables]
    np.testing.assert_allclose(*probs, atol=1e-6)
    assert tables[0]["decision"].tolist() == tables[1]["decision"].tolist()
    assert jobs.status(run / "ensemble")["state"] == "finished"


@pytest.mark.no_cover
def test_snapshots_that_look_at_mirror_images_are_tested_as_later(tmp_path: Path) -> None:
    options = ("average=snapshots", "scheduler.cycles=2", "tta=flips", "augment.flip=[-1]")
    data = {"_target_": jobs.TOY, "sizes": [32, 16, 12]}
    options = (*jobs.PLAIN, "model=lenet", "cam.n=0", *options)
    run = jobs.train(tmp_path / "run", *options, dataset=data, trust=[jobs.TOY])
    for how, point in medcnn.load(run / "checkpoints").choices["mirrored"].items():
        given = (f"checkpoint='{run / 'checkpoints'}'", f"calibration={how}", "split=val")
        found = jobs.evaluate(tmp_path / how, *given, trust=[jobs.TOY])
        table = pd.read_csv(tmp_path / how / "predictions.csv")
        assert set(table["threshold"]) == {point["threshold"]}
        assert found["val/clinic/sensitivity"]["value"] == pytest.approx(point["sensitivity"])
    given = (f"checkpoint='{run / 'checkpoints'}'",)
    again = jobs.evaluate(tmp_path / "again", *given, trust=[jobs.TOY])
    assert again == {key: jobs.metrics(run / "ensemble")[key] for key in again}


@pytest.mark.no_cover
def test_scores_of_margins_are_platt_scaled_and_probabilities_calibrated(tmp_path: Path) -> None:
    options = ("average=snapshots", "scheduler.cycles=2", "loss=hinge")
    run = jobs.train(tmp_path / "run", *jobs.QUICK, *options)
    choices = [jobs.checkpoint(run, f"snapshot-{k}")["medcnn"]["choices"] for k in (1, 2)]
    assert choices[0]["platt"] != choices[1]["platt"]
    classifier = medcnn.load(run / "checkpoints")
    for how in ("none", "temperature"):
        classifier.calibrate(how)
        assert [member.calibration for member in classifier.members] == [how] * 2  # type: ignore[union-attr]
    again = jobs.evaluate(tmp_path / "again", f"checkpoint='{run / 'checkpoints'}'")
    assert again["test/log_loss"] == jobs.metrics(run / "ensemble")["test/log_loss"]
