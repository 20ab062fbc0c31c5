import os
from pathlib import Path

import pytest
from dicom_files import GREY, write

from medcnn.data.formats import SUFFIXES
from medcnn.data.image_files import list_images
from medcnn.errors import UserError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    names = ("b.png", "a.JPG", "notes.txt", ".hidden.png", "sub/c.npy", "[1]/d.png", "e.png/x")
    for name in (*names, "v/a.nii.gz", "v/b.nrrd", "v/c.gz", "v/d.nii", "v/e.nhdr", "v/e.raw"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    for name in ("sub/IM1", "s/1.2.840", "s/1.2.841", "s/.2", "s/notes.txt", "s/deep/a.dcm"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        write(path, GREY)
    return tmp_path


def names(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_folder(tree: Path) -> None:
    found = names(list_images(tree), tree)
    assert found == sorted(found)
    rest = {"[1]/d.png", "a.JPG", "b.png", "sub/IM1", "sub/c.npy", "s/deep/a.dcm"}
    rest |= {"v/a.nii.gz", "v/b.nrrd", "v/d.nii", "v/e.nhdr"}
    assert set(found) == rest | {"s/1.2.840", "s/1.2.841"}
    assert set(names(list_images(tree, volumes=True), tree)) == rest | {"s"}


def test_the_order_is_that_of_the_parts_of_paths(tmp_path: Path) -> None:
    places = ("a/z.png", "a.png", "a b/c.png", "a/b/x.png", "é.png", "B.png", "a-/x.png")
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"x")
    expected = sorted(tmp_path / place for place in places)
    assert list_images(tmp_path) == expected
    assert list_images(tmp_path / "**" / "*.png") == expected


def test_a_folder_that_cannot_be_read_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(top: str) -> None:
        raise PermissionError(13, "Permission denied", top)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"it can't be read \(Permission denied\)"):
        list_images(tree)
    monkeypatch.undo()
    access = os.access

    def closed(top: str, mode: int) -> bool:
        return not str(top).endswith("deep") and access(top, mode)

    monkeypatch.setattr(os, "access", closed)
    with pytest.raises(UserError, match=r"its folder s can't be read \(Permission denied\)"):
        list_images(tree)


def test_file_and_pattern(tree: Path) -> None:
    assert names(list_images(tree / "b.png"), tree) == ["b.png"]
    assert names(list_images(f"{tree}/*.png"), tree) == ["b.png"]
    assert names(list_images(f"{tree}/**/*.npy"), tree) == ["sub/c.npy"]
    assert names(list_images(f"{tree}/s*", volumes=True), tree) == ["s", "sub/IM1"]
    assert names(list_images(f"{tree}/s/1*", volumes=True), tree) == ["s"]


def test_existing_path_wins_over_pattern(tree: Path) -> None:
    assert names(list_images(f"{tree}/[1]"), tree) == ["[1]/d.png"]
    assert names(list_images(f"{tree}/[1]/d.png"), tree) == ["[1]/d.png"]


def test_first_parts_that_exist_are_no_pattern(tree: Path) -> None:
    assert names(list_images(f"{tree}/[1]/*.png"), tree) == ["[1]/d.png"]


def test_what_is_left_out_is_named(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tree / "DICOMDIR").write_bytes((tree / "sub" / "IM1").read_bytes())
    (tree / "link").symlink_to(tree / "sub")
    assert "DICOMDIR" not in names(list_images(tree), tree)
    (message,) = caplog.messages
    assert message == (
        f"note: images={tree}: 12 of 18 files are images; left out: .txt (2), .gz (1), .raw "
        "(1), DICOMDIR (1), no ending (1); 1 linked folders aren't followed"
    )


def test_nothing_found(tree: Path) -> None:
    with pytest.raises(UserError, match="neither a file, nor a folder, nor a pattern"):
        list_images(f"{tree}/*.bmp")
    with pytest.raises(UserError, match="neither a file, nor a folder, nor a pattern"):
        list_images(f"{tree}/su*")
    with pytest.raises(UserError, match=r"holds no image \(\.png"):
        list_images(tree / "e.png")
    assert ".nii.gz" in SUFFIXES


def test_unreadable_file_is_left_out(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)
    assert "sub/IM1" not in names(list_images(tree), tree)
