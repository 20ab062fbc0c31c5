"""Tables whose rows name several files of one image, or take its mask as an input."""

from pathlib import Path
from typing import Any

import pytest
from csv_tables import column, read

from medcnn.data.sources.folder import folder
from medcnn.errors import UserError

COLUMNS = {"image": ["t1", "t2"]}
TABLE = "t1,t2,mask,label,patient\na.png,b.png,m.png,0,1\n,c.png,n.png,1,2\n"


def test_each_file_has_a_column(root: Path) -> None:
    (root / "m.png").touch()
    listing = read(root, TABLE, columns=COLUMNS, missing_channel="zero")
    assert column(listing, "image") == ["a.png", "c.png"]
    assert column(listing, "image:t1") == ["a.png", None]
    assert column(listing, "image:t2") == ["b.png", "c.png"]
    assert "table_t1" not in listing.table
    assert listing.spec.columns == ("t1", "t2")
    assert listing.spec.missing_channel == "zero"


def test_one_column_in_brackets_is_one_file(root: Path) -> None:
    listing = read(root, "t1,label\na.png,0\nb.png,1\n", columns={"image": ["t1"]})
    assert listing.spec.columns == ()
    assert column(listing, "image") == ["a.png", "b.png"]


def test_rows_of_one_image_differ_in_their_mask(root: Path) -> None:
    for name in ("m.png", "n.png"):
        (root / name).touch()
    text = "t1,t2,mask,label\na.png,b.png,m.png,0\na.png,b.png,n.png,0\nc.png,d.png,,1\n"
    listing = read(root, text, columns=COLUMNS)
    assert column(listing, "mask") == ["m.png;n.png", None]
    assert column(listing, "image:t2") == ["b.png", "d.png"]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("a.png,a.png,,0,1\nc.png,b.png,,1,2\n", "line 2: a file is in two of the columns t1, t2"),
        ("a.png,b.png,,0,1\nb.png,c.png,,1,2\n", "lines 2, 3: an image is listed more than once"),
        ("a.png,b.png,,0,1\n,,,1,2\n", r"line 3: dataset\.columns\.image=\[t1,t2\] is empty"),
    ],
)
def test_rows_that_cant_be_are_named(root: Path, rows: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read(root, f"t1,t2,mask,label,patient\n{rows}", columns=COLUMNS)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"missing_channel": "mean", "columns": COLUMNS}, "missing_channel=mean: choose refuse"),
        ({"missing_channel": "zero", "columns": {"image": "t1"}}, "goes with several files"),
        ({"mask_as": "yes", "columns": COLUMNS}, "mask_as=yes: choose channel or none"),
        ({"mask_as": "channel", "columns": COLUMNS | {"mask": None}}, "name the column of masks"),
        ({"tiles": 8, "columns": COLUMNS}, r"columns\.image=.* goes without dataset\.tiles"),
        (
            {"tiles": 8, "mask_as": "channel", "columns": {"image": "t2"}},
            r"mask_as=channel goes without dataset\.tiles",
        ),
        ({"columns": {"image": ["t1", "t1"]}}, "names of one or more different columns"),
        ({"columns": {"image": ["t1", "t3"]}}, "t3"),
    ],
)
def test_options_that_cant_be(root: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read(root, TABLE, **options)


def test_a_folder_has_no_masks(root: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.mask_as: no such option"):
        folder(path=root, mask_as="channel")
