from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import texts
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image as Picture

from medcnn.errors import UserError
from medcnn.report.maps.item import GalleryItem
from medcnn.report.maps.views import views
from medcnn.report.maps.volume import draw_mosaic, draw_planes


def volume(**changes: Any) -> GalleryItem:
    """SPL of 6 × 8 × 10 whose maximum is at (1, 2, 7)."""
    map_ = np.zeros((6, 8, 10), np.float32)
    map_[1, 2, 7] = 3.0
    item = GalleryItem(
        np.full(map_.shape, 0.4), map_, map_ > 0, "tumour", "tumour", 0.9, True, orientation="SPL"
    )
    return replace(item, **changes)


def pictures(figure: Figure) -> list[Axes]:
    """Axes with an image of more than one row, from left to right, the upper first."""
    axes = [ax for ax in figure.axes if ax.images and ax.images[0].get_array().shape[0] > 1]  # type: ignore[union-attr]
    return sorted(axes, key=lambda ax: (round(ax.get_position().x0, 3), -ax.get_position().y0))


def test_planes_go_through_the_maximum(tmp_path: Path, figures: list[Figure]) -> None:
    draw_planes(volume(spacing=(4.0, 2.0, 1.0)), tmp_path / "x.png")
    (figure,) = figures
    names = {"axial, slice 2 of 6", "coronal, slice 3 of 8", "sagittal, slice 8 of 10"}
    assert names | {"true: tumour", "through the map's maximum"} <= set(texts(figure))
    axes = pictures(figure)
    assert len(axes) == 6
    for below, shape, place in zip(
        axes[1::2],
        ((8, 10), (6, 10), (6, 8)),
        ((2, 7), (4, 7), (4, 2)),  # the head on top: row 6 - 1 - 1
        strict=True,
    ):
        painted = np.asarray(below.images[1].get_array())
        assert painted.shape == shape
        assert np.unravel_index(painted.argmax(), shape) == place
        lines = [line for line in below.lines if len(line.get_xdata()) == 2]  # type: ignore[arg-type]
        assert {float(np.mean(line.get_ydata())) for line in lines} & {float(place[0])}
        assert {float(np.mean(line.get_xdata())) for line in lines} & {float(place[1])}
    sides = [ax.get_position().size * figure.get_size_inches() for ax in axes[::2]]
    mm = np.array([[10, 16], [10, 24], [16, 24]]) / 10
    np.testing.assert_allclose(np.array(sides) / sides[0][0], mm, rtol=1e-6)
    for side, ax in zip(sides, axes[::2], strict=True):
        height, width = ax.images[0].get_array().shape[:2]  # type: ignore[union-attr]
        assert ax.get_aspect() == pytest.approx((side[1] / height) / (side[0] / width))


def test_planes_of_an_empty_map_and_of_an_unknown_orientation(
    tmp_path: Path, figures: list[Figure]
) -> None:
    empty = volume(map=np.zeros((6, 8, 10), np.float32), mask=None, orientation=None)
    draw_planes(empty, tmp_path / "x.png")
    shown = set(texts(figures[0]))
    assert {"across axis 1, slice 4 of 6", "through the middle", "empty map"} <= shown
    assert not {"S", "A", "R"} & shown


@pytest.mark.parametrize("orientation", ["SPL", "RAS", "AIR", "LPS", "IRA", "PSR"])
def test_the_patient_is_seen_the_same_way_in_every_orientation(orientation: str) -> None:
    """Head or front on top, right at the left, worked out by nibabel's codes."""
    index = np.indices((5, 5, 5)).astype(float)
    heights = {}  # how far a voxel is towards the head, the front and the right
    for k, letter in enumerate(orientation):
        heights["SAR"["SIAPRL".index(letter) // 2]] = index[k] if letter in "SAR" else -index[k]
    for view in views(orientation):
        down, right = {"axial": "AR", "coronal": "SR", "sagittal": "SA"}[view.name]
        rows = view.cut(heights[down], 2)
        assert (np.diff(rows, axis=0) == -1).all()
        assert (np.diff(view.cut(heights[right], 2), axis=1) == -1).all()
        assert view.ends == (down, right)
        row, column = view.place((1, 2, 3), (5, 5, 5))
        marked = np.zeros((5, 5, 5))
        marked[1, 2, 3] = 1
        assert view.cut(marked, (1, 2, 3)[view.across])[row, column] == 1


def test_mosaic(tmp_path: Path, figures: list[Figure]) -> None:
    deep = np.zeros((60, 8, 10), np.float32)
    deep[30:32, 2, 7] = 3.0
    changes = {"image": np.full(deep.shape, 0.4), "map": deep, "mask": None}
    draw_mosaic(volume(**changes, spacing=(4.0, 2.0, 1.0)), tmp_path / "x.png")
    axes = pictures(figures[0])
    assert len(axes) == 25
    assert {"slice 1 of 60", "slice 60 of 60", "axial"} <= set(texts(figures[0]))
    assert all(ax.images[1].get_clim() == (0.0, 3.0) for ax in axes)  # one scale, also where zero
    draw_mosaic(volume(orientation="AIR"), tmp_path / "x.png", scale="signed")
    assert {"slice 1 of 8", "slice 8 of 8"} <= set(texts(figures[1]))
    assert len(pictures(figures[1])) == 8
    draw_mosaic(volume(orientation=None), tmp_path / "x.png")
    assert "across axis 1" in texts(figures[2])
    assert len(pictures(figures[2])) == 6


def test_pictures_are_written(tmp_path: Path) -> None:
    draw_planes(volume(), tmp_path / "planes.png")
    draw_mosaic(volume(image=np.full((6, 8, 10, 3), 0.4)), tmp_path / "mosaic.png")
    for name in ("planes.png", "mosaic.png"):
        assert Picture.open(tmp_path / name).size[0] == 1000


def test_bad_input(tmp_path: Path) -> None:
    for draw in (draw_planes, draw_mosaic):
        with pytest.raises(UserError, match="give 3 numbers above 0"):
            draw(volume(spacing=(1.0, 0.0, 1.0)), tmp_path / "x.png")
