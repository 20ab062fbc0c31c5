from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Picture

from medcnn.data.image import ImageSpec
from medcnn.data.listing import BOX, Listing
from medcnn.data.prepared.open_listing import open_listing
from medcnn.data.prepared.stored import LabelMasks

DISK = 10**9
AFFINE = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1.0]])  # of SPL axes


def listing(root: Path, table: pd.DataFrame, spec: ImageSpec, **options: str) -> Listing:
    table = table.assign(patient=[f"p{k}" for k in range(len(table))], label=0)
    return Listing("toy", table, root.resolve(), spec, "binary", ("a", "b"), **options)  # type: ignore[arg-type]


def save(path: Path, values: np.ndarray) -> str:
    Picture.fromarray(values).save(path)
    return path.name


def volume(path: Path, values: np.ndarray) -> str:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)
    return path.name


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, shape).astype(np.uint8)


def test_pictures_become_samples(tmp_path: Path) -> None:
    arrays = [noise(k, 8, 8) for k in range(3)]
    names = [save(tmp_path / f"{k}.png", array) for k, array in enumerate(arrays)]
    table = pd.DataFrame({"image": names})
    opened = open_listing(listing(tmp_path, table, ImageSpec(size=(8, 8))), tmp_path / "c", DISK)
    assert opened.problems == []
    assert opened.masks is None
    assert opened.images is not None
    batch = opened.images[torch.tensor([2, 0])]
    np.testing.assert_array_equal(batch[:, 0], [arrays[2], arrays[0]])
    assert opened.ranges.tolist() == [[0, 255]] * 3
    assert "study" not in opened.table


def test_unusable_files_are_left_out_and_named(tmp_path: Path) -> None:
    good = [save(tmp_path / f"{k}.png", noise(k, 8, 8)) for k in range(2)]
    (tmp_path / "bad.png").write_bytes(b"")
    table = pd.DataFrame({"image": [good[0], "bad.png", good[1]]})
    spec = ImageSpec(size=(8, 8), intensity="header")
    opened = open_listing(listing(tmp_path, table, spec), tmp_path / "c", DISK)
    assert opened.images is None  # and a PNG has no window
    reasons = {problem.image: problem.reason for problem in opened.problems}
    assert "window" in reasons["0.png"]
    assert "empty" in reasons["bad.png"]
    auto = ImageSpec(size=(8, 8))
    opened = open_listing(listing(tmp_path, table, auto), tmp_path / "c", DISK)
    assert [problem.image for problem in opened.problems] == ["bad.png"]
    assert opened.table["patient"].tolist() == ["p0", "p2"]


def test_slices_keep_their_study_and_patient(tmp_path: Path) -> None:
    first, second = noise(0, 4, 8, 8), noise(1, 3, 8, 8)
    names = [volume(tmp_path / "a.nii.gz", first), volume(tmp_path / "b.nii", second)]
    table = pd.DataFrame({"image": names})
    spec = ImageSpec(size=(8, 8), slices="all")
    opened = open_listing(listing(tmp_path, table, spec), tmp_path / "c", DISK)
    assert opened.table["study"].tolist() == ["a.nii.gz"] * 4 + ["b.nii"] * 3
    assert opened.table["slice"].tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert opened.table["patient"].tolist() == ["p0"] * 4 + ["p1"] * 3
    assert opened.images is not None
    np.testing.assert_array_equal(opened.images[torch.arange(4)][:, 0], first)
    np.testing.assert_array_equal(opened.images[torch.tensor([5])][0, 0], second[1])


def test_masks_follow_their_slices(tmp_path: Path) -> None:
    mask = np.zeros((4, 8, 8), np.uint8)
    mask[2, 3, 4] = 1
    names = [volume(tmp_path / f"{k}.nii", noise(k, 4, 8, 8)) for k in range(2)]
    table = pd.DataFrame({"image": names, "mask": [None, volume(tmp_path / "m.nii", mask)]})
    spec = ImageSpec(size=(8, 8), slices="all")
    opened = open_listing(listing(tmp_path, table, spec), tmp_path / "c", DISK)
    assert opened.masks is not None
    masks = opened.masks[torch.arange(8)]
    assert masks.nonzero().tolist() == [[6, 3, 4]]


def test_a_mask_a_label(tmp_path: Path) -> None:
    names = [save(tmp_path / f"{k}.png", noise(k, 8, 8)) for k in range(2)]
    marks = np.zeros((3, 8, 8), np.uint8)
    marks[0, 1, 1] = marks[1, 2, 2] = marks[2, 3, 3] = 1
    files = [save(tmp_path / f"m{k}.png", mark) for k, mark in enumerate(marks)]
    table = pd.DataFrame({"image": names, "mask:a": [";".join(files[:2]), None]})
    table["mask:b"] = [None, files[2]]
    shown = listing(tmp_path, table, ImageSpec(size=(8, 8)))
    shown.task, shown.class_names = "multilabel", ("a", "b")
    opened = open_listing(shown, tmp_path / "c", DISK)
    assert isinstance(opened.masks, LabelMasks)
    rows = torch.tensor([1, 0])
    assert opened.masks.by_label(rows).nonzero().tolist() == [
        [0, 1, 3, 3],
        [1, 0, 1, 1],
        [1, 0, 2, 2],
    ]
    assert opened.masks[rows].nonzero().tolist() == [[0, 3, 3], [1, 1, 1], [1, 2, 2]]


