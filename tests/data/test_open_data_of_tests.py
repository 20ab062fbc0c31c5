"""The data that a checkpoint is tested on: what becomes 0 and 1, and what the training decides."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from open_tables import KEPT, config, noise, of_test, opened, pictures, save, table

from medcnn.data.image import ImageSpec, spec_of
from medcnn.data.open_data import data_config, open_data
from medcnn.errors import UserError

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines


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
        "config": {"model": {}},
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
    cut = spec_of(card(image_spec={**stored, "crop": "box", "crop_margin": 0.5}), own)
    assert (given.crop, cut.crop, cut.crop_margin) == ("none", "box", 0.5)
    stored["allow_missing_geometry"] = True
    assert spec_of(card(image_spec=stored), own).allow_missing_geometry


def test_other_data_keep_their_own_splits(tmp_path: Path) -> None:
    pictures(tmp_path)
    table(tmp_path, split=["test", "train", "val"] * 4)
    samples = open_data(of_test(tmp_path)).samples
    assert samples.table["split"].tolist() == ["test", "train", "val"] * 4


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
