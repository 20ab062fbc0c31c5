import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import texts
from matplotlib.figure import Figure
from PIL import Image

from medcnn.report.maps import gallery as module
from medcnn.report.maps.gallery import gallery
from medcnn.report.maps.item import GalleryItem


def item(shape: tuple[int, ...] = (16, 16), **changes: Any) -> GalleryItem:
    """A grey image whose map has its maximum, and whose mask lies, in the upper left."""
    corner = tuple(slice(2, 6) for _ in shape)
    map_, mask = np.zeros(shape), np.zeros(shape, bool)
    map_[corner], mask[corner] = 1e-3, True
    plain = GalleryItem(np.full(shape, 0.4), map_, mask, "nodule", "nodule", 0.9, True)
    return replace(plain, **changes)


def draw(items: list[GalleryItem], folder: Path, **options: Any) -> np.ndarray:
    out = folder / "cams" / "gallery.png"
    gallery(items, out, **{"title": "Maps", **options})
    assert [path.name for path in out.parent.iterdir()] == ["gallery.png"]
    return np.asarray(Image.open(out).convert("RGB")).astype(int)


def words(items: list[GalleryItem], figures: list[Figure], folder: Path) -> list[str]:
    """All that is written on the sheet."""
    gallery(items, folder / "gallery.png", title="Maps")
    return texts(figures[-1])


def colourful(picture: np.ndarray) -> np.ndarray:
    """Pixels that aren't grey."""
    return picture.max(2) - picture.min(2) > 40


def test_sizes(tmp_path: Path) -> None:
    eight = draw([item()] * 8, tmp_path)
    assert eight.shape[1] == 1600
    assert 450 < eight.shape[0] < 750
    assert draw([item()] * 2, tmp_path).shape[1] == 800
    assert draw([item()], tmp_path).shape[1] == 600
    assert draw([item((8, 32))], tmp_path).shape[0] < draw([item((32, 8))], tmp_path).shape[0]


def test_map_is_painted_where_it_is_high(tmp_path: Path) -> None:
    map_ = np.zeros((16, 16))
    map_[2:6, 2:6] = 1e-6
    picture = draw([item(mask=None, map=map_)], tmp_path)
    rows, columns = np.nonzero(colourful(picture)[: picture.shape[0] - 75])
    left = int(100 * (2 * module.GAP + module.PICTURE))
    cell = 100 * module.PICTURE / 16
    assert columns.min() == pytest.approx(left + 2 * cell, abs=2)
    assert columns.max() == pytest.approx(left + 6 * cell, abs=2)
    assert np.ptp(rows) == pytest.approx(4 * cell, abs=3)


def test_captions(tmp_path: Path, figures: list[Figure]) -> None:
    right = words([item(predicted="nodule", probability=0.834)], figures, tmp_path)
    assert {"Maps", "true: nodule", "predicted: nodule 0.83"} <= set(right)
    assert not any("wrong" in text for text in right)
    wrong = words([item(predicted="effusion", correct=False)], figures, tmp_path)
    assert {"predicted: effusion 0.90", "wrong", "wrong decision"} <= set(wrong)
    assert "outline of the true lesion" in right
    assert "outline of the true lesion" not in words([item(mask=None)], figures, tmp_path)
    long = words([item(true="x" * 60)], figures, tmp_path)
    assert f"true: {'x' * 43}…" in long


def test_wrong_decision_has_a_dashed_frame(tmp_path: Path) -> None:
    def dark_in_margin(picture: np.ndarray) -> int:
        return int((picture[:-75, :9].max(2) < 80).sum())

    assert dark_in_margin(draw([item()], tmp_path)) == 0
    assert dark_in_margin(draw([item(correct=False)], tmp_path)) > 100


def test_colour_images_and_odd_names(tmp_path: Path) -> None:
    rgb = np.zeros((16, 16, 3))
    rgb[..., 0] = 1.0
    picture = draw([item(image=rgb, true="$x", predicted="a_$b$\\frac")], tmp_path)
    assert (picture == [255, 0, 0]).all(2).sum() > 10_000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw([item()], tmp_path, title=" ".join(["a long title"] * 20))
        draw([item()], tmp_path, title="")


def test_a_volume_by_its_slice_and_an_empty_map(tmp_path: Path, figures: list[Figure]) -> None:
    image, map_ = np.zeros((8, 12, 16)), np.zeros((8, 12, 16))
    image[5], map_[5, 3, 4] = 1.0, 2.0
    volume = item((8, 12, 16), image=image, map=map_)
    shown = words([volume], figures, tmp_path)
    assert "slice 6 of 8" in shown
    assert "empty map" not in shown
    assert (np.asarray(figures[-1].axes[0].images[0].get_array()) == 1).all()
    empty = words([replace(volume, map=0 * map_)], figures, tmp_path)
    assert {"slice 5 of 8", "empty map"} <= set(empty)
