import json
import shutil
from pathlib import Path

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

import medcnn
from medcnn.classifier.checkpoint import load
from medcnn.classifier.classifier import Classifier
from medcnn.classifier.ensemble import Ensemble, read_ensemble
from medcnn.errors import UserError
from medcnn.evaluation import Predictions, figures_with_intervals
from medcnn.evaluation.at_operating_point import at_operating_point
from medcnn.evaluation.operating_point import choose_threshold
from medcnn.explain import main as explain
from medcnn.jobs.atomic_files import read_sample_table, write_csv, write_json
from medcnn.jobs.rundir import RunDir
from medcnn.train import train
from medcnn.training import cross_validation as crossval

DATA = {"_target_": jobs.TOY, "sizes": [40, 8, 24]}  # of which 24 are official test images
FOLDS = (*jobs.PLAIN, "model=lenet", "cam.n=0", "fold=all", "folds=3")
RULE = "evaluation.operating_point='sensitivity>=0.9'"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crossval") / "run"
    return jobs.train(folder, *FOLDS, RULE, "cam.n=1", dataset=DATA, trust=[jobs.TOY])


@pytest.mark.no_cover
def test_every_sample_is_predicted_once_by_a_fold_that_never_saw_it(run: Path) -> None:
    table = pd.read_csv(run / "predictions.csv")
    assert table["row"].tolist() == list(range(48))
    for fold in range(3):
        samples = pd.read_csv(run / f"fold-{fold}" / "samples.csv")
        tested = set(samples.loc[samples["split"] == "test", "row"])
        assert set(table.loc[table["fold"] == fold, "row"]) == tested
    owners = table.groupby("patient")["fold"].nunique()
    assert owners.max() == 1
    folds = pd.read_csv(run / "samples.csv")
    assert folds["fold"][:48].tolist() == table["fold"].tolist()
    assert folds["fold"][48:].isna().all()
    assert "split" not in folds


