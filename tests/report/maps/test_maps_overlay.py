from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import texts
from matplotlib.figure import Figure
from PIL import Image

from medcnn.errors import UserError
from medcnn.report.maps import overlay as module
from medcnn.report.maps.gallery import gallery
from medcnn.report.maps.item import GalleryItem, panel
from medcnn.report.maps.overlay import overlay
from medcnn.report.maps.scale import colours, peak, span


def item(shape: tuple[int, ...] = (16, 16), **changes: Any) -> GalleryItem:
    """A grey image whose map is 2 in the upper left and -4 in the lower right."""
    map_ = np.zeros(shape, np.float32)
    map_[tuple(slice(2, 6) for _ in shape)] = 2.0
    map_[tuple(slice(10, 14) for _ in shape)] = -4.0
    plain = GalleryItem(np.full(shape, 0.4), map_, None, "nodule", "nodule", 0.9, True)
    return replace(plain, **changes)


def draw(shown: GalleryItem, folder: Path, **options: Any) -> np.ndarray:
    out = folder / "maps" / "one.png"
    overlay(shown, out, **options)
    assert [path.name for path in out.parent.iterdir()] == ["one.png"]
    return np.asarray(Image.open(out).convert("RGB")).astype(int)


def words(shown: GalleryItem, figures: list[Figure], folder: Path, **options: Any) -> list[str]:
    """All that is written on the picture."""
    overlay(shown, folder / "x.png", **options)
    return texts(figures[-1])


def pixel(picture: np.ndarray, side: int, row: float, column: float) -> np.ndarray:
    """Colour at a place of the 16 × 16 image, left (0) or right (1)."""
    inch = module.GAP + side * (module.SIDE + module.GAP) + module.SIDE * (column + 0.5) / 16
    return picture[
        round(100 * (module.CAPTION + module.SIDE * (row + 0.5) / 16)), round(100 * inch)
    ]


def test_own_scale_paints_the_positive_part(tmp_path: Path) -> None:
    picture = draw(item(), tmp_path)
    assert picture.shape[1] == round(100 * (2 * module.SIDE + 3 * module.GAP))
    hot = pixel(picture, 1, 4, 4)
    assert hot[0] > hot[2] + 60  # yellow: the end of inferno
    for side, row, column in ((1, 12, 12), (1, 8, 8), (0, 4, 4)):
        np.testing.assert_array_equal(pixel(picture, side, row, column), [102] * 3)


def test_signed_scale_is_red_above_and_blue_below_zero(tmp_path: Path) -> None:
    picture = draw(item(), tmp_path, scale="signed")
    above, below = pixel(picture, 1, 4, 4), pixel(picture, 1, 12, 12)
    assert above[0] > above[2] + 20
    assert below[2] > below[0] + 60  # -4 is the end of the scale, 2 half of it
    np.testing.assert_array_equal(pixel(picture, 1, 8, 8), [102] * 3)
    fixed = draw(item(), tmp_path, scale=(-4.0, 4.0))
    np.testing.assert_array_equal(pixel(fixed, 1, 4, 4), above)


def test_a_fixed_scale_gives_the_same_value_the_same_colour(tmp_path: Path) -> None:
    """Whatever else a map holds; the colour is worked out here from the map of colours."""
    other = item()
    other.map[0, 15] = 8.0
    shown = [pixel(draw(one, tmp_path, scale=(0.0, 4.0)), 1, 4, 4) for one in (item(), other)]
    np.testing.assert_array_equal(shown[0], shown[1])
    *rgb, alpha = colours(signed=False)(0.5)
    np.testing.assert_allclose(shown[0], 255 * (np.array(rgb) * alpha + 0.4 * (1 - alpha)), atol=2)
    own = [pixel(draw(one, tmp_path), 1, 4, 4) for one in (item(), other)]
    assert np.abs(own[0] - own[1]).max() > 30


def test_colours_are_even_and_transparent_at_zero() -> None:
    """Steps of lightness (CIE L*) of about one size, by matplotlib's own sRGB values."""

    def lightness(table: np.ndarray) -> np.ndarray:
        linear = np.where(table <= 0.04045, table / 12.92, ((table + 0.055) / 1.055) ** 2.4)
        return 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16

    table = colours(signed=False)(np.linspace(0, 1, 20))
    assert (np.diff(lightness(table[:, :3])) > 1.5).all()
    assert table[0, 3] == 0
    signed = colours(signed=True)(np.linspace(0, 1, 257))
    assert signed[128, 3] == 0
    assert np.ptp(signed[128, :3]) < 0.02  # grey
    np.testing.assert_allclose(signed[:, 3], signed[::-1, 3])


@pytest.mark.parametrize("scale", ["own", "signed", (0.0, 1.0), (-1.0, 1.0)])
def test_an_empty_map_is_labelled(scale: Any, tmp_path: Path, figures: list[Figure]) -> None:
    for value in (np.nan, np.inf):
        assert span(np.full((2, 2), value), scale) is None
    empty = words(item(map=np.zeros((16, 16))), figures, tmp_path, scale=scale)
    assert "empty map" in empty
    assert any("Nothing is painted" in text for text in empty)


