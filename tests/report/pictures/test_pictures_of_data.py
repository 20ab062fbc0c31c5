from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import texts
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from medcnn.report.pictures.data import COLOURS, contact_sheet, crop_sheet, intensity_histogram
from medcnn.report.pictures.training_curves import STYLES

LEVELS = (40, 70, 100, 130, 160, 190)


def flat(*levels: int, size: tuple[int, ...] = (8, 8)) -> Tensor:
    """Images (N, 1, *size) of one grey each, 0 … 255 → 0 … 1."""
    images = torch.tensor(levels, dtype=torch.float32).view(-1, 1, *[1] * len(size)) / 255
    return images.expand(-1, 1, *size)


@pytest.fixture
def draw(figures: list[Figure], tmp_path: Path) -> Any:
    """A function that draws a sheet and returns the panels with an image."""

    def drawn(versions: list[Tensor], names: Any = None, masks: Tensor | None = None) -> list[Axes]:
        contact_sheet(versions, names or ["x"] * len(versions[0]), tmp_path / "x.png", masks)
        return [axes for axes in figures[-1].axes if axes.images]

    return drawn


def greys(panels: list[Axes]) -> list[int]:
    """The grey in the middle of each panel, 0 … 255."""
    pictures = [np.asarray(axes.images[0].get_array()) for axes in panels]
    return [round(255 * float(picture[3, 3])) for picture in pictures]


# The contact sheet


def test_a_panel_for_each_version_of_each_sample(draw: Any) -> None:
    """Two samples a line, each before its augmented self."""
    panels = draw([flat(40, 70, 100), flat(130, 160, 190)])
    assert greys(panels) == [40, 130, 70, 160, 100, 190]
    places = [axes.get_position() for axes in panels]
    lefts = [place.x0 for place in places[:4]]
    assert lefts == sorted(lefts)
    assert len({place.y0 for place in places[:4]}) == 1
    assert places[4].y0 < places[0].y0
    assert places[4].x0 == places[0].x0


def test_an_image_keeps_its_greys_and_its_shape(draw: Any) -> None:
    (panel,) = draw([flat(100, size=(10, 40))])
    assert panel.images[0].get_clim() == (0, 1)
    assert panel.images[0].get_array().shape == (10, 40)
    assert panel.get_aspect() == 1


def test_colours_and_other_channels(draw: Any) -> None:
    colour = torch.tensor([200, 30, 90]).view(1, 3, 1, 1).expand(1, 3, 8, 8) / 255
    (panel,) = draw([colour])
    np.testing.assert_array_equal(panel.images[0].get_array(), colour[0].permute(1, 2, 0))
    assert greys(draw([torch.cat([flat(70), flat(160)], 1)])) == [70]  # the first


def test_of_a_volume_the_slice_in_the_middle_or_with_most_of_the_lesion(draw: Any) -> None:
    volume = torch.tensor(LEVELS[:5]).view(1, 1, 5, 1, 1).expand(1, 1, 5, 8, 8) / 255
    masks = torch.zeros(1, 5, 8, 8, dtype=torch.bool)
    masks[0, 1:4, 2, 2] = True
    masks[0, 3, 2, 2:5] = True
    middle = LEVELS[2]
    for mask, level in ((masks, LEVELS[3]), (torch.zeros_like(masks), middle), (None, middle)):
        assert greys(draw([volume], masks=mask)) == [level]


def test_lesions_are_outlined_on_the_samples_as_they_are(draw: Any) -> None:
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 2:4, 4:6] = True
    panels = draw([flat(40, 70), flat(130, 160)], masks=masks)
    assert [len(axes.collections) for axes in panels] == [1, 0, 0, 0]
    edge = panels[0].collections[0].get_paths()[0].get_extents()
    np.testing.assert_allclose(edge.extents, [3.5, 1.5, 5.5, 3.5], atol=1e-6)


def test_labels_stand_above_and_are_no_formulas(draw: Any, figures: list[Figure]) -> None:
    names = ["a_$b$\\frac", "y" * 24, "z" * 25]
    shown = ["a_$b$\\frac", "y" * 24, "z" * 23 + "…"]
    draw([flat(*LEVELS[:3])] * 2, names)
    assert texts(figures[0]) == [text for name in shown for text in (name, "augmented 1")]


def test_more_samples_make_a_higher_sheet(draw: Any, figures: list[Figure]) -> None:
    for levels in (LEVELS[:2], LEVELS):
        draw([flat(*levels)])
    (few, many) = (figure.get_size_inches() * 100 for figure in figures)
    assert few[0] == many[0] == 340
    assert many[1] - few[1] == pytest.approx(2 * 195)


# The histogram


def test_shares_of_pixels_by_intensity(figures: list[Figure], tmp_path: Path) -> None:
    train = np.array([0.0, 0.0, 0.01, 0.5])  # bins are 1/64 wide
    intensity_histogram({"train": train, "test": np.ones(3)}, tmp_path / "x.png")
    (axes,) = figures[0].axes
    assert axes.get_yscale() == "log"
    assert texts(figures[0])[-2:] == ["train", "test"]
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
    assert [COLOURS["train"], COLOURS["val"]] == [colour for _, colour in STYLES.values()]
    for split, colour in COLOURS.items():
        wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        pixels[split] = np.nonzero((abs(picture - wanted) < 8).all(-1))
    assert len(pixels["train"][0]) > 50
    assert len(pixels["val"][0]) > 100
    assert len(pixels["test"][0]) == 0
    highest = {split: pixels[split][0].min() for split in ("train", "val")}
    assert highest["train"] < highest["val"]  # the same pixels among fewer are a larger share
    assert [path.name for path in out.parent.iterdir()] == ["intensity.png"]


def test_the_outline_of_what_is_kept(figures: list[Figure], tmp_path: Path) -> None:
    """Of a volume the middle slice of it; nothing where the whole image is kept."""
    seen = np.zeros((9, 12, 16))
    seen[4:7, 2:8, 3:14] = 1
    volume = np.arange(9.0)[:, None, None] / 10 + 0 * seen
    items = [
        {"image": volume, "map": seen, "mask": None, "spacing": (5.0, 2.0, 1.0)},
        {"image": volume[0], "map": seen[4], "mask": seen[4] > 2},
        {"image": volume[0], "map": np.ones((12, 16)), "mask": None, "spacing": None},
    ]
    crop_sheet(items, ["a", "b", "c"], tmp_path / "crops.png")
    panels = [axes for axes in figures[-1].axes if axes.images]
    assert [float(np.max(axes.images[0].get_array())) for axes in panels] == [0.5, 0, 0]
    assert [axes.get_aspect() for axes in panels] == [2, 1, 1]
    outlines = [[c.get_paths()[0].get_extents() for c in axes.collections] for axes in panels]
    assert [len(found) for found in outlines] == [1, 1, 0]
    for (found,) in outlines[:2]:
        np.testing.assert_allclose(found.extents, (2.5, 1.5, 13.5, 7.5))
