"""Columns of a table as numbers: standardised, or a place for each category."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.errors import UserError

Code = dict[str, Any]  # of a column, as `medcnn.data.columns.codes.codes_of` finds it
SHOWN = 5  # rows or values that a message names


def encoded(table: pd.DataFrame, codes: Sequence[Code], data: str = "given") -> Tensor:
    """Return the columns of a table as inputs (N, F) float32, in the places of `blocks`.

    A number is (x − mean) / std, and 0 where it is missing; a category is 1 in its own place and 0
    in those of the others, and 0 in all where it is missing or was never seen in training. Behind
    them stands 1 for a missing value, 0 for a known one, where the training had missing ones.

    Args:
        table: N rows.
        codes: Of `codes_of`.
        data: Name of the data set, for messages.

    Raises:
        UserError: A column is missing, or one of numbers holds something else.
    """
    parts = []
    for code in codes:
        check_there(table, code["column"], data)
        texts = texts_of(table, code["column"])
        if "categories" in code:
            parts.append(texts[:, None] == np.array(code["categories"], dtype=object))
        else:
            numbers = numbers_of(texts)
            _refuse_texts(code["column"], (texts != "") & np.isnan(numbers), data)
            values = np.nan_to_num((numbers - code["mean"]) / code["std"])
            parts.append(values[:, None])
        if code["missing"]:
            parts.append((texts == "")[:, None])
    return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))


def _refuse_texts(name: str, bad: NDArray[np.bool_], data: str) -> None:
    rows = np.flatnonzero(bad).tolist()
    if rows:
        places = ", ".join(map(str, rows[:SHOWN])) + (" …" if len(rows) > SHOWN else "")
        raise UserError(
            f"data set {data}, column {name}: {len(rows)} of {len(bad)} values are no numbers "
            f"(rows {places}, from 0), as they were in training: put them right, or leave them "
            "empty"
        )


def check_there(table: pd.DataFrame, name: str, data: str) -> None:
    """Raise UserError unless a sample table has a column that a network takes."""
    if name not in table:
        known = [str(column) for column in table]
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"data set {data} has no column {name}, which the network takes as an input; {hint}"
            f"there are {', '.join(known)}"
        )


def texts_of(table: pd.DataFrame, name: str) -> NDArray[Any]:
    """Return the values of a column (N,) as text, "" where one is missing."""
    cells: pd.Series = table[name]
    known = cells.notna().to_numpy()
    texts = [str(cell).strip() for cell in cells.tolist()]
    return np.where(known, np.array(texts, dtype=object), "")


def numbers_of(texts: NDArray[Any]) -> NDArray[np.float64]:
    """Return texts (N,) as numbers, NaN where one is missing, none, or infinite."""
    numbers = pd.to_numeric(pd.Series(texts), errors="coerce").to_numpy(float)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def blocks(codes: Sequence[Code]) -> dict[str, slice]:
    """Return the places of each column among the inputs of `encoded`.

    >>> blocks([{"column": "sex", "categories": ["F", "M"], "missing": True},
    ...         {"column": "age", "mean": 60.0, "std": 9.0, "missing": False}])
    {'sex': slice(0, 3, None), 'age': slice(3, 4, None)}
    """
    found, start = {}, 0
    for code in codes:
        end = start + len(code.get("categories", [0])) + code["missing"]
        found[code["column"]] = slice(start, end)
        start = end
    return found


def unknown_row(codes: Sequence[Code]) -> list[float]:
    """Return the inputs (F,) of a patient of whom no column is known."""
    if not codes:
        return []
    nothing = pd.DataFrame({code["column"]: [None] for code in codes})
    values: list[float] = encoded(nothing, codes)[0].tolist()
    return values


def lines_on(table: pd.DataFrame, codes: Sequence[Code]) -> list[str]:
    """Return sentences on values of a table unlike those of the training."""
    lines = []
    for code in codes:
        name, texts = code["column"], texts_of(table, code["column"])
        gaps = int((texts == "").sum())
        if gaps and not code["missing"]:
            how = "no category" if "categories" in code else "the mean of the training"
            lines.append(
                f"column {name}: {gaps} of {len(texts)} values are missing, as none was in "
                f"training; they count as {how}"
            )
        new = ~np.isin(texts, ["", *code.get("categories", texts)])
        if new.any():
            lines.append(
                f"column {name}: {int(new.sum())} of {len(texts)} values were never seen in "
                f"training ({', '.join(sorted(set(texts[new]))[:SHOWN])}); they count as no "
                "category"
            )
    return lines


def described(codes: Sequence[Code]) -> str:
    """Return the columns in words.

    >>> described([{"column": "age", "mean": 60.0, "std": 9.04, "missing": True},
    ...            {"column": "sex", "categories": ["F", "M"], "missing": False}])
    'age (60 ± 9.04, some missing), sex (F | M)'
    """
    words = []
    for code in codes:
        values = " | ".join(code["categories"]) if "categories" in code else None
        values = values or f"{code['mean']:.3g} ± {code['std']:.3g}"
        words.append(f"{code['column']} ({values}{', some missing' * code['missing']})")
    return ", ".join(words)


def unsaid_line(codes: Sequence[Code]) -> str:
    """Return a sentence on the columns of a network that gets files alone."""
    names = ", ".join(code["column"] for code in codes)
    return (
        f"the network also takes columns ({names}), which a file alone doesn't say: they count as "
        "missing; medcnn.predict dataset=csv dataset.path=table.csv takes them from a table"
    )


def given_columns(columns: Mapping[str, Any] | pd.DataFrame, count: int) -> pd.DataFrame:
    """Return columns that were given in Python as a table of `count` rows.

    Args:
        columns: Of each its value for all images, or one for each.
        count: Of images, or studies.

    Raises:
        UserError: A column with another number of values.
    """
    given = {
        name: [value] * count if np.ndim(value) == 0 else list(value)
        for name, value in (columns if columns is not None else {}).items()
    }
    for name, values in given.items():
        if len(values) != count:
            raise UserError(f"columns: {name} has {len(values)} values for {count} images")
    return pd.DataFrame(given, index=range(count), dtype=object)
