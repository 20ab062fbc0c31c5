import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from disks import fill, forbidden

from medcnn.errors import UserError, system_error
from medcnn.jobs.atomic_files import (
    check_folder,
    for_spreadsheets,
    read_csv,
    read_sample_table,
    replacing,
    write_csv,
    write_json,
    write_text,
)


def fail_half_way(path: Path, error: BaseException) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise error


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "table.csv"
    with replacing(path) as temporary:
        assert temporary.suffix == ".csv"
        assert temporary.parent == path.parent  # one file system, so that renaming is one step
        temporary.write_text("old")
        assert not path.exists()
    with pytest.raises(OSError, match="disk full"):
        fail_half_way(path, OSError("disk full"))
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with pytest.raises(KeyboardInterrupt):
        fail_half_way(path, KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_the_disk_has_all_of_a_file_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append((tmp_path / "a").exists()))
    write_text(tmp_path / "a", "text")
    assert synced == [False]


def test_a_full_disk_is_named_by_the_file_that_was_asked_for(small_disk: Path) -> None:
    path = small_disk / "table.csv"
    write_text(path, "old")
    fill(small_disk)
    with pytest.raises(OSError, match=r"No space left on device: '.*/table\.csv'") as caught:
        write_csv(path, pd.DataFrame({"a": range(5000)}))
    assert str(system_error(caught.value)).startswith(f"{path}: no space left on device: make room")
    assert path.read_text() == "old"
    with pytest.raises(UserError, match=r"output=b\.csv can't be written: .*: no space left"):
        check_folder("output=b.csv", small_disk / "new")


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_folder("output=maps", tmp_path / "new" / "maps")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(UserError, match=r"output=x can't be written: .*: not a directory"):
        check_folder("output=x", tmp_path / "file" / "x")
    with forbidden(tmp_path), pytest.raises(UserError, match=r"output=x .*: permission denied"):
        check_folder("output=x", tmp_path / "new")


def test_errors_that_nobody_here_can_help() -> None:
    assert system_error(FileNotFoundError(2, "No such file", "a")) is None
    assert system_error(OSError("a reader's own")) is None


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert path.read_text() == "1"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["no suffix", "two.parts.csv", "é = [1], 'x'.json", ".hidden"])
def test_any_name(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_text_is_utf8(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text(path, "Größe 5 µm\n肺\n")
    assert path.read_bytes() == "Größe 5 µm\n肺\n".encode()
    write_text(path, "")
    assert path.read_bytes() == b""


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    value = {"test/auroc": {"value": 0.1 + 0.2, "low": None}, "names": ["é", "b"]}
    write_json(path, value)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert text.endswith("}\n")
    assert text.splitlines()[1].startswith('  "')


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), {"a": [float("inf")]}])
def test_json_has_no_nan(tmp_path: Path, value: object) -> None:
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, value)
    assert path.read_text() == "1\n"


def test_csv(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"image": ["a, b.png", 'c"d".png', "é.png"], "prob": [0.1 + 0.2, np.nan, 1e-300]},
        index=[3, 5, 9],
    )
    path = tmp_path / "table.csv"
    write_csv(path, table)
    pd.testing.assert_frame_equal(pd.read_csv(path), table.reset_index(drop=True))
    write_csv(path, table, index_label="row")
    again = pd.read_csv(path, index_col="row")
    pd.testing.assert_frame_equal(again, table, check_names=False)
    assert path.read_text(encoding="utf-8").splitlines()[0] == "row,image,prob"


def test_text_in_a_table_stays_text(tmp_path: Path) -> None:
    names = ["None", "NULL", "nan", "NA", "007", None]
    table = pd.DataFrame({"label": names, "prob:NA": [0.1 + 0.2, np.nan, 1, 0, 1e-9, 1 / 3]})
    write_csv(tmp_path / "table.csv", table)
    read = read_csv(tmp_path / "table.csv", ["label"])
    assert read["label"].fillna("missing").tolist() == [*names[:-1], "missing"]
    np.testing.assert_array_equal(read["prob:NA"], table["prob:NA"])
    assert read_csv(tmp_path / "table.csv")["prob:NA"].tolist()[0] == "0.30000000000000004"


def test_a_sample_table_has_numbers_where_labels_are(tmp_path: Path) -> None:
    table = pd.DataFrame({"label:a": [1, -1], "site": ["01", "1"], "sex": ["M", None]})
    write_csv(tmp_path / "samples.csv", table, index_label="row")
    read = read_sample_table(tmp_path / "samples.csv")
    assert read["row"].tolist() == [0, 1]
    assert read["label:a"].tolist() == [1, -1]
    assert read["site"].tolist() == ["01", "1"]
    assert read["sex"].isna().tolist() == [False, True]


def test_cells_that_a_spreadsheet_would_run(tmp_path: Path) -> None:
    cells = ["=1+1", "+a", "-7", "-a", "@x", "'=x", "''=x", "'a", None]
    table = pd.DataFrame({"patient": cells, "=b": range(9)})
    for_spreadsheets(True)
    try:
        write_csv(tmp_path / "table.csv", table)
        counts = pd.DataFrame({"n": [2]}, index=["=class"])
        write_csv(tmp_path / "counts.csv", counts, index_label="")
    finally:
        for_spreadsheets(False)
    shown = (tmp_path / "table.csv").read_text().replace(",", " ").split()
    assert shown[::2] == ["patient", "'=1+1", "'+a", "-7", "'-a", "'@x", "''=x", "'''=x", "'a", "8"]
    assert shown[1] == "'=b"
    assert (tmp_path / "counts.csv").read_text() == ",n\n'=class,2\n"
    read = read_csv(tmp_path / "table.csv", ["patient"])
    assert list(read) == ["patient", "=b"]
    assert read["patient"].fillna("none").tolist() == [*cells[:-1], "none"]


def test_a_name_that_begins_with_an_apostrophe_stays(tmp_path: Path) -> None:
    cells = ["'-7", "'=x", "'a", "=x"]
    write_csv(tmp_path / "table.csv", pd.DataFrame({"patient": cells}))
    assert read_csv(tmp_path / "table.csv")["patient"].tolist() == cells
