"""Whole jobs on numbers, on labels that are partly unknown, and on slices of volumes."""

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as sk

import medcnn
from medcnn.errors import UserError
from medcnn.evidence.of_run import explain_split
from medcnn.inference.results import table_file

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

SIZES = [48, 20, 24]
LENET = (*jobs.PLAIN, "model=lenet", "augment=none", "optimizer.lr=0.01")
EPOCHS = 8


def train(folder: Path, data: str, *overrides: str, **options: Any) -> Path:
    dataset = {"_target_": data, "name": data, "sizes": SIZES, **options}
    return jobs.train(folder, *LENET, *overrides, trust=[data], dataset=dataset)


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("regression") / "run"
    watching = ("callbacks=early_stopping", "scheduler=plateau")
    return train(folder, jobs.NUMBERS, *watching, f"trainer.max_epochs={EPOCHS}", "cam.n=3")


@pytest.fixture(scope="module")
def partly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("partly") / "run"
    return train(folder, jobs.SLICES, "trainer.max_epochs=4", "aggregate=max", "cam.n=6")


def test_figures_of_a_regression_are_those_of_its_predictions(regression: Path) -> None:
    table = pd.read_csv(regression / "predictions.csv")
    assert list(table.columns) == ["row", "image", "patient", "split", "label", "prediction"]
    figures = jobs.metrics(regression)
    for split, part in table.groupby("split"):
        there = part.dropna()
        assert len(there) == len(part) * 3 // 4
        assert figures[f"{split}/r2"]["n"] == figures[f"{split}/loss"]["n"] == len(there)
        pair = there["label"], there["prediction"]
        assert figures[f"{split}/r2"]["value"] == pytest.approx(sk.r2_score(*pair), abs=1e-5)
        mae = sk.mean_absolute_error(*pair)
        assert figures[f"{split}/mae"]["value"] == pytest.approx(mae, abs=1e-5)
    assert figures["test/r2"]["value"] > 0.5  # it has learnt


def test_targets_are_those_of_the_training_split(regression: Path) -> None:
    card = jobs.checkpoint(regression)["medcnn"]
    labels = jobs.numbers(SIZES).table["label"][: SIZES[0]].to_numpy(float)
    assert card["targets"]["mean"] == pytest.approx([np.nanmean(labels)])
    assert card["targets"]["std"] == pytest.approx([np.nanstd(labels)])
    squares = jobs.metrics(regression)["test/rmse"]["value"] ** 2
    loss = jobs.metrics(regression)["test/loss"]["value"]
    assert loss == pytest.approx(squares / np.nanvar(labels), rel=1e-4)


def test_a_loaded_regression_speaks_the_unit_of_its_labels(regression: Path) -> None:
    told = pd.read_csv(regression / "predictions.csv")
    images = jobs.numbers(SIZES).images[torch.tensor(told["row"].tolist())].float() / 255
    classifier = medcnn.load(regression / "checkpoints" / "best.ckpt")
    predicted = classifier.classify(images)[:, 0]
    np.testing.assert_allclose(predicted, told["prediction"], rtol=1e-5)
    assert 150 < predicted.mean() < 300


def test_a_regression_monitors_r2(regression: Path) -> None:
    history = pd.read_csv(regression / "metrics.csv")
    assert {"val/r2", "val/mae"} < set(history.columns)
    assert not {"val/auroc", "val/accuracy"} & set(history.columns)
    assert jobs.metrics(regression)["val/r2"]["value"] == pytest.approx(history["val/r2"].max())
    callbacks = jobs.checkpoint(regression, "last")["callbacks"]
    watched = [name for name in callbacks if "val/" in name]
    assert len(watched) == 2
    assert all("val/score" in name for name in watched)
    assert history["val/score"].equals(history["val/r2"])
    assert (regression / "curves.png").exists()


