from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slides import noise, pyramid

from medcnn.data.formats import open_slide
from medcnn.data.image import ImageSpec
from medcnn.data.prepared.facts import FactTable
from medcnn.data.prepared.tiles import check_tiles, downsample_of, grid_in, grid_over
from medcnn.errors import UserError


def test_a_grid_covers_the_whole() -> None:
    grid = grid_over((100, 70), (30, 30), 0.5)
    assert grid.corners[:5] == ((0, 0), (0, 15), (0, 30), (0, 40), (15, 0))
    seen = np.zeros(grid.shape)
    for row, column in grid.corners:
        seen[row : row + 30, column : column + 30] += 1
    assert seen.min() == 1  # without it, the last row and column would be cut off
    assert len(set(grid.corners)) == len(grid.corners) == 6 * 4


def test_a_grid_is_in_pixels_of_the_full_resolution() -> None:
    grid = grid_over((100, 70), (10, 10), 0, 2.5)  # 40 × 28 pixels are seen
    assert (grid.edge, len(grid.corners)) == ((25, 25), 4 * 3)
    assert grid.corners[:4] == ((0, 0), (0, 25), (0, 45), (25, 0))
    windows = grid_over((5, 6, 7), (5, 3, 7), 0)
    assert windows.corners == ((0, 0, 0), (0, 3, 0))
    facts = FactTable([grid.facts, grid_over((90, 70), (10, 10), 0).facts])
    assert grid_in(facts[0]) == grid  # after its way through the columns of facts
    assert grid_in({"shape": [3, 4]}) is None
    assert str(grid) != str(windows)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 1.0),
        ({"tile_level": 1}, 2.0),
        ({"tile_spacing": 1.0}, 2.0),
        ({"tile_spacing": 1.05}, 2.0),  # a level that is nearly so is taken as it is
        ({"tile_spacing": 0.75}, 1.5),
        ({"tile_level": 3}, "has no level 3 (dataset.tile_level), only 0 … 2"),
        ({"tile_spacing": 0.25}, "has no level at 0.25 µm a pixel (dataset.tile_spacing)"),
    ],
)
def test_level(options: dict[str, Any], expected: Any, tmp_path: Path) -> None:
    spec = ImageSpec(size=(8, 8), tiles=(8, 8), **options)
    with open_slide(tmp_path / pyramid(tmp_path / "a.tif", noise(64, 96))) as slide:
        if isinstance(expected, float):
            assert downsample_of(slide, spec) == pytest.approx(expected)
            return
        with pytest.raises(UserError) as caught:
            downsample_of(slide, spec)
        assert expected in str(caught.value)


def test_refusals() -> None:
    with pytest.raises(
        UserError, match=r"is 40×28 pixels there, less than dataset.tiles=\[30, 30\]"
    ):
        grid_over((100, 70), (30, 30), 0, 2.5)
    flat: dict[str, Any] = {"size": (8, 8), "tiles": (8, 8)}
    for options, words in (
        ({"size": (8, 8), "tissue": 0.5}, "dataset.tissue=0.5 goes with dataset.tiles"),
        (flat | {"tiles": (0, 8)}, "dataset.tiles=0"),
        (flat | {"tile_overlap": 1}, "dataset.tile_overlap=1: give a share below 1"),
        (flat | {"tissue": "some"}, "dataset.tissue=some: give a share above 0, or null"),
        (flat | {"tile_spacing": -1}, "dataset.tile_spacing=-1: give µm a pixel"),
        (flat | {"tile_spacing": 1, "tile_level": 1}, "choose a level each"),
        (flat | {"crop": "body"}, "dataset.crop=body goes without dataset.tiles"),
        (flat | {"slices": "all"}, "dataset.slices=all goes without dataset.tiles"),
        (flat | {"spacing": (1, 1)}, "dataset.tile_spacing says"),
        ({"size": (8, 8, 8), "tiles": (8, 8, 8), "tissue": 0.5}, "cuts volumes into windows"),
    ):
        with pytest.raises(UserError) as caught:
            check_tiles(ImageSpec(**options))
        assert words in str(caught.value)
