"""The sheet of studies: what is painted, and the bars below."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import texts
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from PIL import Image

from medcnn.report.maps import study_sheet as module
from medcnn.report.maps.item import GalleryItem
from medcnn.report.maps.study_sheet import StudyItem, study_figure, study_sheet


def study(maximum: list[float], **changes: Any) -> StudyItem:
    """A study whose maps are flat, each as high as its number says."""
    words = {"true": "ill", "predicted": "well", "probability": 0.8, "correct": False}
    images = [
        GalleryItem(np.full((8, 8), 0.4), np.full((8, 8), value), None, **words, name="row 3")
        for value in maximum
    ]
    count = len(images)
    plain = {
        "labels": [f"slice {k}" for k in range(count)],
        "bars": {"attention": np.linspace(0, 1, count), "effect": np.linspace(-2, 1, count)},
        "places": range(count),
        "total": count,
    }
    return StudyItem(images, **plain | changes)


def bars(figure: Figure) -> list[list[float]]:
    found = [c for axes in figure.axes for c in axes.containers if isinstance(c, BarContainer)]
    return [[bar.get_height() for bar in container] for container in found]


def test_the_maps_of_a_study_have_one_scale() -> None:
    figure = study_figure([study([1.0, 4.0, 0.0])], title="t")
    limits = [axes.images[-1].get_clim() for axes in figure.axes if len(axes.images) == 2]
    assert limits == [(0, 4)] * 3
    signed = study_figure([study([-3.0, 2.0])], title="t", scale="signed")
    limits = [axes.images[-1].get_clim() for axes in signed.axes if len(axes.images) == 2]
    assert limits == [(-3, 3)] * 2


def test_words_and_bars() -> None:
    figure = study_figure([study([1.0, 2.0, 3.0])], title="Some title")
    assert bars(figure) == [[0, 0.5, 1], [-2, -0.5, 1]]
    written = set(texts(figure))
    assert {"Some title", "row 3", "slice 0", "slice 2", "attention", "effect"} <= written
    assert "true: ill    predicted: well 0.80    wrong" in written
    assert any("each study has a scale of its own" in text for text in written)
    assert any("without the image" in text for text in written)
    assert "empty map" not in written
    assert texts(study_figure([study([0.0])], title="t")).count("empty map") == 1


def test_effects_that_are_not_there_and_images_that_are_not_shown() -> None:
    one = study([1.0], bars={"effect": np.array([np.nan])}, total=30)
    written = texts(study_figure([one], title="t"))
    assert "–" in written
    assert "row 3, 1 of 30 images" in written


@pytest.mark.parametrize("count", [1, 4, 30])
def test_rows_of_a_study_do_not_leave_the_sheet(count: int, tmp_path: Path) -> None:
    study_sheet([study([1.0] * count), study([1.0])], tmp_path / "s.png", title="t")
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.width <= 100 * (module.LEFT + 12 * (module.SMALL + module.GAP) + 1)
    figure = study_figure([study([1.0] * count)], title="t")
    for axes in figure.axes:
        box = axes.get_position()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert max(box.x1, box.y1) <= 1
    assert sum(map(len, bars(figure))) == 2 * count
