"""A data set of files before any of them is opened: a table of paths and labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from medcnn.data.image import ImageSpec
from medcnn.objective import Task

SEPARATOR = ";"  # between several masks or boxes of an image
TILES = ("tile_slice", "tile_row", "tile_column")  # of a tile's first pixel, as samples have them
BOX = ("box_top", "box_left", "box_bottom", "box_right")


@dataclass
class Listing:
    """Images and labels of a table or a folder, of which `open_listing` makes `Samples`.

    Args:
        name: Of the data set, for titles and file names.
        table: One row an image. Columns: ``image`` (path relative to `root`, with forward
            slashes; a folder stands for a DICOM series), of several files an image beside the first
            one ``image:<name>`` for each of `ImageSpec.columns` (missing for none), ``patient``,
            and as given ``split``,
            ``mask`` (path relative to `root`, or missing; with a mask a label instead
            ``mask:<name>`` for every class), the four of `BOX`, ``site``, ``sex``,
            ``age`` and any others. Several masks or boxes of an image, which together are its
            lesion, are text with `SEPARATOR` between them. Label columns as in `Samples`: ``label``
            or ``label:<name>``, class indices, 0/1, or numbers (regression); unknown ones are -1,
            or NaN in regression.
        root: Absolute folder that every file has to lie in, symbolic links resolved.
        spec: How files become network inputs.
        task: What the labels mean.
        class_names: Names of the classes, or in regression of the targets.
        positive: Index of the class that is sought, or None.
        box_unit: ``pixel`` of the file, or ``fraction`` of its height and width, of `BOX` (the
            lower ends exclusive, NaN for none).
        features: Columns of the table that are inputs of the network, see `Samples`.
    """

    name: str
    table: pd.DataFrame
    root: Path
    spec: ImageSpec
    task: Task
    class_names: tuple[str, ...]
    positive: int | None = None
    box_unit: str = "pixel"
    features: tuple[str, ...] = ()


def image_columns(spec: ImageSpec) -> list[str]:
    """Return the columns of a listing's table that hold the files of an image."""
    return [f"image:{name}" for name in spec.columns] or ["image"]


def boxes_of(table: pd.DataFrame) -> np.ndarray:
    """Return the boxes of a sample table as (N, M, 4): M the most that a row has, NaN for none.

    The columns `BOX` are numbers, or text with semicolons between several.
    """
    if all(is_numeric_dtype(table[name]) for name in BOX):
        return table[list(BOX)].to_numpy(float)[:, None]
    rows = [
        list(zip(*(str(edge).split(SEPARATOR) for edge in row), strict=True))
        for row in table[list(BOX)].to_numpy().tolist()
    ]
    boxes = np.full((len(rows), max(map(len, rows), default=1), 4), np.nan)
    for k, row in enumerate(rows):
        boxes[k, : len(row)] = [[float(edge or "nan") for edge in box] for box in row]
    return boxes
