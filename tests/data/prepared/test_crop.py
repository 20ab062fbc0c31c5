"""What of an image is kept: its body, or the surroundings of its lesion."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Picture

from medcnn.data.image import Crop, Image, ImageSpec
from medcnn.data.inputs import as_asked, read_input
from medcnn.data.listing import BOX, Listing
from medcnn.data.prepared.crop import Marked, crop_of
from medcnn.data.prepared.geometry import own_size, prepare, prepare_mask
from medcnn.data.prepared.open_listing import Opened, open_listing
from medcnn.errors import UserError
from medcnn.evidence.own_grid import on_own_grid
from medcnn.report.maps.nifti import map_to_source

BODY = ImageSpec(size=(16, 16), crop="body", crop_margin=0)
MASK = ImageSpec(size=(8, 8), crop="mask", crop_margin=0)
VOLUME = ImageSpec(size=(8, 8, 8), crop="box")
AFFINE = np.diag([-1.0, -2.0, 3.0, 1.0])  # of axes LPS, with voxels of 1 × 2 × 3 mm


def scene() -> np.ndarray:
    """A body (rows 20 to 90, columns 30 to 110) on a table, with text in a corner; 120 × 128."""
    y, x = np.mgrid[:120, :128] + 0.5
    body = ((y - 55) / 35) ** 2 + ((x - 70) / 40) ** 2 <= 1
    image = np.where(body, 90.0, 4.0) + np.random.default_rng(0).normal(0, 2, body.shape)
    image[96:99] = 120  # the table
    image[2:9, 2:4] = image[2:9, 6:8] = image[5, 2:30] = 255  # the text
    return image.clip(0, 255).astype(np.uint8)


def near(crop: Crop | None, expected: list[tuple[int, int]], within: int = 2) -> None:
    assert crop is not None
    np.testing.assert_allclose(crop, expected, atol=within)


def test_a_body_without_its_table_and_text() -> None:
    image = scene()
    found = [(20, 90), (30, 110)]
    near(crop_of(Image(image[None]), BODY), found)
    near(crop_of(Image(np.stack([image] * 3)), BODY), found)
    white = Image(255 - image[None], value_range=(255, 0))  # MONOCHROME1
    near(crop_of(white, BODY), found)
    fine = image.repeat(4, 0).repeat(4, 1)  # in blocks of 4
    near(crop_of(Image(fine[None]), BODY), [(80, 360), (120, 440)], within=8)
    near(crop_of(Image(image[None]), replace(BODY, crop_margin=0.1)), [(12, 98), (22, 118)])


def test_a_body_of_hounsfield_units_in_a_volume() -> None:
    hounsfield = (scene().astype(np.int16) - 4) * 12 - 1000  # of the body about 0, of air -1000
    hounsfield[:4] = hounsfield[-4:] = -3024  # beyond the scanner's circle
    volume = np.stack([np.full_like(hounsfield, -1000)] * 5 + [hounsfield] * 12)[None]
    image = Image(volume, affine=AFFINE @ np.eye(4)[:, [2, 1, 0, 3]], modality="CT")
    spec = ImageSpec(size=(8, 8, 8), crop="body", crop_margin=0)
    near(crop_of(image, spec), [(5, 17), (20, 90), (30, 110)])
    image = Image(volume.transpose(0, 3, 2, 1), affine=AFFINE)  # the same in another order
    near(crop_of(image, spec), [(5, 17), (20, 90), (30, 110)])


@pytest.mark.parametrize(
    "values",
    [np.full((64, 64), 7), np.eye(64) * 200, np.pad(np.full((2, 2), 200), 31)],
    ids=["blank", "a line", "a dot"],
)
def test_an_image_without_a_body_stays_whole(values: np.ndarray) -> None:
    assert crop_of(Image(values.astype(np.uint8)[None]), BODY) is None


def test_a_body_that_fills_its_image_and_no_crop() -> None:
    image = Image(scene()[None, 30:80, 40:100])
    assert crop_of(image, BODY) is None
    assert crop_of(Image(scene()[None]), replace(BODY, crop="none", crop_margin=None)) is None


def test_the_margin_is_a_share_of_the_longest_side_in_mm() -> None:
    image = Image(np.zeros((1, 60, 60), np.uint8), spacing=(2.0, 1.0))
    marked = Marked(((20, 30), (10, 18)))  # 20 mm × 8 mm: a quarter is 5 mm
    spec = replace(MASK, crop_margin=None)
    assert crop_of(image, spec, marked) == ((18, 32), (5, 23))
    assert crop_of(image, spec, Marked(((0, 10), (52, 60)))) == ((0, 12), (47, 60))
    part = Marked(((0.25, 0.5), (0.1, 0.2)), "fraction")
    box = replace(MASK, crop="box")
    assert crop_of(image, box, part) == ((15, 30), (6, 12))
    with pytest.raises(UserError, match="boxes are for pictures"):
        crop_of(Image(np.zeros((1, 9, 9, 9), np.uint8), affine=AFFINE), VOLUME, part)
    with pytest.raises(UserError, match="outside"):
        crop_of(image, box, Marked(((70, 80), (10, 20))))


SPECS = [
    ImageSpec(size=(7, 9, 8)),
    ImageSpec(size=(7, 9, 8), spacing=(2.5, 1.5, 1.0)),
    ImageSpec(size=(8, 8), slices="every:2"),
    ImageSpec(size=(8, 8), slices="all", spacing=(3.0, 1.0)),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_cut_volume_is_like_a_file_of_the_part(spec: ImageSpec) -> None:
    values = np.random.default_rng(0).integers(0, 99, (1, 20, 18, 12)).astype(np.float32)
    values[..., 0, 0, 0] = -1  # the lowest of both
    image = Image(values, affine=AFFINE)
    crop = ((3, 10), (4, 16), (5, 14))  # of S, P and L, that is of axes 2, 1 and 0 of the file
    part = values[:, 5:14, 4:16, 3:10].copy()
    moved = AFFINE.copy()
    moved[:3, 3] = AFFINE[:3, :3] @ [5, 4, 3]
    cut = Image(part, affine=moved, value_range=None)
    ours, expected = prepare(image, spec, crop), prepare(cut, spec)
    beyond = prepare_mask(Image(np.ones_like(part), affine=moved), spec)[:, None]
    np.testing.assert_allclose(ours[beyond], expected[beyond], rtol=1e-5)
    assert (ours[~beyond] == -1).all()  # the background is that of the whole image
    lesion = replace(image, values=values > 50)
    np.testing.assert_array_equal(
        prepare_mask(lesion, spec, crop), prepare_mask(replace(cut, values=part > 50), spec)
    )
    assert own_size(image, spec, crop) == own_size(cut, spec)


def test_a_map_goes_back_to_where_it_was() -> None:
    values = np.zeros((1, 40, 36, 24), np.float32)
    values[0, 22:25, 12:15, 9:12] = 1
    image = Image(values, affine=AFFINE)
    crop = ((5, 17), (6, 30), (12, 36))
    for spec in (ImageSpec(size=(12, 24, 24)), ImageSpec(size=(24, 24), slices="all")):
        seen = prepare(image, spec, crop)  # copied voxel by voxel
        map_ = seen[:, 0] if spec.slices else seen[0, 0]
        np.testing.assert_array_equal(map_to_source(map_, image, spec, crop), values[0])
    spaced = ImageSpec(size=(20, 40, 40), spacing=(3.0, 2.0, 1.0))  # more than the crop
    for spec in (SPECS[0], spaced):
        everything = map_to_source(np.ones(spec.size), image, spec, crop)
        assert everything.sum() == 12 * 24 * 24
        assert everything[12:36, 6:30, 5:17].all()
    spec = ImageSpec(size=(24, 24), slices="all")
    shown = on_own_grid(image, spec, (0, 1), map_[5], crop=crop, mask=[image], number=5)
    np.testing.assert_array_equal(shown["image"], values[0, :, :, 10].T)
    np.testing.assert_array_equal(shown["map"], shown["image"])
    np.testing.assert_array_equal(shown["mask"], shown["image"] > 0)


def save(path: Path, values: np.ndarray) -> str:
    Picture.fromarray(values.astype(np.uint8)).save(path)
    return path.name


def opened(root: Path, table: pd.DataFrame, spec: ImageSpec) -> Opened:
    table = table.assign(patient=[f"p{k}" for k in range(len(table))], label=0)
    shown = Listing("toy", table, root.resolve(), spec, "binary", ("a", "b"))
    return open_listing(shown, root / "cache", 10**9)


def pixels(found: Opened) -> np.ndarray:
    assert found.images is not None
    return np.asarray(found.images[torch.arange(len(found.table))][:, 0])


def lesion_of(found: Opened) -> np.ndarray:
    assert found.masks is not None
    return np.asarray(found.masks[torch.arange(len(found.table))])


def test_pictures_and_masks_are_cut_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 255, (2, 30, 40)), np.zeros((2, 30, 40), int)
    masks[0, 10:14, 20:28] = masks[1, 3:11, 5:9] = 255
    masks[:, 11, 22] = masks[:, 7, 6] = 255  # so that the first box is 7:14, 6:28
    names = [save(tmp_path / f"{k}.png", image) for k, image in enumerate(images)]
    table = pd.DataFrame({"image": names, "mask": ["m0.png", "m1.png;m1.png"]})
    [save(tmp_path / f"m{k}.png", mask) for k, mask in enumerate(masks)]
    boxes = [(slice(7, 14), slice(6, 28)), (slice(3, 12), slice(5, 23))]
    cut = opened(tmp_path, table, MASK)
    for k, box in enumerate(boxes):
        expected = prepare(Image(images[k][box][None].astype(np.uint8)), MASK)
        np.testing.assert_array_equal(pixels(cut)[k], expected[0, 0])
        mask = prepare_mask(Image(masks[k][box][None]), MASK)
        np.testing.assert_array_equal(lesion_of(cut)[k], mask[0])
    whole = opened(tmp_path, table, ImageSpec(size=(8, 8)))
    assert not (pixels(whole) == pixels(cut)).all()
    both = table.assign(mask="m0.png;m1.png")
    assert opened(tmp_path, both, MASK).facts[1]["crop"] == [[3, 14], [5, 28]]


def test_another_box_is_no_stale_image(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (30, 40))
    names = [save(tmp_path / "a.png", image), save(tmp_path / "b.png", image)]
    spec = replace(MASK, crop="box")
    for top, left in ((4, 10), (12, 20)):
        edges = pd.DataFrame([[top, left, top + 8, left + 8], [1, 2, 9, 10]], columns=list(BOX))
        table = pd.DataFrame({"image": names}).join(edges)
        found = opened(tmp_path, table, spec)
        np.testing.assert_array_equal(pixels(found)[0], image[top : top + 8, left : left + 8])
        np.testing.assert_array_equal(pixels(found)[1], image[1:9, 2:10])
        assert lesion_of(found).all()


def test_an_image_without_a_lesion_can_not_be_cut_to_it(tmp_path: Path) -> None:
    names = [save(tmp_path / f"{k}.png", scene()) for k in range(3)]
    save(tmp_path / "empty.png", 0 * scene())
    save(tmp_path / "m.png", scene() > 50)
    table = pd.DataFrame({"image": names, "mask": ["m.png", None, "empty.png"]})
    with pytest.raises(UserError, match=r"dataset.crop=mask: 1 of 3 images have no mask"):
        opened(tmp_path, table, MASK)
    with pytest.raises(UserError, match=r"dataset.crop=box: 3 of 3 images have no box"):
        opened(tmp_path, table, replace(MASK, crop="box"))
    masks = ["m.png", "gone.png", "empty.png"]
    problems = opened(tmp_path, table.assign(mask=masks), MASK).problems
    assert [(p.image, p.reason.split(",")[0]) for p in problems] == [
        ("1.png", "its mask is missing"),
        ("2.png", "has an empty mask"),
    ]


def test_volumes_are_cut_to_masks_of_other_axes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 99, (20, 18, 12)).astype(np.int16)
    lesion = np.zeros_like(values)
    lesion[5:14, 4:16, 3:10] = 1
    nibabel.Nifti1Image(values, AFFINE).to_filename(tmp_path / "v.nii")
    turn = np.array([[2, 1], [0, -1], [1, -1]])
    turned = nibabel.Nifti1Image(lesion, AFFINE).as_reoriented(turn)
    turned.to_filename(tmp_path / "m.nii")
    table = pd.DataFrame({"image": ["v.nii"], "mask": ["m.nii"]})
    spec = ImageSpec(size=(7, 12, 9), crop="mask", crop_margin=0)
    found = opened(tmp_path, table, spec)
    assert found.facts[0]["crop"] == [[3, 10], [4, 16], [5, 14]]
    np.testing.assert_array_equal(pixels(found)[0], values[5:14, 4:16, 3:10].T)
    assert lesion_of(found).all()


def test_a_single_file_is_cut_as_those_of_a_table(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": [save(tmp_path / "a.png", scene())]})
    found = read_input(tmp_path / "a.png", BODY, 1)
    near(found.crop, [(20, 90), (30, 110)])
    np.testing.assert_array_equal(found.stored[0, 0], pixels(opened(tmp_path, table, BODY))[0])
    assert read_input(tmp_path / "a.png", BODY, 1, whole=True).stored.shape[2:] == (70, 80)
    for refused in (lambda: as_asked(MASK, None), lambda: read_input(tmp_path / "a.png", MASK, 1)):
        with pytest.raises(UserError, match="a file alone"):
            refused()