def test_an_empty_map_leaves_the_image_grey(tmp_path: Path) -> None:
    picture = draw(item(map=np.full((16, 16), -1.0)), tmp_path)
    assert np.ptp(picture, axis=2).max() < 5


def test_the_bar_says_what_the_colours_are(tmp_path: Path, figures: list[Figure]) -> None:
    said = {
        "own": ["0", "0.5", "1", "importance", "1 is this map's own maximum, a raw value of 2"],
        "signed": ["-1", "0", "1", "1 is this map's own largest absolute value, a raw value of 4"],
        (0.0, 5.0): ["0", "2.5", "5", "importance", "raw values; the same scale in every picture"],
        (-5.0, 5.0): ["-5", "5", "evidence for the class (above zero) and against it"],
    }
    for scale, expected in said.items():
        shown = words(item(), figures, tmp_path, scale=scale)
        assert set(expected) <= {text.replace("−", "-") for text in shown}
        assert ("maximum 2" in shown) == (not isinstance(scale, str))


def test_captions(tmp_path: Path, figures: list[Figure]) -> None:
    wrong = words(item(predicted="effusion", correct=False), figures, tmp_path)
    assert {"true: nodule", "predicted: effusion 0.90", "wrong"} <= set(wrong)
    unknown = item(probability=None, predicted="61.2", correct=None)
    shown = words(unknown, figures, tmp_path)
    assert "predicted: 61.2" in shown
    assert "wrong" not in shown


def test_outline_of_the_lesion_lies_on_both_and_is_closed_at_the_edge(tmp_path: Path) -> None:
    mask = np.zeros((16, 16), bool)
    mask[0:8, 4:12] = True
    picture = draw(item(map=np.zeros((16, 16)), mask=mask), tmp_path)
    cyan = picture[..., 2] - picture[..., 0] > 60
    for side in (0, 1):
        left = pixel(picture, side, 4, 3.5)
        assert left[2] - left[0] > 60
    top = round(100 * module.CAPTION)
    assert cyan[top - 2 : top + 4].any(0).sum() > 2 * 150  # 8 pixels of each side, 21 each here


def test_an_image_in_colour_is_grey_below_its_map(tmp_path: Path) -> None:
    rgb = np.zeros((16, 16, 3))
    rgb[..., 0] = 1.0
    picture = draw(item(image=rgb), tmp_path)
    np.testing.assert_array_equal(pixel(picture, 0, 8, 8), [255, 0, 0])
    np.testing.assert_array_equal(pixel(picture, 1, 8, 8), [76] * 3)  # 255 × 0.299


def test_a_volume_is_shown_by_the_slice_through_the_maximum(
    tmp_path: Path, figures: list[Figure]
) -> None:
    map_ = np.zeros((8, 12, 16), np.float32)
    map_[5, 3, 4] = 2.0
    volume = item((8, 12, 16), map=map_)
    assert peak(map_) == (5, 3, 4)
    assert panel(volume, "own").map.shape == (12, 16)
    assert "slice 6 of 8, maximum 2" in words(volume, figures, tmp_path, scale=(0, 4))
    assert peak(0 * map_) == (4, 6, 8)


def test_bad_input(tmp_path: Path) -> None:
    for scale in ("both", (1.0, 0.0), (-1.0, 2.0), (0.0, np.nan), (0.0,)):
        with pytest.raises(UserError, match="choose own, signed"):
            draw(item(), tmp_path, scale=scale)
    for changes, why in (
        ({"image": np.zeros((16, 16, 2))}, "image"),
        ({"image": np.zeros(3), "map": np.zeros(3)}, "image"),
        ({"mask": np.zeros((8, 8), bool)}, r"mask \(8, 8\) and"),
    ):
        with pytest.raises(UserError, match=f"{why} .* differ in shape"):
            draw(item(**changes), tmp_path)
    assert not list(tmp_path.rglob("*.png"))


def test_a_gallery_with_one_scale(tmp_path: Path, figures: list[Figure]) -> None:
    said = {
        "own": ["0", "max    importance (each map has a scale of its own)"],
        "signed": [
            "−max",
            "max    evidence against and for the class (each map has a scale of its own)",
        ],
        (0.0, 0.5): ["0", "0.5    importance (raw values, one scale for all maps)", "maximum 2"],
        (-0.5, 0.5): ["-0.5", "maximum 2"],
    }
    for scale, expected in said.items():
        gallery([item()], tmp_path / "x.png", title="Maps", scale=scale)  # type: ignore[arg-type]
        assert set(expected) <= set(texts(figures[-1]))
    with pytest.raises(UserError, match="choose own, signed"):
        gallery([item()], tmp_path / "x.png", title="Maps", scale=(2.0, 1.0))


def test_a_large_picture_is_thinned_out_and_does_not_stay_in_memory() -> None:
    large = item((3000, 2000))
    shown = panel(large, "own")
    assert shown.image.shape == shown.map.shape == (1000, 667)
    assert shown.image.base is None
    assert shown.bounds == (0.0, 2.0)  # of the whole map
    volume = item((20, 30, 40))
    assert panel(volume, "own").map.base is None
