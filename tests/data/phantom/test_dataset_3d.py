from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
import torch

from medcnn.data.phantom.dataset import phantom
from medcnn.data.samples import Samples
from medcnn.errors import UserError

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

SMALL: dict[str, Any] = {"spatial_dims": 3, "size": 16, "patients": 24, "images_per_patient": 2}
EVERY = torch.arange(48)


@pytest.fixture(scope="module")
def small() -> Samples:
    return phantom(**SMALL)


def test_samples_are_complete(small: Samples) -> None:
    assert small.masks is not None
    assert small.images.shape == (48, 1, 16, 16, 16)
    assert small.masks.shape == (48, 16, 16, 16)
    assert small.images[EVERY].dtype == torch.int16
    assert small.intensity_range == (-1000.0, 500.0)
    lesion = small.masks[EVERY].flatten(1).any(1)
    assert torch.equal(lesion, small.labels > 0)


def test_patients_classes_and_splits_are_those_of_the_films(small: Samples) -> None:
    films = phantom(size=16, patients=24)
    assert small.table.equals(films.table)
    assert small.class_names == films.class_names


def test_nodule_is_where_the_film_of_the_same_patient_has_it() -> None:
    volumes, films = phantom(**SMALL | {"size": 32}), phantom(size=32, patients=24)
    assert volumes.masks is not None
    assert films.masks is not None
    for row in torch.nonzero(volumes.labels == 1).flatten():
        shadow = volumes.masks[row[None]][0].any(1).flip(0)
        film = films.masks[row[None]][0]
        assert (shadow & film).sum() >= 0.8 * (shadow | film).sum()


def test_the_same_seed_gives_the_same_bits_and_another_one_others(small: Samples) -> None:
    again, other = phantom(**SMALL), phantom(**SMALL, seed=1)
    assert torch.equal(again.images[EVERY], small.images[EVERY])
    assert not torch.equal(other.images[EVERY], small.images[EVERY])


def test_more_patients_leave_the_first_ones_as_they_are(small: Samples) -> None:
    more = phantom(**{**SMALL, "patients": 31})
    assert more.masks is not None
    assert small.masks is not None
    assert torch.equal(more.images[EVERY], small.images[EVERY])
    assert torch.equal(more.masks[EVERY], small.masks[EVERY])
    assert more.table.iloc[:48].equals(small.table)


def test_a_volume_is_32_voxels_an_edge_unless_asked_for() -> None:
    few = {"patients": 12, "images_per_patient": 1, "split_shares": dict.fromkeys(
        ("train", "val", "test"), 1)}  # fmt: skip
    assert phantom(spatial_dims=3, **few).images.shape == (12, 1, 32, 32, 32)
    assert phantom(**few).images.shape == (12, 1, 64, 64)


def test_dose_sets_the_noise(small: Samples) -> None:
    high = phantom(**SMALL, dose=1e12).images[EVERY].float()
    low = small.images[EVERY].float()
    body = high > -500
    assert 15 < (low - high)[body].std() < 40


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"spatial_dims": 4}, r"dataset.spatial_dims=4: choose 2 \(films\) or 3 \(CT volumes\)"),
        ({"size": 129}, "dataset.size=129: give a whole number, 16 … 128"),
        ({"shortcut": 0.9}, "dataset.shortcut=0.9: a CT volume has no film marker"),
    ],
)
def test_a_wrong_option_is_named(option: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        phantom(**{**SMALL, **option})


@pytest.mark.slow
def test_a_net_trains_on_volumes(tmp_path: Path) -> None:
    options = ("dataset.spatial_dims=3", "++dataset.size=16", "debug=fast", "cam.n=2")
    run = jobs.train(tmp_path / "run", *jobs.QUICK, "model=resnet", *options, "batch_size=4")
    assert jobs.status(run)["state"] == "finished"
    assert jobs.checkpoint(run)["medcnn"]["input_size"] == [16, 16, 16]
    assert np.isfinite(jobs.metrics(run)["test/auroc"]["value"])
