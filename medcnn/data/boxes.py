"""Boxes round lesions, as the tables of researchers hold them."""

import numpy as np
import pandas as pd

from medcnn.data.delimited import at_lines
from medcnn.data.listing import BOX
from medcnn.errors import UserError

FORMATS = ("xyxy", "xywh", "cxcywh")
UNITS = ("pixel", "fraction")
BEYOND = 0.05  # of the image that a fraction may lie outside of it: what rounding does to a box


def check_box_options(box_format: str, unit: str) -> None:
    """Raise UserError for a format or a unit that `read_boxes` doesn't know."""
    if box_format not in FORMATS:
        raise UserError(f"dataset.box_format={box_format}: choose one of {', '.join(FORMATS)}")
    if unit not in UNITS:
        raise UserError(f"dataset.box_unit={unit}: choose one of {', '.join(UNITS)}")


def read_boxes(cells: pd.DataFrame, box_format: str, unit: str) -> pd.DataFrame:
    """Makes edges of numbers in text.

    Args:
        cells: Four columns in the order of `box_format`, each number "" where there is no box;
            the index is the line in the file.
        box_format: xyxy (left, top, right, bottom), xywh (left, top, width, height) or cxcywh
            (centre, width, height); right and bottom are where the box ends, so that a box as
            large as the image has the image's width as its right.
        unit: pixel, or fraction of the image's width and height.

    Returns:
        The columns `BOX`, float64, NaN where there is no box.

    Raises:
        UserError: No such format or unit, or a box that none can be.
    """
    check_box_options(box_format, unit)
    given = (cells != "").to_numpy()
    values = cells.apply(lambda column: pd.to_numeric(column, errors="coerce")).to_numpy(float)
    _refuse(cells, given & ~np.isfinite(values), "holds no number")
    _refuse(cells, given.any(1, keepdims=True) & ~given, "needs four numbers, or none")
    left, top, right, bottom = _edges(values, box_format)
    edges = np.stack([top, left, bottom, right], 1)
    _refuse(cells, ((right <= left) | (bottom <= top))[:, None], "has no width or no height")
    _refuse(cells, edges[:, 2:] <= 0, "lies outside of the image")
    if unit == "pixel" and (edges <= 1).any() and not (edges > 1).any():
        raise UserError("dataset.columns.box: no number is above 1: say dataset.box_unit=fraction")
    if unit == "fraction":
        outside = (edges < -BEYOND) | (edges > 1 + BEYOND)
        _refuse(cells, outside, "isn't within 0 … 1 (dataset.box_unit=pixel?)")
    return pd.DataFrame(edges, cells.index, list(BOX))


def _edges(values: np.ndarray, box_format: str) -> tuple[np.ndarray, ...]:
    """Left, top, right, bottom, (N,) each."""
    x, y, third, fourth = values.T
    if box_format == "xyxy":
        return x, y, third, fourth
    if box_format == "cxcywh":
        x, y = x - third / 2, y - fourth / 2
    return x, y, x + third, y + fourth


def _refuse(cells: pd.DataFrame, bad: np.ndarray, what: str) -> None:
    """Raise UserError with the lines that are bad, if any are."""
    rows = np.flatnonzero(bad.any(1))
    if len(rows):
        raise UserError(f"dataset.columns.box, {at_lines(cells.index[rows])}: the box {what}")
