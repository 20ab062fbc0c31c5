import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from medcnn.data.phantom.dataset import apportion, phantom
from medcnn.data.samples import SPLITS, Samples
from medcnn.errors import UserError

SMALL: dict[str, Any] = {"size": 24, "patients": 30, "images_per_patient": 2}
CONFIG = Path(__file__).parents[3] / "conf" / "dataset" / "phantom.yaml"


@pytest.fixture(scope="module")
def small() -> Samples:
    return phantom(**SMALL)


def test_samples_are_complete(small: Samples) -> None:
    assert small.images.shape == (60, 1, 24, 24)
    assert small.masks is not None
    assert small.masks.shape == (60, 24, 24)
    assert small.class_names == ("normal", "nodule", "effusion")
    assert small.task == "multiclass"
    assert small.positive is None
    assert list(small.table) == ["image", "patient", "split", "label", "marker"]
    assert small.table["image"].tolist() == list(range(60))
    assert not small.table["marker"].any()


def test_all_images_of_a_patient_are_in_one_split_and_of_one_class(small: Samples) -> None:
    by_patient = small.table.groupby("patient")
    assert small.table["patient"].value_counts().eq(2).all()
    assert by_patient["split"].nunique().eq(1).all()
    assert by_patient["label"].nunique().eq(1).all()


def test_images_of_a_patient_differ(small: Samples) -> None:
    images = small.images[torch.arange(60)].float()
    assert (images[0::2] != images[1::2]).flatten(1).float().mean(1).min() > 0.5


def test_every_split_holds_every_class_in_the_same_shares() -> None:
    samples = phantom(size=16, patients=75, images_per_patient=1)
    counts = samples.table.groupby(["split", "label"]).size().unstack()
    assert counts.loc["train"].tolist() == [16, 16, 16]
    assert counts.loc["val"].tolist() == [3, 3, 3]
    assert counts.loc["test"].tolist() == [6, 6, 6]


def test_shares_can_be_chosen() -> None:
    samples = phantom(
        size=16,
        patients=60,
        images_per_patient=1,
        class_shares={"normal": 0.6, "nodule": 0.3, "effusion": 0.1},
        split_shares={"train": 1, "val": 1, "test": 1},
    )
    assert samples.table["label"].value_counts().sort_index().tolist() == [36, 18, 6]
    assert samples.table["split"].value_counts()[list(SPLITS)].tolist() == [20, 20, 20]


def test_only_lesions_have_a_mask_and_it_is_in_the_chest(small: Samples) -> None:
    assert small.masks is not None
    pixels = small.masks.flatten(1).sum(1)
    assert (pixels[small.labels == 0] == 0).all()
    assert (pixels[small.labels > 0] > 0).all()
    for edge in (small.masks[:, :2], small.masks[:, :, 0], small.masks[:, :, -1]):
        assert not edge.any()


def test_a_lesion_is_brighter_than_the_same_film_without_it() -> None:
    bright = phantom(**SMALL, nodule_contrast=(2, 2), bits=16)
    faint = phantom(**SMALL, nodule_contrast=(0.01, 0.01), bits=16)
    assert bright.masks is not None
    every = torch.arange(60)
    difference = bright.images[every].int()[:, 0] - faint.images[every].int()[:, 0]
    nodule, mask = bright.labels == 1, bright.masks
    assert (difference[~nodule] == 0).all()
    assert difference[nodule][mask[nodule]].float().mean() > 2000
    assert abs(difference[nodule][~mask[nodule]].float().mean()) < 50


def test_the_same_seed_gives_the_same_bits_and_another_one_others(small: Samples) -> None:
    every = torch.arange(60)
    again, other = phantom(**SMALL), phantom(**SMALL, seed=1)
    assert torch.equal(again.images[every], small.images[every])
    assert again.masks is not None
    assert small.masks is not None
    assert torch.equal(again.masks, small.masks)
    assert again.table.equals(small.table)
    assert not torch.equal(other.images[every], small.images[every])


def test_more_patients_leave_the_first_ones_as_they_are(small: Samples) -> None:
    more = phantom(**{**SMALL, "patients": 47})
    assert torch.equal(more.images[torch.arange(60)], small.images[torch.arange(60)])
    assert more.table.iloc[:60].equals(small.table)


@pytest.mark.parametrize("size", [28, 64])
def test_every_size_shows_the_same_body(size: int) -> None:
    options: dict[str, Any] = {"patients": 15, "images_per_patient": 1, "dose": 1e7, "bits": 16}
    coarse, fine = (phantom(size=s, **options) for s in (size, 4 * size))
    rows = torch.arange(3)
    a = coarse.images[rows].float()
    b = torch.nn.functional.avg_pool2d(fine.images[rows].float(), 4)
    assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.98


def test_bits_set_the_type_and_the_range(small: Samples) -> None:
    fine = phantom(**SMALL, bits=16)
    every = torch.arange(60)
    assert (small.images[every].dtype, small.intensity_range) == (torch.uint8, (0.0, 255.0))
    assert (fine.images[every].dtype, fine.intensity_range) == (torch.uint16, (0.0, 65535.0))
    scaled = fine.images[every].float() / 257
    assert (scaled - small.images[every].float()).abs().max() <= 0.51


