"""From a config to samples: files, splits, audit and pseudonyms together."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Picture

from medcnn.data import open_data as datasets
from medcnn.data.checks.audit import IDENTICAL, NEAR, PATIENT
from medcnn.data.checks.dataset import DataSet
from medcnn.data.checks.problems import problems_table
from medcnn.data.image import ImageSpec, spec_of
from medcnn.data.memory import available_memory
from medcnn.data.open_data import data_config, in_memory, open_data
from medcnn.data.phantom.dataset import phantom
from medcnn.data.prepared import scan as scanning
from medcnn.data.row_names import names_of_rows
from medcnn.errors import UserError
from medcnn.jobs.pseudonym_key import load_key, pseudonym
from medcnn.jobs.settings.commands import Data, OpenData, Tested
from medcnn.jobs.settings.values import parse_bytes

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

PHANTOM = ("dataset.size=16", "dataset.patients=36", "dataset.images_per_patient=1")
KEPT = ["train"] * 6 + ["val"] * 2 + ["test"] * 4
AFFINE = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1.0]])  # of SPL axes


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, shape).astype(np.uint8)


def save(path: Path, values: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(values).save(path)
    return path.name


def pictures(folder: Path, count: int = 12) -> list[np.ndarray]:
    """Writes 0.png, 1.png, … of noise; gives their pixels back."""
    values = [noise(k, 8, 8) for k in range(count)]
    for k, picture in enumerate(values):
        save(folder / f"{k}.png", picture)
    return values


def table(folder: Path, count: int = 12, **columns: Any) -> None:
    """Writes table.csv: two classes in turn, a patient an image."""
    rows = pd.DataFrame({"image": [f"{k}.png" for k in range(count)]})
    rows["label"] = np.resize(["a", "b"], count)
    rows["patient"] = [f"p{k}" for k in range(count)]
    rows.assign(**columns).to_csv(folder / "table.csv", index=False)


def config(root: Path, *overrides: str) -> Data:
    dataset = ("dataset=csv", f"dataset.path='{root / 'table.csv'}'", "dataset.size=8")
    places = (f"paths.data='{root / 'data'}'", f"paths.pseudonym_key='{root / 'key'}'")
    cfg: Data = jobs.compose("data", "on_error=stop", *dataset, *places, *overrides)
    return cfg


def of_test(root: Path, *overrides: str) -> OpenData:
    """The same as data that a checkpoint is only tested on."""
    given = {key: value for key, value in config(root, *overrides) if key in Tested.model_fields}
    return data_config({}, Tested(**given, split="test"))


def opened(root: Path, /, *overrides: str, **options: Any) -> DataSet:
    return open_data(config(root, *overrides), **options)


def leaking(folder: Path) -> None:
    """The first patient is in train and, with the last image, in test."""
    pictures(folder)
    table(folder, patient=[*(f"p{k}" for k in range(11)), "p0"], split=KEPT)


def copied(folder: Path) -> None:
    """The last image, of test, is the first one, of train; the one before nearly the second."""
    values = pictures(folder)
    smooth = np.add.outer(np.arange(8) ** 2, 3 * np.arange(8)).astype(np.uint8)
    save(folder / "1.png", smooth)
    save(folder / "10.png", smooth + np.uint8(20))
    save(folder / "11.png", values[0])
    table(folder, label=np.resize(["a", "a", "b", "b"], 12), split=KEPT)


def damaged(folder: Path, bad: int) -> None:
    """The first images are empty files."""
    pictures(folder)
    table(folder)
    for k in range(bad):
        (folder / f"{k}.png").write_bytes(b"")


# Arrays


def test_arrays_have_the_splits_that_they_bring() -> None:
    data = open_data(jobs.compose("data", *PHANTOM))
    own = phantom(size=16, patients=36, images_per_patient=1)
    pd.testing.assert_frame_equal(data.samples.table.drop(columns="content_hash"), own.table)
    assert (data.problems, data.findings, data.facts, data.slices) == ([], [], [], [])


def test_a_fold_splits_arrays_anew() -> None:
    folds = [open_data(jobs.compose("data", *PHANTOM, "folds=3", f"fold={k}")) for k in range(3)]
    tests = [part.samples.table.query("split == 'test'") for part in folds]
    official = phantom(size=16, patients=36, images_per_patient=1).table["split"] == "test"
    for part in folds:
        pd.testing.assert_series_equal(
            part.samples.table["split"] == "holdout", official, check_names=False
        )
    assert sum(len(part) for part in tests) == 36 - official.sum()
    assert len({patient for part in tests for patient in part["patient"]}) == 36 - official.sum()
    assert not any(part.findings for part in folds)


def test_colour_is_grey_where_it_can_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pictures(tmp_path)
    save(tmp_path / "3.png", np.repeat(noise(3, 8, 8, 1), 3, 2))
    table(tmp_path)
    assert opened(tmp_path).samples.in_channels == 1
    assert "colour" not in caplog.text
    save(tmp_path / "4.png", noise(4, 8, 8, 3))
    assert opened(tmp_path).samples.in_channels == 3
    assert "1 of 12 images have colour, so all become three channels; dataset.channels=1 " in (
        caplog.text
    )


def test_a_users_own_source_has_to_be_trusted() -> None:
    cfg = jobs.compose("data")
    cfg.dataset = {"_target_": jobs.TOY, "sizes": [4, 2, 2]}
    with pytest.raises(UserError, match=r"add trust=\[jobs\.toy\]"):
        open_data(cfg)
    assert len(open_data(cfg, [jobs.TOY]).samples) == 8


@pytest.mark.parametrize("near", ["true", "false"])
def test_arrays_are_audited(tmp_path: Path, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.write_medmnist(tmp_path, "breastmnist", 2)
    with np.load(tmp_path / "breastmnist.npz") as stored:
        arrays = dict(stored)
    arrays["test_images"][3] = arrays["train_images"][5]
    np.savez(tmp_path / "breastmnist.npz", **arrays)
    given = ("dataset=breastmnist", f"dataset.root='{tmp_path}'", f"near_duplicates={near}")
    data = open_data(jobs.compose("data", *given))
    identical = [f for f in data.findings if f.kind == IDENTICAL]
    assert [(f.row, f.other_row, f.severity) for f in identical] == [(32 + 16 + 3, 5, "warning")]
    assert ("were not looked for" in capsys.readouterr().out) == (near == "false")


# Files


def test_files_become_samples_with_their_facts(tmp_path: Path) -> None:
    values = pictures(tmp_path)
    table(tmp_path, split=KEPT, site="north")
    data = opened(tmp_path)
    samples = data.samples
    np.testing.assert_array_equal(samples.images[torch.arange(12)][:, 0], values)
    assert (samples.name, samples.task, samples.class_names) == ("table", "binary", ("a", "b"))
    assert opened(tmp_path, "dataset.name=brain").samples.name == "brain"
    assert samples.table["split"].tolist() == KEPT
    assert samples.table["label"].tolist() == [0, 1] * 6
    assert samples.table["site"].tolist() == ["north"] * 12
    assert samples.ranges(torch.arange(12)).tolist() == [[0, 255]] * 12
    assert samples.spec is not None
    assert samples.spec["size"] == (8, 8)
    assert [fact["shape"] for fact in data.facts] == [[8, 8]] * 12
    assert (data.slices, data.problems, data.findings) == ([0] * 12, [], [])


def test_the_column_of_splits_can_be_left_out_of_account(tmp_path: Path) -> None:
    leaking(tmp_path)
    data = opened(tmp_path, "splits=patient", "dataset.columns.split=null")
    assert data.samples.table["table_split"].tolist() == KEPT
    assert data.samples.table.groupby("patient")["split"].nunique().max() == 1
    assert not [f for f in data.findings if f.kind == PATIENT]
    assert set(data.samples.table["split"]) == {"train", "val", "test"}


def test_splits_follow_their_settings(tmp_path: Path) -> None:
    pictures(tmp_path)
    table(tmp_path, site=["north", "south", "east"] * 4)
    held = opened(tmp_path, "splits=site", "splits.test_sites=[south]").samples.table
    assert (held["split"] == "test").tolist() == [False, True, False] * 4
    drawn = [opened(tmp_path, f"splits.seed={seed}").samples.table["split"] for seed in range(3)]
    assert len({tuple(splits) for splits in drawn}) == 3
    shares = opened(tmp_path, "splits.shares={train: 1, val: 1, test: 1}").samples.table["split"]
    assert shares.value_counts().to_dict() == {"train": 4, "val": 4, "test": 4}


def test_the_class_that_is_sought(tmp_path: Path) -> None:
    pictures(tmp_path)
    table(tmp_path)
    assert opened(tmp_path).samples.positive is None
    samples = opened(tmp_path, "dataset.positive=a", "dataset.classes=[b,a]").samples
    assert (samples.positive, samples.class_names) == (1, ("b", "a"))


def test_several_labels_and_boxes(tmp_path: Path) -> None:
    pictures(tmp_path)
    edges = pd.DataFrame([[2, 3, 5, 7]] * 12, columns=["l", "t", "r", "b"])
    table(tmp_path, mass=[0, 1, 1] * 4, edema=[1, 0, ""] * 4, **edges, split=KEPT)
    columns = "{label: [mass, edema], box: [l, t, r, b]}"
    samples = opened(tmp_path, f"dataset.columns={columns}").samples
    assert samples.task == "multilabel"
    assert samples.labels[:3].tolist() == [[0, 1], [1, 0], [1, -1]]
    assert samples.masks is not None
    (mask,) = samples.masks[torch.tensor([4])]
    assert mask.nonzero().tolist() == [[y, x] for y in range(3, 7) for x in range(2, 5)]


def test_slices_are_audited_one_by_one(tmp_path: Path) -> None:
    import nibabel

    volumes = [noise(k, 3, 8, 8) for k in range(12)]
    volumes[11][2] = volumes[4][1]
    volumes[10][1] = volumes[3][2] + np.uint8(20)
    for k, values in enumerate(volumes):
        nibabel.save(nibabel.Nifti1Image(values, AFFINE), tmp_path / f"{k}.nii")
    table(tmp_path, image=[f"{k}.nii" for k in range(12)], split=KEPT)
    data = opened(tmp_path, "dataset.slices=all")
    assert len(data.samples) == 36
    assert data.slices == [0, 1, 2] * 12
    identical = [f for f in data.findings if f.kind == IDENTICAL]
    assert [(f.row, f.other_row) for f in identical] == [(11 * 3 + 2, 4 * 3 + 1)]
    near = {(f.row, f.other_row) for f in data.findings if f.kind == NEAR}
    assert (10 * 3 + 1, 3 * 3 + 2) in near


# What is shown as black and white


def test_fixed_values_are_one_range_for_all(tmp_path: Path) -> None:
    pictures(tmp_path)
    table(tmp_path, split=KEPT)
    assert opened(tmp_path, "dataset.intensity=[10,50]").samples.intensity_range == (10, 50)


def test_the_training_percentiles_are_those_of_the_training_split_alone(tmp_path: Path) -> None:
    values = pictures(tmp_path)
    for k in range(6, 12):  # val and test
        save(tmp_path / f"{k}.png", noise(k, 8, 8) // 4 + 205)
    table(tmp_path, split=KEPT)
    data = opened(tmp_path, "dataset.intensity=training_percentile")
    expected = np.percentile(np.stack(values[:6]), [0.5, 99.5])
    assert data.samples.intensity_range == pytest.approx(tuple(expected))
    assert expected[1] < 205
    moved = opened(tmp_path, "dataset.intensity=training_percentile", "fold=0")
    assert moved.samples.intensity_range != data.samples.intensity_range


def card(**changes: Any) -> dict[str, Any]:
    """Of a checkpoint, with what concerns the preparation of files."""
    plain_card = {
        "class_names": ["b", "a"],
        "image_spec": asdict(ImageSpec(size=(4, 6), channels=3, intensity="training_percentile")),
        "input_size": [4, 6],
        "in_channels": 3,
        "intensity_range": [5.0, 95.0],
    }
    return {**plain_card, **changes}


def test_a_checkpoints_card_decides_how_files_are_prepared(tmp_path: Path) -> None:
    pictures(tmp_path)
    table(tmp_path)
    cfg = of_test(tmp_path, "dataset.intensity=[0,1]")
    samples = open_data(cfg, card=card()).samples
    assert samples.images.shape == (12, 3, 4, 6)
    assert samples.class_names == ("b", "a")
    assert samples.labels.tolist() == [1, 0] * 6
    assert samples.intensity_range == (5, 95)
    assert samples.spec == asdict(ImageSpec.of(card()["image_spec"]))
    assert set(samples.table["split"]) == {"test"}
    with pytest.raises(UserError, match=r"none of dataset\.classes"):
        open_data(cfg, card=card(class_names=["c", "a"]))


def test_a_card_without_a_range_leaves_that_of_the_files(tmp_path: Path) -> None:
    pictures(tmp_path)
    table(tmp_path)
    cfg = of_test(tmp_path)
    of_files = card(image_spec=asdict(ImageSpec(size=(8, 8))), input_size=[8, 8], in_channels=1)
    assert open_data(cfg, card=of_files).samples.ranges(torch.arange(2)).tolist() == [[0, 255]] * 2
    from_arrays = card(image_spec=None, intensity_range=None)
    cfg = of_test(tmp_path, "dataset.intensity=training_percentile")
    samples = open_data(cfg, card=from_arrays).samples
    assert samples.images.shape == (12, 3, 4, 6)
    ranges = samples.ranges(torch.arange(12))
    assert len(ranges.unique(dim=0)) > 1  # each file's own: of the training there is none


def test_a_net_trained_on_arrays_takes_files_too() -> None:
    of_arrays = card(image_spec=None, in_channels=1)
    assert asdict(spec_of(of_arrays)) == asdict(ImageSpec(size=(4, 6), channels=1))
    own = ImageSpec(size=(9, 9), spacing=(0.5, 0.5), intensity="bone")
    expected = replace(own, size=(4, 6), channels=1)
    assert asdict(spec_of(of_arrays, own)) == asdict(expected)
    stored = {"size": [4, 6], "slices": "all", "intensity": [0, 9]}
    given = spec_of(card(image_spec=stored), own)
    assert (given.slices, given.intensity, given.spacing) == ("all", (0, 9), None)
    assert given.channels == 3
    assert not given.allow_missing_geometry
    anyway = replace(own, allow_missing_geometry=True)  # that of the data, too
    assert spec_of(card(image_spec=stored), anyway).allow_missing_geometry
    stored["allow_missing_geometry"] = True
    assert spec_of(card(image_spec=stored), own).allow_missing_geometry


def test_other_data_keep_their_own_splits(tmp_path: Path) -> None:
    pictures(tmp_path)
    table(tmp_path, split=["test", "train", "val"] * 4)
    samples = open_data(of_test(tmp_path)).samples
    assert samples.table["split"].tolist() == ["test", "train", "val"] * 4


# The config of a test


def test_the_data_of_the_training_are_split_as_they_were(tmp_path: Path) -> None:
    pictures(tmp_path)
    table(tmp_path)
    cfg = config(tmp_path, "splits.seed=5", "splits.shares={train: 2, val: 1, test: 1}")
    test = jobs.compose("evaluate", "checkpoint=x", f"paths.data='{tmp_path / 'data'}'")
    again = open_data(data_config(cfg.plain(), test), checked=False)
    first = open_data(cfg, checked=False).samples.table
    assert first["split"].value_counts().to_dict() == {"train": 6, "val": 3, "test": 3}
    pd.testing.assert_frame_equal(again.samples.table, first)
    folds = config(tmp_path, "fold=3")
    held = open_data(data_config(folds.plain(), test), checked=False).samples.table
    pd.testing.assert_frame_equal(held, open_data(folds, checked=False).samples.table)


def test_other_data_bring_nothing_of_the_training_but_pseudonyms() -> None:
    trained = jobs.compose("train", "pseudonymise=true", "fold=2").plain()
    test = jobs.compose("evaluate", "checkpoint=x", "dataset=breastmnist", "on_error=skip")
    cfg = data_config(trained, test)
    assert cfg.dataset["flag"] == "breastmnist"
    assert (cfg.splits, cfg.folds, cfg.fold, cfg.near_duplicates) == (None, None, None, False)
    assert (cfg.strict, cfg.on_error, cfg.pseudonymise) == (False, "skip", True)
    said = jobs.compose("evaluate", "checkpoint=x", "pseudonymise=false")
    assert data_config(trained, said).pseudonymise is False
    assert data_config(trained, said).fold == 2


def test_a_test_treats_files_and_names_as_the_training_did() -> None:
    trained = jobs.compose("train", "on_error=skip", "paths.pseudonym_key=mine.key").plain()
    for task in ("evaluate", "explain"):
        cfg = data_config(trained, jobs.compose(task, "checkpoint=x"))
        assert (cfg.on_error, cfg.paths.pseudonym_key) == ("skip", "mine.key")
        said = jobs.compose(task, "checkpoint=x", "on_error=stop", "paths.pseudonym_key=other.key")
        cfg = data_config(trained, said)
        assert (cfg.on_error, cfg.paths.pseudonym_key) == ("stop", "other.key")


# Files that can't be used


def test_stops_at_bad_files_and_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged(tmp_path, 7)
    with pytest.raises(UserError) as stop:
        opened(tmp_path, problems=tmp_path / "run" / "problems.csv")
    problems = tmp_path / "run" / "problems.csv"
    assert str(stop.value) == (
        f"7 of 12 images can't be used, all listed in {problems}; mend them, or leave them out "
        "with on_error=skip"
    )
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"medcnn: {k}.png is an empty file" for k in range(5)]
    listed = pd.read_csv(problems)
    assert listed["image"].tolist() == [f"{k}.png" for k in range(7)]
    assert set(listed["reason"]) == {"is an empty file"}
    assert set(listed["severity"]) == {"error"}


def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    damaged(tmp_path, 1)
    with pytest.raises(UserError, match=r"^1 of 12 images can't be used; mend them"):
        opened(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"table.csv", "data"}
    assert not list(tmp_path.rglob("problems.csv"))


def test_bad_files_are_left_out_if_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged(tmp_path, 2)
    data = opened(tmp_path, "on_error=skip", problems=tmp_path / "run" / "problems.csv")
    assert data.samples.table["patient"].tolist() == [f"p{k}" for k in range(2, 12)]
    assert len(data.facts) == len(data.slices) == len(data.samples.images[torch.arange(10)]) == 10
    assert [problem.image for problem in data.problems] == ["0.png", "1.png"]
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "medcnn: 2 of 12 images can't be used, all listed in problems.csv: left out"
    assert not (tmp_path / "run").exists()  # whoever opens them writes the whole table
    assert problems_table(data, config(tmp_path))["image"].tolist() == ["0.png", "1.png"]


def test_none_that_can_be_used(tmp_path: Path) -> None:
    damaged(tmp_path, 12)
    with pytest.raises(UserError, match="data set table: none of 12 files can be used"):
        opened(tmp_path, "on_error=skip", problems=tmp_path / "problems.csv")
    assert len(pd.read_csv(tmp_path / "problems.csv")) == 12


def test_an_image_with_two_faults_counts_once(tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    save(tmp_path / "mask.png", noise(1, 8, 9))
    table(tmp_path, 1, mask="mask.png")
    with pytest.raises(UserError, match=r"^1 of 1 images can't be used"):
        opened(tmp_path, "dataset.classes=[a,b]", "dataset.intensity=header")


# Leaks


def test_a_patient_in_two_splits_stops_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaking(tmp_path)
    with pytest.raises(UserError, match=r"the splits leak: patient in two splits: 1, 11\.png"):
        opened(tmp_path, problems=tmp_path / "run" / "problems.csv")
    assert "audit: error: patient in two splits: 1" in capsys.readouterr().out
    problems = pd.read_csv(tmp_path / "run" / "problems.csv")
    found = problems[problems["kind"] == PATIENT]
    assert found[["image", "split", "other_image", "other_split"]].to_numpy().tolist() == [
        ["11.png", "test", "0.png", "train"]
    ]


def test_unchecked_data_may_leak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leaking(tmp_path)
    data = opened(tmp_path, checked=False, problems=tmp_path / "run" / "problems.csv")
    assert data.findings == []
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "run").exists()


def test_copies_are_warnings_or_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied(tmp_path)
    data = opened(tmp_path, problems=tmp_path / "run" / "problems.csv")
    kinds = {(f.kind, f.severity, f.row, f.other_row) for f in data.findings}
    assert {(IDENTICAL, "warning", 11, 0), (NEAR, "warning", 10, 1)} <= kinds
    assert "audit: warning: identical images in two splits: 1, 11.png" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=r"identical .* near-duplicate .* or set strict=false"):
        opened(tmp_path, "strict=true")


def test_near_duplicates_are_looked_for_unless_told_not_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(tmp_path)
    data = opened(tmp_path, "near_duplicates=false")
    assert {IDENTICAL} == {f.kind for f in data.findings} & {IDENTICAL, NEAR}
    assert "audit: near-duplicate images were not looked for" in capsys.readouterr().out


# Pseudonyms


def personal(folder: Path, size: int = 8) -> tuple[str, ...]:
    """A table that names people in every column that can; gives what may be written nowhere."""
    rows = pd.DataFrame({"image": [f"Meyer-{k}/scan-Quentin-{k}.png" for k in range(12)]})
    for k, name in enumerate(rows["image"]):
        save(folder / name, noise(k, size, size))
    rows["mask"] = [f"Meyer-{k}/outline.png" for k in range(12)]
    for name in rows["mask"]:
        save(folder / name, noise(0, size, size))
    rows["label"] = ["a", "b"] * 6
    rows["patient"] = [f"Zacharias {k // 2}" for k in range(12)]
    rows["study"] = [f"Study of Xaver {k}" for k in range(12)]
    rows["notes"] = "lives in Yverdon"
    rows["split"] = KEPT
    rows.to_csv(folder / "table.csv", index=False)
    return ("Meyer", "Quentin", "Zacharias", "Xaver", "Yverdon", "outline")


def test_pseudonyms_take_the_place_of_names(tmp_path: Path) -> None:
    personal(tmp_path)
    data = opened(tmp_path, "pseudonymise=true")
    key = load_key(tmp_path / "key")
    found = data.samples.table
    assert "notes" not in found
    image = pseudonym("Meyer-3/scan-Quentin-3.png", key)
    assert found.loc[3, ["image", "label", "split"]].tolist() == [image, 1, "train"]
    assert names_of_rows(found, [3]) == [f"row 3 · {image}"]
    assert data.samples.originals is not None  # pictures are drawn of the files all the same
    assert data.samples.originals.read(3)[0].values.shape[0] == 1
    assert found["patient"].tolist() == [
        pseudonym(f"Zacharias {k // 2}", key, "patient") for k in range(12)
    ]
    again = opened(tmp_path, "pseudonymise=true").samples.table
    pd.testing.assert_frame_equal(found, again)
    (tmp_path / "key").unlink()
    other = opened(tmp_path, "pseudonymise=true").samples.table
    assert not set(other["patient"]) & set(found["patient"])


def test_pseudonyms_change_nothing_else(tmp_path: Path) -> None:
    personal(tmp_path)
    hidden = opened(tmp_path, "pseudonymise=true", "splits=patient", "dataset.columns.split=null")
    shown = opened(tmp_path, "splits=patient", "dataset.columns.split=null")
    assert hidden.samples.table["split"].tolist() == shown.samples.table["split"].tolist()
    rows = torch.arange(12)
    assert torch.equal(hidden.samples.images[rows], shown.samples.images[rows])


def test_files_that_stop_everything_are_listed_by_pseudonyms(tmp_path: Path) -> None:
    personal(tmp_path)
    (tmp_path / "Meyer-5/scan-Quentin-5.png").write_bytes(b"")
    with pytest.raises(UserError, match="1 of 12 images can't be used") as stop:
        opened(tmp_path, "pseudonymise=true", problems=tmp_path / "run" / "problems.csv")
    listed = pd.read_csv(tmp_path / "run" / "problems.csv")
    image = pseudonym("Meyer-5/scan-Quentin-5.png", load_key(tmp_path / "key"))
    assert listed["image"].tolist() == [image]
    assert "Meyer" not in str(stop.value)


def test_problems_and_leaks_are_told_by_pseudonyms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = personal(tmp_path)
    (tmp_path / "Meyer-5/scan-Quentin-5.png").write_bytes(b"")
    rows = pd.read_csv(tmp_path / "table.csv")
    rows.loc[11, "patient"] = "Zacharias 0"
    rows.to_csv(tmp_path / "table.csv", index=False)
    given = ("pseudonymise=true", "on_error=skip")
    with pytest.raises(UserError, match="the splits leak") as stop:
        opened(tmp_path, *given, problems=tmp_path / "run" / "problems.csv")
    key = load_key(tmp_path / "key")
    listed = pd.read_csv(tmp_path / "run" / "problems.csv", keep_default_na=False)
    images = [pseudonym(f"Meyer-{k}/scan-Quentin-{k}.png", key) for k in (5, 11, 0)]
    assert listed.query("kind == 'unusable file'")["image"].tolist() == images[:1]
    leak = listed.query("kind == 'patient in two splits'")[["image", "other_image"]]
    assert leak.to_numpy().tolist() == [images[1:]]
    told = str(stop.value) + capsys.readouterr().out
    assert images[1] in told
    assert not [name for name in names if name in told]


def test_a_whole_run_names_nobody(tmp_path: Path) -> None:
    names = personal(tmp_path / "in", 28)
    dataset = (
        "dataset=csv",
        f"dataset.path='{tmp_path / 'in' / 'table.csv'}'",
        "dataset.size=28",
        f"paths.data='{tmp_path / 'out'}'",
        f"paths.pseudonym_key='{tmp_path / 'out' / 'key'}'",
    )
    options = ("model=lenet", "cam.n=2", "trainer.max_epochs=1", "pseudonymise=true")
    run = jobs.train(tmp_path / "out" / "run", *jobs.PLAIN, *dataset, *options)
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {"samples.csv", "predictions.csv", "best.ckpt", "index.sqlite", "config.yaml"} <= {
        path.name for path in written
    }
    for path in written:
        content = path.read_bytes()
        if path.suffix == ".html":  # a word of style sheets, which one of the files is named after
            content = content.replace(b"outline", b"")
        assert not [n for n in names if n.encode() in content or n in path.name], path
    spread = pd.read_csv(run / "predictions.csv")
    assert spread["image"].str.fullmatch("i-[0-9a-f]{16}").all()
    figures = jobs.evaluate(
        tmp_path / "out" / "again", f"checkpoint='{run / 'checkpoints' / 'best.ckpt'}'"
    )
    assert figures["test/auroc"] == jobs.metrics(run)["test/auroc"]
    for path in [*run.rglob("*"), *(tmp_path / "out" / "again").rglob("*")]:
        if path.is_file():  # where the data lie, too
            assert str(tmp_path / "in").encode() not in path.read_bytes(), path
    links = tmp_path / "out" / "key.paths"
    assert {file.read_text() for file in links.iterdir()} >= {str(tmp_path / "in" / "table.csv")}
    assert {file.stat().st_mode & 0o077 for file in [links, *links.iterdir()]} == {0}


# Sizes and other values


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("cache.disk=lots", "cache.disk=lots: give a size such as 500MB or 20GB"),
        ("splits.method=dice", "method=dice: choose one of"),
    ],
)
def test_refuses_other_values(tmp_path: Path, override: str, message: str) -> None:
    pictures(tmp_path, 3)
    table(tmp_path, 3)
    with pytest.raises(UserError, match=message):
        opened(tmp_path, override)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64MB", 64 * 10**6),
        ("50 GB", 50 * 10**9),
        ("1.5k", 1500),
        ("2T", 2 * 10**12),
        (" 7b ", 7),
        (123, 123),
    ],
)
def test_sizes_in_bytes(text: str | int, size: int) -> None:
    assert parse_bytes("cache.disk", text) == size


@pytest.mark.parametrize("text", ["", "GB", "-5GB", "5GiB", "5 5", "1e9", "auto", "None"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^cache\.memory=.*: give a size such as"):
        parse_bytes("cache.memory", text)


def test_the_cache_may_be_too_small(tmp_path: Path) -> None:
    pictures(tmp_path)
    table(tmp_path)
    with pytest.raises(UserError, match=r"cache\.disk"):
        opened(tmp_path, "cache.disk=100")
    assert len(opened(tmp_path, "cache.disk=768").samples) == 12  # 12 images of 64 bytes


def test_images_are_held_in_memory_if_they_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = pictures(tmp_path)
    table(tmp_path)
    samples = opened(tmp_path).samples
    images: Any = samples.images
    in_memory(samples, 12 * 64 - 1)
    assert images.memory is None
    assert "0.00 GB of images are read from the disk cache as needed" in capsys.readouterr().out
    monkeypatch.setattr(datasets, "available_memory", lambda: 2 * 12 * 64 - 1)
    in_memory(samples, "auto")
    assert images.memory is None
    monkeypatch.setattr(datasets, "available_memory", lambda: 2 * 12 * 64)
    in_memory(samples, "auto")
    assert images.memory is not None
    np.testing.assert_array_equal(images[torch.arange(12)][:, 0], values)
    arrays = jobs.toy([2, 2, 2])
    in_memory(arrays, 0)
    assert isinstance(arrays.images, torch.Tensor)


def test_a_file_is_read_once_for_several_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path)
    table(tmp_path)
    first = opened(tmp_path).samples

    def never(*_: Any) -> Any:
        raise AssertionError("a file is read again")

    monkeypatch.setattr(scanning, "read_file", never)
    second = opened(tmp_path, "splits.seed=3", "dataset.intensity=percentile").samples
    assert torch.equal(first.images[torch.arange(12)], second.images[torch.arange(12)])
    assert json.dumps(first.spec) != json.dumps(second.spec)


def test_memory_that_the_system_would_give() -> None:
    if not Path("/proc/meminfo").exists():
        pytest.skip("no Linux")
    known = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = 1024 * int(known["MemAvailable"].split()[0])
    assert available_memory() == pytest.approx(available, rel=0.1)


@pytest.mark.parametrize("content", [None, "MemTotal: 5 kB\n"])
def test_memory_where_the_system_does_not_say(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "meminfo").write_text(content)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert available_memory(tmp_path / "meminfo") == total


@pytest.mark.parametrize(
    "override",
    ["dataset.path=null", "pseudonymise=true paths.pseudonym_key=null"],
)
def test_a_path_that_is_none(override: str, tmp_path: Path) -> None:
    pictures(tmp_path)
    table(tmp_path)
    key = override.split()[-1].partition("=")[0]
    with pytest.raises(UserError, match=f"{key}=None: give a path"):
        opened(tmp_path, *override.split())
