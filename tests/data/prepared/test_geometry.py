import dataclasses
from pathlib import Path
from typing import Any

import jobs
import monai.transforms
import nibabel as nib
import numpy as np
import PIL.Image
import pytest
import SimpleITK
import torch

from medcnn.data.formats import decode
from medcnn.data.formats.volume import orient
from medcnn.data.image import Image, ImageSpec
from medcnn.data.prepared.geometry import (
    check_spec,
    prepare,
    prepare_mask,
    slice_numbers,
)
from medcnn.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (1, 5, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (3, 5, 7), dtype=np.uint8)
VOLUME = RNG.integers(-900, 900, (1, 4, 5, 6), dtype=np.int16)
AFFINE = np.array([[-2, 0, 0, 9], [0, 0, 3, -7], [0, 1.5, 0, 4], [0, 0, 0, 1.0]])  # L S A


def tilted(spacing: tuple[float, ...] = (0.8, 1.1, 2.0)) -> np.ndarray:
    """An affine of axes P, L and S, all somewhat oblique."""
    x, y, z = np.deg2rad([8, -11, 5])
    rx = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    ry = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    rz = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    axes = np.array([[0, -1, 0], [-1, 0, 0], [0, 0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = rx @ ry @ rz @ axes * spacing
    affine[:3, 3] = (30, -20, 10)
    return affine


def blob(shape: tuple[int, ...], affine: np.ndarray, centre: Any, width: float = 6) -> np.ndarray:
    """A bell round a place in the patient, mm, as float32 (1, *shape)."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    places = index @ affine[:3, :3].T + affine[:3, 3]
    return np.exp(-((places - centre) ** 2).sum(-1) / 2 / width**2).astype(np.float32)[None]


def centre_of(values: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The centre of mass in the patient, mm."""
    index = np.stack(np.meshgrid(*map(np.arange, values.shape), indexing="ij"), -1).reshape(-1, 3)
    mean = (index * values.reshape(-1, 1)).sum(0) / values.sum()
    return (affine @ [*mean, 1])[:3]


@pytest.mark.parametrize("size", [(3, 4), (10, 7), (5, 12), (2, 2)])
def test_pictures_as_pillow_does(size: tuple[int, int]) -> None:
    for image in (GREY, COLOUR):
        channels = [PIL.Image.fromarray(c.astype(np.float32)) for c in image]
        resized = [
            np.asarray(c.resize(size[::-1], PIL.Image.Resampling.BILINEAR)) for c in channels
        ]
        ours = prepare(Image(image), ImageSpec(size=size))
        assert ours.shape == (1, len(image), *size)
        assert ours.dtype == np.uint8
        assert np.abs(ours[0] - np.stack(resized)).max() <= 0.5001  # rounded to the nearest


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_same_size_is_the_same_bits(dtype: type, tmp_path: Path) -> None:
    for values in (GREY, COLOUR):
        image = Image((values * 1.37).astype(dtype))
        ours = prepare(image, ImageSpec(size=(5, 7)))
        np.testing.assert_array_equal(ours[0], image.values)
        assert ours.dtype == dtype
        assert ours.flags.writeable
        assert not np.shares_memory(ours, image.values)


def test_types_are_cut_to_their_range() -> None:
    values = np.array([[[0, 65535]]], np.uint16).repeat(2, 1)
    ours = prepare(Image(values), ImageSpec(size=(2, 9)))
    assert ours.min() == 0
    assert ours.max() == 65535
    assert (np.diff(ours[0, 0].astype(int), axis=1) >= 0).all()


def test_channels() -> None:
    spec = ImageSpec(size=(5, 7))
    grey = prepare(Image(COLOUR), dataclasses.replace(spec, channels=1))
    pillow = PIL.Image.fromarray(COLOUR.transpose(1, 2, 0)).convert("L")
    assert np.abs(grey[0, 0].astype(int) - np.asarray(pillow)).max() <= 1
    colour = prepare(Image(GREY), dataclasses.replace(spec, channels=3))
    np.testing.assert_array_equal(colour[0], np.repeat(GREY, 3, 0))
    np.testing.assert_array_equal(prepare(Image(GREY.repeat(3, 0)), spec)[0], GREY)
    one = dataclasses.replace(spec, channels=1)
    np.testing.assert_array_equal(prepare(Image(GREY.repeat(3, 0)), one)[0], GREY)
    three = dataclasses.replace(spec, channels=3)
    np.testing.assert_array_equal(prepare(Image(COLOUR), three)[0], COLOUR)


@pytest.mark.parametrize("letters", ["RAS", "SPL", "LPS", "IRA", "PSR"])
def test_orientation_as_nibabel_and_monai_do(letters: str) -> None:
    for affine in (AFFINE, tilted()):
        turned, moved = orient(VOLUME, affine, letters)
        assert "".join(nib.aff2axcodes(moved)) == letters
        volume = monai.data.MetaTensor(torch.from_numpy(VOLUME), affine=torch.from_numpy(affine))
        other = monai.transforms.Orientation(letters, labels=(("L", "R"), ("P", "A"), ("I", "S")))(
            volume
        )
        np.testing.assert_array_equal(turned, other.numpy())
        np.testing.assert_allclose(moved, other.affine.numpy(), atol=1e-12)
    canonical = nib.as_closest_canonical(nib.Nifti1Image(VOLUME[0], AFFINE))
    turned, moved = orient(VOLUME, AFFINE, "RAS")
    np.testing.assert_array_equal(turned[0], canonical.get_fdata())
    np.testing.assert_array_equal(moved, canonical.affine)


def test_axes_of_a_prepared_volume() -> None:
    """SPL: slices from the feet up, the front on top, the patient's right at the left."""
    spec = ImageSpec(size=(32, 32, 32))
    affine = np.diag([2.0, 2, 2, 1])
    for place, axis, low in (
        ((50, 31, 31), 2, True),
        ((31, 50, 31), 1, True),
        ((31, 31, 50), 0, False),
    ):
        image = Image(blob((32, 32, 32), affine, place), affine=affine)
        prepared = prepare(image, spec)[0, 0]
        peak = np.unravel_index(prepared.argmax(), prepared.shape)[axis]
        assert (peak < 10) if low else (peak > 22)


SPECS = [
    ImageSpec(size=(20, 24, 22)),
    ImageSpec(size=(40, 60, 30), orientation="RAS"),
    ImageSpec(size=(20, 24, 22), spacing=(2.5, 1.9, 2.2)),
    ImageSpec(size=(60, 50, 61), spacing=(1.3, 1.0, 0.8), orientation="AIR"),
    ImageSpec(size=(21, 51, 40), spacing=(2.0, 0.8, 1.1)),
    ImageSpec(size=(40, 50), slices="all"),
    ImageSpec(size=(40, 50), slices="every:2", spacing=(1.0, 1.2)),
]


@pytest.mark.parametrize("spec", SPECS)
def test_a_blob_stays_where_it_was(spec: ImageSpec) -> None:
    affine = tilted()
    middle = (affine @ [20, 18, 10, 1])[:3]
    image = Image(blob((41, 37, 21), affine, middle, 4), affine=affine)
    moved = jobs.prepared_affine(image, spec)
    assert moved is not None
    prepared = prepare(image, spec)
    volume = prepared[0, 0] if spec.spatial_dims == 3 else prepared[:, 0]
    np.testing.assert_allclose(centre_of(volume, moved), middle, atol=0.12)
    mask = prepare_mask(Image((image.values > 0.5).astype(np.uint8), affine=affine), spec)
    marked = mask[0] if spec.spatial_dims == 3 else mask
    np.testing.assert_allclose(centre_of(marked, moved), middle, atol=0.5)
    if spec.spacing is not None and spec.spatial_dims == 3:
        np.testing.assert_allclose(np.linalg.norm(moved[:3, :3], axis=0), spec.spacing, rtol=1e-6)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.spatial_dims == 3])
def test_resampled_as_simpleitk_does(spec: ImageSpec) -> None:
    """On its grid, by `jobs.prepared_affine`; smooth, so that antialiasing changes little."""
    affine = tilted()
    shape = (41, 37, 21)
    smooth = sum(
        blob(shape, affine, (affine @ [*index, 1])[:3], 9) * (k + 1)
        for k, index in enumerate([(10, 10, 5), (25, 20, 14), (30, 8, 10)])
    )
    image = Image(np.asarray(smooth) * 300, affine=affine)
    moved = jobs.prepared_affine(image, spec)
    assert moved is not None
    grid = jobs.itk_image(np.zeros(spec.size, np.float32), moved)
    source = jobs.itk_image(image.values[0], affine)
    outside = float(image.values.min())
    other = SimpleITK.Resample(source, grid, SimpleITK.Transform(), SimpleITK.sitkLinear, outside)
    expected = SimpleITK.GetArrayFromImage(other).T
    error = np.abs(prepare(image, spec)[0, 0] - expected)
    assert error.max() < 0.03 * np.ptp(image.values)
    assert error.mean() < 0.006 * np.ptp(image.values)
    label = Image((image.values > 400).astype(np.uint8), affine=affine)
    nearest = SimpleITK.Resample(
        jobs.itk_image(label.values[0], affine),
        grid,
        SimpleITK.Transform(),
        SimpleITK.sitkNearestNeighbor,
    )
    same = prepare_mask(label, spec)[0] == SimpleITK.GetArrayFromImage(nearest).T
    assert same.mean() > 0.999


def test_depth_is_antialiased() -> None:
    """Alternating slices of -1 and 1 are 0 from afar."""
    values = np.tile(np.float32([-1, 1]), 16)[None, None, None].repeat(8, 1).repeat(8, 2)
    image = Image(values, affine=np.eye(4))  # the third axis runs to the head
    prepared = prepare(image, ImageSpec(size=(8, 8, 8)))
    assert np.abs(prepared[0, 0, 1:-1]).max() < 1e-6


def test_spacing_that_is_there_already_is_copied() -> None:
    image = Image(VOLUME, affine=np.eye(4))
    spec = ImageSpec(size=(8, 3, 5), spacing=(1, 1, 1), orientation="RAS")
    ours = prepare(image, spec)[0, 0]
    np.testing.assert_array_equal(ours[2:6], VOLUME[0, :, 1:4, 0:5])
    np.testing.assert_array_equal(ours[[0, 1, 6, 7]], VOLUME.min())
    moved = jobs.prepared_affine(image, spec)
    assert moved is not None
    np.testing.assert_array_equal(moved[:3, 3], (-2, 1, 0))


def test_padding_is_black() -> None:
    picture = Image(GREY, value_range=(0, 255), spacing=(1, 1))
    spec = ImageSpec(size=(9, 9), spacing=(1, 1))
    assert (prepare(picture, spec)[0, 0, :2] == GREY.min()).all()
    for inverted in ({"value_range": (255, 0)}, {"window": (200, 10), "value_range": None}):
        other = dataclasses.replace(picture, **inverted)  # type: ignore[arg-type]
        assert (prepare(other, spec)[0, 0, :2] == GREY.max()).all()
    mask = prepare_mask(dataclasses.replace(picture, values=GREY | 1), spec)
    np.testing.assert_array_equal(mask[0], np.pad(np.ones((5, 7), bool), ((2, 2), (1, 1))))


def test_anisotropic_picture() -> None:
    picture = Image(np.arange(40, dtype=np.float32).reshape(1, 4, 10), spacing=(2, 1))
    ours = prepare(picture, ImageSpec(size=(8, 10), spacing=(1, 1)))[0, 0]
    rows = np.array([0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30])
    np.testing.assert_allclose(ours[:, 0], rows, atol=1e-5)
    np.testing.assert_allclose(ours[:, 1] - ours[:, 0], 1, atol=1e-5)


def test_mask_of_colour_and_of_floats() -> None:
    values = np.zeros((3, 4, 4), np.float32)
    values[1, 1, 2] = 0.25
    values[0, 0, 0] = -1
    mask = prepare_mask(Image(values), ImageSpec(size=(4, 4)))
    assert mask.shape == (1, 4, 4)
    assert mask.dtype == bool
    assert np.argwhere(mask[0]).tolist() == [[1, 2]]
    twice = prepare_mask(Image(values), ImageSpec(size=(8, 8)))
    assert np.argwhere(twice[0]).tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


@pytest.mark.parametrize(
    ("depth", "slices", "expected"),
    [
        (5, "centre", [2]),
        (4, "centre", [1]),
        (1, "centre", [0]),
        (3, "all", [0, 1, 2]),
        (10, "every:3", [0, 3, 6, 9]),
        (11, "every:3", [0, 3, 6, 9]),
        (12, "every:3", [1, 4, 7, 10]),
        (4, "every:9", [1]),
        (1, "every:5", [0]),
        (4, "every:1", [0, 1, 2, 3]),
    ],
)
def test_slice_numbers(depth: int, slices: str, expected: list[int]) -> None:
    numbers = list(slice_numbers(depth, slices))
    assert numbers == expected
    assert abs(numbers[0] - (depth - 1 - numbers[-1])) <= 1  # about the middle


def test_slices() -> None:
    image = Image(VOLUME, affine=AFFINE)
    turned, moved = orient(VOLUME, AFFINE, "SPL")
    whole = ImageSpec(size=(6, 4), slices="all")
    np.testing.assert_array_equal(prepare(image, whole), turned.swapaxes(0, 1))
    np.testing.assert_array_equal(jobs.prepared_affine(image, whole), moved)  # type: ignore[arg-type]
    second = dataclasses.replace(whole, slices="every:2")
    np.testing.assert_array_equal(prepare(image, second), turned.swapaxes(0, 1)[::2])
    mask = Image((VOLUME > 0).astype(np.uint8), affine=AFFINE)
    np.testing.assert_array_equal(prepare_mask(mask, second), turned[0, ::2] > 0)
    one = dataclasses.replace(whole, slices="centre", channels=3)
    assert prepare(image, one).shape == (1, 3, 6, 4)
    place = jobs.prepared_affine(image, one)
    assert place is not None
    np.testing.assert_allclose(place[:3, 3], (moved @ [2, 0, 0, 1])[:3])
    picture = Image(GREY)
    assert prepare(picture, whole).shape == (1, 1, 6, 4)
    assert jobs.prepared_affine(picture, whole) is None


def test_geometry_that_is_missing() -> None:
    image = Image(VOLUME)
    same = ImageSpec(size=(4, 5, 6))
    for make in (prepare, prepare_mask, jobs.prepared_affine):
        with pytest.raises(
            UserError, match=r"^doesn't say how it lies .*allow_missing_geometry=true"
        ):
            make(image, same)
    allowed = dataclasses.replace(same, allow_missing_geometry=True)
    np.testing.assert_array_equal(prepare(image, allowed)[0], VOLUME)
    assert jobs.prepared_affine(image, allowed) is None
    known = dataclasses.replace(allowed, spacing=(2, 2, 2))
    spaced = prepare(Image(VOLUME, spacing=(4, 2, 1)), known)[0, 0]
    np.testing.assert_array_equal(prepare(image, known)[0], VOLUME)  # as if it had it
    assert not np.array_equal(spaced, VOLUME[0])
    picture = ImageSpec(size=(5, 7), spacing=(1, 1))
    with pytest.raises(UserError, match=r"^doesn't say the spacing .*allow_missing_geometry=true"):
        prepare(Image(GREY), picture)
    anyway = dataclasses.replace(picture, allow_missing_geometry=True)
    np.testing.assert_array_equal(prepare(Image(GREY), anyway)[0], GREY)


def test_wrong_number_of_axes() -> None:
    with pytest.raises(UserError, match=r"^is a picture, and the network takes volumes"):
        prepare(Image(GREY), ImageSpec(size=(4, 4, 4)))
    with pytest.raises(UserError, match=r"^is a volume.*dataset\.slices=centre"):
        prepare(Image(VOLUME, affine=AFFINE), ImageSpec(size=(4, 4)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": (4,)}, r"dataset\.size=\[4\]"),
        ({"size": (4, 0)}, r"dataset\.size=0: give a whole number"),
        ({"size": (4, 4.5)}, r"dataset\.size=4\.5"),
        ({"channels": 2}, r"dataset\.channels=2"),
        ({"spacing": (1, 1, 1)}, r"dataset\.spacing=\[1, 1, 1\]: give 2 numbers"),
        ({"spacing": (1, 0)}, r"dataset\.spacing"),
        ({"spacing": (1, float("nan"))}, r"dataset\.spacing"),
        ({"spacing": (1, "a")}, r"dataset\.spacing"),
        ({"orientation": "SPX"}, r"dataset\.orientation=SPX"),
        ({"orientation": "SPA"}, r"dataset\.orientation=SPA"),
        ({"orientation": "SP"}, r"dataset\.orientation=SP"),
        ({"slices": "middle"}, r"dataset\.slices=middle: choose centre"),
        ({"slices": "every:0"}, r"dataset\.slices=every:0"),
        ({"slices": 3}, r"dataset\.slices=3"),
        ({"slices": "all", "size": (4, 4, 4)}, r"dataset\.slices=all: a network of volumes"),
    ],
)
def test_check_spec(change: dict[str, Any], reason: str) -> None:
    spec = ImageSpec(size=(4, 4))
    check_spec(spec)
    with pytest.raises(UserError, match=reason):
        check_spec(dataclasses.replace(spec, **change))


def test_real_tumour_stays_in_its_mask(data_root: Path) -> None:
    root = data_root / "nifti"
    image = decode(root / "pyradiomics_brain1_image.nii.gz")
    label = decode(root / "pyradiomics_brain1_label.nii.gz")
    assert image.affine is not None
    before = image.values[label.values > 0].mean()
    where = centre_of(label.values[0], image.affine)
    for spec in (
        ImageSpec(size=(48, 96, 96)),
        ImageSpec(size=(60, 96, 96), spacing=(3, 2.2, 2.2)),
        ImageSpec(size=(96, 96), slices="all"),
    ):
        prepared, mask = prepare(image, spec), prepare_mask(label, spec)
        stack = prepared[:, 0] if spec.spatial_dims == 2 else prepared[0, 0]
        mask = mask if spec.spatial_dims == 2 else mask[0]
        moved = jobs.prepared_affine(image, spec)
        assert moved is not None
        assert stack[mask].mean() == pytest.approx(before, rel=0.05)
        assert np.linalg.norm(centre_of(mask, moved) - where) < 1