def test_a_regression_is_evaluated_again(regression: Path, tmp_path: Path) -> None:
    checkpoint = f"checkpoint='{regression / 'checkpoints' / 'best.ckpt'}'"
    figures = jobs.evaluate(tmp_path / "again", checkpoint, trust=[jobs.NUMBERS])
    trained = jobs.metrics(regression)
    assert {name for name in trained if name.startswith("test/")} == {
        *figures, "test/pointing_game", "test/pointing_game_centre",
    }  # fmt: skip
    for name, figure in figures.items():
        assert figure == pytest.approx(trained[name], abs=1e-5)


def test_maps_of_a_regression(regression: Path) -> None:
    samples = jobs.numbers(SIZES)
    rows = samples.spread(samples.rows("test"), 3).tolist()
    assert rows == [68, 80, 91]
    assert {p.name for p in (regression / "cams").glob("*.npy")} == {f"{r}.npy" for r in rows}
    assert (regression / "cams" / "gallery.png").exists()
    assert jobs.metrics(regression)["test/pointing_game"]["n"] == SIZES[2]


def test_several_targets(tmp_path: Path) -> None:
    run = train(tmp_path / "run", jobs.NUMBERS, "cam.n=2", targets=2)
    figures = jobs.metrics(run)
    each = [figures[f"test/r2/{name}"]["value"] for name in ("height", "depth")]
    assert figures["test/r2"]["value"] == pytest.approx(np.mean(each))
    table = pd.read_csv(run / "predictions.csv")
    assert {"label:height", "label:depth", "prediction:height"} < set(table.columns)
    assert len(list((run / "cams").glob("*.npy"))) == 2


def test_unknown_labels_are_left_out_of_the_figures(partly: Path) -> None:
    table = pd.read_csv(partly / "predictions.csv")
    test = table[table["split"] == "test"].dropna(subset="label")
    assert len(test) == SIZES[2] * 2 // 3
    figures = jobs.metrics(partly)
    assert figures["test/accuracy"]["n"] == figures["test/loss"]["n"] == len(test)
    expected = sk.accuracy_score(test["label"], test["decision"])
    assert figures["test/accuracy"]["value"] == pytest.approx(expected)
    auroc = sk.roc_auc_score(test["label"] == "high", test["prob:high"])
    assert figures["test/auroc"]["value"] == pytest.approx(auroc)
    truth, share = test["label"] == "high", test["prob:high"]
    assert figures["test/loss"]["value"] == pytest.approx(sk.log_loss(truth, share), rel=1e-4)