def test_a_higher_dose_has_less_noise() -> None:
    low, high, best = (
        phantom(**SMALL, dose=dose, bits=16).images[torch.arange(60)].float()
        for dose in (2e3, 2e5, 1e9)
    )
    ratio = (low - best).std() / (high - best).std()
    assert 7 < ratio < 13  # √100, but for clipped pixels


def test_lungs_are_dark_bones_bright(small: Samples) -> None:
    mean = small.images[torch.arange(60)].float().mean((0, 1))
    assert mean[10, 6] < mean[10, 12] - 60
    assert mean[10, 17] < mean[10, 12] - 60


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.8, 1.0])
def test_marker_agrees_with_the_label_as_often_as_asked(chance: float) -> None:
    table = phantom(size=16, patients=200, images_per_patient=2, shortcut=chance).table
    agrees = (table["marker"] == 1) == (table["label"] > 0)
    assert agrees.mean() == pytest.approx(chance, abs=3 * np.sqrt(chance * (1 - chance) / 400))


def test_marker_brightens_its_box_alone(small: Samples) -> None:
    marked = phantom(**SMALL, shortcut=1.0)
    table = marked.table
    assert table["marker"].sum() == 40
    for row in range(60):
        film, plain = marked.images[torch.tensor([row])], small.images[torch.tensor([row])]
        box = table.loc[row, ["marker_top", "marker_left", "marker_bottom", "marker_right"]]
        top, left, bottom, right = box.astype(int).tolist()
        changed = (film != plain)[0, 0]
        assert (bottom > top) == bool(table.loc[row, "marker"])
        inside = torch.zeros(24, 24, dtype=torch.bool)
        inside[top:bottom, left:right] = True
        assert not changed[~inside].any()
        if bottom > top:
            assert (film.int() - plain.int()).max() > 25  # pixels are wider than its strokes


def test_apportion_stays_close_to_the_shares_at_every_length() -> None:
    shares = np.array([5, 2, 1])
    groups = apportion(shares.tolist(), 80)
    so_far = np.cumsum(groups[:, None] == np.arange(3), axis=0)
    ideal = np.arange(1, 81)[:, None] * shares / 8
    assert np.abs(so_far - ideal).max() <= 1
    assert so_far[-1].tolist() == [50, 20, 10]
    np.testing.assert_array_equal(apportion(shares.tolist(), 13), groups[:13])


def test_config_and_function_have_the_same_defaults() -> None:
    config = yaml.safe_load(CONFIG.read_text())
    assert config.pop("_target_") == "medcnn.data.phantom.dataset.phantom"
    assert config.pop("name") == "phantom"
    assert config.pop("features") is None
    assert config.pop("epochs") > 0
    assert config.pop("net_width") == 0.5
    parameters = inspect.signature(phantom).parameters
    assert list(config) == list(parameters)
    assert config.pop("class_shares") == {"normal": 1, "nodule": 1, "effusion": 1}
    assert config.pop("split_shares") == {"train": 64, "val": 12, "test": 24}
    for key, value in config.items():
        default = parameters[key].default
        assert value == (list(default) if isinstance(default, tuple) else default), key


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"size": 8}, r"dataset.size=8: give a whole number, 16 … 1024"),
        ({"size": 64.5}, "dataset.size=64.5"),
        ({"patients": 0}, "dataset.patients=0"),
        ({"patients": True}, "dataset.patients=True"),
        ({"patients": 6}, "dataset.patients=6: 2 of class normal are too few"),
        ({"images_per_patient": 0}, "dataset.images_per_patient=0"),
        ({"seed": -1}, "dataset.seed=-1"),
        ({"bits": 12}, "dataset.bits=12: choose 8 or 16"),
        ({"dose": 0}, "dataset.dose=0: give photons"),
        ({"dose": float("nan")}, "dataset.dose=nan"),
        ({"dose": "high"}, "dataset.dose=high"),
        ({"shortcut": 1.5}, "dataset.shortcut=1.5: give a probability"),
        ({"shortcut": "yes"}, "dataset.shortcut=yes"),
        ({"nodule_radius": [2, 1]}, "dataset.nodule_radius=.* up to 3"),
        ({"nodule_radius": [1, 5]}, "dataset.nodule_radius"),
        ({"nodule_contrast": 1.0}, "dataset.nodule_contrast=1.0: give .lowest, highest"),
        ({"nodule_contrast": "ab"}, "dataset.nodule_contrast=ab"),
        ({"effusion_depth": [0, 1]}, "dataset.effusion_depth"),
        ({"effusion_depth": [1, 2, 3]}, "dataset.effusion_depth"),
        ({"class_shares": {"normal": 1}}, "dataset.class_shares=.*normal, nodule, effusion"),
        ({"class_shares": [1, 1, 1]}, "dataset.class_shares"),
        (
            {"split_shares": {"train": 1, "val": -1, "test": 1}},
            "dataset.split_shares.val=-1: give a number above 0",
        ),
    ],
)
def test_a_wrong_option_is_named_in_one_line(option: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        phantom(**option)
    assert "\n" not in str(error.value)
