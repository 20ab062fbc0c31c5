"""Tables in text files, every cell as it is written there."""

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import pandas as pd

from medcnn.errors import UserError

DELIMITERS = ",;\t"
EMPTY = ("", "na", "n/a", "nan", "<na>")  # what R, spreadsheets and pandas write for no value
SHOWN = 5  # lines that a message names


def read_table(path: Path) -> pd.DataFrame:
    r"""Reads a table with commas, semicolons or tabs, plain or compressed (``.gz``).

    Args:
        path: UTF-8 text, whose first line holds the names of the columns; line breaks and several
            spaces in a name become one space.

    Returns:
        All cells as text, so that patient 007 stays that, without the spaces around them; those in
        `EMPTY`, in small letters or capitals, are "". Indexed by the line in the file, from 1, on
        which a row ends. Empty lines, and columns without a name (which programs add for a row's
        number), are left out.

    Raises:
        UserError: Missing, empty, no such table, or two columns of one name.
    """
    text = _read_text(path)
    header_line = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header_line.count)
    if delimiter not in header_line:
        raise UserError(
            f"{path} is no table: its first line, which names the columns, holds neither comma, "
            "semicolon nor tab"
        )
    rows, lines = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [" ".join(name.split()) for name in next(reader)]
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append(_cells(cells, names, path, reader.line_num))
                lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num}: can't be read as CSV ({error})"
        ) from error
    _check_header(names, path)
    if not rows:
        raise UserError(f"{path} names columns, but holds no row")
    table = pd.DataFrame(rows, columns=names, index=lines, dtype=str)
    return table[[name for name in names if name]]


def check_column(table: pd.DataFrame, name: str, key: str) -> None:
    """Raise UserError, with the names there are, unless the table has that column.

    Args:
        table: Any.
        name: Of the column.
        key: The key of the config that names it.
    """
    if name not in table:
        known = [str(column) for column in table]
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UserError(f"{key}={name}: no such column; {hint}there are {', '.join(known)}")


def at_lines(lines: Sequence[int] | pd.Index) -> str:
    """Where something is, without what it is: cells may identify a patient.

    >>> at_lines([3])
    'line 3'
    >>> at_lines([3, 4, 6, 7, 8, 9])
    'lines 3, 4, 6, 7, 8 … (6 in all)'
    """
    if len(lines) == 1:
        return f"line {lines[0]}"
    rest = f" … ({len(lines)} in all)" if len(lines) > SHOWN else ""
    return f"lines {', '.join(str(line) for line in lines[:SHOWN])}{rest}"


def _read_text(path: Path) -> str:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is missing"
        raise UserError(f"dataset.path: {path} {what}; give a table of images (.csv, .tsv)")
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} can't be read ({error})") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not text in UTF-8: save it as CSV with that encoding"
        ) from error
    if "\0" in text:
        raise UserError(f"{path} is not text: save it as CSV in UTF-8")
    if not text.strip():
        raise UserError(f"{path} is empty")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _cells(cells: list[str], names: list[str], path: Path, line: int) -> list[str]:
    if len(cells) != len(names):
        raise UserError(
            f"{path}, line {line}: {len(cells)} cells, but there are {len(names)} columns"
        )
    stripped = [cell.strip() for cell in cells]
    return ["" if cell.lower() in EMPTY else cell for cell in stripped]


def _check_header(names: list[str], path: Path) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise UserError(f"{path} has several columns named {', '.join(twice)}: rename them")
