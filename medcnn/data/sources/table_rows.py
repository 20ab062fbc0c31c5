"""The cells of a table: rows of one image, gaps, names that look alike."""

from typing import Any

import pandas as pd

from medcnn.data.keys import look_alikes
from medcnn.data.listing import SEPARATOR
from medcnn.data.sources.delimited import at_lines, refuse_lines, without_empty
from medcnn.data.sources.labels import LabelOptions
from medcnn.jobs.notes import note


def listed(names: str | list[str] | None) -> list[str]:
    """Return the names of columns that a key holds: none, one or several."""
    return [] if names is None else [names] if isinstance(names, str) else names


def one_row_an_image(cells: pd.DataFrame, names: dict[str, Any]) -> pd.DataFrame:
    """Return a table where rows that differ in masks or boxes of an image only are joined.

    Columns that have no meaning here are those of the first row. Rows of an image that differ in
    more, or in nothing, are a UserError.
    """
    lesion = [name for key in ("mask", "box") for name in listed(names[key])]
    images = _files_of(cells, names["image"])
    several = images.duplicated(keep=False) & (without_empty(images) != "")
    if not lesion or not several.any():
        return cells
    used = [name for value in names.values() for name in listed(value) if name not in lesion]
    rows = cells[several].groupby(images[several])
    differ = (rows[list(dict.fromkeys(used))].nunique() > 1).any(axis=1)
    lines = several & (images.map(differ).eq(True) | cells.duplicated([*used, *lesion], keep=False))
    refuse_lines(
        lines, "an image is listed more than once; its rows may differ in its mask or box only"
    )
    kept = cells[~images.duplicated() | ~several].copy()
    for name in lesion:
        given = without_empty(cells[name])[several]
        joined = given[given != ""].groupby(images).agg(SEPARATOR.join)
        kept[name] = images[kept.index].map(joined).fillna(kept[name])
    return kept


def _files_of(cells: pd.DataFrame, names: str | list[str]) -> pd.Series:
    """Return what an image's cells hold, of several files an image those that are named."""
    if isinstance(names, str):
        return cells[names]
    rows = cells[names].to_numpy().tolist()
    return pd.Series([SEPARATOR.join(filter(None, row)) for row in rows], cells.index)


def label_cells(cells: pd.DataFrame, names: dict[str, Any], options: LabelOptions) -> pd.DataFrame:
    """Return the label columns; a note names cells that might be a class, but are unknown."""
    single = isinstance(names["label"], str) and options.task != "regression"
    classes = [*(options.names or []), str(options.no_finding)] if single else []
    columns = {name: without_empty(cells[name], classes) for name in listed(names["label"])}
    words = [cells[name][(kept == "") & (cells[name] != "")] for name, kept in columns.items()]
    gaps = pd.concat(words)
    if len(gaps):
        key = "; name it in dataset.classes if it is a class" if single else ""
        shown = ", ".join(sorted(set(gaps)))
        note(f"{len(gaps)} cells read as unknown: {shown} (in {', '.join(columns)}){key}")
    return pd.DataFrame(columns)


def note_look_alikes(cells: pd.Series, key: str) -> None:
    """Note names that look alike, by their lines, as they may identify someone."""
    if groups := look_alikes(cells.dropna().unique()):
        lines = [int(cells.index[cells == name][0]) for name in groups[0]]
        note(
            f"dataset.columns.{key}={cells.name}: {len(groups)} names differ from another in "
            "capitals or leading zeros only, such as those of "
            f"{at_lines(lines)}; they count as different"
        )
