"""Studies of several images, from the table to the predictions."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jobs
import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from refusals import refused

import medcnn
from medcnn.classifier.classifier import Classifier
from medcnn.data.batches import unit_images
from medcnn.data.open_data import open_data
from medcnn.data.row_batches import RowDataset, context_of
from medcnn.data.studies import studies_of

SPLITS = ["train"] * 16 + ["val"] * 4 + ["test"] * 4
VIEWS = ("CC", "MLO", "lateral")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 24 studies of one to three views, the last of which shows what the label says."""
    folder, draw = tmp_path_factory.mktemp("studies"), np.random.default_rng(0)
    rows = []
    for number, split in enumerate(SPLITS):
        count = 1 + number // 2 % 3
        for k in range(count):
            pixels = draw.integers(0, 60, (28, 28), dtype=np.uint8)
            if number % 2 and k == count - 1:
                pixels[8:20, 8:20] += 150
            name = f"{number}-{k}.png"
            Image.fromarray(pixels).save(folder / name)
            rows.append(
                [name, ["no", "yes"][number % 2], f"p{number}", f"s{number}", VIEWS[k], split]
            )
    columns = ["image", "label", "patient", "study", "view", "split"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def settings(table: Path, *more: str) -> tuple[str, ...]:
    return jobs.of_studies(table, "dataset.size=28", "batch_size=8", *more)


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jobs.train(tmp_path_factory.mktemp("run") / "run", *settings(table))


@pytest.fixture(scope="module")
def classifier(run: Path) -> Classifier:
    loaded = medcnn.load(run / "checkpoints" / "best.ckpt")
    assert isinstance(loaded, Classifier)
    return loaded


def test_predictions_have_a_row_a_study(run: Path) -> None:
    predictions = pd.read_csv(run / "predictions.csv")
    assert predictions["study"].tolist() == ["s20", "s21", "s22", "s23"]
    assert predictions["images"].tolist() == [2, 2, 3, 3]
    schemas = jobs.ROOT / "docs" / "reference" / "schemas"
    schema = json.loads((schemas / "predictions.schema.json").read_text())
    jsonschema.validate(json.loads(predictions.iloc[0].to_json()), schema)
    assert not (run / "predictions_study.csv").exists()
    assert jobs.metrics(run)["test/auroc"]["n"] == 4
    page = (run / "report.html").read_text()
    assert "4 studies" in page
    assert "4 images" not in page


def test_a_study_is_classified_as_in_its_batch(
    run: Path, table: Path, classifier: Classifier
) -> None:
    known = pd.read_csv(run / "predictions.csv").set_index("study")["prob:yes"]
    rows = pd.read_csv(table)
    for name in ("s20", "s23"):
        own = rows[rows["study"] == name]
        paths = [table.parent / image for image in own["image"]]
        probs = classifier.classify_study(paths, own["view"].tolist())
        assert float(probs[1]) == pytest.approx(known[name], abs=1e-5)


def test_the_order_of_views_and_those_that_are_lacking_change_nothing(
    table: Path, classifier: Classifier
) -> None:
    paths = [table.parent / f"23-{k}.png" for k in range(3)]
    views = [*VIEWS]
    whole = classifier.classify_study(paths, views)
    turned = classifier.classify_study(paths[::-1], views[::-1])
    torch.testing.assert_close(turned, whole)
    images = torch.cat([classifier.read(path) for path in paths])
    pair = classifier.classify_study(images[:2], views[:2])
    beside = {"bag": torch.tensor([0, 0, 1]), "view": torch.tensor([0, 1, 2])}
    torch.testing.assert_close(classifier.probs(classifier.logits(images, beside))[0], pair)


def test_studies_that_can_not_be_are_refused(table: Path, classifier: Classifier) -> None:
    paths = [table.parent / f"23-{k}.png" for k in range(2)]
    for views, words in {
        ("CC",): "1 views are given for 2 images",
        ("CC", "AP"): "view AP is unknown: the training has CC, MLO, lateral",
        ("CC", "CC"): "a study has each view once at most",
    }.items():
        with refused(words):
            classifier.classify_study(paths, views)
    with refused("a study has one image at least"):
        classifier.classify_study([])


def test_a_table_of_new_patients_is_predicted_without_labels(
    run: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.read_csv(table)
    new = rows[rows["split"] == "test"].drop(columns=["label", "split", "patient"])
    new.to_csv(table.parent / "new.csv", index=False)
    checkpoint = jobs.best(run)
    source = ("dataset=csv", f"dataset.path='{table.parent / 'new.csv'}'")
    jobs.predict(checkpoint, *source, f"output='{tmp_path / 'out.csv'}'",
                 f"cache.folder='{tmp_path}'")  # fmt: skip
    found, known = pd.read_csv(tmp_path / "out.csv"), pd.read_csv(run / "predictions.csv")
    expected = [
        "study",
        "image",
        "patient",
        "prob:no",
        "prob:yes",
        "decision",
        "threshold",
        "images",
    ]
    assert list(found) == expected
    assert "4 studies classified" in capsys.readouterr().out
    known["patient"] = known["study"]  # as the table doesn't say who it is
    pd.testing.assert_frame_equal(found, known[expected], rtol=1e-5)
    for more, words in (
        (["images=a.png"], "give one of them"),
        (["dense=true"], "dense=true goes with images="),
        (["processes=2"], "one process takes a table"),
    ):
        with refused(words):
            jobs.predict(checkpoint, *source, f"output='{tmp_path / 'no.csv'}'", *more)


def test_files_are_studies_of_one_image(
    run: Path, table: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    classifier: Classifier,
) -> None:  # fmt: skip
    path, checkpoint = table.parent / "23-2.png", run / "checkpoints" / "best.ckpt"
    jobs.predict(f"checkpoint='{checkpoint}'", f"images='{path}'", f"output='{tmp_path / 'o.csv'}'")
    assert "each is a study by itself" in caplog.text
    found = pd.read_csv(tmp_path / "o.csv")
    alone = classifier.classify_study([path])
    assert found["prob:yes"].tolist() == [pytest.approx(float(alone[1]), abs=1e-5)]
    with refused("dense=true maps single images"):
        jobs.predict(f"checkpoint='{checkpoint}'", f"images='{path}'", "dense=true",
                     f"output='{tmp_path / 'd.csv'}'")  # fmt: skip


def test_the_checkpoint_is_tested_again_on_another_table(
    run: Path, table: Path, tmp_path: Path
) -> None:
    rows = pd.read_csv(table)
    rows[rows["split"] == "test"].drop(columns="split").to_csv(table.parent / "o.csv", index=False)
    figures = jobs.evaluate(
        tmp_path / "run", jobs.best(run), "dataset=csv",
        f"dataset.path='{table.parent / 'o.csv'}'", f"cache.folder='{tmp_path / 'cache'}'",
    )  # fmt: skip
    trained = jobs.metrics(run)
    assert figures["test/auroc"] == trained["test/auroc"]


def test_an_interrupted_training_goes_on_to_the_same_weights(run: Path, table: Path) -> None:
    parts = jobs.train_in_parts(run.parent / "parts", *settings(table))
    weights = (jobs.checkpoint(folder, "last")["state_dict"] for folder in (run, parts))
    assert jobs.same_weights(*weights)
    assert (run / "predictions.csv").read_bytes() == (parts / "predictions.csv").read_bytes()


@pytest.mark.no_cover
def test_two_processes_train_as_one(run: Path, table: Path) -> None:
    """LeNet has no batch norm, whose statistics would be those of a process."""
    two = run.parent / "two"
    given = [one for one in settings(table) if one != "trainer.accelerator=cpu"]
    given += ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    command = [sys.executable, "-m", "medcnn.train", *given, f"paths.run={two}"]
    environment = {**os.environ, "PYTHONPATH": str(jobs.ROOT)}
    subprocess.run(command, check=True, cwd=run.parent, env=environment, timeout=500)
    one, other = (jobs.checkpoint(folder, "last")["state_dict"] for folder in (run, two))
    assert one.keys() == other.keys()
    for name, weight in one.items():
        torch.testing.assert_close(other[name], weight, rtol=1e-4, atol=1e-5)
    tables = [pd.read_csv(folder / "predictions.csv") for folder in (run, two)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-3)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("regularise.mixup=0.2",), r"regularise\.mixup mixes single images"),
        (("dataset.columns.study=null",), "nothing says which belong together"),
        (("dataset.columns.view=image",), "holds 48 different views"),
        (("dataset.columns.view=patient",), "has the view p[0-9]+ 2 times"),
        (("dataset.columns.label=view", "dataset.positive=null"), "have different labels"),
        (("model.head=fc",), "takes a head that pools each image"),
        (("plan=auto", "budget=5min"), "plan=auto counts images one by one"),
    ],
)
def test_what_does_not_go_with_studies_is_refused(
    more: tuple[str, ...], words: str, table: Path, tmp_path: Path
) -> None:
    with refused(words):
        jobs.train(tmp_path / "run", *settings(table, *more))


