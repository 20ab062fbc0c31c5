from pathlib import Path

import numpy as np
import pytest
from slides import pyramid, stained

from medcnn.data.formats import open_slide
from medcnn.data.prepared import tissue
from medcnn.data.prepared.tiles import grid_over
from medcnn.data.prepared.tissue import thumbnail, tissue_mask, with_tissue
from medcnn.errors import UserError

BOX = (20, 40, 52, 88)


def test_tissue_is_what_is_coloured_and_not_dark() -> None:
    picture = stained(64, 128, BOX)
    picture[:10, :30] = 20  # ink
    picture[:10, 30:60] = (30, 10, 20)  # a fold: coloured, but dark
    picture[56:, 90:] = 130  # grey
    mask = tissue_mask(picture.transpose(2, 0, 1))
    expected = np.zeros((64, 128), bool)
    expected[20:52, 40:88] = True
    np.testing.assert_array_equal(mask, expected)


def test_slides_of_one_kind_are_not_parted() -> None:
    grain = np.random.default_rng(0).integers(-2, 3, (3, 64, 64))
    assert not tissue_mask(240 + grain).any()  # Otsu alone would take the half
    pink = stained(64, 64, (0, 0, 64, 64)).transpose(2, 0, 1)
    assert tissue_mask(pink).all()


def test_thumbnails_are_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tissue, "THUMBNAIL", 50)
    monkeypatch.setattr(tissue, "BAND", 1000)  # so that it is read in several bands
    picture = stained(64, 128, BOX)
    path = tmp_path / pyramid(tmp_path / "a.tif", picture, (2, 4, 8))
    with open_slide(path) as slide:  # the level of 64 pixels, in blocks of 2
        small, step = thumbnail(slide)
    means = picture[::2, ::2].reshape(16, 2, 32, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    assert step == 4
    np.testing.assert_allclose(small, means, rtol=1e-6)


def test_tiles_with_a_share_of_tissue(tmp_path: Path) -> None:
    path = tmp_path / pyramid(tmp_path / "a.tif", stained(64, 128, BOX), ())
    grid = grid_over((64, 128), (16, 16), 0)
    inside = np.zeros((64, 128))
    inside[20:52, 40:88] = 1
    shares = inside.reshape(4, 16, 8, 16).mean((1, 3))
    with open_slide(path) as slide:
        for least in (0.01, 0.5, 1.0):
            kept = with_tissue(slide, grid, least).corners
            assert kept == tuple((16 * r, 16 * c) for r, c in np.argwhere(shares >= least))


def test_refusals(tmp_path: Path) -> None:
    grid = grid_over((64, 64), (16, 16), 0)
    with (
        open_slide(tmp_path / pyramid(tmp_path / "a.tif", stained(64, 64))) as slide,
        pytest.raises(UserError, match="shows no tissue: of 16 tiles the best has a share of 0,"),
    ):
        with_tissue(slide, grid, 0.5)
    grey = stained(64, 64)[..., 0]
    with (
        open_slide(tmp_path / pyramid(tmp_path / "b.tif", grey)) as slide,
        pytest.raises(UserError, match="is no colour picture of 8 bits"),
    ):
        with_tissue(slide, grid, 0.5)
