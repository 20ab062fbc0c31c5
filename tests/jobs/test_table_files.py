"""Tables as CSV or Parquet, and several joined."""

from pathlib import Path

import pandas as pd
import pytest

from medcnn.errors import UserError
from medcnn.jobs import table_files
from medcnn.jobs.atomic_files import for_spreadsheets, write_csv
from medcnn.jobs.table_files import check_table_file, join_tables, write_table


@pytest.fixture
def table() -> pd.DataFrame:
    """Six rows with what makes trouble: empty cells, quotes, lines."""
    names = ["a,b", 'say "x"', "two\nlines", "=run", r"\udcff.png", "é"]
    columns = {"image": names, "prob:x y": [0.1, 1 / 3, 1e-17, 1.0, 0.0, 2 / 3]}
    counts = pd.array([1, None, 3, 4, 5, 6], dtype="Int64")
    return pd.DataFrame({**columns, "decision": [None] * 3 + ["x"] * 3, "n": counts})


@pytest.mark.parametrize("spreadsheet", [False, True])
def test_joined_csv_is_byte_by_byte_what_the_whole_table_is(
    table: pd.DataFrame, tmp_path: Path, spreadsheet: bool
) -> None:
    for_spreadsheets(spreadsheet)
    write_csv(tmp_path / "whole.csv", table)
    parts = [tmp_path / f"{k}.csv" for k in range(3)]
    for k, part in enumerate(parts):
        write_table(part, table.iloc[2 * k : 2 * k + 2])
    for_spreadsheets(False)
    join_tables(parts, tmp_path / "joined.csv")
    assert (tmp_path / "joined.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize("rows", [20_000, 3])
def test_joined_parquet_has_all_rows_with_their_types(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(table_files, "ROWS", rows)
    parts = [tmp_path / f"{k}.parquet" for k in range(3)]
    for k, part in enumerate(parts):
        write_table(part, table.iloc[2 * k : 2 * k + 2])
    join_tables(parts, tmp_path / "joined.parquet")
    found = pq.read_table(tmp_path / "joined.parquet")
    assert [str(kind) for kind in found.schema.types] == ["string", "double", "string", "int64"]
    assert found["image"].to_pylist() == table["image"].tolist()
    assert found["prob:x y"].to_pylist() == table["prob:x y"].tolist()
    assert found["decision"].to_pylist() == [None] * 3 + ["x"] * 3
    assert found["n"].to_pylist() == [1, None, 3, 4, 5, 6]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_that_a_part_lacks_is_in_none(
    table: pd.DataFrame, tmp_path: Path, ending: str
) -> None:
    parts = [tmp_path / f"{k}.{ending}" for k in range(2)]
    write_table(parts[0], table)
    write_table(parts[1], table.drop(columns="decision"))
    join_tables(parts, output := tmp_path / f"joined.{ending}")
    found = pd.read_csv(output) if ending == "csv" else pd.read_parquet(output)
    assert list(found) == ["image", "prob:x y", "n"]
    assert len(found) == 12


def test_parquet_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    check_table_file("output", Path("out.parquet"))
    monkeypatch.setattr(table_files, "find_spec", lambda _: None)
    check_table_file("output", Path("out.csv"))
    with pytest.raises(UserError, match=r"output=out\.parquet: Parquet takes a package more: pip"):
        check_table_file("output", Path("out.parquet"))
