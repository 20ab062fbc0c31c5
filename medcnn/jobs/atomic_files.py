"""Files that are either whole or not there."""

import json
import os
import re
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn.errors import UserError, reason

if TYPE_CHECKING:  # else each command would load it before its first word
    import pandas as pd

FORMULA = re.compile(r"'*[=+\-@]")  # how a cell begins that a spreadsheet runs, or one made inert
_for_spreadsheets: ContextVar[bool] = ContextVar("for_spreadsheets", default=False)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``, with the same ending, to write to.

    It takes the place of ``path`` when the block ends, once the disk has all of it, and is removed
    when the block fails.

    Raises:
        OSError: The system's, with ``path`` as its file name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}-{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # else a crash could leave the new name with half a file
        temporary.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Return the facts in a JSON file; empty if there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def check_folder(key: str, folder: Path) -> None:
    """Raise UserError unless files can be made in a folder, or in what there is of it.

    To be asked before long work whose result goes there; `key` is what named it: ``output=maps``.
    """
    there = folder.absolute()
    try:
        while not there.exists():
            there = there.parent
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise UserError(f"{key} can't be written: {there}: {reason(error)}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8; what is no text, as in a damaged file name, as an escape."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, indented; NaN and infinity, which JSON lacks, are refused."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return JSON as `write_json` writes it."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def write_csv(path: Path, table: "pd.DataFrame", index_label: str | None = None) -> None:
    """Write a table, with its index as a column if that gets a name; see `for_spreadsheets`."""
    from pandas.api.types import is_numeric_dtype

    texts = [name for name in table if not is_numeric_dtype(table[name])]
    table = table.assign(**{str(name): table[name].map(_inert) for name in texts})
    table = table.rename(index=_inert, columns=_inert)
    index = index_label is not None
    with replacing(path) as temporary:
        table.to_csv(temporary, index=index, index_label=index_label, errors="backslashreplace")


def for_spreadsheets(on: bool) -> None:
    """Set whether `write_csv` puts a ' before cells that a spreadsheet would run as a formula.

    These begin with = + - or @ and are no number. One that has such a ' of its own gets another in
    either case, so that `read_csv` takes away what was put there, and no more.
    """
    _for_spreadsheets.set(on)


def _inert(cell: Any) -> Any:
    """Return a cell that a spreadsheet shows as it is, where that is wanted."""
    if not isinstance(cell, str) or not FORMULA.match(cell):
        return cell
    if not cell.startswith("'"):
        if not _for_spreadsheets.get():
            return cell
        with suppress(ValueError):
            float(cell)
            return cell
    return f"'{cell}"


def _plain(cell: Any) -> Any:
    """Return the cell that `_inert` was given."""
    shown = isinstance(cell, str) and cell.startswith("'") and FORMULA.match(cell[1:])
    return cell[1:] if shown else cell


def read_csv(path: Path | str, text: Sequence[str] | None = None) -> "pd.DataFrame":
    """Read a table that was written here; an empty cell is missing, NA or None is text.

    Args:
        path: Raises OSError or ValueError if it can't be read.
        text: Columns in which 007 stays 007; None for all. Others become numbers where they can.
    """
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    types = str if text is None else dict.fromkeys(text, str)
    table = pd.read_csv(
        path, dtype=types, keep_default_na=False, na_values=[""], float_precision="round_trip"
    )
    for name in table:
        if not is_numeric_dtype(table[name]) and table[name].str.startswith("'").any():
            table[name] = table[name].map(_plain)
    return table.rename(columns=_plain)


def read_sample_table(path: Path) -> "pd.DataFrame":
    """Read a samples.csv as `read_csv` does: rows and labels as numbers, all else as text.

    So a site 01 isn't 1, and a cross-validation that pools such tables sees what one run sees.
    """
    import pandas as pd

    table = read_csv(path)
    for name in map(str, table):
        if name in ("row", "label", "slice") or name.startswith(("label:", "tile_")):
            numbers = pd.to_numeric(table[name], errors="coerce")
            if (numbers.isna() == table[name].isna()).all():
                table[name] = numbers
    return table
