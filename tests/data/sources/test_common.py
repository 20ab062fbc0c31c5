from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from refusals import refused

from medcnn.data.image import ImageSpec
from medcnn.data.sources.common import existing_folder, image_spec, paths_within


def within(root: Path, *names: str, base: Path | None = None) -> list[str | None]:
    found = paths_within(root, pd.Series(names, dtype="object"), base or root)
    return [None if pd.isna(name) else name for name in found]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with tables/, images/a.png and a secret beside it."""
    top = tmp_path.resolve() / "root"
    for folder in (top / "tables", top / "images", top.parent / "beside"):
        folder.mkdir(parents=True)
    (top / "images" / "a.png").touch()
    (top.parent / "beside" / "a.png").touch()
    return top


# Folders.


def test_a_folder_is_absolute_and_without_links(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "link").symlink_to(root / "images")
    monkeypatch.chdir(root)
    assert existing_folder("link", "key") == root / "images"
    monkeypatch.setenv("HOME", str(root))
    assert existing_folder("~/images", "key") == root / "images"


def test_folders_that_there_are_not(root: Path) -> None:
    with refused(r"dataset\.root=.*/none is no folder"):
        existing_folder(root / "none", "dataset.root")
    with refused(r"dataset\.path=.*/a\.png is a file, not a folder"):
        existing_folder(root / "images" / "a.png", "dataset.path")


# The input of a network.


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"size": 32}, (32, 32)),
        ({"size": (32, 48)}, (32, 48)),
        ({"size": [8, 16, 24], "spatial_dims": 3}, (8, 16, 24)),
    ],
)
def test_size(options: dict[str, Any], size: tuple[int, ...]) -> None:
    spec = image_spec(**options)
    assert spec.size == size
    assert spec.spatial_dims == len(size)
    assert spec.channels is None


def test_lists_become_tuples_and_the_rest_is_kept() -> None:
    options: dict[str, Any] = {
        "channels": 3,
        "spacing": [0.5, 0.7],
        "orientation": "LPS",
        "slices": "every:2",
        "allow_missing_geometry": True,
        "frame": None,
        "crop": "box",
        "crop_margin": 0.5,
        "intensity": [-100, 300],
    }
    spec = image_spec(size=8, **options)
    expected = options | {"spacing": (0.5, 0.7), "intensity": (-100, 300)}
    assert vars(spec) == vars(ImageSpec(size=(8, 8), **expected))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 8, "spatial_dims": 4}, r"dataset\.spatial_dims=4: give a whole number, 2 … 3"),
        ({"size": [8, 8, 8]}, r"dataset\.size=\[8, 8, 8\] has 3 numbers, .*spatial_dims=2"),
        ({"size": "224"}, r"dataset\.size=224: give a whole number"),
        ({"size": 8, "spacing": [1.0]}, r"dataset\.spacing=\[1\.0\]: give 2 numbers"),
        ({"size": 8, "intensity": "dark"}, r"dataset\.intensity=dark: choose \[low, high\] or"),
        (
            {"size": 8, "crop": "lesion"},
            r"dataset\.crop=lesion: choose one of none, body, mask, box",
        ),
        ({"size": 8, "crop": "box", "crop_margin": -1}, r"dataset\.crop_margin=-1: give a share"),
        (
            {"size": 8, "crop_margin": 0.1},
            r"dataset\.crop_margin=0\.1 goes with dataset\.crop=body",
        ),
        (
            {"chanels": 3},
            r"dataset\.chanels: no such option; of images there are spatial_dims",
        ),
    ],
)
def test_inputs_that_can_not_be(options: dict[str, Any], words: str) -> None:
    with refused(words):
        image_spec(**options)


# Paths.


def test_paths_start_at_the_base(root: Path) -> None:
    assert within(root, "images/a.png", "b.png") == ["images/a.png", "b.png"]
    tables = root / "tables"
    names = ["../images/a.png", "./b.png", "x/../c.png", "x//d.png"]
    expected = ["images/a.png", "tables/b.png", "tables/c.png", "tables/x/d.png"]
    assert within(root, *names, base=tables) == expected


def test_backslashes(root: Path) -> None:
    assert within(root, r"images\a.png", r"images\sub/b.png") == [
        "images/a.png",
        "images/sub/b.png",
    ]
    assert within(root, r"..\images\a.png", base=root / "tables") == ["images/a.png"]
    assert within(root, r"..\beside\a.png") == [None]


def test_the_index_is_kept(root: Path) -> None:
    names = pd.Series(["a.png", "../b.png"], [5, 9])
    found = paths_within(root, names, root)
    assert found.index.tolist() == [5, 9]
    assert found.isna().tolist() == [False, True]


def test_absolute_paths(root: Path) -> None:
    inside = str(root / "images" / "a.png")
    outside = str(root.parent / "beside" / "a.png")
    assert within(root, inside, outside, base=root / "tables") == ["images/a.png", None]


@pytest.mark.parametrize(
    "name",
    [
        "../beside/a.png",
        "images/../../beside/a.png",
        "..",
        "images/../..",
        "../root2/a.png",
        "/etc/passwd",
        "/",
        r"C:\images\a.png",
        "c:a.png",
        r"\\server\share\a.png",
        "//server/share/a.png",
    ],
)
def test_paths_that_leave_the_root(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (root.parent / "root2").mkdir()
    monkeypatch.chdir(root / "images")  # which means nothing
    assert within(root, name) == [None]


def test_paths_that_leave_and_come_back(root: Path) -> None:
    assert within(root, "../root/images/a.png", "../beside/../root/b.png") == [
        "images/a.png",
        "b.png",
    ]


def test_folders(root: Path) -> None:
    names = ["images", "images/", "images//", "images/.", "images/x/..", "."]
    assert within(root, *names) == ["images"] * 5 + ["."]
    assert within(root, "..", base=root / "images") == ["."]


def test_linked_folders_are_followed(root: Path) -> None:
    (root / "inside").symlink_to(root / "images")
    (root / "outside").symlink_to(root.parent / "beside")
    (root / "images" / "up").symlink_to(root.parent)
    names = ["inside/a.png", "outside/a.png", "images/up/beside/a.png", "images/up/root/b.png"]
    assert within(root, *names) == ["images/a.png", None, None, "b.png"]
    assert within(root, "outside/../root/b.png") == ["b.png"]  # .. of where the link leads
    assert within(root, "inside/.", "outside/.") == ["images", None]


def test_a_file_that_is_a_link_is_left_for_later(root: Path) -> None:
    (root / "images" / "link.png").symlink_to(root.parent / "beside" / "a.png")
    assert within(root, "images/link.png") == ["images/link.png"]


def test_a_link_beside_the_root_leads_into_it(root: Path) -> None:
    (root.parent / "link").symlink_to(root)
    assert within(root, str(root.parent / "link" / "images" / "a.png")) == ["images/a.png"]
