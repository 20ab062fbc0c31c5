"""Facts of sites and persons in a table: study, view, site, sex and age."""

import re

import pandas as pd

from medcnn.data.keys import tidy
from medcnn.data.sources.delimited import at_lines
from medcnn.jobs.notes import note

FACTS = ("study", "view", "site", "sex", "age")
SEXES = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "woman": "F"}
PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}  # DICOM, PS3.5, 6.2: AS
AGE = re.compile(r"(\d{1,3}(?:\.\d+)?)([YMWD]?)\+?", re.IGNORECASE)


def read_fact(cells: pd.Series, key: str) -> pd.Series:
    """Return a column of facts as text; missing where a cell is empty.

    Args:
        cells: As they stand in the table, "" for none; the index is the line in the file.
        key: One of `FACTS`. Sexes become M and F where they are spelled so or as words.
            Ages become numbers of years: 62, 062Y and 018M as in DICOM, 90+ as 90;
            cells that hold none are counted in a note, and missing.
    """
    cells = cells.map(tidy)
    if key == "sex":
        cells = cells.map(lambda cell: SEXES.get(cell.casefold(), cell))
    if key != "age":
        return cells.where(cells != "")
    ages = cells.map(years)
    strange = (cells != "") & ages.isna()
    if strange.any():
        note(
            f"dataset.columns.age={cells.name}: {strange.sum()} of {len(cells)} cells hold no age "
            "(such as 62, 062Y or 90+), and count as unknown: "
            f"{at_lines(cells.index[strange])}"
        )
    return ages


def years(cell: str) -> str | None:
    """Return an age in years as text, or None.

    >>> years("062Y"), years("018M"), years("90+"), years("old")
    ('62', '1.5', '90', None)
    """
    match = AGE.fullmatch(cell)
    return f"{float(match[1]) / PER_YEAR[match[2].upper() or 'Y']:.4g}" if match else None
