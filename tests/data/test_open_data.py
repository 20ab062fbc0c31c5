"""From a config to samples: arrays, and files with their splits, labels and cache."""

import json
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from open_tables import KEPT, leaking, noise, opened, pictures, save, table

from medcnn.data.checks.audit import IDENTICAL, NEAR, PATIENT
from medcnn.data.open_data import open_data
from medcnn.data.phantom.dataset import phantom
from medcnn.data.prepared import scan as scanning
from medcnn.errors import UserError

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

PHANTOM = ("dataset.size=16", "dataset.patients=36", "dataset.images_per_patient=1")
AFFINE = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1.0]])  # of SPL axes


def test_arrays_have_the_splits_that_they_bring() -> None:
    data = open_data(jobs.compose("data", *PHANTOM))
    own = phantom(size=16, patients=36, images_per_patient=1)
    pd.testing.assert_frame_equal(data.samples.table.drop(columns="content_hash"), own.table)
    assert [len(x) for x in (data.problems, data.findings, data.facts, data.slices)] == [0] * 4


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
    assert (list(data.slices), data.problems, data.findings) == ([0] * 12, [], [])


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
    assert list(data.slices) == [0, 1, 2] * 12
    identical = [f for f in data.findings if f.kind == IDENTICAL]
    assert [(f.row, f.other_row) for f in identical] == [(11 * 3 + 2, 4 * 3 + 1)]
    near = {(f.row, f.other_row) for f in data.findings if f.kind == NEAR}
    assert (10 * 3 + 1, 3 * 3 + 2) in near


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
    "override",
    ["dataset.path=null", "pseudonymise=true paths.pseudonym_key=null"],
)
def test_a_path_that_is_none(override: str, tmp_path: Path) -> None:
    pictures(tmp_path)
    table(tmp_path)
    key = override.split()[-1].partition("=")[0]
    with pytest.raises(UserError, match=f"{key}=None: give a path"):
        opened(tmp_path, *override.split())


def test_the_cache_may_be_too_small(tmp_path: Path) -> None:
    pictures(tmp_path)
    table(tmp_path)
    with pytest.raises(UserError, match=r"cache\.disk"):
        opened(tmp_path, "cache.disk=100")
    assert len(opened(tmp_path, "cache.disk=768").samples) == 12  # 12 images of 64 bytes


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
