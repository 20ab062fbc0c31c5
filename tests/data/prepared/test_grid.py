"""Files brought to the grid of another one."""

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import ResampleToMatch

from medcnn.data.image import Image
from medcnn.data.prepared.grid import Grid, onto_grid
from medcnn.errors import UserError

SHAPE = (9, 10, 11)


def affine(spacing: Any = 1.0, shift: Any = 0.0, degrees: float = 0.0) -> np.ndarray:
    """Axes that run right, front and head, turned about the last one."""
    matrix = np.eye(4)
    angle = np.radians(degrees)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, :3] *= spacing
    matrix[:3, 3] = shift
    return matrix


def grid(matrix: np.ndarray | None, shape: tuple[int, ...] = SHAPE, crop: Any = None) -> Grid:
    facts = {"shape": list(shape), "spacing": [1.0] * len(shape), "crop": crop}
    return Grid.of(facts | {"affine": None if matrix is None else matrix.tolist()})


def volume(matrix: np.ndarray, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Image:
    values = np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32)
    return Image(values, affine=matrix)


@pytest.mark.parametrize(
    "matrix",
    [
        affine(2.0, (-3.0, -2.0, -4.0)),
        affine(1.5, (-1.3, -2.0, 0.4), degrees=12),
        affine((-2.0, 1.5, 3.0), (11.0, -1.0, -5.0)),
    ],
    ids=["shifted and coarser", "turned", "mirrored"],
)
def test_as_monai(matrix: np.ndarray) -> None:
    image, wanted = volume(matrix), affine()
    moved = onto_grid(image, grid(wanted), "RAS")
    reference = MetaTensor(torch.zeros(1, *SHAPE), affine=torch.from_numpy(wanted))
    match = ResampleToMatch(mode="bilinear", padding_mode="border", align_corners=True)
    given = MetaTensor(torch.from_numpy(image.values), affine=torch.from_numpy(matrix))
    expected = match(given, reference).numpy()
    inside = np.ones(SHAPE, bool) if moved.padding is None else ~moved.padding
    assert inside.mean() > 0.2
    np.testing.assert_allclose(moved.values[:, inside], expected[:, inside], atol=1e-4)
    assert moved.affine is not None
    np.testing.assert_allclose(moved.affine, wanted)
    beyond = moved.values[:, ~inside]
    np.testing.assert_array_equal(beyond, np.full_like(beyond, image.values.min()))


def test_what_lies_beyond_the_file_is_padding() -> None:
    moved = onto_grid(volume(affine(shift=(3.0, 0, 0))), grid(affine()), "RAS")
    assert moved.padding is not None
    assert moved.padding.all((1, 2)).tolist() == [True] * 3 + [False] * 6


def test_larger_voxels_are_means_of_smaller_ones() -> None:
    """In a ramp the mean is the value in the middle; in noise the spread falls."""
    fine = affine(0.5)
    ramp = np.mgrid[:40, :40, :40][1][None].astype(np.float32)
    coarse, shape = affine(2.0, (2.0, 2.0, 2.0)), (8, 8, 8)
    moved = onto_grid(Image(ramp, affine=fine), grid(coarse, shape), "RAS")
    np.testing.assert_allclose(moved.values[0, 0, :, 0], 4 + 4 * np.arange(8), atol=1e-4)
    noise = onto_grid(volume(fine, (40, 40, 40)), grid(coarse, shape), "RAS").values
    weights = 1 - np.abs(np.arange(-3, 4)) / 4  # a triangle of half the width of a voxel
    expected = ((weights / weights.sum()) ** 2).sum() ** 1.5  # along each of three axes
    assert noise.std() == pytest.approx(expected, rel=0.15)


def test_the_same_grid_keeps_every_bit() -> None:
    image = volume(affine(1.5))
    assert onto_grid(image, grid(affine(1.5)), "SPL") is image


def test_axes_in_another_order_keep_their_values() -> None:
    values = np.random.default_rng(1).integers(-1000, 3000, (1, *SHAPE)).astype(np.int16)
    turned = affine() @ np.eye(4)[:, [2, 0, 1, 3]]
    moved = onto_grid(Image(values.transpose(0, 3, 1, 2), affine=turned), grid(affine()), "RAS")
    np.testing.assert_array_equal(moved.values, values)
    assert moved.values.dtype == np.int16
    assert moved.padding is None


@pytest.mark.parametrize(
    ("image", "target", "reason"),
    [
        (volume(affine(shift=40.0)), grid(affine()), "they don't overlap"),
        (volume(affine(shift=(4.0, 0, 0))), grid(affine(), crop=[[0, 3], [0, 9], [0, 9]]), "over"),
        (volume(affine()), grid(None, (9, 9)), "is a volume, and the image's first file is a pict"),
        (volume(affine()), grid(None), "says how it lies in the patient, but"),
        (Image(np.zeros((1, *SHAPE))), grid(affine()), "doesn't say how it lies in the patient, b"),
        (Image(np.zeros((1, 8, 9))), grid(None, (8, 8)), "is 8×9, but the image's first file is 8"),
    ],
)
def test_what_has_no_place_in_common_is_refused(image: Image, target: Grid, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        onto_grid(image, target, "RAS")


def test_a_picture_as_large_as_the_first_one_stays() -> None:
    values = np.zeros((3, 8, 9), np.uint8)
    moved = onto_grid(Image(values, spacing=(2.0, 2.0)), grid(None, (8, 9)), "SPL")
    assert moved.values is values
    assert moved.spacing == (1.0, 1.0)
