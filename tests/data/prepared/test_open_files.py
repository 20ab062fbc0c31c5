"""Several files an image, and its mask, as channels."""

from pathlib import Path
from typing import Any

import dicom_files
import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from open_tables import noise
from open_tables import save as picture
from scipy import ndimage

from medcnn.data.batches import unit_intensity
from medcnn.data.image import ImageSpec
from medcnn.data.listing import Listing
from medcnn.data.prepared.open_listing import Opened, open_listing
from medcnn.data.prepared.stacked import StackedImages

DISK = 10**9
SPL = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])  # 1 mm
TWO = ("t1", "t2")


def volume(path: Path, values: np.ndarray, affine: np.ndarray = SPL) -> str:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path.name


def opened(root: Path, files: dict[str, Any], **options: Any) -> Opened:
    table = pd.DataFrame({key: cells for key, cells in files.items() if key == "mask"})
    columns = [key for key in files if key != "mask"]
    several = len(columns) > 1
    for key in columns:
        table[f"image:{key}" if several else "image"] = pd.Series(files[key], dtype=object)
    if several:
        table["image"] = pd.DataFrame({key: files[key] for key in columns}).bfill(axis=1).iloc[:, 0]
    table = table.assign(patient=range(len(table)), label=0)
    spec = ImageSpec(**{"size": (8, 8), "columns": tuple(columns) if several else (), **options})
    listing = Listing("toy", table, root.resolve(), spec, "binary", ("a", "b"))
    return open_listing(listing, root / "cache", DISK)


def reasons(found: Opened) -> list[tuple[str, str]]:
    return [(problem.image, problem.reason) for problem in found.problems]


def test_files_become_channels_each_with_its_range(tmp_path: Path) -> None:
    first, second = noise(0, 2, 4, 8, 8), noise(1, 2, 4, 8, 8).astype(np.int16) * 7
    names = [volume(tmp_path / f"a{k}.nii", values) for k, values in enumerate(first)]
    others = [volume(tmp_path / f"b{k}.nii", values) for k, values in enumerate(second)]
    found = opened(tmp_path, {"t1": names, "t2": others}, size=(4, 8, 8))
    assert found.problems == []
    assert isinstance(found.images, StackedImages)
    expected = np.stack([first, second], 1)
    rows = torch.tensor([1, 0])
    np.testing.assert_array_equal(found.images[rows], expected[::-1])
    ranges = np.percentile(expected, [0.5, 99.5], axis=(2, 3, 4)).transpose(1, 2, 0)
    np.testing.assert_allclose(found.ranges, ranges, rtol=1e-6)
    low, high = ranges[1, 1]
    unit = unit_intensity(found.images[rows], found.ranges[rows])[0, 1]
    np.testing.assert_allclose(unit, ((second[1] - low) / (high - low)).clip(0, 1), atol=1e-6)
    assert found.spec.channels == (1, 1)
    found.images.to_memory()
    np.testing.assert_array_equal(found.images[rows], expected[::-1])


def test_slices_of_another_grid_lie_at_the_same_places(tmp_path: Path) -> None:
    """A file of twice the spacing, half a voxel off: its ramp goes on at the first one's voxels."""
    ramp = np.mgrid[:4, :8, :8][2].astype(np.float32)
    coarse = SPL @ np.diag([2.0, 2, 2, 1])
    coarse[:3, 3] = SPL[:3, :3] @ [0.5, 0.5, 0.5]
    wide = 2 * np.mgrid[:4, :8, :8][2].astype(np.float32) + 0.5  # where it lies, in voxels of 1 mm
    names = [volume(tmp_path / "a.nii", ramp)], [volume(tmp_path / "b.nii", wide, coarse)]
    found = opened(tmp_path, {"t1": names[0], "t2": names[1]}, slices="all")
    assert found.images is not None
    both = found.images[torch.arange(4)]
    assert found.table["slice"].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(both[:, 1, :, 1:], both[:, 0, :, 1:], atol=1e-5)


