"""Work in parts, which goes on after any end."""

import json
from pathlib import Path

import pandas as pd
import pytest

from medcnn.errors import UserError
from medcnn.inference.parts import (
    Advance,
    Done,
    Parts,
    begin_parts,
    is_begun,
    kept_parts,
    opened_parts,
    parts_of,
)


class Squares:
    """The squares of the rows, but for every seventh row."""

    def do(self, first: int, last: int, advance: Advance) -> Done:
        rows = [row for row in range(first, last) if row % 7]
        advance(last - first)
        table = pd.DataFrame({"row": rows, "square": [row**2 for row in rows]})
        return Done(table, [f"{row} is a seventh" for row in range(first, last) if row % 7 == 0])


def begun(folder: Path, total: int = 22, **job: object) -> Parts:
    return begin_parts(folder, {"n": 1, **job}, total, 5, ".csv", replaces=False)


def test_each_row_is_in_one_part() -> None:
    parts = Parts(Path("x"), 22, 5, ".csv")
    rows = [row for number in parts.numbers for row in range(*parts.span(number))]
    assert rows == list(range(22))
    assert opened_parts(json.loads(json.dumps(parts.plain()))).span(4) == (20, 22)


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    advanced: list[int] = []

    def interrupted() -> None:
        with kept_parts(output, False) as folder:
            parts = begun(folder)
            parts.do(1, Squares(), advanced.append)
            parts.do(4, Squares(), advanced.append)
            (folder / "part-00002.csv").write_text("row,squ")  # the rest was never written
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert advanced == [5, 2]
    assert is_begun(output)
    assert not is_begun(output, to_replace=True)
    with kept_parts(output, False) as folder:
        parts = begun(folder)
        assert parts.waiting() == [0, 2, 3]
        assert parts.done_rows() == 7
        assert list(parts.failed()) == ["7 is a seventh", "21 is a seventh"]
        for number in parts.waiting():
            parts.do(number, Squares(), advanced.append)
        assert parts.join(output) == 18
    assert pd.read_csv(output)["row"].tolist() == [row for row in range(22) if row % 7]
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_parts_of_other_work_are_refused_and_none_is_lost(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"

    def changed() -> None:
        with kept_parts(output, False) as folder:
            begun(folder, m=2).do(0, Squares(), lambda _: None)
            begun(folder, n=3, m=1)

    with pytest.raises(UserError, match=r"finished parts of other work \(other n, m\): give the"):
        changed()
    assert (parts_of(output) / "part-00000.json").exists()
    with kept_parts(output, True) as folder:
        assert begun(folder, n=3).waiting() == [0, 1, 2, 3, 4]


def test_work_of_which_no_part_is_done_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> None:
        with kept_parts(tmp_path / "a.csv", False) as folder:
            begun(folder)
            (folder / "unpacked").mkdir()
            raise UserError("no image")

    with pytest.raises(UserError, match="no image"):
        failing()
    assert list(tmp_path.iterdir()) == []


def test_the_rows_of_a_part_stay_what_they_were(tmp_path: Path) -> None:
    begin_parts(tmp_path, {"n": 1}, 22, 5, ".csv", replaces=True)
    parts = begin_parts(tmp_path, {"n": 1}, 22, 3, ".csv", replaces=False)
    assert parts.rows == 5
    assert json.loads((tmp_path / "job.json").read_text())["replaces"]
    (tmp_path / "job.json").write_text("{")  # cut short by a crash
    assert begin_parts(tmp_path, {"n": 1}, 22, 3, ".csv", replaces=False).rows == 3


def test_one_command_at_a_time(tmp_path: Path) -> None:
    again = kept_parts(tmp_path / "a.csv", False)
    with (
        kept_parts(tmp_path / "a.csv", False),
        pytest.raises(UserError, match=r"a\.csv\.parts is in use by process"),
    ):
        again.__enter__()
