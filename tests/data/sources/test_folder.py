import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dicom_files import GREY, write
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image as Picture

from medcnn.data.listing import Listing
from medcnn.data.prepared.open_listing import open_listing
from medcnn.data.sources.folder import folder
from medcnn.errors import UserError

CONF = Path(__file__).parents[3] / "conf"
SECRET = "Doe^Jane"  # what no message may hold


@contextmanager
def refused(words: str) -> Iterator[None]:
    """An error of one line with these words, and without a patient's name."""
    with pytest.raises(UserError, match=words) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


def made(top: Path, *names: str) -> Path:
    """A folder of empty files; DICOM files are real."""
    for index, name in enumerate(names):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".dcm":
            dicom(path, index)
        else:
            path.touch()
    return top


def dicom(path: Path, height: int = 0) -> None:
    place = {"ImagePositionPatient": [0, 0, height], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    write(path, GREY, PixelSpacing=[1, 1], SOPInstanceUID=f"1.2.{height}", **place)


def read(path: Path, **options: Any) -> Listing:
    return folder(path=path, **({"size": 8} | options))


def images(listing: Listing) -> dict[str, str]:
    """The class of each image."""
    table = listing.table
    return {
        str(image): listing.class_names[label]
        for image, label in zip(table["image"], table["label"], strict=True)
    }


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


# Patients.


@pytest.mark.parametrize(
    ("pattern", "patients"),
    [
        (r"^[^/]+", ["p01", "p02", "7_p3_x.png"]),
        (r"p\d+", ["p01", "p02", "p3"]),
        (r"p0*(\d+)", ["1", "2", "3"]),
        (r"(?:p)0*(\d+)(.*)", ["1", "2", "3"]),
        (r"(?P<patient>\d)[/_]", ["1", "2", "7"]),
    ],
)
@pytest.mark.parametrize("split", ["", "train/"])
def test_patients_are_found_below_the_class(
    tmp_path: Path, pattern: str, patients: list[str], split: str, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["p9/p01/left/8.png", "p9/p02/8.png", "q/7_p3_x.png"]
    listing = read(made(tmp_path, *(split + name for name in names)), patient=pattern)
    assert listing.table["patient"].tolist() == patients
    assert not caplog.records


def test_without_an_expression_each_image_is_a_patient(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listing = read(made(tmp_path, "a/p1/1.png", "b/p1/1.png"))
    assert listing.table["patient"].tolist() == ["a/p1/1.png", "b/p1/1.png"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "each counts as a patient of its own" in record.getMessage()
    assert "dataset.patient" in record.getMessage()


@pytest.mark.parametrize("pattern", [r"p\d+", r"p(\d+)", r"p(\d+)|D(x)?", r"(p)?(\d+)?"])
def test_paths_without_a_patient(
    tmp_path: Path, pattern: str, caplog: pytest.LogCaptureFixture
) -> None:
    top = made(tmp_path, "p1/p1.png", f"p1/{SECRET}/x.png", "p2/p2.png", f"p2/{SECRET}/y.png")
    with refused(r"dataset\.patient=.* finds no patient in 2 of 4 paths below the classes; give"):
        read(top, patient=pattern)
    (record,) = caplog.records
    assert record.getMessage() == f"dataset.patient finds no patient in {SECRET}/x.png"


@pytest.mark.parametrize("pattern", ["p(", "[a", "*", 7, "a{99999999999}"])
def test_patterns_that_are_no_regular_expression(tmp_path: Path, pattern: Any) -> None:
    with refused(r"dataset\.patient=.* is no regular expression: "):
        read(made(tmp_path, "a/1.png", "b/1.png"), patient=pattern)


# Series of DICOM files.


SERIES = ("a/p1/0.dcm", "a/p1/1.dcm", "a/p1/2.dcm", "b/p2/x/0.dcm", "b/p2/x/1.dcm", "b/p2/x/2.dcm")
VOLUMES: list[dict[str, Any]] = [
    {"spatial_dims": 3, "size": [3, 5, 7]},
    {"slices": "all", "size": [5, 7]},
]


@pytest.mark.parametrize("options", VOLUMES)
def test_a_folder_below_a_class_is_a_series(tmp_path: Path, options: dict[str, Any]) -> None:
    top = made(tmp_path / "films", *SERIES, "b/p2/single.dcm", "a/volume.nii")
    listing = read(top, patient=r"^\w+", **options)
    expected = {"a/p1": "a", "a/volume.nii": "a", "b/p2/single.dcm": "b", "b/p2/x": "b"}
    assert images(listing) == expected
    assert listing.table["patient"].tolist() == ["p1", "volume", "p2", "p2"]


@pytest.mark.parametrize("options", VOLUMES)
def test_series_can_be_opened(tmp_path: Path, options: dict[str, Any]) -> None:
    listing = read(made(tmp_path / "films", *SERIES), **options)
    opened = open_listing(listing, tmp_path / "cache", 10**9)
    assert opened.problems == []
    assert opened.images is not None
    expected = (6, 1, 5, 7) if options.get("slices") else (2, 1, 3, 5, 7)
    assert opened.images.shape == expected


def test_without_volumes_each_file_is_an_image(tmp_path: Path) -> None:
    assert list(images(read(made(tmp_path, *SERIES)))) == list(SERIES)


@pytest.mark.parametrize("options", VOLUMES)
@pytest.mark.parametrize("split", ["", "train/"])
def test_a_class_is_no_series(tmp_path: Path, split: str, options: dict[str, Any]) -> None:
    names = [
        *("a/0.dcm", "a/1.dcm", "a/photo.png", "a/s/2.dcm", "a/s/3.dcm"),
        *("b/4.dcm", "b/5.dcm", "b/notes.txt"),
    ]
    listing = read(made(tmp_path, *(split + name for name in names)), **options)
    expected = ["a/0.dcm", "a/1.dcm", "a/photo.png", "a/s", "b/4.dcm", "b/5.dcm"]
    assert listing.table["image"].tolist() == [split + name for name in expected]


@pytest.mark.parametrize("name", ["0", "1.2.840.1"])
def test_files_without_a_suffix(tmp_path: Path, name: str) -> None:
    for path in (tmp_path / "a" / name, tmp_path / "b" / name):
        path.parent.mkdir()
        dicom(path)
    (tmp_path / "b" / "words").write_text("no image")
    assert list(images(read(tmp_path))) == [f"a/{name}", f"b/{name}"]


@pytest.mark.parametrize("split", ["", "train/"])
def test_dicom_files_outside_of_a_class(tmp_path: Path, split: str) -> None:
    names = ["a/0.dcm", "b/0.dcm", f"{SECRET}.dcm", "1.dcm"]
    top = made(tmp_path, *(split + name for name in names))
    with refused(rf"dataset\.path: 2 images lie right in {top / split}, in no folder of a class"):
        read(top, size=[3, 5, 7], spatial_dims=3)


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
    assert vars(spec) == {
        "size": (8, 8),
        "spacing": (1, 2),
        "allow_missing_geometry": True,
        "frame": None,
        **options,
    }
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