def test_a_missing_file_is_refused_or_zero(tmp_path: Path) -> None:
    names: list[str | None] = [picture(tmp_path / f"a{k}.png", noise(k, 8, 8)) for k in range(4)]
    others: list[str | None] = [
        picture(tmp_path / f"b{k}.png", noise(9 + k, 8, 8)) for k in range(4)
    ]
    names[0], others[1], others[2] = None, None, "gone.png"
    files = {"t1": names, "t2": others}
    found = opened(tmp_path, files)
    assert reasons(found) == [
        ("b0.png", "has no file in column t1; dataset.missing_channel=zero fills in 0"),
        ("a1.png", "has no file in column t2; dataset.missing_channel=zero fills in 0"),
        ("a2.png", "its t2 is missing"),
    ]
    assert found.table["image"].tolist() == ["a3.png"]
    names.append("lost.png")
    others.append(None)
    found = opened(tmp_path, files, missing_channel="zero")
    assert reasons(found) == [("lost.png", "is missing, as are all other files of its row")]
    assert found.images is not None
    assert found.images.shape == (4, 4, 8, 8)
    images = found.images[torch.arange(4)]
    present = [[0, 1], [1, 0], [1, 0], [1, 1]]
    assert images[:, 2:].flatten(2).float().mean(2).tolist() == present
    np.testing.assert_array_equal(images[3, :2], [noise(3, 8, 8), noise(12, 8, 8)])
    assert (images[:, :2].flatten(2).amax(2) > 0).tolist() == [
        [bool(v) for v in p] for p in present
    ]
    assert found.first.tolist() == [1, 0, 0, 0]
    assert found.table["image"].tolist() == ["b0.png", "a1.png", "a2.png", "a3.png"]
    assert {name: len(files) for name, files in found.columns.items()} == {"t1": 3, "t2": 2}
    assert found.ranges[:, 2:].tolist() == [[[0, 1]] * 2] * 4


def test_files_that_dont_fit_are_problems_of_their_row(tmp_path: Path) -> None:
    away = SPL.copy()
    away[0, 3] = 100
    values = noise(0, 4, 8, 8)
    firsts = [volume(tmp_path / f"a{k}.nii", values + k) for k in range(3)]
    others = [
        volume(tmp_path / "b0.nii", noise(1, 4, 8, 8), away),
        volume(tmp_path / "b1.nii", values + 1),
        volume(tmp_path / "b2.nii", noise(2, 4, 8, 8)),
    ]
    (tmp_path / "a2.nii").write_bytes(b"")
    found = opened(tmp_path, {"t1": firsts, "t2": others}, size=(4, 8, 8))
    assert dict(reasons(found)) == {
        "a0.nii": "its t2 lies elsewhere in space than the image's first file: they don't overlap",
        "a1.nii": "has the same picture as t1 and as t2",
        "a2.nii": "its t1 is an empty file",
    }
    assert found.images is None


def test_grey_beside_colour(tmp_path: Path) -> None:
    grey, colour = noise(0, 2, 8, 8), noise(1, 2, 8, 8, 3)
    names = [picture(tmp_path / f"a{k}.png", values) for k, values in enumerate(grey)]
    others = [picture(tmp_path / f"b{k}.png", values) for k, values in enumerate(colour)]
    found = opened(tmp_path, {"t1": names, "t2": others})
    assert found.images is not None
    assert found.spec.channels == (1, 3)
    batch = found.images[torch.arange(2)]
    np.testing.assert_array_equal(batch[:, 0], grey)
    np.testing.assert_array_equal(batch[:, 1:], np.moveaxis(colour, -1, 1))


def test_the_mask_is_a_channel(tmp_path: Path) -> None:
    names = [volume(tmp_path / f"{k}.nii", noise(k, 4, 8, 8)) for k in range(3)]
    mask = np.zeros((4, 8, 8), np.uint8)
    empty = volume(tmp_path / "empty.nii", mask)
    mask[1:3, 2:5, 3] = 4
    files: dict[str, list[str | None]] = {"image": [*names]}
    files["mask"] = [volume(tmp_path / "m.nii", mask), empty, None]
    found = opened(tmp_path, files, size=(4, 8, 8), mask_as="channel")
    why = "has no mask, and dataset.mask_as=channel makes it an input; an empty one will do"
    assert reasons(found) == [("2.nii", why)]
    assert found.images is not None
    batch = found.images[torch.arange(2)]
    np.testing.assert_array_equal(batch[0], [noise(0, 4, 8, 8), mask > 0])
    np.testing.assert_array_equal(batch[1], [noise(1, 4, 8, 8), np.zeros_like(mask)])
    assert found.ranges[:, 1].tolist() == [[0, 1]] * 2


def test_all_files_and_the_mask_are_cut_alike(tmp_path: Path) -> None:
    first, second = noise(0, 12, 12, 12), noise(1, 12, 12, 12)
    mask = np.zeros((12, 12, 12), np.uint8)
    mask[4:8, 2:6, 5:9] = 1
    files: dict[str, list[str | None]] = {
        "t1": [volume(tmp_path / "a.nii", first)],
        "t2": [volume(tmp_path / "b.nii", second[::-1].copy(), SPL @ mirrored(12))],
        "mask": [volume(tmp_path / "m.nii", mask)],
    }
    options = {"size": (4, 4, 4), "crop": "mask", "crop_margin": 0, "mask_as": "channel"}
    found = opened(tmp_path, files, **options)
    assert found.images is not None
    part = (slice(4, 8), slice(2, 6), slice(5, 9))
    expected = [first[part], second[part], mask[part]]
    np.testing.assert_array_equal(found.images[torch.tensor([0])][0], expected)


