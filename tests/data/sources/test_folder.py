"""Folders as classes: their layout, labels and options."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from class_folders import images, made, read
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image as Picture
from refusals import SECRET, refused

from medcnn.data.image import ImageSpec
from medcnn.data.prepared.open_listing import open_listing
from medcnn.data.sources.folder import folder

CONF = Path(__file__).parents[3] / "conf"


# Layouts.


def test_folders_are_classes(tmp_path: Path) -> None:
    top = made(
        tmp_path / "films", "sick/b.png", "well/a.JPG", "sick/p1/left/1.tif", "sick/a.nii.gz"
    )
    listing = read(top)
    assert listing.name == "films"
    assert listing.root == top.resolve()
    assert listing.spec.size == (8, 8)
    assert listing.task == "binary"
    assert listing.class_names == ("sick", "well")
    assert listing.positive is None
    names = ["sick/a.nii.gz", "sick/b.png", "sick/p1/left/1.tif", "well/a.JPG"]
    assert listing.table.to_dict("list") == {
        "image": names,
        "patient": names,
        "label": [0, 0, 0, 1],
    }


def test_folders_of_splits(tmp_path: Path) -> None:
    names = ["Train/a/1.png", "valid/b/2.png", "dev/a/x/3.png", "test/a/4.png", "testing/b/5.png"]
    listing = read(made(tmp_path, *names))
    assert listing.class_names == ("a", "b")
    found = listing.table.set_index("image")
    assert found["split"].to_dict() == dict(
        zip(names, ["train", "val", "val", "test", "test"], strict=True)
    )
    assert images(listing) == dict(zip(names, "abaab", strict=True))


def test_not_all_folders_are_splits(tmp_path: Path) -> None:
    top = made(tmp_path, "train/a/1.png", "test/a/2.png", "other/3.png")
    with refused("test, train look like splits, but beside them lies other: move that away or"):
        read(top)
    listing = read(top, classes=["train", "test", "other"])
    assert listing.class_names == ("train", "test", "other")
    assert "split" not in listing.table
    with refused("the splits hold folders called val where classes are expected"):
        read(made(tmp_path / "deep", "train/val/x/1.png", "test/b/2.png"))


def test_the_folder_above_the_right_one(tmp_path: Path) -> None:
    top = made(tmp_path, "films/sick/1.png", "films/well/2.png")
    with refused(rf"holds one folder only, films, and in it sick, well: .*path={top}/films$"):
        read(top)


def test_a_link_to_the_folder_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "films", "a/1.png", "b/1.png")
    (tmp_path / "link").symlink_to(tmp_path / "films")
    monkeypatch.chdir(tmp_path)
    listing = read(Path("link"))
    assert listing.root == (tmp_path / "films").resolve()
    assert list(images(listing)) == ["a/1.png", "b/1.png"]


def test_hidden_files_and_folders_are_ignored(tmp_path: Path) -> None:
    kept = ["test/a/1.png", "train/b/1.png"]
    hidden = [".cache/a/1.png", "train/.old/1.png", "train/b/.x/1.png", "train/b/._1.png", ".x.png"]
    listing = read(made(tmp_path, *kept, *hidden))
    assert images(listing) == {"test/a/1.png": "a", "train/b/1.png": "b"}
    assert listing.table["split"].tolist() == ["test", "train"]


def test_other_files_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = ["a/1.png", "b/1.png"]
    top = made(tmp_path, *kept, "README.md", "a/notes.txt", "a/more.txt", "b/noise", "b/.hidden")
    assert images(read(top)) == {"a/1.png": "a", "b/1.png": "b"}
    assert (
        "2 of 6 files are images; left out: .txt (2), .md (1), no ending (1)" in caplog.messages[0]
    )


@pytest.mark.parametrize("split", ["", "test/"])
def test_a_class_of_other_files_is_refused(tmp_path: Path, split: str) -> None:
    names = ["a/1.png", "b/1.png", "c/1.webp", "c/2.webp"]
    top = made(tmp_path, *(split + name for name in names))
    words = rf"no file in the folder {split}c is an image that medcnn reads, only \.webp \(2\)"
    with refused(words):
        read(top)
    with refused(words):
        read(top, classes=["a", "b", "C"])
    assert read(top, classes=["a", "b"]).class_names == ("a", "b")


def test_a_class_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = made(tmp_path, "a/1.png", "b/1.png", f"c/{SECRET}/1.png").resolve()
    scan = os.scandir

    def deny(path: Any) -> Any:
        if str(path).startswith(str(top / "c" / SECRET)):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", deny)
    with refused(r"its folder c can't be read \(Permission denied\)"):
        read(top)


def test_images_outside_of_a_class(tmp_path: Path) -> None:
    top = made(tmp_path / "one", "a/1.png", "b/1.png", f"{SECRET}.png", "2.png")
    with refused(
        rf"dataset\.path: 2 images lie right in {top}, in no folder of a class; "
        r"the layout is class/…/image"
    ):
        read(top)
    top = made(tmp_path / "two", "train/a/1.png", "test/b/1.png", f"test/{SECRET}.png", "2.png")
    with refused(
        rf"2 images lie right in {top}, {top}/test, in no folder of a class; "
        r"the layout is split/class/…/image"
    ):
        read(top)


def test_folders_without_images(tmp_path: Path) -> None:
    with refused(r"dataset\.path=.* holds no image \(\.png"):
        read(made(tmp_path, "a/notes.txt"))
    with refused(r"dataset\.path=.*none is no folder"):
        read(tmp_path / "none")
    with refused(r"dataset\.path=.*notes\.txt is a file, not a folder"):
        read(tmp_path / "a" / "notes.txt")


def test_a_class_that_is_a_link_is_not_left_out_in_silence(tmp_path: Path) -> None:
    made(tmp_path / "elsewhere", "3.png")
    root = made(tmp_path / "root", "a/1.png", "b/2.png")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    with refused("1 of its folders are symbolic links, which aren't followed"):
        read(root)


def test_an_image_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    top = made(tmp_path / "films", "a/x.txt", "b/x.txt")
    outside = tmp_path / "secret.png"
    for path in (outside, top / "a" / "1.png", top / "b" / "1.png"):
        Picture.fromarray(np.eye(8, dtype=np.uint8)).save(path)
    (top / "a" / "2.png").symlink_to(outside)
    opened = open_listing(read(top), tmp_path / "cache", 10**9)
    (problem,) = opened.problems
    assert problem.image == "a/2.png"
    assert "lies outside of dataset.root" in problem.reason


# Labels and options.


def test_classes_in_another_order(tmp_path: Path) -> None:
    top = made(tmp_path, "mild/1.png", "None/2.png", "severe/3.png")
    assert read(top).class_names == ("None", "mild", "severe")
    listing = read(top, task="ordinal", classes=["none", "mild", "severe", "worst"])
    assert (listing.task, listing.class_names[0]) == ("ordinal", "none")
    assert images(listing) == {"None/2.png": "none", "mild/1.png": "mild", "severe/3.png": "severe"}
    with refused(r"'None', none of dataset\.classes"):
        read(top, classes=["mild", "severe"])


def test_numbers_are_sorted_by_value(tmp_path: Path) -> None:
    listing = read(made(tmp_path, "10/a.png", "9/a.png", "1/a.png"))
    assert listing.class_names == ("1", "9", "10")
    assert listing.table["label"].tolist() == [0, 2, 1]  # in the order of the paths


def test_the_positive_class(tmp_path: Path) -> None:
    top = made(tmp_path, "NORMAL/1.png", "PNEUMONIA/2.png")
    assert read(top).positive is None
    assert read(top, positive="normal").positive == 0
    assert read(made(tmp_path / "obvious", "negative/1.png", "positive/2.png")).positive == 1
    with refused(r"dataset\.positive=x: give one of two classes; they are NORMAL, PNEUMONIA"):
        read(top, positive="x")


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    top = made(tmp_path, "a/1.png", "a/2.png")
    with refused(r"holds one class only, a: give all in dataset\.classes"):
        read(top)
    assert read(top, classes=["a", "b"]).class_names == ("a", "b")


@pytest.mark.parametrize("task", ["multilabel", "regression", "x"])
def test_tasks_that_folders_are_not(tmp_path: Path, task: str) -> None:
    with refused(rf"dataset\.task={task}: folders are classes: auto, binary, multiclass, ordinal"):
        read(made(tmp_path, "1/a.png", "2/a.png"), task=task)


@pytest.mark.parametrize("task", ["binary", "multiclass", "ordinal"])
def test_tasks_that_folders_are(tmp_path: Path, task: str) -> None:
    assert read(made(tmp_path, "1/a.png", "2/a.png"), task=task).task == task


def test_what_becomes_of_files_is_kept(tmp_path: Path) -> None:
    top = made(tmp_path, "a/1.png", "b/1.png")
    options = {"channels": 3, "orientation": "LPS", "slices": "centre", "intensity": "bone"}
    spec = read(top, spacing=[1, 2], allow_missing_geometry=True, **options).spec
    assert spec == ImageSpec(
        size=(8, 8),
        spacing=(1, 2),
        allow_missing_geometry=True,
        **options,  # type: ignore[arg-type]
    )
    with refused(r"dataset\.size=0"):
        read(top, size=0)


def test_the_config_holds_the_arguments(tmp_path: Path) -> None:
    top = made(tmp_path, "a/1.png", "b/1.png")
    with initialize_config_dir(str(CONF / "dataset"), version_base=None):
        config = OmegaConf.to_container(compose("folder", [f"path='{top}'"]))
    assert isinstance(config, dict)
    assert config.pop("_target_") == "medcnn.data.sources.folder.folder"
    options = {str(key): value for key, value in config.items() if key not in ("name", "epochs")}
    assert vars(folder(**options).spec) == vars(folder(path=top).spec)
    pd.testing.assert_frame_equal(folder(**options).table, folder(path=top).table)
