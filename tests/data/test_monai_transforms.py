from pathlib import Path
from typing import Any

import jobs
import monai.transforms
import numpy as np
import pytest
import torch
import yaml
from monai.data import MetaTensor, get_track_meta, set_track_meta

from medcnn.data.augment import random_bits, row_states
from medcnn.data.monai_transforms import TRANSFORMS, MonaiTransforms
from medcnn.errors import UserError

CONFIG = Path(__file__).parents[2] / "conf" / "augment" / "monai.yaml"
# What transforms need beyond their defaults to do something visible.
OPTIONS: dict[str, dict[str, Any]] = {
    "Rand2DElastic": {"spacing": [4, 4], "magnitude_range": [1, 2], "padding_mode": "zeros"},
    "Rand3DElastic": {"sigma_range": [1, 2], "magnitude_range": [5, 9], "padding_mode": "zeros"},
    "RandAffine": {"rotate_range": 0.5, "padding_mode": "zeros"},
    "RandCoarseDropout": {"holes": 2, "spatial_size": 3},
    "RandCoarseShuffle": {"holes": 2, "spatial_size": 3},
    "RandFlip": {"spatial_axis": [0, 1]},
    "RandImageFilter": {"filter": "mean", "filter_size": 3},
    "RandKSpaceSpikeNoise": {"intensity_range": [3, 5]},
    "RandRotate": {"range_x": 0.6},
    "RandScaleIntensity": {"factors": 0.4},
    "RandScaleIntensityFixedMean": {"factors": 0.4},
    "RandShiftIntensity": {"offsets": 0.3},
    "RandStdShiftIntensity": {"factors": 0.6},
}
ONLY_3D = {"Rand3DElastic", "RandSimulateLowResolution"}  # as they are by default
ONLY_2D = {"Rand2DElastic"}