def mirrored(length: int) -> np.ndarray:
    matrix = np.diag([-1.0, 1, 1, 1])
    matrix[0, 3] = length - 1
    return matrix


def test_frames_of_reference_that_differ_are_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names: dict[str, list[str | None]] = {"t1": [], "t2": []}
    for k, frames in enumerate([("1.2.3", "1.2.3"), ("1.2.3", "1.2.4"), ("1.2.3", None)]):
        for name, frame in zip(TWO, frames, strict=True):
            tags = {} if frame is None else {"FrameOfReferenceUID": frame}
            pixels = noise(2 * k + (name == "t2"), 8, 8)
            file = dicom_files.write(tmp_path / f"{name}{k}.dcm", pixels, **tags)
            names[name].append(file.name)
    found = opened(tmp_path, names)
    assert found.problems == []
    assert "1 of 3 images: their files lie in different DICOM frames of reference" in caplog.text
    assert "1.2.4" not in caplog.text


def test_the_content_of_an_image_is_that_of_all_its_files(tmp_path: Path) -> None:
    one, two, three = (noise(k, 8, 8) for k in range(3))
    names = [picture(tmp_path / f"a{k}.png", one) for k in range(3)]
    others = [picture(tmp_path / f"b{k}.png", values) for k, values in enumerate([two, two, three])]
    found = opened(tmp_path, {"t1": names, "t2": others})
    digests = [found.facts.digest(row, 0) for row in range(3)]
    assert digests[0] == digests[1] != digests[2]


def test_percentiles_of_training_are_of_each_file(tmp_path: Path) -> None:
    names = [picture(tmp_path / f"a{k}.png", noise(k, 8, 8)) for k in range(3)]
    others: list[str | None] = [None, picture(tmp_path / "b1.png", noise(8, 8, 8)), None]
    found = opened(tmp_path, {"t1": names, "t2": others}, missing_channel="zero")
    assert isinstance(found.images, StackedImages)
    ranges = found.images.training_ranges(torch.tensor([0, 1]))
    both = np.stack([noise(0, 8, 8), noise(1, 8, 8)])
    expected = [np.percentile(one, [0.5, 99.5]) for one in (both, noise(8, 8, 8))]
    np.testing.assert_allclose(ranges, [*expected, (0, 1), (0, 1)], rtol=1e-6)
    of_rows = found.images.ranges_of_rows(ranges)
    assert of_rows[:, 1].tolist() == [[0, 1], ranges[1].tolist(), [0, 1]]  # what is missing is 0
    torch.testing.assert_close(of_rows[:, 0], ranges[:1].expand(3, 2))
    torch.testing.assert_close(found.images.ranges_of_channels(of_rows), ranges)


def test_a_brain_on_two_grids_lies_over_itself(tmp_path: Path, data_root: Path) -> None:
    """A real MRI with its tumour's mask; the second file is turned, shifted and coarser."""
    for part in ("image", "label"):
        source = data_root / "nifti" / f"pyradiomics_brain1_{part}.nii.gz"
        (tmp_path / f"{part}.nii.gz").write_bytes(source.read_bytes())
    brain: Any = nibabel.load(tmp_path / "image.nii.gz")
    angle = np.radians(7)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    centre = brain.affine @ [*(np.array(brain.shape) / 2), 1]
    shape = (140, 140, 60)
    spacing = np.abs(np.array(brain.shape) * brain.header.get_zooms() / shape)
    coarse = turn @ np.diag([*spacing, 1.0])
    coarse[:3, 3] += centre[:3] - coarse[:3, :3] @ (np.array(shape) / 2)
    to_brain = np.linalg.inv(brain.affine) @ coarse
    values = np.asarray(brain.dataobj).astype(np.float32)
    moved = ndimage.affine_transform(values, to_brain[:3, :3], to_brain[:3, 3], shape, order=1)
    nibabel.save(nibabel.Nifti1Image(moved, coarse), tmp_path / "moved.nii")
    files: dict[str, list[str | None]] = {"t1": ["image.nii.gz"], "t2": ["moved.nii"]}
    files["mask"] = ["label.nii.gz"]
    options = {"size": (48, 48, 48), "crop": "mask", "crop_margin": 0.5, "mask_as": "channel"}
    found = opened(tmp_path, files, **options)
    assert found.problems == []
    assert found.images is not None
    one, other, lesion = found.images[torch.tensor([0])][0].double().flatten(1)
    assert np.corrcoef(one, other)[0, 1] > 0.95
    assert 0.01 < float(lesion.mean()) < 0.3
    assert float(one[lesion > 0].mean()) != pytest.approx(float(one.mean()), rel=0.05)
