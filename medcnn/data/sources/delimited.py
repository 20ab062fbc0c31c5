"""Tables in text files, every cell as it is written there."""

import csv
import gzip
import re
import stat
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from medcnn.data.keys import cleaned
from medcnn.errors import UserError

DELIMITERS = ",;\t"
EMPTY = ("", "na", "n/a", "nan", "<na>")  # what R, spreadsheets and pandas write for no value
TRIED = 20  # rows that are cut to find the delimiter
SHOWN = 5  # lines that a message names
ROWS = 1 << 16  # that are lists of cells before they become columns


def read_table(path: Path) -> pd.DataFrame:
    r"""Read a table with commas, semicolons or tabs, plain or compressed (``.gz``).

    Args:
        path: UTF-8 text, whose first line holds the names of the columns; these are `cleaned`, so
            that line breaks and several spaces in a name become one space. A line ``sep=;`` before
            it, as Excel writes, names the delimiter; else it is the sign that cuts the first lines
            into as many cells as there are names.

    Returns:
        All cells as text, so that patient 007 stays that, without the spaces around them; see
        `without_empty`. Indexed by the line in the file, from 1, on which a row ends. Empty lines,
        and columns without a name (which programs add for a row's number), are left out.

    Raises:
        UserError: Missing, empty, no such table, or two columns of one name.
    """
    text = _read_text(path)
    first, _, rest = text.partition("\n")
    before = 0
    if match := re.fullmatch(r"\"?sep=(.)\"?", first.strip("\ufeff ")):
        delimiter, text, before = match[1], rest, 1
    else:
        delimiter = _delimiter(text, path)
    parts: list[pd.DataFrame] = []
    rows, lines = [], []
    reader = _cut(text, delimiter)
    try:
        names = [cleaned(name) for name in next(reader, [])]
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append(reader.line_num + before)
                if len(cells) != len(names):
                    raise UserError(
                        f"{path}, line {lines[-1]}: {len(cells)} cells, but there are "
                        f"{len(names)} columns"
                    )
                rows.append([cell.strip() for cell in cells])
            if len(rows) == ROWS:
                parts.append(pd.DataFrame(rows, columns=names, index=lines, dtype=str))
                rows, lines = [], []
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num + before}: can't be read as CSV ({error})"
        ) from error
    if twice := [name for name, count in Counter(names).items() if count > 1 and name]:
        raise UserError(f"{path} has several columns named {', '.join(twice)}: rename them")
    if not rows and not parts:
        raise UserError(f"{path} names columns, but holds no row")
    table = pd.concat([*parts, pd.DataFrame(rows, columns=names, index=lines, dtype=str)])
    return table[[name for name in names if name]]


def without_empty(cells: pd.Series, classes: Sequence[str] = ()) -> pd.Series:
    """Return a column with "" for each cell of `EMPTY`, in any case, that names no class."""
    kept = {name.casefold() for name in classes}
    gaps = {cell: cell.lower() in EMPTY and cell.casefold() not in kept for cell in cells.unique()}
    return cells.where(~cells.map(gaps), "")


def _cut(text: str, delimiter: str) -> Any:
    return csv.reader(_lines(text), delimiter=delimiter, strict=True, skipinitialspace=True)


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a text with their ends, without a copy of all of them."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _delimiter(text: str, path: Path) -> str:
    """Return the sign that cuts the first rows like the header, into the most cells."""
    header = text.partition("\n")[0]
    known = [sign for sign in DELIMITERS if sign in header]
    if not known:
        raise UserError(
            f"{path} is no table: its first line, which names the columns, holds neither comma, "
            "semicolon nor tab; at least image and label are needed"
        )
    return max(known, key=lambda sign: (_width(text, sign), header.count(sign)))


def _width(text: str, delimiter: str) -> int:
    """Return the number of cells of the first rows; 0 if they don't agree, or are not cut."""
    try:
        lengths = [len(cells) for cells in islice(_cut(text, delimiter), TRIED) if cells]
    except csv.Error:
        return 0
    return lengths[0] if len(set(lengths)) == 1 and lengths[0] > 1 else 0


def check_column(table: pd.DataFrame, name: str, key: str) -> None:
    """Raise UserError unless a table has the column that a key of the config names."""
    if name not in table:
        known = [str(column) for column in table]
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UserError(f"{key}={name}: no such column; {hint}there are {', '.join(known)}")


def at_lines(lines: Sequence[int] | pd.Index) -> str:
    """Return the place of cells, but not their content, which may identify a patient.

    >>> at_lines([3])
    'line 3'
    >>> at_lines([3, 4, 6, 7, 8, 9])
    'lines 3, 4, 6, 7, 8 … (6 in all)'
    """
    if len(lines) == 1:
        return f"line {lines[0]}"
    rest = f" … ({len(lines)} in all)" if len(lines) > SHOWN else ""
    return f"lines {', '.join(str(line) for line in lines[:SHOWN])}{rest}"


def refuse_lines(bad: pd.Series, what: str) -> None:
    """Raise UserError with the lines of the table that are bad, if any are."""
    if bad.any():
        raise UserError(f"dataset.path, {at_lines(bad.index[bad])}: {what}")


def _read_text(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            what = "is a folder" if path.is_dir() else "is special and no file"
            raise UserError(f"dataset.path: {path} {what}; give a table of images (.csv, .tsv)")
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        where = "" if path.is_absolute() else " from the folder that you are in"
        raise UserError(
            f"dataset.path: {path} is missing{where}; give a table of images (.csv, .tsv)"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"dataset.path: {path} can't be read ({reason})") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not text in UTF-8: save it as CSV with that encoding"
        ) from error
    if "\0" in text:
        raise UserError(f"{path} is not text: save it as CSV in UTF-8")
    if not text.strip():
        raise UserError(f"{path} is empty")
    return text.replace("\r\n", "\n").replace("\r", "\n")