def batch(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def options(name: str, spatial: tuple[int, ...]) -> dict[str, Any]:
    if name.startswith("RandSmooth"):
        return {"spatial_size": list(spatial), "rand_size": [3] * len(spatial)}
    return OPTIONS.get(name, {})


def arrays(name: str) -> list[tuple[int, ...]]:
    flat, solid = [(12, 12)], [(9, 9, 9)]
    return [*(flat if name not in ONLY_3D else []), *(solid if name not in ONLY_2D else [])]


CASES = [(name, shape) for name in sorted(TRANSFORMS) for shape in arrays(name)]


@pytest.mark.parametrize(("name", "spatial"), CASES)
def test_each_is_monai_s_with_a_state_of_seed_epoch_and_row(
    name: str, spatial: tuple[int, ...]
) -> None:
    images, rows = batch(2, 1, *spatial), torch.tensor([8, 3])
    given = {"prob": 1.0, **options(name, spatial)}
    torch.manual_seed(1)
    changed = MonaiTransforms([{"name": name, **given}], seed=7)(images, rows, epoch=2)
    assert type(changed) is torch.Tensor
    assert not torch.allclose(changed, images, atol=1e-3)
    seeds = random_bits(row_states(7, 2, rows), 0, 1)[:, 0] % 2**32
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    for image, seed, result in zip(images, seeds.tolist(), changed, strict=True):
        by_hand = getattr(monai.transforms, name)(**given).set_random_state(
            state=np.random.RandomState(seed)
        )
        expected = torch.Tensor(by_hand(image.clone())).clamp(0, 1)
        assert torch.equal(result, expected)


def test_what_happens_does_not_depend_on_whether_it_happens() -> None:
    """MONAI seeds the parts of RandAffine alike, so that prob=0.3 leaves only shifts one way."""
    images = torch.zeros(200, 1, 9, 9)
    images[:, :, 4, 4] = 1
    shift = {"name": "RandAffine", "prob": 0.3, "translate_range": [3, 0], "mode": "nearest"}
    changed = MonaiTransforms([shift], seed=0)(images, torch.arange(200), 0)
    row = changed.flatten(1).argmax(1) // 9
    assert (row < 4).sum() > 12
    assert (row > 4).sum() > 12


def test_every_transform_that_is_left_out_has_a_reason() -> None:
    array = {
        name
        for name in dir(monai.transforms)
        if name.startswith("Rand")
        and name[-1] not in "dD"
        and not name.endswith("Dict")
        and isinstance(getattr(monai.transforms, name), type)
        and issubclass(getattr(monai.transforms, name), monai.transforms.RandomizableTransform)
    }
    left_out = array - TRANSFORMS
    assert left_out <= {
        "RandomizableTransform",  # the base class
        "RandLambda",  # calls what it is given
        "RandCoarseTransform",  # the base class of two others
        "RandGridPatch",  # makes several images of one
        "RandIntensityRemap",  # draws from a generator that all share
        "RandTorchVision", "RandTorchIO",  # call other libraries by name
    }  # fmt: skip


def example() -> MonaiTransforms:
    return MonaiTransforms(yaml.safe_load(CONFIG.read_text())["transforms"], seed=5)


@pytest.mark.parametrize("shape", [(7, 1, 14, 11), (7, 3, 12, 12), (7, 1, 9, 8, 7)])
def test_sample_is_independent_of_its_batch(shape: tuple[int, ...]) -> None:
    images, rows = batch(*shape), torch.arange(7) * 100
    whole = example()(images, rows, 2)
    assert torch.equal(images, batch(*shape))  # what came in is as it was
    order = torch.tensor([3, 0, 6, 2])
    assert torch.equal(example()(images[order], rows[order], 2), whole[order])
    assert not torch.equal(example()(images, rows, 3), whole)
    assert not torch.equal(example()(images, rows + 1, 2), whole)
    assert whole.min() >= 0
    assert whole.max() <= 1


def test_probability_is_that_asked_for() -> None:
    images, rows = batch(1, 1, 4, 4).expand(400, -1, -1, -1), torch.arange(400)
    flip = {"name": "RandFlip", "prob": 0.3, "spatial_axis": 1}
    changed = MonaiTransforms([flip], seed=0)(images, rows, 0)
    share = (changed != images).flatten(1).any(1).float().mean()
    assert share == pytest.approx(0.3, abs=3 * (0.3 * 0.7 / 400) ** 0.5)


def test_transforms_of_one_list_are_drawn_independently() -> None:
    flips = [{"name": "RandFlip", "prob": 0.5, "spatial_axis": axis} for axis in (0, 1)]
    images, rows = batch(1, 1, 4, 4).expand(200, -1, -1, -1), torch.arange(200)
    changed = MonaiTransforms(flips, seed=0)(images, rows, 0)
    ways = [images, images.flip(-1), images.flip(-2), images.flip(-1, -2)]
    counts = [int((changed == way).flatten(1).all(1).sum()) for way in ways]
    assert sum(counts) == 200
    assert min(counts) > 30


@pytest.mark.parametrize("before", [True, False])
def test_metadata_is_off_only_meanwhile(before: bool) -> None:
    tracked = get_track_meta()
    set_track_meta(before)
    try:
        images = example()(batch(2, 1, 12, 12), torch.arange(2), 0)
        assert not isinstance(images, MetaTensor)
        assert get_track_meta() is before
        with pytest.raises(UserError):
            MonaiTransforms([{"name": "Rand3DElastic"}], 0)(batch(1, 1, 5, 5), torch.arange(1), 0)
        assert get_track_meta() is before
    finally:
        set_track_meta(tracked)


def test_no_transform_leaves_images_as_they_are_but_for_the_range() -> None:
    images = batch(2, 1, 4, 4) * 3 - 1
    assert torch.equal(MonaiTransforms([], 0)(images, torch.arange(2), 0), images.clamp(0, 1))


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ("RandFlip", "augment.transforms=RandFlip: give a list"),
        (["RandFlip"], r"augment.transforms\[0\]=RandFlip: give"),
        ([{"prob": 1}], r"augment.transforms\[0\]="),
        (
            [{"name": "RandFlip"}, {"name": "RandGausianNoise"}],
            r"transforms\[1\]: name=RandGausianNoise isn't offered; there are RandGaussianNoise",
        ),
        ([{"name": "RandLambda", "func": "os.system"}], "name=RandLambda isn't offered"),
        ([{"name": "LoadImage"}], "name=LoadImage isn't offered"),
        ([{"name": ["x"]}], r"name=\['x'\] isn't offered"),
        ([{"name": "RandFlip", "axis": 1}], "RandFlip refuses .*it takes prob, spatial_axis$"),
        ([{"name": "RandFlip", "lazy": True}], "RandFlip can't be given lazy; it takes prob, sp"),
        ([{"name": "RandScaleIntensity"}], "RandScaleIntensity refuses .*factors"),
        ([{"name": "RandAdjustContrast", "gamma": -1}], "RandAdjustContrast refuses"),
        ([{"name": "RandFlip", "prob": 2}], "prob=2: give a probability 0 … 1"),
        ([{"name": "RandFlip", "prob": "often"}], "prob=often"),
    ],
)
def test_a_wrong_config_is_named(transforms: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        MonaiTransforms(transforms, seed=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"name": "RandFlip", "prob": 1.0, "spatial_axis": 2}, "fails on an image of 1×5×7: "),
        ({"name": "RandRotate90", "prob": 1.0, "max_k": 1}, "makes 1×7×5 of an image of 1×5×7; "),
        ({"name": "RandShiftIntensity", "prob": 1.0, "offsets": [1e39, 2e39]}, "aren't finite"),
    ],
)
def test_images_that_a_transform_cannot_take(transform: dict[str, Any], message: str) -> None:
    augment = MonaiTransforms([transform], seed=0)
    with pytest.raises(UserError, match=message) as error:
        augment(batch(1, 1, 5, 7), torch.arange(1), 0)
    assert f"augment.transforms[0] ({transform['name']})" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_training_takes_them_from_the_command_line(tmp_path: Path) -> None:
    chosen = "augment.transforms=[{name:RandZoom,prob:1.0,min_zoom:0.8}]"
    run = jobs.train(tmp_path / "run", *jobs.QUICK, "augment=monai", chosen, "debug=fast")
    assert jobs.status(run)["state"] == "finished"
    stored = yaml.safe_load((run / "config.yaml").read_text())["augment"]
    assert stored["transforms"] == [{"name": "RandZoom", "prob": 1.0, "min_zoom": 0.8}]
