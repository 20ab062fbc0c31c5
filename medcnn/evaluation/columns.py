"""The columns of a table of predictions, as arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcnn.errors import UserError
from medcnn.jobs.atomic_files import read_csv
from medcnn.objective import UNKNOWN, Task

TEXT = ("label", "decision", "patient", "study", "image", "split", "sex", "site")
SHOWN = 20  # classes that an error names


def read_table(path: str | Path) -> pd.DataFrame:
    """Return a table of predictions as it was written: text as text, numbers to the last digit.

    Spaces after the commas, as other programs write them, don't count.

    Raises:
        OSError: It can't be opened.
        ValueError: It is no such table.
    """
    columns = [str(name) for name in pd.read_csv(path, nrows=0).columns]
    text = [name for name in columns if name.strip() in TEXT]
    table = read_csv(path, text)
    if any(name != name.strip() for name in columns):
        table = table.assign(**{name: table[name].str.strip() for name in text})
        table = table.rename(columns=str.strip)
    return table


def task_of(columns: list[str], classes: int) -> Task:
    """Return the task that columns of predictions belong to."""
    if not any(column.startswith("prob:") for column in columns):
        return "regression"
    if any(column.startswith("label:") for column in columns):
        return "multilabel"
    return "binary" if classes == 2 else "multiclass"


def names_of(table: pd.DataFrame) -> list[str]:
    """Return the classes, or targets, in the order of the columns."""
    for kind in ("prob", "prediction"):
        names = [c.partition(":")[2] for c in table.columns if c.startswith(f"{kind}:")]
        if names:
            return names
    return ["prediction"]


def classes(table: pd.DataFrame, column: str, names: list[str], task: Task) -> NDArray[Any]:
    """Return labels or decisions as numbers: (N,) or (N, K), unknown ones -1."""
    if task == "multilabel":
        values = numbers(table, column, names, several=True)
        return np.nan_to_num(values, nan=UNKNOWN).astype(np.int64)
    index = {"": UNKNOWN, **{name: k for k, name in enumerate(names)}}
    texts = column_of(table, column).fillna("").astype(str)
    strange = ~texts.isin(list(index))
    if strange.any():
        shown = ", ".join(names[:SHOWN]) + " …" * (len(names) > SHOWN)
        raise UserError(
            f"column {column}: {texts[strange].iloc[0]!r} is none of the classes {shown}"
        )
    return texts.map(index).to_numpy(np.int64)


def numbers(
    table: pd.DataFrame, column: str, names: list[str], several: bool = False
) -> NDArray[np.float64]:
    """Return (N, K) of the columns ``<column>:<name>``, or of the only one; NaN where empty."""
    columns = [f"{column}:{name}" for name in names] if several or len(names) > 1 else [column]
    for name in columns:
        column_of(table, name)  # must be there
    found = table[columns]
    if all(isinstance(kind, np.dtype) and kind.kind in "iuf" for kind in found.dtypes):
        return found.to_numpy(float, copy=True)  # at once, for there may be thousands
    return np.stack([numbers_in(table, name) for name in columns], axis=1)


def numbers_in(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """Return (N,) of a column; NaN where empty."""
    found = pd.to_numeric(column_of(table, name), errors="coerce")
    return found.to_numpy(float, na_value=np.nan)


def column_of(table: pd.DataFrame, name: str) -> "pd.Series[Any]":
    """Return a column (N,); raise UserError where there is none."""
    if name not in table:
        raise UserError(
            f"the table of predictions has no column {name}: it needs prob:<class> of each class "
            "and label (several labels: label:<class> of each; regression: prediction and label)"
        )
    return table[name]