def test_explain_says_once_what_holds_for_all_folds(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(run, tmp_path / "run")
    for fold in range(3):
        (tmp_path / "run" / f"fold-{fold}" / "samples.csv").unlink()
    given = (f"checkpoint='{tmp_path / 'run'}'", "n=0", "scores=[]", "accelerator=cpu")
    explain(jobs.compose("explain", *given), [jobs.TOY])
    assert caplog.text.count("There is no samples.csv in the run directory of best.ckpt") == 1


def test_the_official_test_images_are_kept_for_the_ensemble(run: Path, tmp_path: Path) -> None:
    for fold in range(3):
        splits = pd.read_csv(run / f"fold-{fold}" / "samples.csv")["split"]
        assert set(splits[48:]) == {"holdout"}
        assert splits[:48].value_counts()["val"] == 4  # 10 of the 70 + 10 shares, of 32
    table = pd.read_csv(run / "ensemble" / "predictions.csv")
    assert table["row"].tolist() == list(range(48, 72))
    images = jobs.toy(DATA["sizes"]).images[48:].float() / 255  # type: ignore[index,arg-type]
    members = [load(path).classify(images) for path in read_ensemble(run)]
    expected = torch.stack(members).mean(0)
    np.testing.assert_allclose(table[["prob:low", "prob:high"]], expected, atol=1e-6)
    named = jobs.metrics(run)["ensemble/test/auroc"]
    told = "24 official test images are in no fold; on them the mean of all folds&#39; networks has"
    assert f"{told} test AUROC {named['value']:.3f}" in (run / "report.html").read_text()
    again = jobs.evaluate(tmp_path / "again", f"checkpoint='{run}'", trust=[jobs.TOY])
    assert again["test/auroc"] == named
    assert again["test/auroc"]["n"] == 24
    again = tmp_path / "again" / "predictions.csv"
    assert set(pd.read_csv(again)["threshold"]) == set(table["threshold"])


def test_the_ensemble_has_an_operating_point_of_its_own(run: Path, tmp_path: Path) -> None:
    data = jobs.toy(DATA["sizes"])  # type: ignore[arg-type]
    sums, counts = np.zeros(48), np.zeros(48)
    for fold, path in enumerate(read_ensemble(run)):
        splits = pd.read_csv(run / f"fold-{fold}" / "samples.csv")["split"][:48]
        unseen = splits.isin(["val", "test"]).to_numpy()
        probs = load(path).classify(data.images[:48].float() / 255)[:, 1].numpy()
        sums[unseen] += probs[unseen]
        counts[unseen] += 1
    truth, mean = data.labels[:48].numpy() == 1, sums / counts
    expected = choose_threshold(mean, truth, "sensitivity>=0.9")
    ensemble = medcnn.load(run)
    point = ensemble.operating_point
    assert point is not None
    assert point["threshold"] == pytest.approx(expected.threshold, abs=1e-6)
    assert point["sensitivity"] == expected.sensitivity >= 0.9
    assert point["n"] == 48
    image = tmp_path / "image.png"
    Image.fromarray(data.images[50, 0].numpy()).save(image)
    jobs.predict(f"checkpoint='{run}'", f"images='{image}'", f"output='{tmp_path / 'out.csv'}'")
    assert pd.read_csv(tmp_path / "out.csv")["threshold"].tolist() == [point["threshold"]]


@pytest.mark.no_cover
def test_the_ensemble_of_mirrored_looks_has_its_own_point(tmp_path: Path) -> None:
    options = (*FOLDS, RULE, "tta=flips", "augment.flip=[-1]")
    run = jobs.train(tmp_path / "run", *options, dataset=DATA, trust=[jobs.TOY])
    data, members = jobs.toy(DATA["sizes"]), [load(path) for path in read_ensemble(run)]  # type: ignore[arg-type]
    images = data.images.float() / 255
    looks = [[m.classify(one)[:, 1].numpy() for one in (images, images.flip(-1))] for m in members]
    probs, unseen = np.mean(looks, axis=1), np.zeros((3, 48), bool)
    pooled = pd.read_csv(run / "predictions.csv").set_index("row")
    for fold in range(3):
        splits = pd.read_csv(run / f"fold-{fold}" / "samples.csv")["split"][:48]
        unseen[fold] = splits.isin(["val", "test"])
        tested = np.flatnonzero(splits == "test")
        told = pooled.loc[tested, "prob:high"]
        np.testing.assert_allclose(told, probs[fold][tested], atol=1e-6)
    mean = np.average(probs[:, :48], axis=0, weights=unseen)
    expected = choose_threshold(mean, data.labels[:48].numpy() == 1, "sensitivity>=0.9")
    official = pd.read_csv(run / "ensemble" / "predictions.csv")
    np.testing.assert_allclose(official["prob:high"], probs[:, 48:].mean(0), atol=1e-6)
    assert official["threshold"][0] == pytest.approx(expected.threshold, abs=1e-6)
    assert official["threshold"][0] != medcnn.load(run).threshold  # of single looks
    again = jobs.evaluate(tmp_path / "again", f"checkpoint='{run}'", trust=[jobs.TOY])
    assert again == {key: jobs.metrics(run / "ensemble")[key] for key in again}


def test_the_page_and_the_card_tell_how_much_the_folds_differ(run: Path) -> None:
    values = pd.read_csv(run / "folds.csv")["test/auroc"]
    told = f"{values.mean():.3f} ± {values.std():.3f}"
    page, card = (run / "report.html").read_text(), (run / "MODEL_CARD.md").read_text()
    assert "mean ± SD over 3 folds" in page
    assert told in page
    content = json.loads((run / "evaluation.json").read_text())
    figures = content["levels"]["image"]["figures"]
    applied = pd.read_csv(run / "predictions.csv").groupby("fold")["threshold"].first().tolist()
    assert content["operating_point"]["thresholds"] == applied  # and no mean, which nobody applied
    assert "threshold" not in content["operating_point"]
    assert "in each fold its own (chosen on the validation split, rule: sensitivity" in card
    ranked, pooled = (figures[key]["value"] for key in ("auroc_within_folds", "auroc"))
    assert f"AUROC is {pooled:.3f}, by ranks within each fold {ranked:.3f}; fold by fold" in page
    assert jobs.metrics(run)["test/auroc_within_folds"]["value"] == ranked
    assert f"{told} {values.min():.3f} … {values.max():.3f}" in card


def test_labels_that_may_be_wrong_are_listed(run: Path, tmp_path: Path) -> None:
    """Of finished folds, after the label of a confident test image of fold 1 was turned round."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    interrupt(copy)
    path = copy / "fold-1" / "predictions.csv"
    table = pd.read_csv(path)
    at = table["prob:high"].idxmax()
    table.loc[at, "label"] = "low"
    table.to_csv(path, index=False)
    train(jobs.compose("train", f"resume='{copy}'"), [jobs.TOY])
    found = pd.read_csv(copy / "label_issues.csv")
    first = found.iloc[0]
    assert first[["row", "fold", "label", "suggested"]].tolist() == [
        table.loc[at, "row"], 1, "low", "high",
    ]  # fmt: skip
    assert first["score"] == pytest.approx(table.loc[at, "prob:low"])
    image = jobs.toy(DATA["sizes"]).images[first["row"], 0]  # type: ignore[index,arg-type]
    assert np.array_equal(np.asarray(Image.open(copy / first["picture"])), image)
    section = (copy / "report.html").read_text().partition('<section id="labels">')[2]
    assert "map of low (label)" in section
    if pd.notna(first["map"]):
        assert (copy / first["map"]).is_file()


def interrupt(run: Path) -> None:
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "state": "interrupted"}))


def test_names_are_pooled_as_the_text_that_they_are(tmp_path: Path) -> None:
    whole = RunDir(tmp_path)
    parts = [RunDir(tmp_path / f"fold-{k}") for k in range(2)]
    for fold, part in enumerate(parts):
        split = ["test", "train"] if fold == 0 else ["train", "test"]
        table = pd.DataFrame({"patient": ["01", "1"], "site": ["NA", None], "split": split})
        write_csv(part / "samples.csv", table, index_label="row")
    crossval._pool_samples(whole, parts)
    pooled = read_sample_table(tmp_path / "samples.csv")
    assert pooled["patient"].tolist() == ["01", "1"]
    assert pooled["site"].isna().tolist() == [False, True]
    assert pooled["fold"].tolist() == ["0", "1"]


def test_the_thresholds_of_folds_stay_their_own(tmp_path: Path) -> None:
    parts = [RunDir(tmp_path / f"fold-{k}") for k in range(2)]
    for part, threshold in zip(parts, (0.2, None), strict=True):
        label = None if threshold is None else {"threshold": threshold}
        point = {"rule": "youden", "chosen_on": "val", "labels": {"a": label, "b": None}}
        write_json(part / "evaluation.json", {"operating_point": point})
    labels = {"a": {"thresholds": [0.2, None]}, "b": None}
    assert crossval._points(parts) == {"rule": "youden", "chosen_on": "val", "labels": labels}


def test_a_fold_without_a_threshold_decides_at_one_half(tmp_path: Path) -> None:
    parts = [RunDir(tmp_path / f"fold-{k}") for k in range(2)]
    write_json(parts[0] / "evaluation.json", {"operating_point": None})
    write_json(parts[1] / "evaluation.json", {"operating_point": None})
    assert crossval._points(parts) is None
    own = {"rule": "youden", "chosen_on": "val", "threshold": 0.3}
    write_json(parts[1] / "evaluation.json", {"operating_point": own})
    point = crossval._points(parts)
    assert point == {"rule": "youden", "chosen_on": "val", "thresholds": [None, 0.3]}
    assert "in fold 0, whose decisions are made at 0.5" in crossval._without_point(point)[0]
    table = pd.DataFrame({"label": ["b", "a", "b"], "prob:a": [0.6] * 3, "prob:b": [0.4] * 3})
    table["threshold"], table["fold"] = [np.nan, 0.3, 0.3], [0, 1, 1]
    pooled = Predictions.of(table, task="binary", class_names=["a", "b"], positive=1).at(point)
    assert pooled.decisions.tolist() == [0, 1, 1]
    clinic = at_operating_point(pooled, point, figures_with_intervals(pooled, resamples=10))
    assert clinic is not None
    assert clinic["thresholds"] == [0.5, 0.3]


def test_the_figures_are_those_of_the_pooled_predictions(run: Path) -> None:
    table = pd.read_csv(run / "predictions.csv")
    metrics = jobs.metrics(run)
    expected = roc_auc_score(table["label"] == "high", table["prob:high"])
    assert metrics["test/auroc"]["value"] == pytest.approx(expected, abs=1e-6)
    assert metrics["test/auroc"]["n"] == 48
    folds = pd.read_csv(run / "folds.csv")
    for fold, value in enumerate(folds["test/auroc"]):
        own = jobs.metrics(run / f"fold-{fold}")["test/auroc"]["value"]
        assert value == pytest.approx(own, abs=1e-6)


def test_the_members_answer_as_one(run: Path) -> None:
    ensemble = medcnn.load(run)
    assert isinstance(ensemble, Ensemble)
    images = jobs.toy([4, 4, 4]).images[:4].float() / 255
    members = [load(path) for path in read_ensemble(run)]
    expected = torch.stack([member.classify(images) for member in members]).mean(0)
    torch.testing.assert_close(ensemble.classify(images), expected)
    assert not torch.allclose(members[0].classify(images), expected)
    assert isinstance(medcnn.load(read_ensemble(run)[0]), Classifier)


def test_a_finished_fold_is_not_trained_again(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    interrupt(copy)
    shutil.rmtree(copy / "fold-1")
    before = (copy / "fold-0" / "checkpoints" / "best.ckpt").stat().st_mtime_ns
    (copy / "predictions.csv").unlink()
    train(jobs.compose("train", f"resume='{copy}'"), [jobs.TOY])
    assert (copy / "fold-0" / "checkpoints" / "best.ckpt").stat().st_mtime_ns == before
    assert jobs.status(copy)["state"] == "finished"
    mended, first = (pd.read_csv(folder / "predictions.csv") for folder in (copy, run))
    pd.testing.assert_frame_equal(mended, first)


@pytest.mark.no_cover
def test_one_fold_is_that_of_all(run: Path, tmp_path: Path) -> None:
    options = (*FOLDS, RULE, "cam.n=1", "fold=2")
    one = jobs.train(tmp_path / "run", *options, dataset=DATA, trust=[jobs.TOY])
    assert jobs.metrics(one) == jobs.metrics(run / "fold-2")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["fold=3", "folds=3"], "fold=3: give a whole number, 0 … 2"),
        (["fold=some"], "fold=some: give a whole number, 0 … 4"),
        (["fold=all", "folds=1"], "folds=1: give a whole number, 2 … 100"),
        (["fold=0", "splits=site"], "fold=0 doesn't go with splits=site"),
    ],
)
def test_refuses_other_folds(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        jobs.train(tmp_path / "run", *jobs.QUICK, *overrides)


def test_an_ensemble_needs_members_that_go_together(tmp_path: Path, run: Path) -> None:
    (tmp_path / "ensemble.json").write_text("{}")
    with pytest.raises(UserError, match="can't be read as an ensemble"):
        medcnn.load(tmp_path)
    with pytest.raises(UserError, match="needs a member"):
        Ensemble([])
    members = [load(path) for path in read_ensemble(run)]
    members[1].card["class_names"] = ["other"]
    with pytest.raises(UserError, match="differ in class_names"):
        Ensemble(members)
