"""Paths in a table: where they start, and why some are refused. See also test_common.py."""

import os
from pathlib import Path
from typing import Any

import pytest
from csv_tables import TWO, column, read
from dicom_files import GREY, write
from refusals import SECRET, refused

from medcnn.data.prepared.open_listing import open_listing
from medcnn.data.sources.delimited import read_table
from medcnn.data.sources.table_paths import read_paths


def test_paths_from_the_folder_of_the_table(root: Path) -> None:
    (root / "tables").mkdir()
    text = TWO.replace("a.png", "../a.png").replace("b.png", r"..\b.png")
    listing = read(root / "tables", text, root=root)
    assert listing.root == root
    assert column(listing, "image") == ["a.png", "b.png"]
    with refused(
        rf"lines 2, 3: a path of .*image=image leads out of dataset\.root \({root}/tables\)"
    ):
        read(root / "tables", text)


def test_paths_from_the_root(root: Path) -> None:
    (root / "tables").mkdir()
    for folder in (root / "tables", root.parent):
        assert column(read(folder, TWO, root=root), "image") == ["a.png", "b.png"]
    (root / "tables" / "b.png").touch()  # one there: these are the table's
    listing = read(root / "tables", TWO, root=root)
    assert column(listing, "image") == ["tables/a.png", "tables/b.png"]


def test_absolute_paths(root: Path) -> None:
    listing = read(root.parent, TWO.replace("a.png", f"{root}/a.png"), root=str(root))
    assert column(listing, "image") == ["a.png", "b.png"]


@pytest.mark.parametrize("name", ["../secret.png", "link/secret.png", "/etc/hosts", "C:\\x.png"])
def test_paths_that_leave_the_root(root: Path, name: str) -> None:
    (root.parent / "secret.png").touch()
    (root / "link").symlink_to(root.parent)
    with refused(r"line 3: a path of dataset\.columns\.image=image leads out of dataset\.root"):
        read(root, f"image,label,patient\na.png,0,1\n{name},1,{SECRET}\n")


def test_no_image_is_there(root: Path) -> None:
    text = TWO.replace(".png", ".jpg")
    with refused(
        rf"none of the 2 paths of .*image=image leads to a file from {root}; give .*\.root"
    ):
        read(root, text)
    with refused(rf"leads to a file from {root} or {root.parent}; give .*dataset\.root"):
        read(root, text, root=root.parent)
    with refused(r"dataset\.root=.*none is no folder"):
        read(root, TWO, root=root / "none")


def test_why_no_image_is_there(root: Path) -> None:
    with refused(r"they lack the ending of their files \(\.png\): add it in the table"):
        read(root, TWO.replace(".png", ""))
    with refused(rf"they start at dataset\.root={root}$"):
        read(root.parent, TWO)
    with refused(r"they are absolute, and no such file is on this machine: write them from the ta"):
        read(root, f"image,label,patient\n{root}/x.png,0,1\n{root}/y.png,1,2\n")


def test_a_folder_that_may_not_be_entered(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    (root / "table.csv").write_text(TWO)
    cells = read_table(root / "table.csv")
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    monkeypatch.setattr(Path, "stat", deny)
    with refused(r"the folder that they name can't be read \(Permission denied\)$"):
        read_paths(cells["image"], "image", root, root)


def test_why_a_path_leaves_the_root(root: Path) -> None:
    (root / "tables").mkdir()
    with refused(rf"is refused: it is absolute; all of them lie in dataset\.root={root}$"):
        read(root / "tables", TWO.replace("a.png", f"{root}/a.png"))
    with refused(r"it names a drive or a share of Windows; write the paths from dataset\.root"):
        read(root, TWO.replace("a.png", "C:\\a.png"))
    (root / "tables" / "img").symlink_to(root)
    with refused(rf"img is a link to {root}; all of them lie in dataset\.root={root}"):
        read(root / "tables", TWO.replace("a.png", "img/a.png"))
    with refused(r"line 2: .*image=image holds an address \(such as s3://…\): give the one"):
        read(root, TWO.replace("a.png", "https://a.org/a.png"))


def test_some_images_may_be_missing(root: Path) -> None:
    listing = read(root, TWO.replace("a.png", "x.png"))
    assert column(listing, "image") == ["x.png", "b.png"]  # opening the files reports it


def test_a_row_without_an_image(root: Path) -> None:
    with refused(r"dataset\.path, lines 4, 5: dataset\.columns\.image=image is empty"):
        read(root, TWO + "NA,1,3\n,1,4\n")
    with refused(r"dataset\.path, lines 2, 3: dataset\.columns\.image=image is empty"):
        read(root, f"image,label,patient\n,0,{SECRET}\n,1,{SECRET}\n")


def test_an_image_listed_twice(root: Path) -> None:
    for name in ("a.png", "./a.png", "x/../a.png", f"{root}/a.png"):
        with refused(r"dataset\.path, lines 2, 4: an image is listed more than once"):
            read(root, TWO + f"{name},1,3\n")


def test_a_folder_of_dicom_files_is_one_image(root: Path, tmp_path: Path) -> None:
    for name in ("p1/s", "p2/s"):
        (root / name).mkdir(parents=True)
        for k in range(3):
            place = {
                "ImagePositionPatient": [0, 0, k],
                "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            }
            tags = {**place, "PixelSpacing": [1, 1], "SOPInstanceUID": f"1.2.{k}"}
            write(root / name / f"{k}.dcm", GREY, **tags)
    text = "image,label,patient\np1/s,0,1\np2/s/,1,2\n"
    listing = read(root, text, size=[3, 5, 7], spatial_dims=3)
    assert column(listing, "image") == ["p1/s", "p2/s"]
    opened = open_listing(listing, tmp_path / "cache", 10**9)
    assert opened.problems == []
    assert opened.images is not None
    assert opened.images.shape == (2, 1, 3, 5, 7)
