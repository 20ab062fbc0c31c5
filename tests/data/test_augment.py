import math
from pathlib import Path
from typing import Any

import monai.transforms as mt
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy import ndimage, stats
from torch.nn.functional import affine_grid
from torchvision.transforms import v2

from medcnn.data import augment as module
from medcnn.data.augment import Augment, normal, random_bits, row_states, uniform
from medcnn.errors import UserError

CONF = Path(__file__).parents[2] / "conf" / "augment"
ALL: dict[str, Any] = {
    "flip": [-1, -2],
    "rotate": 20.0,
    "scale": 0.2,
    "translate": 0.1,
    "gamma": 0.2,
    "contrast": 0.2,
    "brightness": 0.1,
    "noise": 0.05,
    "erase": 0.5,
}
MIDDLE = 0.5  # a draw that changes nothing (and flips nothing)


def batch(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def draws(**places: float) -> torch.Tensor:
    """Draws of one row: all in the middle but for those at the named places."""
    row = torch.full((1, module._DRAWS), MIDDLE)
    for place, value in places.items():
        row[:, getattr(module, f"_{place.upper()}")] = value
    return row


def test_generator_is_splitmix64() -> None:
    """The reference C code's first numbers from the seed 1234567."""
    bits = random_bits(torch.tensor([1234567]), 0, 5)[0]
    assert [int(b) % 2**64 for b in bits] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_uniform_and_normal_are_distributed_so() -> None:
    state = row_states(3, 1, torch.arange(4000))
    flat = uniform(state, 0, 5).flatten().numpy()
    assert flat.min() >= 0
    assert flat.max() < 1
    assert stats.kstest(flat, "uniform").pvalue > 0.01
    assert stats.kstest(normal(state, 0, 5).flatten().numpy(), "norm").pvalue > 0.01


def test_rows_epochs_and_seeds_are_uncorrelated() -> None:
    rows = torch.arange(10_000)
    first = uniform(row_states(0, 0, rows), 0, 2)
    others = (
        uniform(row_states(1, 0, rows), 0, 2),
        uniform(row_states(0, 1, rows), 0, 2),
        first.roll(1, 0),
        first.flip(1),
    )
    for other in others:
        correlation = np.corrcoef(first.flatten(), other.flatten())[0, 1]
        assert abs(correlation) < 4 / math.sqrt(first.numel())


@pytest.mark.parametrize("shape", [(7, 1, 12, 9), (7, 3, 8, 8), (7, 1, 6, 5, 4)])
def test_sample_is_independent_of_its_batch(shape: tuple[int, ...]) -> None:
    augment, images, rows = Augment(seed=5, **ALL), batch(*shape), torch.arange(7) * 100
    whole = augment(images, rows, 2)
    order = torch.tensor([3, 0, 6, 2])
    assert whole.shape == images.shape
    assert torch.equal(augment(images[order], rows[order], 2), whole[order])
    assert torch.equal(augment(images[4:5], rows[4:5], 2), whole[4:5])


def test_seed_epoch_and_row_each_matter() -> None:
    images, rows = batch(1, 1, 8, 8).expand(2, -1, -1, -1), torch.tensor([4, 5])
    changed = Augment(seed=0, **ALL)(images, rows, 0)
    assert not torch.allclose(changed[0], changed[1], atol=1e-3)
    for other in (Augment(seed=1, **ALL)(images, rows, 0), Augment(seed=0, **ALL)(images, rows, 1)):
        assert not torch.allclose(changed, other, atol=1e-3)


def test_switching_one_change_on_leaves_the_others() -> None:
    images, rows = batch(4, 1, 8, 8), torch.arange(4)
    alone = Augment(seed=0, brightness=0.1)(images * 0.5 + 0.25, rows, 0)
    flipped = Augment(seed=0, brightness=0.1, flip=[-1])(images * 0.5 + 0.25, rows, 0)
    for a, b in zip(alone, flipped, strict=True):
        assert torch.allclose(a, b, atol=1e-4) or torch.allclose(a, b.flip(-1), atol=1e-4)


def test_nothing_to_do_gives_the_same_images() -> None:
    images = batch(2, 1, 4, 4)
    assert Augment(seed=0)(images, torch.arange(2), 0) is images


@pytest.mark.parametrize("axis", [-1, -2, -3])
def test_flip_mirrors_about_half_of_the_images(axis: int) -> None:
    images = batch(64, 1, 5, 6, 7)
    flipped = Augment(seed=0, flip=[axis])(images, torch.arange(64), 0)
    mirrored = [torch.allclose(a, b.flip(axis), atol=1e-4)
                for a, b in zip(flipped, images, strict=True)]  # fmt: skip
    same = [torch.allclose(a, b, atol=1e-4) for a, b in zip(flipped, images, strict=True)]
    assert sum(mirrored) + sum(same) == 64
    assert 16 < sum(mirrored) < 48


def move(augment: Augment, image: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    return augment._move(image[None], row)[0]


def test_quarter_turn_is_rot90() -> None:
    image = batch(1, 7, 7)
    turned = move(Augment(seed=0, rotate=90.0), image, draws(rotate=1.0))
    expected = [torch.rot90(image, k, (1, 2)) for k in (1, -1)]
    assert any(torch.allclose(turned, way, atol=1e-4) for way in expected)


def test_shift_by_a_whole_pixel_brings_in_black() -> None:
    image = batch(1, 4, 4) + 0.1
    moved = move(Augment(seed=0, translate=0.25), image, draws(translate=1.0))
    assert torch.allclose(moved[:, 1:, 1:], image[:, :-1, :-1], atol=1e-5)
    assert moved[:, 0].abs().max() < 1e-5
    assert moved[:, :, 0].abs().max() < 1e-5


def test_scale_enlarges() -> None:
    image = torch.zeros(1, 20, 20)
    image[:, 8:12, 8:12] = 1
    area = [move(Augment(seed=0, scale=0.5), image, draws(scale=draw)).sum() for draw in (0.0, 1.0)]
    assert area[0] == pytest.approx(16 * 0.5**2, rel=0.2)
    assert area[1] == pytest.approx(16 * 1.5**2, rel=0.2)


@pytest.mark.parametrize("size", [(9, 14), (6, 9, 8)])
def test_geometry_is_that_of_scipy(size: tuple[int, ...]) -> None:
    image = batch(1, *size)
    augment = Augment(seed=0, flip=[-1], rotate=30.0, scale=0.2, translate=0.1)
    row = uniform(row_states(1, 1, torch.tensor([11])), 0, module._DRAWS)
    row[:, module._FLIP] = 0.0
    matrix = augment.matrices(row, size)[0].double().numpy()
    centre = (np.array(size) - 1) / 2
    linear, shift = matrix[:-1, :-1], matrix[:-1, -1]
    expected = ndimage.affine_transform(
        image[0].numpy(),
        linear,
        offset=centre + shift - linear @ centre,
        order=1,
        mode="grid-constant",
    )
    np.testing.assert_allclose(move(augment, image, row)[0].numpy(), expected, atol=1e-4)


def test_matrix_is_a_similarity_within_its_limits() -> None:
    augment = Augment(seed=0, rotate=30.0, scale=0.2, flip=[-1, -2])
    row = uniform(row_states(0, 0, torch.arange(500)), 0, module._DRAWS)
    linear = augment.matrices(row, (10, 20))[:, :2, :2]
    factors = 1 / linear.det().abs().sqrt()
    turn = linear * factors[:, None, None]
    assert torch.allclose(turn @ turn.mT, torch.eye(2).expand(500, 2, 2), atol=1e-5)
    assert 0.8 <= factors.min() < 0.81
    assert 1.19 < factors.max() <= 1.2
    angles = torch.atan2(turn[:, 0, 1].abs(), turn[:, 0, 0].abs()).rad2deg()
    assert 29 < angles.max() <= 30.001


def change(augment: Augment, image: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    return augment._change_intensity(image[None], row, row_states(0, 0, torch.tensor([0])))[0]


def test_intensity_formulas() -> None:
    image = batch(1, 6, 6) * 0.4 + 0.3
    darker = change(Augment(seed=0, gamma=0.5), image, draws(gamma=1.0))
    assert torch.allclose(darker, image**1.5)
    flatter = change(Augment(seed=0, contrast=0.5), image, draws(contrast=0.0))
    assert torch.allclose(flatter, image.mean() + 0.5 * (image - image.mean()), atol=1e-6)
    brighter = change(Augment(seed=0, brightness=0.2), image, draws(brightness=1.0))
    assert torch.allclose(brighter, image + 0.2, atol=1e-6)


def test_noise_has_the_standard_deviation_that_was_drawn() -> None:
    image = torch.full((1, 100, 101), 0.5)
    noisy = change(Augment(seed=0, noise=0.1), image, draws(noise=0.5))
    assert (noisy - image).std() == pytest.approx(0.05, rel=0.03)
    assert (noisy - image).mean() == pytest.approx(0.0, abs=0.002)


def test_intensities_stay_in_range() -> None:
    images = Augment(seed=0, brightness=1.0, noise=1.0, gamma=0.9, contrast=1.0)(
        batch(16, 1, 8, 8), torch.arange(16), 0
    )
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.isfinite().all()


@pytest.mark.parametrize(
    "option",
    [
        {"flip": [0]},
        {"flip": -1},
        {"rotate": 200.0},
        {"rotate": "much"},
        {"scale": 1.0},
        {"gamma": 1.0},
        {"translate": -0.1},
        {"noise": math.nan},
        {"erase": 1.1},
    ],
)
def test_senseless_option(option: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"augment\.{next(iter(option))}="):
        Augment(seed=0, **option)


def test_axis_that_the_images_lack() -> None:
    with pytest.raises(UserError, match="no axis -3"):
        Augment(seed=0, flip=[-3])(batch(1, 1, 4, 4), torch.arange(1), 0)


@pytest.mark.parametrize("name", ["none", "light", "standard", "strong"])
def test_configs(name: str) -> None:
    config = OmegaConf.merge(
        OmegaConf.load(CONF / "none.yaml"), OmegaConf.load(CONF / f"{name}.yaml")
    )
    config.pop("defaults", None)
    augment, images = instantiate(config, seed=0), batch(8, 1, 28, 28)
    changed = augment(images, torch.arange(8), 0)
    assert torch.equal(changed, images) == (name == "none")


@pytest.mark.parametrize("size", [(9, 14), (5, 8, 6)])
def test_grid_is_that_of_pytorch(size: tuple[int, ...]) -> None:
    dims = len(size)
    theta = torch.eye(dims + 1) + 0.3 * batch(3, dims + 1, dims + 1)
    grid = module._grid(theta, size)
    flipped = theta[:, :dims].flip(1)  # grid_sample has the last axis first
    flipped[:, :, :dims] = flipped[:, :, :dims].flip(2)
    wanted = affine_grid(flipped, [3, 1, *size], align_corners=False)
    assert torch.allclose(grid, wanted, atol=1e-6)


@pytest.mark.parametrize("size", [(9, 14), (5, 8, 6)])
def test_each_image_is_what_monai_makes_of_the_same_draws(size: tuple[int, ...]) -> None:
    """All eight changes at once, against MONAI's transforms one after the other."""
    flips = ALL["flip"] if len(size) == 2 else [-1, -3]
    augment = Augment(seed=3, **(ALL | {"flip": flips, "noise": 0.0, "erase": 0.0}))
    images, rows = batch(6, 2, *size), torch.arange(6)
    drawn = uniform(row_states(3, 2, rows), 0, module._DRAWS)
    matrices = augment.matrices(drawn, size)
    for image, row, matrix, changed in zip(
        images, drawn, matrices, augment(images, rows, 2), strict=True
    ):
        exponent, contrast, shift = (
            float(option * (2 * row[place] - 1))
            for option, place in ((0.2, module._GAMMA), (0.2, module._CONTRAST), (0.1, 12))
        )
        moved, _ = mt.Affine(affine=matrix.numpy(), padding_mode="zeros")(image)
        span = moved.max() - moved.min()  # MONAI takes the power of what it has scaled to 0 … 1
        unit = (moved - moved.min()) / span
        powered = mt.AdjustContrast(1 + exponent)(unit)
        assert torch.allclose(powered, unit ** (1 + exponent), atol=1e-5)
        expected = moved ** (1 + exponent)
        expected = mt.ScaleIntensityFixedMean(factor=contrast, preserve_range=False)(expected)
        expected = mt.ShiftIntensity(shift)(expected).clamp(0, 1)
        assert torch.allclose(changed, expected, atol=2e-5)


RADIANS = math.radians(20)
MONAI = {  # the same change by MONAI, and the number that tells how much an image was changed
    "rotate": mt.RandRotate(RADIANS, prob=1.0, padding_mode="zeros"),
    "scale": mt.RandZoom(1.0, 0.8, 1.2, mode="bilinear", padding_mode="constant"),
    "translate": mt.RandAffine(1.0, translate_range=(1.6, 1.6), padding_mode="zeros"),
    "flip": mt.RandFlip(0.5, spatial_axis=-1),
    "gamma": mt.RandAdjustContrast(1.0, gamma=(0.8, 1.2)),
    "contrast": mt.RandScaleIntensityFixedMean(1.0, factors=0.2, preserve_range=False),
    "brightness": mt.RandShiftIntensity(0.1, prob=1.0),
    "noise": mt.RandGaussianNoise(1.0, std=0.05, sample_std=True),
}


@pytest.mark.parametrize("change", list(MONAI))
def test_changes_are_distributed_as_those_of_monai(change: str) -> None:
    """400 draws each, which Kolmogorov and Smirnov's test can't tell apart."""
    side, count = (128, 400) if change == "scale" else (16, 400)
    y, x = torch.meshgrid(torch.arange(side) / side, torch.arange(side) / side, indexing="ij")
    image = torch.exp(-((y - 0.4) ** 2) * 8 - (x - 0.5) ** 2 * 16)[None] * 0.6 + 0.2
    image[0, 0, :2] = torch.tensor([0.0, 1.0])  # MONAI's gamma scales by the extremes
    if change == "scale":  # MONAI zooms to whole pixels, half of one off the centre: areas
        image = ((y - 0.5) ** 2 + (x - 0.5) ** 2 < 0.1)[None].float()
    option = [-1] if change == "flip" else ALL[change]
    images, rows = image.expand(count, 1, side, side), torch.arange(count)
    ours = Augment(seed=1, **{change: option})(images, rows, 0)
    transform = MONAI[change]
    transform.set_random_state(0)
    theirs = torch.stack([torch.as_tensor(transform(image)) for _ in range(count)])
    assert ours.std(0).max() > 0.005
    for pixel in ((5, 5), (8, 12), (11, 7)):
        pair = [v.mean((1, 2, 3)) if change == "scale" else v[:, 0, *pixel] for v in (ours, theirs)]
        assert stats.ks_2samp(*(v.numpy().round(4) for v in pair)).pvalue > 0.01


def erased(count: int, *size: int) -> torch.Tensor:
    """What is erased of each of so many images, (count, *size)."""
    images = torch.full((count, 1, *size), 2.0)  # which no filling is
    return (Augment(seed=2, erase=1.0)(images, torch.arange(count), 0) != 2)[:, 0]


def test_erased_boxes_are_distributed_as_those_of_torchvision() -> None:
    ours = erased(400, 64, 64)
    transform = v2.RandomErasing(p=1.0, scale=module._PARTS, ratio=(0.3, 1 / 0.3))
    torch.manual_seed(0)
    theirs = [transform.make_params([torch.zeros(1, 64, 64)]) for _ in range(400)]
    assert {key for one in theirs for key in one} == {"i", "j", "h", "w", "v"}
    height, width = (ours.any(axis).sum(1).numpy() for axis in (2, 1))
    first = ours.any(2).int().argmax(1).numpy()
    assert (ours.sum((1, 2)).numpy() == height * width).all()  # one box
    pairs = [
        (height * width, [one["h"] * one["w"] for one in theirs]),
        (np.log(height / width), [np.log(one["h"] / one["w"]) for one in theirs]),
        (first, [one["i"] for one in theirs]),
    ]
    for mine, other in pairs:
        assert stats.ks_2samp(np.round(mine, 1), np.round(other, 1)).pvalue > 0.01


def test_boxes_in_volumes_are_about_as_large() -> None:
    ours = erased(300, 16, 40, 24)
    depths = ours.any(3).any(2).sum(1)
    heights, widths = ours.any(3).any(1).sum(1), ours.any(2).any(1).sum(1)
    assert torch.equal(ours.flatten(1).sum(1), depths * heights * widths)  # one box
    assert 0.15 < ours.float().mean() < 0.18  # of 1/50 … 1/3, the largest cut at the edges
    assert (depths > 16 * 0.6).sum() > 50
    assert (heights < 40 * 0.4).sum() > 50


def test_every_second_image_is_erased_and_the_rest_stays() -> None:
    images, rows = batch(400, 2, 12, 10), torch.arange(400)
    changed = Augment(seed=0, erase=0.5)(images, rows, 1)
    assert 160 < (changed != images).flatten(1).any(1).sum() < 240
    inside = changed[changed != images].numpy()
    assert stats.kstest(inside, "uniform").pvalue > 0.01
    plain = Augment(seed=0, **(ALL | {"erase": 0.0}))(images, rows, 1)
    both = Augment(seed=0, **ALL)(images, rows, 1)
    same = both == plain
    assert torch.equal(same.flatten(1).all(1), (changed == images).flatten(1).all(1))
    assert torch.equal(both[~same], changed[~same])  # the same box, the same filling
