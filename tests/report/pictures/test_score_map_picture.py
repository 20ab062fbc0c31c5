"""The picture of a score map: each score at the middle of its window."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medcnn.report.pictures.score_map import draw_score_map, extent


def test_extent() -> None:
    assert extent((1, 3), (10, 20), (10, 10)) == (2.0, 17.0, 7.0, 2.0)


@pytest.mark.parametrize("channels", [1, 3])
def test_picture(channels: int, tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((channels, 40, 60))
    scores = np.zeros((7, 3, 4))
    scores[[1, 2, 3, 4, 5], 0, 0] = 0.9
    draw_score_map(image, scores, list("abcdefg"), (20, 20), tmp_path / "p.png")
    wide = Image.open(tmp_path / "p.png").size
    draw_score_map(image, scores[:1], ["a"], (20, 20), tmp_path / "q.png", shares=False)
    assert wide[0] > 2 * Image.open(tmp_path / "q.png").size[0], "5 classes and 1"


def test_high_is_bright_and_at_its_place(tmp_path: Path) -> None:
    def drawn(left: float, right: float) -> np.ndarray:
        scores = np.array([[[left, right]]])
        draw_score_map(np.zeros((1, 20, 30)), scores, ["a"], (20, 20), tmp_path / "p.png")
        return np.asarray(Image.open(tmp_path / "p.png").convert("L")).astype(float)

    change = (drawn(0, 1) - drawn(1, 0)).mean(0)
    columns = np.arange(len(change))
    brighter, darker = columns[change > 1], columns[change < -1]
    assert darker.mean() < brighter.mean()
    assert len(darker) == pytest.approx(len(brighter), abs=3)
