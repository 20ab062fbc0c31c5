import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from medcnn.errors import UserError
from medcnn.report import GalleryItem, gallery
from medcnn.report.maps import gallery as module


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


def texts(items: list[GalleryItem], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that is written on the sheet."""
    seen: list[Figure] = []

    def keep(figure: Figure, path: Path) -> None:
        seen.append(figure)
        path.touch()

    monkeypatch.setattr(Figure, "savefig", keep)
    gallery(items, folder / "gallery.png", title="Maps")
    return [text.get_text() for text in seen[0].findobj(Text) if text.get_text()]


def colourful(picture: np.ndarray) -> np.ndarray:
    """Pixels that aren't grey."""
    return picture.max(2) - picture.min(2) > 40


def test_sizes(tmp_path: Path) -> None:
    sixteen = draw([item()] * 16, tmp_path)
    assert sixteen.shape[1] == 1600
    assert 900 < sixteen.shape[0] < 1200
    assert draw([item()] * 3, tmp_path, columns=4).shape[1] == 1200
    assert draw([item()] * 3, tmp_path, columns=2).shape[1] == 800
    assert draw([item()], tmp_path).shape[1] == 600
    wide = draw([item((8, 32))] * 4, tmp_path).shape[0]
    assert wide < draw([item((32, 8))] * 4, tmp_path).shape[0]


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


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_empty_map_is_labelled_not_painted(
    value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = item(mask=None, map=np.full((16, 16), value))
    picture = draw([empty], tmp_path)
    assert not colourful(picture)[:-75].any()
    assert "empty map" in texts([empty], tmp_path, monkeypatch)
    assert "empty map" not in texts([item()], tmp_path, monkeypatch)


def test_outline_lies_on_both_pictures(tmp_path: Path) -> None:
    mask = np.zeros((16, 16), bool)
    mask[0:4, 12:16] = True  # in a corner, where the outline has to be closed
    picture = draw([item(map=np.zeros((16, 16)), mask=mask)], tmp_path)[:-75]
    gap, width = int(100 * module.GAP), int(100 * module.PICTURE)
    for left in (gap, 2 * gap + width):
        columns = np.nonzero(colourful(picture[:, left : left + width]))[1]
        assert columns.min() == pytest.approx(12 / 16 * width, abs=4)
        assert columns.max() == pytest.approx(width, abs=4)


def test_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = texts([item(predicted="nodule", probability=0.834)], tmp_path, monkeypatch)
    assert {"Maps", "true: nodule", "predicted: nodule 0.83"} <= set(right)
    assert not any("wrong" in text for text in right)
    wrong = texts([item(predicted="effusion", correct=False)], tmp_path, monkeypatch)
    assert {"predicted: effusion 0.90", "wrong", "wrong decision"} <= set(wrong)
    assert "outline of the true lesion" in right
    assert "outline of the true lesion" not in texts([item(mask=None)], tmp_path, monkeypatch)
    long = texts([item(true="x" * 60)], tmp_path, monkeypatch)
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


def test_volume_shows_the_slice_through_the_maximum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, map_ = np.zeros((8, 12, 16)), np.zeros((8, 12, 16))
    image[5], map_[5, 3, 4] = 1.0, 2.0
    volume = item((8, 12, 16), image=image, map=map_)
    picture = draw([replace(volume, mask=None)], tmp_path)
    assert (picture[150, 20] == 255).all()
    assert "slice 6 of 8" in texts([volume], tmp_path, monkeypatch)
    empty = replace(volume, map=0 * map_)
    assert "slice 5 of 8" in texts([empty], tmp_path, monkeypatch)


def test_bad_input(tmp_path: Path) -> None:
    for items, columns in (([], 4), ([item()], 0)):
        with pytest.raises(UserError, match="nothing to draw"):
            gallery(items, tmp_path / "x.png", title="Maps", columns=columns)
    with pytest.raises(UserError, match=r"image \(8, 8\) and map \(16, 16\)"):
        draw([item(image=np.zeros((8, 8)))], tmp_path)
    with pytest.raises(UserError, match=r"mask \(8, 8\) and map \(16, 16\)"):
        draw([item(mask=np.zeros((8, 8), bool))], tmp_path)
    with pytest.raises(UserError, match=r"and map \(16,\)"):
        draw([item((16,))], tmp_path)
    assert not list(tmp_path.rglob("*.png"))


def test_what_nobody_knows_is_not_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = item(true="unknown", correct=None)
    assert texts([unknown], tmp_path, monkeypatch).count("true: unknown") == 1
    for fine in (unknown, item(probability=None, predicted="61.2", correct=None)):
        shown = texts([fine], tmp_path, monkeypatch)
        assert not any("wrong" in text for text in shown)
    assert "predicted: 61.2" in shown
    assert "wrong" in texts([unknown, item(correct=False)], tmp_path, monkeypatch)