def test_what_has_no_label_teaches_nothing(partly: Path, tmp_path: Path) -> None:
    """Unlabelled training images change places, and the weights stay what they were."""
    options = ("trainer.max_epochs=4", "aggregate=max")
    run = train(tmp_path / "run", jobs.SLICES, *options, shift=3)
    weights = [jobs.checkpoint(r, "last")["state_dict"] for r in (partly, run)]
    moved = jobs.slices(SIZES, 3).images != jobs.slices(SIZES).images
    assert moved.any()
    for name, expected in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected, atol=1e-6, rtol=0)
    losses = [pd.read_csv(r / "metrics.csv")["train/loss"] for r in (partly, run)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_slices_are_aggregated_to_studies(partly: Path, tmp_path: Path) -> None:
    files = [table_file(level, other) for level in ("image", "study") for other in ("val", None)]
    val, test, *studies = (pd.read_csv(partly / file) for file in files)
    slices, table = pd.concat([val, test]).set_index("row"), pd.concat(studies)
    assert table["slices"].tolist() == [2] * (sum(SIZES[1:]) // 2)
    highest = slices["prob:high"].groupby(slices.index // 2).max()
    np.testing.assert_allclose(table["prob:high"], highest[table["study"]], rtol=1e-5)
    assert (table["decision"] == np.where(table["prob:high"] > 0.5, "high", "low")).all()
    test = table[table["split"] == "test"].dropna(subset="label")
    figures = jobs.metrics(partly)
    auroc = sk.roc_auc_score(test["label"] == "high", test["prob:high"])
    study = figures["test/study/auroc"]
    assert (study["value"], study["n"]) == (pytest.approx(auroc), len(test))
    assert study["low"] <= study["value"] <= study["high"]
    assert figures["test/study/accuracy"]["n"] == figures["test/accuracy"]["n"] / 2
    checkpoint = f"checkpoint='{partly / 'checkpoints' / 'best.ckpt'}'"
    again = jobs.evaluate(tmp_path / "a", checkpoint, trust=[jobs.SLICES])
    assert again["test/study/auroc"]["value"] == pytest.approx(auroc)
    jobs.evaluate(tmp_path / "b", checkpoint, "aggregate=noisy-or", trust=[jobs.SLICES])
    noisy = pd.read_csv(tmp_path / "b" / "predictions_study.csv")
    either = 1 - (1 - slices["prob:high"]).groupby(slices.index // 2).prod()
    np.testing.assert_allclose(noisy["prob:high"], either[noisy["study"]], rtol=1e-4)


def test_maps_of_images_without_a_label(partly: Path, tmp_path: Path) -> None:
    figures = jobs.metrics(partly)
    assert figures["test/pointing_game"]["n"] == SIZES[2] * 2 // 3
    samples = jobs.slices(SIZES)
    rows = samples.spread(samples.rows("test"), 6)
    assert sorted(samples.labels[rows].tolist()) == [-1, -1, 0, 0, 1, 1]
    classifier = medcnn.load(partly / "checkpoints" / "best.ckpt")
    samples.table["label"] = -1
    options = {"split": "test", "method": "gradcam", "n": 2}
    assert explain_split(classifier, samples, tmp_path, **options) == {}  # type: ignore[arg-type]
    assert (tmp_path / "gallery.png").exists()


def test_a_validation_split_of_which_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = jobs.slices

    def blind(sizes: list[int]) -> Any:
        samples = original(sizes)
        samples.table.loc[samples.table["split"] == "val", "label"] = -1
        return samples

    monkeypatch.setattr(jobs, "slices", blind)
    with pytest.raises(UserError, match="slices: no label of the val split is known"):
        train(tmp_path / "run", jobs.SLICES, "cam.n=0")
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("data", "overrides", "message"),
    [
        (jobs.NUMBERS, ["objective=multiclass"], r"multiclass doesn't fit .* \(regression\)"),
        (jobs.SLICES, ["objective=regression"], r"regression doesn't fit .* \(binary\)"),
        (jobs.NUMBERS, ["objective.class_weights=balanced"], "no classes to weigh"),
        (jobs.NUMBERS, ["objective.class_weights=[2]"], "no classes to weigh"),
        (jobs.NUMBERS, ["aggregate=noisy-or"], "aggregate=noisy-or: a regression task has no"),
        (jobs.SLICES, ["aggregate=vote"], "aggregate=vote: choose one of mean, max, noisy-or"),
    ],
)
def test_what_does_not_fit(data: str, overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        train(tmp_path / "run", data, *overrides)


@pytest.mark.parametrize("data", ["numbers", "slices"])
def test_a_training_split_of_which_nothing_is_known(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(jobs, data)

    def blind(sizes: list[int]) -> Any:
        samples = original(sizes)
        nothing = np.nan if data == "numbers" else -1
        samples.table.loc[samples.table["split"] == "train", "label"] = nothing
        return samples

    monkeypatch.setattr(jobs, data, blind)
    with pytest.raises(UserError, match=r"training split (has 0 known labels|is known)"):
        train(tmp_path / "run", f"jobs.{data}")


def test_the_training_loss_is_the_mean_over_what_is_known(tmp_path: Path) -> None:
    """Batches have different numbers of known labels; a rate of nearly zero keeps the net."""
    options = ("optimizer.lr=1.0e-12", "scheduler=none", "trainer.max_epochs=1", "batch_size=6")
    run = train(tmp_path / "run", jobs.SLICES, *options)
    classifier, samples = medcnn.load(run / "checkpoints" / "last.ckpt"), jobs.slices(SIZES)
    rows = samples.rows("train")
    rows = rows[samples.labels[rows] >= 0]
    with torch.inference_mode():
        logits = classifier(samples.images[rows].float() / 255)
    expected = float(classifier.objective.loss(logits, samples.labels[rows]))
    logged = pd.read_csv(run / "metrics.csv")["train/loss"][0]
    assert logged == pytest.approx(expected, rel=1e-5)
