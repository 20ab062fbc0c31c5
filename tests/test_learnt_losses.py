"""Whole jobs by losses that learn more than the net, or give more than a prediction."""

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import medcnn
from medcnn.train import train

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

SIZES = [32, 16, 16]


def trained(folder: Path, data: str, *overrides: str) -> Path:
    dataset = {"_target_": data, "name": data, "sizes": SIZES}
    options = (*jobs.PLAIN, "model=lenet", "cam.n=0", *overrides)
    return jobs.train(folder, *options, trust=[data], dataset=dataset)


@pytest.fixture(scope="module")
def auc_margin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("auc") / "run", jobs.TOY, "loss=auc_margin")


def test_auc_margin_goes_on_to_the_same_bits(auc_margin: Path, tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        jobs.call_at(patch, 1, 1, stop)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "cut", jobs.TOY, "loss=auc_margin")
    train(jobs.compose("train", f"resume='{tmp_path / 'cut'}'"), [jobs.TOY])
    whole, cut = (jobs.checkpoint(run, "last") for run in (auc_margin, tmp_path / "cut"))
    assert jobs.same_weights(whole["state_dict"], cut["state_dict"])
    learnt = {name: whole["state_dict"][f"objective.learnt.{name}"] for name in ("a", "b", "alpha")}
    assert all(learnt[name] != value for name, value in (("a", 0.5), ("b", 0.5), ("alpha", 1)))


def test_scores_of_a_margin_become_probabilities(auc_margin: Path, tmp_path: Path) -> None:
    choices = jobs.checkpoint(auc_margin)["medcnn"]["choices"]
    slope, offset = choices["platt"]["slope"][0], choices["platt"]["offset"][0]
    classifier = medcnn.load(auc_margin / "checkpoints" / "best.ckpt")
    images = torch.rand(4, 1, 20, 24)
    score = classifier(images).double()[:, 0]
    expected = (slope * score + offset).sigmoid()
    torch.testing.assert_close(classifier.classify(images)[:, 1], expected, rtol=1e-5, atol=1e-7)
    table = pd.read_csv(auc_margin / "predictions_val.csv")
    truth = (table["label"] == "high").to_numpy()
    assert table["prob:high"].mean() == pytest.approx(truth.mean(), abs=0.01)  # it has an offset
    notes = (auc_margin / "evaluation.json").read_text()
    assert "loss=auc_margin learns no probabilities: they are its scores, Platt-scaled" in notes
    point = classifier.operating_point
    assert point is not None
    assert table["threshold"].tolist() == pytest.approx([point["threshold"]] * len(table))
    again = jobs.evaluate(
        tmp_path / "again",
        f"checkpoint='{auc_margin / 'checkpoints' / 'best.ckpt'}'",
        trust=[jobs.TOY],
    )
    assert again["test/brier"] == jobs.metrics(auc_margin)["test/brier"]


@pytest.mark.parametrize("name", ["coral", "cumulative"])
def test_thresholds_are_learnt_beside_the_net(name: str, tmp_path: Path) -> None:
    options = (*jobs.QUICK, "objective=ordinal", f"loss={name}", "optimizer.lr=0.01")
    run = jobs.train(tmp_path / "run", *options)
    content = jobs.checkpoint(run)
    learnt = {k: v for k, v in content["state_dict"].items() if k.startswith("objective.")}
    classifier = medcnn.load(run / "checkpoints" / "best.ckpt")
    assert content["medcnn"]["loss_prior"] == pytest.approx([1 / 3] * 3)
    start = type(classifier.objective)("ordinal", 3, loss={"name": name}).state_dict()
    assert {key.removeprefix("objective."): 0 for key in learnt} == dict.fromkeys(start, 0)
    for key, value in start.items():
        assert not torch.equal(value, learnt[f"objective.{key}"])
    table = pd.read_csv(run / "predictions.csv")
    probs = table.filter(like="prob:").to_numpy()
    assert probs.sum(1) == pytest.approx(np.ones(len(table)))
    if content["medcnn"]["choices"]["temperature"] is not None:
        classifier.calibrate("temperature")
        assert classifier.classify(torch.rand(2, 1, 28, 28)).sum(1).tolist() == pytest.approx(
            [1, 1]
        )


LEVELS = ("loss=quantile", "loss.levels=[0.1,0.5,0.9]")
PREDICTED = ["prediction", "quantile:0.1", "quantile:0.9"]


@pytest.fixture(scope="module")
def quantiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("quantiles") / "run", jobs.NUMBERS, *LEVELS)


def test_quantiles_make_an_interval(quantiles: Path) -> None:
    run = quantiles
    table = pd.read_csv(run / "predictions.csv")
    assert list(table.columns[-3:]) == PREDICTED
    assert (table["quantile:0.1"] <= table["prediction"]).all()
    assert (table["prediction"] <= table["quantile:0.9"]).all()
    known = table[table["label"].notna() & (table["split"] == "test")]
    inside = known["label"].between(known["quantile:0.1"], known["quantile:0.9"])
    figure = jobs.metrics(run)["test/coverage/80"]
    assert figure["value"] == pytest.approx(inside.mean())
    assert figure["n"] == len(known)
    predicted: Any = medcnn.load(run / "checkpoints" / "best.ckpt").classify(
        torch.rand(3, 1, 28, 28)
    )
    assert predicted.shape == (3, 1)
    assert "Coverage of the interval of 80 %" in (run / "report.html").read_text(encoding="utf-8")


def test_quantiles_of_files_and_of_an_ensemble(quantiles: Path, tmp_path: Path) -> None:
    """Those of several members are the means of theirs."""
    other = trained(tmp_path / "other", jobs.NUMBERS, *LEVELS, "seed=1")
    samples = jobs.numbers(SIZES)
    rows = samples.rows("test").tolist()
    for row in rows:
        Image.fromarray(samples.images[row, 0].numpy()).save(tmp_path / f"{row:03d}.png")
    members = [quantiles, other]
    told = [pd.read_csv(run / "predictions.csv") for run in members]
    one, mean = tmp_path / "one.csv", tmp_path / "mean.csv"
    where = f"images='{tmp_path}/*.png'"
    jobs.predict(f"checkpoint='{quantiles}/checkpoints/best.ckpt'", where, f"output='{one}'")
    several = f"ensemble=['{quantiles}','{other}']"
    jobs.predict(several, where, f"output='{mean}'")
    jobs.evaluate(tmp_path / "mean", several, trust=[jobs.NUMBERS])
    expected = (told[0][PREDICTED] + told[1][PREDICTED]) / 2
    assert told[0]["row"].tolist() == rows
    assert list(pd.read_csv(mean).columns) == ["image", *PREDICTED]
    np.testing.assert_allclose(pd.read_csv(one)[PREDICTED], told[0][PREDICTED], rtol=1e-6)
    np.testing.assert_allclose(pd.read_csv(mean)[PREDICTED], expected, rtol=1e-6)
    tested = pd.read_csv(tmp_path / "mean" / "predictions.csv")
    np.testing.assert_allclose(tested[PREDICTED], expected, rtol=1e-6)
