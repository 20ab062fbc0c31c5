"""Ensembles and test-time augmentation: several looks, one answer."""

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import medcnn
from medcnn.data.open_data import data_config, open_data
from medcnn.errors import UserError
from medcnn.evaluation.operating_point import choose_threshold

NO_FLIP = "augment.flip=[]"
EPOCH = "trainer.max_epochs=1"  # after two no validation image is mistaken
FOLDERS = ("run", "single", "warm")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two trainings on the same two-class images, with other weights."""
    folder = tmp_path_factory.mktemp("members")
    root = jobs.write_medmnist(folder / "data", "breastmnist", 2)
    data = ("dataset=breastmnist", "dataset.download=false", f"dataset.root='{root}'")
    options = (*jobs.PLAIN, "model=lenet", "cam.n=0", *data)
    return [jobs.train(folder / str(seed), *options, f"seed={seed}") for seed in (0, 1)]


def given(runs: list[Path]) -> str:
    return "ensemble=[" + ",".join(f"'{run}'" for run in runs) + "]"


def looked_at(run: Path, split: str) -> tuple[Any, torch.Tensor]:
    """The classifier of a run and the images of a split."""
    classifier = medcnn.load(run / "checkpoints" / "best.ckpt")
    cfg = jobs.compose("evaluate", f"checkpoint='{run}'")
    settings = data_config(classifier.card["config"], cfg)  # type: ignore[union-attr]
    samples = open_data(settings, [], card=classifier.card, checked=False).samples  # type: ignore[union-attr]
    return classifier, samples.images[samples.rows(split)].float()


def probs_of(folder: Path, split: str = "test") -> np.ndarray:
    table = pd.read_csv(folder / "predictions.csv")
    return table[table["split"] == split].filter(like="prob:").to_numpy()


@pytest.mark.no_cover
def test_an_ensemble_is_the_mean_of_its_members(runs: list[Path], tmp_path: Path) -> None:
    figures = jobs.evaluate(tmp_path / "both", given(runs))
    mean = np.mean([probs_of(run) for run in runs], axis=0)
    np.testing.assert_allclose(probs_of(tmp_path / "both"), mean, atol=1e-6)
    table = pd.read_csv(tmp_path / "both" / "predictions.csv")
    test = table[table["split"] == "test"]
    entropy = -(mean * np.log(mean)).sum(1)
    np.testing.assert_allclose(test["entropy"], entropy, atol=1e-5)
    each = np.mean([-(p * np.log(p)).sum(1) for p in map(probs_of, runs)], axis=0)
    np.testing.assert_allclose(test["mutual_information"], entropy - each, atol=1e-5)
    assert figures["test/loss"]["value"] is None
    assert figures["test/clinic/sensitivity"]["value"] is not None  # a threshold of its own


def test_a_calibrated_ensemble_says_so(runs: list[Path], tmp_path: Path) -> None:
    steps = ("calibration=isotonic", "evaluation.resamples=1")
    jobs.evaluate(tmp_path / "steps", given(runs), *steps)
    page = (tmp_path / "steps" / "report.html").read_text()
    assert "The probabilities are corrected by isotonic regression." in page


def test_mirrored_images_are_averaged_over(runs: list[Path], tmp_path: Path) -> None:
    jobs.evaluate(tmp_path / "flips", f"checkpoint='{runs[0]}/checkpoints/best.ckpt'", "tta=flips")
    classifier, images = looked_at(runs[0], "test")
    images = images / 255
    expected = (classifier.classify(images) + classifier.classify(images.flip(-1))) / 2
    np.testing.assert_allclose(probs_of(tmp_path / "flips"), expected.numpy(), atol=1e-5)


def test_a_training_tests_as_later_commands_do(runs: list[Path], tmp_path: Path) -> None:
    data = jobs.checkpoint(runs[0])["medcnn"]["config"]["dataset"]
    options = ("model=lenet", "cam.n=1", "tta=flips", "augment.flip=[-1,-2,-1]", EPOCH)
    run = jobs.train(tmp_path / "run", *jobs.PLAIN, *options, dataset=data)
    best = f"checkpoint='{run}/checkpoints/best.ckpt'"
    figures = jobs.evaluate(tmp_path / "again", best)
    trained = {key: one for key, one in jobs.metrics(run).items() if not key.startswith("val/")}
    assert {key: trained[key] for key in figures} == figures
    again, told = (pd.read_csv(f / "predictions.csv") for f in (tmp_path / "again", run))
    pd.testing.assert_frame_equal(again, told)
    page = (run / "report.html").read_text()
    assert "means over the images and their mirror images (tta=flips)" in page

    classifier, images = looked_at(run, "val")
    views = [(), (-1,), (-2,), (-1, -2)]
    labels = pd.read_csv(run / "predictions_val.csv")["label"] == classifier.class_names[0]

    def expected(how: str, looks: list[tuple[int, ...]]) -> Any:
        classifier.calibrate(how)
        probs = torch.stack([classifier.classify((images / 255).flip(axes)) for axes in looks])
        classifier.calibrate("none")
        chosen = choose_threshold(probs.mean(0)[:, 0].numpy(), labels.to_numpy(), "youden")
        return pytest.approx(chosen.threshold, abs=1e-6)

    assert classifier.card["positive"] == 0
    jobs.evaluate(tmp_path / "single", best, "tta=none")
    jobs.evaluate(tmp_path / "warm", best, "calibration=temperature")
    applied = {f: pd.read_csv(tmp_path / f / "predictions.csv")["threshold"][0] for f in FOLDERS}
    assert applied["run"] == expected("none", views)
    assert applied["single"] == classifier.threshold == expected("none", [()])
    assert applied["warm"] == expected("temperature", views)
    assert len({round(one, 4) for one in applied.values()}) == 3

    _, stored = looked_at(run, "test")
    Image.fromarray(stored[0, 0].byte().numpy()).save(tmp_path / "image.png")
    given = (best, f"images='{tmp_path / 'image.png'}'")
    jobs.predict(*given, f"output='{tmp_path / 'new.csv'}'")
    new = pd.read_csv(tmp_path / "new.csv").drop(columns="image")
    pd.testing.assert_frame_equal(new, told.loc[:0, list(new)], atol=1e-6)
    jobs.predict(*given, f"output='{tmp_path / 'map.csv'}'", "dense=true")


def test_new_images_are_seen_by_all_and_mirrored(runs: list[Path], tmp_path: Path) -> None:
    looks = [looked_at(run, "test") for run in runs]
    stored = looks[0][1]
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(stored):
        Image.fromarray(image[0].byte().numpy()).save(folder / f"{number:02}.png")
    output = tmp_path / "new.csv"
    jobs.predict(given(runs), "tta=flips", f"images='{folder}'", f"output='{output}'")
    images = stored / 255
    seen = [c.classify(x) for c, _ in looks for x in (images, images.flip(-1))]
    found = pd.read_csv(output).filter(like="prob:").to_numpy()
    np.testing.assert_allclose(found, torch.stack(seen).mean(0).numpy(), atol=1e-5)
    with pytest.raises(UserError, match="give either checkpoint=FILE or ensemble="):
        jobs.predict(f"images='{folder}'", f"output='{tmp_path / 'x.csv'}'")
    with pytest.raises(UserError, match="dense=true maps plain scores"):
        jobs.predict(
            given(runs), "tta=flips", "dense=true", f"images='{folder}'",
            f"output='{tmp_path / 'x.csv'}'",
        )  # fmt: skip


@pytest.mark.no_cover
def test_temperature_makes_the_log_loss_of_validation_least(
    runs: list[Path], tmp_path: Path
) -> None:
    checkpoint = f"checkpoint='{runs[0]}/checkpoints/best.ckpt'"
    plain = jobs.evaluate(tmp_path / "plain", checkpoint, "split=val")
    warm = jobs.evaluate(tmp_path / "warm", checkpoint, "split=val", "calibration=temperature")
    assert warm["val/log_loss"]["value"] <= plain["val/log_loss"]["value"] + 1e-6
    assert warm["val/auroc"] == plain["val/auroc"]
    at = "val/clinic/sensitivity"
    assert warm[at]["value"] == plain[at]["value"]  # the threshold moves with the probabilities
    stepped = jobs.evaluate(tmp_path / "steps", checkpoint, "split=val", "calibration=isotonic")
    assert stepped["val/brier"]["value"] <= plain["val/brier"]["value"] + 1e-6


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["tta=twist"], "tta=twist: choose one of none, flips"),
        (["calibration=magic"], "calibration=magic: choose one of none, temperature, isotonic"),
        (["evaluation.operating_point=best"], "operating_point=best: give youden"),
        (["evaluation.least=x"], "evaluation.least=x"),
        (["evaluation.resamples=0"], "evaluation.resamples=0"),
        (["evaluation.prevalence=2"], "evaluation.prevalence=2: give a share between 0 and 1"),
        (["evaluation.subgroups=sex"], "evaluation.subgroups=sex: give names in brackets"),
    ],
)
def test_what_there_is_not(
    runs: list[Path], tmp_path: Path, overrides: list[str], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        jobs.evaluate(tmp_path / "x", given(runs), *overrides)
    assert not (tmp_path / "x" / "metrics.json").exists()


def test_a_checkpoint_has_its_operating_point(runs: list[Path], tmp_path: Path) -> None:
    best = f"checkpoint='{runs[0]}/checkpoints/best.ckpt'"
    with pytest.raises(
        UserError, match=r"evaluation\.operating_point=youden: the threshold is that"
    ):
        jobs.evaluate(tmp_path / "x", best, "evaluation.operating_point=youden")
    point = jobs.checkpoint(runs[0])["medcnn"]["choices"]["operating_point"]
    jobs.evaluate(tmp_path / "y", given(runs), "evaluation.operating_point=0.3")
    table = pd.read_csv(tmp_path / "y" / "predictions.csv")
    assert set(table["threshold"]) == {0.3}
    assert set(pd.read_csv(runs[0] / "predictions.csv")["threshold"]) == {point["threshold"]}


def test_bad_settings_are_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluation\.least=x"):
        jobs.train(tmp_path / "run", *jobs.QUICK, "evaluation.least=x")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_one_way_to_name_what_is_evaluated(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give either checkpoint=FILE or ensemble"):
        jobs.evaluate(tmp_path / "x")
    with pytest.raises(UserError, match="give either checkpoint=FILE or ensemble"):
        jobs.evaluate(tmp_path / "x", given(runs), f"checkpoint='{runs[0]}'")


@pytest.mark.no_cover
def test_members_must_fit(runs: list[Path], tmp_path: Path) -> None:
    other = jobs.train(tmp_path / "other", *jobs.QUICK, "++dataset.size=32", NO_FLIP)
    with pytest.raises(UserError, match="members of an ensemble differ in task"):
        jobs.evaluate(tmp_path / "x", given([runs[0], other]))
    best = f"checkpoint='{other}/checkpoints/best.ckpt'"
    with pytest.raises(UserError, match="tta=flips: the training mirrors no axis"):
        jobs.evaluate(tmp_path / "y", best, "tta=flips")


@pytest.mark.no_cover
def test_each_member_scales_by_its_own_training_images(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    images = jobs.patterns(np.arange(24) % 2, (28, 28), seed=4)
    for number, image in enumerate(images):
        Image.fromarray(image // (1 + number % 5)).save(tmp_path / "img" / f"{number}.png")
    names = [f"img/{k}.png" for k in range(24)]
    table = pd.DataFrame({"image": names, "label": np.arange(24) % 2, "patient": names})
    table.to_csv(tmp_path / "table.csv", index=False)
    data = ("dataset=csv", f"dataset.path='{tmp_path}/table.csv'", "dataset.size=28")
    data = (*data, "dataset.intensity=training_percentile", f"cache.folder='{tmp_path}/cache'")
    options = (*jobs.PLAIN, "model=lenet", "cam.n=0", "trainer.max_epochs=1", *data)
    both = [jobs.train(tmp_path / str(k), *options, f"splits.seed={k}") for k in (0, 1)]
    ranges = [jobs.checkpoint(run)["medcnn"]["intensity_range"] for run in both]
    assert ranges[0] != ranges[1]
    jobs.evaluate(tmp_path / "out", given(both), *data)
    output = f"output='{tmp_path / 'new.csv'}'"
    jobs.predict(given(both), f"images='{tmp_path / 'img'}'", output)
    evaluated = pd.read_csv(tmp_path / "out" / "predictions.csv")
    predicted = pd.read_csv(tmp_path / "new.csv")
    predicted["image"] = "img/" + predicted["image"].map(lambda path: Path(path).name)
    joined = evaluated.merge(predicted, on="image", suffixes=("", "_new"))
    assert len(joined) == 24
    np.testing.assert_allclose(joined["prob:1"], joined["prob:1_new"], atol=1e-6)
