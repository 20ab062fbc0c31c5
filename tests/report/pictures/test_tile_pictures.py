from pathlib import Path

import numpy as np
from PIL import Image

from medcnn.report.pictures.tiles import Tiled, draw_tile_scores, lay_scores, tile_sheet

CORNERS = np.array([[0, 0], [0, 30], [40, 60]])
SLIDE = Tiled("a", np.full((8, 10, 3), 0.9), (80, 100), CORNERS, (40, 40))


def test_scores_lie_at_their_tiles() -> None:
    laid = lay_scores(SLIDE, np.array([0.2, 0.6, 1.0]))
    expected = np.full((8, 10), np.nan)  # a pixel is 10 × 10 of the slide
    expected[:4, :3], expected[:4, 3:4], expected[:4, 4:7] = 0.2, 0.4, 0.6
    expected[4:, 6:] = 1.0
    np.testing.assert_allclose(laid, expected)


def test_pictures(tmp_path: Path) -> None:
    grey = SLIDE._replace(picture=SLIDE.picture[..., 0])
    for slide in (SLIDE, grey):
        scores = np.array([0.2, 0.6, 1.0])
        draw_tile_scores(slide, scores, "probability of a", tmp_path / "a.png", scale=(0, 1))
        draw_tile_scores(slide, scores, "value", tmp_path / "b.png", scale=None)
    tile_sheet([SLIDE, grey], tmp_path / "c.png")
    for name in "abc":
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert np.ptp(np.asarray(picture)) > 0
