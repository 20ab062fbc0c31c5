import gzip
import os
from pathlib import Path

import pandas as pd
import pytest
from refusals import SECRET, refused

from medcnn.data.sources.delimited import at_lines, check_column, read_table, without_empty


def read(folder: Path, content: str | bytes, name: str = "table.csv") -> pd.DataFrame:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path)


def cells_of(folder: Path, content: str) -> list[list[str]]:
    return rows(read(folder, content).apply(without_empty))


def rows(table: pd.DataFrame) -> list[list[str]]:
    return [list(table), *table.to_numpy().tolist()]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["table.csv", "table.txt", "no_suffix"])
def test_commas_semicolons_and_tabs(tmp_path: Path, delimiter: str, name: str) -> None:
    text = "a|b|c\n1|x y|3\n4|5|6\n".replace("|", delimiter)
    assert rows(read(tmp_path, text, name)) == [["a", "b", "c"], ["1", "x y", "3"], ["4", "5", "6"]]


def test_the_header_says_what_the_delimiter_is(tmp_path: Path) -> None:
    text = 'image;labels\n1.png;"a,b,c"\n2.png;d,e,f\n'
    assert rows(read(tmp_path, text))[1:] == [["1.png", "a,b,c"], ["2.png", "d,e,f"]]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            "image,grade;0=no;1=yes;2=both,x\n1.png,0,2\n2.png,1,3\n",
            "image|grade;0=no;1=yes;2=both|x",
        ),
        ('"image", "a, b"\n"1.png", "0"\n', "image|a, b"),
        ("sep=;\r\nimage;a,b,c\r\n1.png;0\r\n", "image|a,b,c"),
        ("sep=\t\nimage\ta,b,c\n1.png\t0\n", "image|a,b,c"),
    ],
)
def test_what_stands_between_the_cells(tmp_path: Path, text: str, names: str) -> None:
    table = read(tmp_path, text)
    assert list(table) == names.split("|")
    assert table.iloc[0, :2].tolist() == ["1.png", "0"]
    assert table.index[0] == text.count("\n") - len(table) + 1