def test_a_mask_of_another_size_is_a_problem(tmp_path: Path) -> None:
    name = save(tmp_path / "image.png", noise(0, 8, 8))
    masks = [save(tmp_path / "mask.png", noise(0, 8, 9))]
    table = pd.DataFrame({"image": [name], "mask": masks})
    opened = open_listing(listing(tmp_path, table, ImageSpec(size=(8, 8))), tmp_path / "c", DISK)
    reasons = [problem.reason for problem in opened.problems]
    assert reasons == ["its mask is 8×9, but its image is 8×8"]


def test_a_mask_may_run_along_other_axes_than_its_image(tmp_path: Path) -> None:
    import nibabel

    mask = np.zeros((4, 8, 6), np.uint8)
    mask[2, 3, 4] = 1
    name = volume(tmp_path / "a.nii", noise(0, 4, 8, 6))
    image = nibabel.Nifti1Image(mask, AFFINE)
    turn = [[2, 1], [0, -1], [1, -1]]  # the first axis becomes the third, and so on
    nibabel.save(image.as_reoriented(np.array(turn)), tmp_path / "m.nii")
    moved = AFFINE.copy()
    moved[0, 3] = 50
    nibabel.save(nibabel.Nifti1Image(mask, moved), tmp_path / "n.nii")
    spec = ImageSpec(size=(4, 8, 6))
    table = pd.DataFrame({"image": [name], "mask": ["m.nii"]})
    opened = open_listing(listing(tmp_path, table, spec), tmp_path / "c", DISK)
    assert opened.masks is not None
    assert opened.masks[torch.tensor([0])].nonzero().tolist() == [[0, 2, 3, 4]]
    table = pd.DataFrame({"image": [name], "mask": ["n.nii"]})
    opened = open_listing(listing(tmp_path, table, spec), tmp_path / "c", DISK)
    reasons = [problem.reason for problem in opened.problems]
    assert reasons == ["its mask lies elsewhere in space than its image"]


def test_boxes_become_masks(tmp_path: Path) -> None:
    names = [save(tmp_path / f"{k}.png", noise(k, 16, 16)) for k in range(2)]
    boxes = pd.DataFrame([[2, 4, 6, 10], [np.nan] * 4], columns=list(BOX))
    table = pd.concat([pd.DataFrame({"image": names}), boxes], axis=1)
    opened = open_listing(listing(tmp_path, table, ImageSpec(size=(8, 8))), tmp_path / "c", DISK)
    assert opened.masks is not None
    masks = opened.masks[torch.arange(2)]
    assert masks[0].nonzero().tolist() == [[y, x] for y in (1, 2) for x in (2, 3, 4)]
    assert not masks[1].any()


@pytest.mark.parametrize("intensity", ["percentile", (10.0, 50.0)])
def test_ranges_follow_the_choice(tmp_path: Path, intensity: str) -> None:
    values = noise(0, 8, 8)
    table = pd.DataFrame({"image": [save(tmp_path / "a.png", values)]})
    spec = ImageSpec(size=(8, 8), intensity=intensity)
    opened = open_listing(listing(tmp_path, table, spec), tmp_path / "c", DISK)
    expected = np.percentile(values, [0.5, 99.5]) if intensity == "percentile" else (10, 50)
    assert opened.ranges[0].tolist() == pytest.approx(list(expected))


def test_boxes_are_for_pictures(tmp_path: Path) -> None:
    names = [volume(tmp_path / f"{name}.nii", noise(0, 4, 8, 8)) for name in "ab"]
    table = pd.DataFrame({"image": names, **{key: [1.0, np.nan] for key in BOX}})
    spec = ImageSpec(size=(8, 8), slices="centre")
    opened = open_listing(listing(tmp_path, table, spec), tmp_path / "c", DISK)
    assert [(p.image, p.reason) for p in opened.problems] == [
        ("a.nii", "has a box, and boxes are for pictures: of a volume give a mask")
    ]
    assert opened.masks is not None
    assert not opened.masks[torch.tensor([0])].any()


def test_a_box_has_to_fit_its_picture(tmp_path: Path) -> None:
    names = [save(tmp_path / f"{k}.png", noise(k, 100, 200)) for k in range(3)]
    ends = {"box_bottom": [104.0, 60.0, 60.0], "box_right": [60.0, 211.0, np.nan]}
    table = pd.DataFrame({"image": names, **{key: [1.0, 1.0, np.nan] for key in BOX} | ends})
    opened = open_listing(listing(tmp_path, table, ImageSpec(size=(8, 8))), tmp_path / "c", DISK)
    assert [(p.image, p.reason) for p in opened.problems] == [
        ("1.png", "has a box that ends beyond its 100×200 pixels")
    ]
