"""Tables in files, CSV or Parquet by their name, and several of them joined as a stream."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from medcnn.errors import UserError
from medcnn.jobs.atomic_files import replacing, write_csv

ROWS = 20_000  # of a row group of Parquet, at least: more take more memory


def is_parquet(path: Path) -> bool:
    """Return whether a table is Parquet: its name ends in .parquet; else it is CSV."""
    return path.suffix.lower() == ".parquet"


def check_table_file(key: str, path: Path) -> None:
    """Raise UserError for Parquet where the package for it is missing; `key` named the file."""
    if is_parquet(path) and find_spec("pyarrow") is None:
        raise UserError(
            f'{key}={path}: Parquet takes a package more: pip install "medcnn[parquet]"; a name '
            "that ends in .csv goes without"
        )


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index; of CSV see `medcnn.jobs.atomic_files.for_spreadsheets`."""
    if not is_parquet(path):
        return write_csv(path, table)
    import pyarrow.parquet as pq

    with replacing(path) as temporary:
        pq.write_table(_arrow(table), temporary)


def join_tables(parts: Sequence[Path], output: Path) -> None:
    """Write a table of the rows of several, one after the other, with the columns that all have.

    They are read one at a time.

    Args:
        parts: At least one, of the kind of the output.
        output: Parquet or CSV.
    """
    if is_parquet(output):
        return _join_parquet(parts, output)
    columns = _shared([list(map(str, pd.read_csv(part, nrows=0))) for part in parts])
    with replacing(output) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for number, part in enumerate(parts):
            table = pd.read_csv(part, dtype=str, keep_default_na=False, usecols=columns)
            table[columns].to_csv(file, index=False, header=number == 0)


def _join_parquet(parts: Sequence[Path], output: Path) -> None:
    import pyarrow.parquet as pq

    columns = _shared([pq.read_schema(part).names for part in parts])
    schema = pq.ParquetFile(parts[0]).read(columns=columns).schema
    with replacing(output) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for table in _grouped(parts, columns):
            writer.write_table(table)


def _grouped(parts: Sequence[Path], columns: list[str]) -> Iterator[Any]:
    """Yield the tables of parts, several small ones together."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    waiting: list[Any] = []
    for part in parts:
        waiting.append(pq.ParquetFile(part).read(columns=columns, use_threads=False))
        if sum(len(table) for table in waiting) >= ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def as_text(name: str) -> str:
    r"""Return a name that UTF-8 can hold; what is no text, as in a damaged one, becomes an escape.

    >>> as_text("\udcff.png")
    '\\udcff.png'
    """
    return name.encode("utf-8", errors="backslashreplace").decode()


def _shared(columns: Sequence[Sequence[str]]) -> list[str]:
    """Return the names that all have, in the order of the first."""
    return [name for name in columns[0] if all(name in one for one in columns)]


def _arrow(table: pd.DataFrame) -> Any:
    """Return a table of Arrow: text as text, also where all cells of a column are empty."""
    import pyarrow as pa

    columns = {}
    for name in table:
        cells = table[name]
        if is_numeric_dtype(cells):
            columns[str(name)] = pa.array(cells, from_pandas=True)
        else:
            texts = [None if pd.isna(cell) else as_text(str(cell)) for cell in cells]
            columns[str(name)] = pa.array(texts, type=pa.string())
    return pa.table(columns)