@pytest.mark.parametrize("name", ["table.csv.gz", "TABLE.TSV.GZ"])
def test_compressed(tmp_path: Path, name: str) -> None:
    content = gzip.compress(b"a\tb\n1\t2\n")
    assert rows(read(tmp_path, content, name)) == [["a", "b"], ["1", "2"]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_any_end_of_line_and_a_mark_at_the_start(tmp_path: Path, end: str, last: bool) -> None:
    text = "\ufeffimage,name\n1.png,Zoë\n2.png,李\n"
    text = text if last else text[:-1]
    table = read(tmp_path, text.replace("\n", end).encode())
    assert rows(table) == [["image", "name"], ["1.png", "Zoë"], ["2.png", "李"]]
    assert table.index.tolist() == [2, 3]


def test_cells_stay_text_as_it_is_written(tmp_path: Path) -> None:
    table = read(
        tmp_path, "patient,age,flag,big\n007,1.50,TRUE,12345678901234567890\n010, 2 ,no,-0\n"
    )
    assert rows(table)[1:] == [
        ["007", "1.50", "TRUE", "12345678901234567890"],
        ["010", "2", "no", "-0"],
    ]
    assert all(isinstance(cell, str) for row in rows(table) for cell in row)


def test_quoted_cells(tmp_path: Path) -> None:
    text = 'a,"b, c"\n"1,5"," say ""no"" "\n"two\r\nlines",x\nlast,y\n'
    table = read(tmp_path, text)
    assert rows(table) == [["a", "b, c"], ["1,5", 'say "no"'], ["two\nlines", "x"], ["last", "y"]]
    assert table.index.tolist() == [2, 4, 5]  # on which a row ends


def test_names_of_columns_are_one_line(tmp_path: Path) -> None:
    table = read(tmp_path, 'image,a\u0301,"Age\n (years)",two  spaces\n1.png,2,3,4\n')
    expected = ["image", "\u00e1", "Age (years)", "two spaces"]
    assert rows(table) == [expected, ["1.png", "2", "3", "4"]]
    assert table.index.tolist() == [3]


def test_empty_lines_are_left_out_but_counted(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b\n\n1,2\n   \n,,,\n , \n3,4\n\n\n")
    assert rows(table)[1:] == [["1", "2"], ["3", "4"]]
    assert table.index.tolist() == [3, 7]


@pytest.mark.parametrize("cell", ["", "  ", "NA", "na", "N/A", "n/a", "NaN", "nan", "<NA>", " NA "])
def test_cells_without_a_value(tmp_path: Path, cell: str) -> None:
    assert cells_of(tmp_path, f"a,b\n{cell},x\n") == [["a", "b"], ["", "x"]]


@pytest.mark.parametrize("cell", ["none", "null", "-", "Nancy", "0", "NA NA", "#N/A"])
def test_cells_with_a_value(tmp_path: Path, cell: str) -> None:
    assert cells_of(tmp_path, f"a,b\n{cell},x\n") == [["a", "b"], [cell, "x"]]


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": ["x", "y"], "b": ["1", "2"]}, index=[10, 20])
    table.to_csv(tmp_path / "pandas.csv")
    assert rows(read_table(tmp_path / "pandas.csv")) == [["a", "b"], ["x", "1"], ["y", "2"]]
    assert rows(read(tmp_path, ",a,, b \n1,2,3,4\n")) == [["a", "b"], ["2", "4"]]


@pytest.mark.parametrize("row", [f"{SECRET}", f"{SECRET},1,2", f"{SECRET},1,"])
def test_a_row_of_another_length(tmp_path: Path, row: str) -> None:
    count = row.count(",") + 1
    with refused(rf"table\.csv, line 4: {count} cells, but there are 2 columns"):
        read(tmp_path, f"patient,age\n{SECRET},3\n\n{row}\n")


def test_columns_of_one_name(tmp_path: Path) -> None:
    with refused(r"table\.csv has several columns named a, c: rename them"):
        read(tmp_path, f"a,b, a ,c,c\n1,2,3,4,{SECRET}\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [(f'a,b\n1,"{SECRET}" x\n', 2), (f'a,b\n1,2\n3,"{SECRET}\n5,6\n', 4), ('a,"b" c\n1,2\n', 1)],
)
def test_quotes_that_do_not_fit(tmp_path: Path, text: str, line: int) -> None:
    with refused(rf"table\.csv, line {line}: can't be read as CSV \("):
        read(tmp_path, text)


def test_a_cell_of_a_megabyte(tmp_path: Path) -> None:
    with refused(r"table\.csv, line 2: can't be read as CSV \(field larger"):
        read(tmp_path, f"a,b\n1,{'x' * 10**6}\n")


@pytest.mark.parametrize("text", ["image\n1.png\n", "Notes of 2024\na,b\n1,2\n", "\na,b\n1,2\n"])
def test_a_first_line_that_names_no_columns(tmp_path: Path, text: str) -> None:
    with refused(r"table\.csv is no table: its first line.* neither comma, semicolon nor tab"):
        read(tmp_path, text)


def test_a_table_of_nothing(tmp_path: Path) -> None:
    for text in ("", " \n\n", "\ufeff"):
        with refused(r"table\.csv is empty"):
            read(tmp_path, text)
    for text in ("a,b", "a,b\n", "a,b\n,\n\n"):
        with refused(r"table\.csv names columns, but holds no row"):
            read(tmp_path, text)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with refused(r"dataset\.path: .*none\.csv is missing; give a table of images"):
        read_table(tmp_path / "none.csv")
    with refused(r"dataset\.path: none\.csv is missing from the folder that you are in; give"):
        read_table(Path("none.csv"))
    with refused(r"dataset\.path: .* is a folder; give a table of images"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    "content", ["patient,ü\n1,2\n".encode("latin-1"), "a,b\n1,2\n".encode("utf-16")]
)
def test_other_encodings(tmp_path: Path, content: bytes) -> None:
    with refused(r"table\.csv is not text in UTF-8: save it as CSV with that encoding"):
        read(tmp_path, content)


def test_a_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with refused(r"dataset\.path: .*pipe\.csv is special and no file"):  # and doesn't wait for it
        read_table(tmp_path / "pipe.csv")


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with refused(r"table\.csv is not text: save it as CSV in UTF-8"):
        read(tmp_path, "a,b\n1,2\n".encode("utf-16-le"))
    whole = gzip.compress(b"a,b\n1,2\n" * 100)
    broken = whole[:15] + b"\xff\xff\xff" + whole[18:]
    for content in (b"a,b\n1,2\n", whole[:-12], broken):
        with refused(r"table\.csv\.gz can't be read \("):
            read(tmp_path, content, "table.csv.gz")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", deny)
    with refused(r"table\.csv can't be read \(.*Permission denied"):
        read(tmp_path, "a,b\n1,2\n")


def test_a_column_that_is_not_there() -> None:
    table = pd.DataFrame([["x", "y", SECRET]], columns=["filename", "labels", "patient"])
    check_column(table, "labels", "dataset.columns.label")
    with refused(
        r"dataset\.columns\.label=label: no such column; did you mean labels\? "
        r"there are filename, labels, patient"
    ):
        check_column(table, "label", "dataset.columns.label")
    with refused(r"key=xyz: no such column; there are filename, labels, patient"):
        check_column(table, "xyz", "key")
    near = pd.DataFrame(columns=["image_1", "image_2", "xyz"])
    with refused(r"did you mean image_\d or image_\d\? there are"):
        check_column(near, "image", "key")


def test_lines_are_named_up_to_five() -> None:
    assert at_lines([7]) == "line 7"
    assert at_lines([2, 9]) == "lines 2, 9"
    assert at_lines(pd.Index(range(2, 7))) == "lines 2, 3, 4, 5, 6"
    assert at_lines(pd.Index(range(2, 102))) == "lines 2, 3, 4, 5, 6 … (100 in all)"
