"""Boxes round lesions, in the cells of a table."""

import re

import numpy as np
import pandas as pd

from medcnn.data.listing import BOX, SEPARATOR
from medcnn.data.sources.delimited import at_lines
from medcnn.errors import UserError

FORMATS = ("xyxy", "xywh", "cxcywh")
UNITS = ("pixel", "fraction")
BEYOND = 0.05  # of the image that a fraction may lie outside of it: what rounding does to a box


def check_box_options(box_format: str, unit: str) -> None:
    """Raise UserError for an unknown format or unit."""
    if box_format not in FORMATS:
        raise UserError(f"dataset.box_format={box_format}: choose one of {', '.join(FORMATS)}")
    if unit not in UNITS:
        raise UserError(f"dataset.box_unit={unit}: choose one of {', '.join(UNITS)}")


def read_boxes(cells: pd.DataFrame, box_format: str, unit: str) -> pd.DataFrame:
    """Read the edges of boxes from text.

    Args:
        cells: Four columns in the order of `box_format`, with "" where there is no box, and with
            semicolons between the numbers of several boxes; or one column with all four numbers,
            ``10 20 30 40;50 60 70 80``. The index is the line in the file.
        box_format: xyxy (left, top, right, bottom), xywh (left, top, width, height) or cxcywh
            (centre, width, height); right and bottom are where the box ends, so that a box as
            large as the image has the image's width as its right.
        unit: pixel, or fraction of the image's width and height.

    Returns:
        The columns `BOX`, float64, NaN where there is no box; where a row has several they are
        text, see `boxes_of`.

    Raises:
        UserError: A box that none can be.
    """
    single = _one_by_one(cells)
    given = (single != "").to_numpy()
    values = single.apply(lambda column: pd.to_numeric(column, errors="coerce")).to_numpy(float)
    _refuse(single, given & ~np.isfinite(values), "holds no number")
    _refuse(single, given.any(1, keepdims=True) & ~given, "needs four numbers, or none")
    left, top, right, bottom = _edges(values, box_format)
    edges = np.stack([top, left, bottom, right], 1)
    _refuse(single, ((right <= left) | (bottom <= top))[:, None], "has no width or no height")
    _refuse(single, edges[:, 2:] <= 0, "lies outside of the image")
    if unit == "pixel" and (edges <= 1).any() and not (edges > 1).any():
        raise UserError("dataset.columns.box: no number is above 1: say dataset.box_unit=fraction")
    if unit == "fraction":
        outside = (edges < -BEYOND) | (edges > 1 + BEYOND)
        _refuse(single, outside, "isn't within 0 … 1 (dataset.box_unit=pixel?)")
    found = pd.DataFrame(edges, single.index, list(BOX))
    if found.index.is_unique:
        return found
    texts = found.map(lambda edge: "" if np.isnan(edge) else f"{edge:.10g}")
    return texts.groupby(level=0, sort=False).agg(SEPARATOR.join)


def _one_by_one(cells: pd.DataFrame) -> pd.DataFrame:
    """Return four columns of single numbers; a row of several boxes becomes as many rows."""
    if cells.shape[1] == 1:
        boxes = cells.iloc[:, 0].map(_parts)
        numbers = boxes.explode().map(lambda box: re.split(r"[\s,]+", box.strip("[]() ")))
        bad = (numbers.map(len) != 4) & (numbers.map("".join) != "")
        _refuse(numbers.to_frame(), bad.to_numpy()[:, None], "needs four numbers, or none")
        rows = [one if len(one) == 4 else [""] * 4 for one in numbers]
        return pd.DataFrame(rows, numbers.index, list("abcd"), dtype=str)
    if not cells.apply(lambda column: column.str.contains(SEPARATOR, regex=False)).any(axis=None):
        return cells
    lists = cells.map(_parts)
    lengths = lists.map(len).to_numpy()
    _refuse(cells, lengths != lengths[:, :1], "needs four numbers, or none")
    return lists.explode(list(lists.columns))


def _parts(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(SEPARATOR) if part.strip()] or [""]


def _edges(values: np.ndarray, box_format: str) -> tuple[np.ndarray, ...]:
    """Return left, top, right, bottom, (N,) each."""
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
        lines = cells.index[rows].unique()
        raise UserError(f"dataset.columns.box, {at_lines(lines)}: the box {what}")