def test_batches_hold_all_images_of_their_studies(table: Path) -> None:
    samples = open_data(jobs.compose("train", *settings(table)), checked=False).samples
    assert samples.studies is not None
    assert samples.studies.view_names == tuple(sorted(VIEWS))
    rows = samples.rows("test")
    assert samples.table["study"].iloc[rows.numpy()].tolist() == ["s20", "s21", "s22", "s23"]
    batch = RowDataset(samples)[rows[[3, 0]]]
    assert batch["bag"].tolist() == [0, 0, 0, 1, 1]
    assert batch["view"].tolist() == [0, 1, 2, 0, 1]
    assert len(batch["label"]) == 2
    assert context_of(batch) == {"bag": batch["bag"], "view": batch["view"]}
    assert len(unit_images(samples, rows[[3, 0]])) == 5


def test_slices_are_in_their_order() -> None:
    facts = {
        "image": range(4),
        "split": "train",
        "patient": ["a", "a", "b", "a"],
        "study": ["x", "x", "y", "x"],
    }
    studies = studies_of(pd.DataFrame({**facts, "slice": [2, 0, 0, 1], "label": 0}))
    places, bag = studies.instances(torch.tensor([2, 0]))
    assert places.tolist() == [2, 1, 3, 0]
    assert bag.tolist() == [0, 1, 1, 1]
    assert studies.together


def test_features_of_a_frozen_trunk_are_kept_by_image(
    run: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings(
        table, f"model.weights='{run / 'checkpoints' / 'best.ckpt'}'", "transfer=head",
        "augment=none",
    )  # fmt: skip
    kept = jobs.train(tmp_path / "kept", *given)
    monkeypatch.setattr("medcnn.training.from_config.available_memory", lambda: 0)
    anew = jobs.train(tmp_path / "anew", *given, "model.chunk=3")
    one, other = (jobs.checkpoint(folder, "last")["state_dict"] for folder in (kept, anew))
    for name, weight in one.items():
        torch.testing.assert_close(other[name], weight, rtol=1e-4, atol=1e-5)
