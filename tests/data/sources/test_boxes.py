import numpy as np
import pandas as pd
import pytest
from refusals import refused

from medcnn.data.listing import BOX, boxes_of
from medcnn.data.sources.boxes import read_boxes

NONE = [""] * 4


def boxes(*rows: list[str], box_format: str = "xyxy", unit: str = "pixel") -> pd.DataFrame:
    """Of rows on lines 2, 3, … of a file."""
    lines = range(2, 2 + len(rows))
    return read_boxes(pd.DataFrame(rows, lines, list("abcd")), box_format, unit)


@pytest.mark.parametrize(
    ("box_format", "numbers"),
    [("xyxy", "10 20 40 80"), ("xywh", "10 20 30 60"), ("cxcywh", "25 50 30 60")],
)
def test_formats(box_format: str, numbers: str) -> None:
    found = boxes(numbers.split(), box_format=box_format)
    assert list(found) == list(BOX)
    assert found.iloc[0].to_dict() == {
        "box_top": 20,
        "box_left": 10,
        "box_bottom": 80,
        "box_right": 40,
    }


@pytest.mark.parametrize(
    ("box_format", "numbers"),
    [
        ("xyxy", "0.1 0.2 0.5 0.8"),
        ("xywh", "0.1 0.2 0.4 0.6"),
        ("cxcywh", "0.3 0.5 0.4 0.6"),
    ],
)
def test_fractions(box_format: str, numbers: str) -> None:
    found = boxes(numbers.split(), box_format=box_format, unit="fraction")
    np.testing.assert_allclose(found, [[0.2, 0.1, 0.8, 0.5]])


def test_numbers_in_any_notation() -> None:
    found = boxes(["1e1", " 20", "40.5", "+8E1"])
    assert found.to_numpy().tolist() == [[20, 10, 80, 40.5]]


def test_rows_without_a_box() -> None:
    found = boxes(NONE, list("0123"), NONE)
    assert found.index.tolist() == [2, 3, 4]
    assert found.dtypes.eq(np.float64).all()
    assert found.isna().all(axis=1).tolist() == [True, False, True]
    assert boxes(NONE, unit="fraction").isna().all(axis=None)


def test_a_whole_picture_and_a_little_more() -> None:
    assert boxes(list("0011"), unit="fraction").to_numpy().tolist() == [[0, 0, 1, 1]]
    found = boxes(["-0.04", "-0.04", "1.04", "1.04"], unit="fraction")
    assert found.to_numpy().tolist() == [[-0.04, -0.04, 1.04, 1.04]]
    assert boxes(["-3", "-2", "9", "9"]).to_numpy().tolist() == [[-2, -3, 9, 9]]


@pytest.mark.parametrize("cell", ["ten", "1,5", "inf", "-inf", "1e999", "True"])
def test_cells_that_are_no_number(cell: str) -> None:
    with refused(r"dataset\.columns\.box, line 3: the box holds no number$"):
        boxes(list("0123"), ["0", "1", cell, "3"])


@pytest.mark.parametrize("row", [["", "1", "2", "3"], ["0", "1", "2", ""], ["", "", "", "5"]])
def test_boxes_with_gaps(row: list[str]) -> None:
    with refused(r"dataset\.columns\.box, lines 2, 4: the box needs four numbers, or none"):
        boxes(row, NONE, row)


@pytest.mark.parametrize(
    ("box_format", "numbers"),
    [
        ("xyxy", "10 20 10 80"),
        ("xyxy", "10 20 40 20"),
        ("xyxy", "40 20 10 80"),
        ("xyxy", "10 80 40 20"),
        ("xywh", "10 20 0 5"),
        ("xywh", "10 20 5 -1"),
        ("cxcywh", "10 20 5 0"),
        ("xywh", "-1 -1 -1 -1"),
    ],
)
def test_boxes_without_width_or_height(box_format: str, numbers: str) -> None:
    with refused(r"dataset\.columns\.box, line 3: the box has no width or no height"):
        boxes(NONE, numbers.split(), box_format=box_format)


@pytest.mark.parametrize("unit", ["pixel", "fraction"])
@pytest.mark.parametrize("numbers", ["-9 2 0 8", "2 -9 8 -1"])
def test_boxes_beyond_the_first_pixel(numbers: str, unit: str) -> None:
    with refused(r"dataset\.columns\.box, line 2: the box lies outside of the image"):
        boxes(numbers.split(), unit=unit)


@pytest.mark.parametrize("numbers", ["0 0 1.06 1", "0 0 1 1.06", "-0.06 0 1 1", "0 -0.06 1 1"])
def test_fractions_that_are_pixels(numbers: str) -> None:
    with refused(r"line 3: the box isn't within 0 … 1 \(dataset\.box_unit=pixel\?\)"):
        boxes(NONE, numbers.split(), unit="fraction")


def test_pixels_that_are_fractions() -> None:
    with refused("no number is above 1: say dataset.box_unit=fraction"):
        boxes(["0.1", "0.2", "0.4", "1"], NONE)
    assert len(boxes(NONE, NONE)) == 2


def test_several_boxes_an_image() -> None:
    four = boxes(["10;1", "20;2", "40;4", "80;8"], NONE)
    one = read_boxes(pd.DataFrame({"box": ["10 20 40 80; 1,2,4,8;", ""]}, [2, 3]), "xyxy", "pixel")
    for found in (four, one):
        assert found.index.tolist() == [2, 3]
        expected = [[[20, 10, 80, 40], [2, 1, 8, 4]], [[np.nan] * 4] * 2]
        np.testing.assert_array_equal(boxes_of(found), expected)
    single = read_boxes(pd.DataFrame({"box": ["[10, 20, 30, 60]", ""]}), "xywh", "pixel")
    np.testing.assert_array_equal(boxes_of(single), [[[20, 10, 80, 40]], [[np.nan] * 4]])
    with refused(r"line 2: the box needs four numbers, or none"):
        boxes(["10;1", "20", "40;4", "80;8"])
    with refused(r"line 3: the box needs four numbers, or none"):
        read_boxes(pd.DataFrame({"box": ["", "1 2 3 4;5 6 7"]}, [2, 3]), "xyxy", "pixel")
