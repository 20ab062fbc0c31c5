import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import texts
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from medcnn.report.pictures.data import COLOURS, contact_sheet, intensity_histogram

LEVELS = (40, 70, 100, 130, 160, 190)  # greys that neither text nor paper has in large areas


def flat(*levels: int, size: tuple[int, ...] = (8, 8)) -> Tensor:
    """Images (N, 1, *size) of one grey each, 0 … 255 → 0 … 1."""
    images = torch.tensor(levels, dtype=torch.float32).view(-1, 1, *[1] * len(size)) / 255
    return images.expand(-1, 1, *size)


def draw(versions: list[Tensor], folder: Path, names: list[str] | None = None) -> np.ndarray:
    """The sheet (H, W, 3) as its file has it."""
    out = folder / "made" / "samples.png"
    contact_sheet(versions, names or ["x"] * len(versions[0]), out)
    assert [path.name for path in out.parent.iterdir()] == ["samples.png"]
    return np.asarray(Image.open(out).convert("RGB")).astype(int)


def edges(picture: np.ndarray, colour: int | list[int]) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the one panel that is filled with a colour."""
    filled = (picture == np.broadcast_to(colour, 3)).all(-1)
    rows, columns = (np.flatnonzero(filled.sum(axis) > 20) for axis in (1, 0))  # more than letters
    top, left, bottom, right = (
        int(e) for e in (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
    )
    assert filled[top:bottom, left:right].mean() > 0.95
    return top, left, bottom, right


# The contact sheet


def test_a_panel_for_each_version_of_each_sample(tmp_path: Path) -> None:
    picture = draw([flat(40, 70, 100), flat(130, 160, 190)], tmp_path)
    boxes = {level: edges(picture, level) for level in LEVELS}
    for top, left, bottom, right in boxes.values():
        assert bottom - top == pytest.approx(right - left, abs=2)
        assert right - left > 120
    lines = [[40, 130, 70, 160], [100, 190]]  # two samples a line, each before its augmented self
    for line in lines:
        lefts = [boxes[level][1] for level in line]
        assert lefts == sorted(lefts)
        assert len({boxes[level][0] for level in line}) == 1
    assert boxes[100][0] > boxes[40][2]
    assert boxes[100][1] == boxes[40][1]
    assert (picture[boxes[100][0] :, boxes[190][3] + 3 :] == 255).all()  # no fourth sample


def test_greys_are_those_of_the_images(tmp_path: Path) -> None:
    image = torch.linspace(0, 1, 16).view(1, 1, 4, 4)
    picture = draw([torch.cat([image, flat(70, size=(4, 4))])], tmp_path)
    top, left, bottom, right = edges(picture, 70)
    width = right - left
    start = left - next(k for k in range(1, left) if (picture[top:bottom, left - k] < 255).any())
    panel = picture[top:bottom, start + 1 - width : start + 1, 0]
    centres = (np.arange(4) + 0.5) * width / 4
    seen = panel[np.ix_(centres.astype(int), centres.astype(int))]
    np.testing.assert_allclose(seen, 255 * image[0, 0], atol=1)  # upright, not mirrored


def test_a_dim_image_is_not_stretched_to_full_contrast(tmp_path: Path) -> None:
    image = flat(100, 130)
    image = image.clone()
    image[0, 0, 0, 0] = 130 / 255
    picture = draw([image], tmp_path)
    assert (picture == 100).all(-1).sum() > 10_000


def test_the_shape_of_an_image_is_kept(tmp_path: Path) -> None:
    top, left, bottom, right = edges(draw([flat(70, size=(10, 40))], tmp_path), 70)
    assert (right - left) / (bottom - top) == pytest.approx(4, rel=0.1)


def test_colours(tmp_path: Path) -> None:
    image = torch.tensor([200, 30, 90]).view(1, 3, 1, 1).expand(1, 3, 8, 8) / 255
    assert edges(draw([image], tmp_path), [200, 30, 90])


def test_of_other_channels_the_first_is_shown(tmp_path: Path) -> None:
    image = torch.cat([flat(70), flat(160)], 1)
    picture = draw([image], tmp_path)
    assert edges(picture, 70)
    assert not (picture == 160).all(-1).sum() > 1000


def test_of_a_volume_the_middle_slice_is_shown(tmp_path: Path) -> None:
    volume = flat(40, 130, size=(5, 8, 8)).clone()
    volume[:, :, 2] = torch.tensor([70, 160]).view(2, 1, 1, 1) / 255
    picture = draw([volume], tmp_path)
    assert edges(picture, 70)
    assert edges(picture, 160)
    assert not (picture == 40).all(-1).sum() > 1000
    colour = torch.zeros(1, 3, 4, 8, 8)
    colour[0, 0, 2] = 1
    assert edges(draw([colour], tmp_path), [255, 0, 0])


def test_lesions_are_outlined_on_the_samples_as_they_are(tmp_path: Path) -> None:
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 2:4, 4:6] = True
    out = tmp_path / "samples.png"
    contact_sheet([flat(40, 70), flat(130, 160)], ["a", "b"], out, masks)
    picture = np.asarray(Image.open(out).convert("RGB")).astype(int)
    top, left, _, right = edges(picture, 40)
    side = (right - left) / 8
    yellow = (picture[..., 0] > 150) & (picture[..., 2] < 60)
    rows, columns = np.nonzero(yellow)
    assert rows.min() - top == pytest.approx(2 * side, abs=2)
    assert rows.max() - top == pytest.approx(4 * side, abs=2)
    assert columns.min() - left == pytest.approx(4 * side, abs=2)
    assert columns.max() - left == pytest.approx(6 * side, abs=2)


def test_of_a_volume_the_slice_with_most_of_the_lesion_is_shown(tmp_path: Path) -> None:
    volume = torch.tensor(LEVELS[:5]).view(1, 1, 5, 1, 1).expand(1, 1, 5, 8, 8) / 255
    masks = torch.zeros(1, 5, 8, 8, dtype=torch.bool)
    masks[0, 1:4, 2, 2] = True
    masks[0, 3, 2, 2:5] = True
    out = tmp_path / "samples.png"
    for mask, level in ((masks, LEVELS[3]), (torch.zeros_like(masks), LEVELS[2])):
        contact_sheet([volume], ["a"], out, mask)
        assert edges(np.asarray(Image.open(out).convert("RGB")).astype(int), level)


def test_more_samples_make_a_higher_sheet(tmp_path: Path) -> None:
    few, many = (draw([flat(*levels)], tmp_path).shape for levels in (LEVELS[:2], LEVELS))
    assert few[1] == many[1] == 340
    assert many[0] - few[0] == 2 * 195


def test_labels_stand_above(tmp_path: Path, figures: list[Figure]) -> None:
    names = ["nodule", "y" * 24, "z" * 25]
    shown = ["nodule", "y" * 24, "z" * 23 + "…"]
    expected = [text for name in shown for text in (name, "augmented 1")]
    contact_sheet([flat(*LEVELS[:3])] * 2, names, tmp_path / "sheet.png")
    assert texts(figures[0]) == expected


def test_labels_are_no_formulas(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw([flat(70, 100)], tmp_path, ["a_$b$\\frac", "$\\nothing$"])


# The histogram


def test_shares_of_pixels_by_intensity(figures: list[Figure], tmp_path: Path) -> None:
    train = np.array([0.0, 0.0, 0.01, 0.5])  # bins are 1/64 wide
    intensity_histogram({"train": train, "test": np.ones(3)}, tmp_path / "x.png")
    (axes,) = figures[0].axes
    assert axes.get_yscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "test"]
    shares = [patch.get_data().values for patch in axes.patches]  # type: ignore[attr-defined]
    assert {k: v for k, v in enumerate(shares[0]) if v} == {0: 0.75, 32: 0.25}
    assert {k: v for k, v in enumerate(shares[1]) if v} == {63: 1.0}
    assert len(shares[0]) == 64


def test_each_split_has_its_colour(tmp_path: Path) -> None:
    everywhere = np.linspace(0, 1, 1000)
    out = tmp_path / "made" / "intensity.png"
    intensity_histogram({"val": everywhere, "train": everywhere[:300]}, out)
    picture = np.asarray(Image.open(out).convert("RGB")).astype(int)
    assert picture.shape == (400, 700, 3)
    pixels = {}
    for split, colour in COLOURS.items():
        wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        pixels[split] = np.nonzero((abs(picture - wanted) < 8).all(-1))
    assert len(pixels["train"][0]) > 50
    assert len(pixels["val"][0]) > 100
    assert len(pixels["test"][0]) == 0
    highest = {split: pixels[split][0].min() for split in ("train", "val")}
    assert highest["train"] < highest["val"]  # the same pixels among fewer are a larger share
    assert [path.name for path in out.parent.iterdir()] == ["intensity.png"]
