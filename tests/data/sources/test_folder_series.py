"""Patients and series of DICOM files in folders that are classes."""

import logging
from pathlib import Path
from typing import Any

import pytest
from class_folders import dicom, images, made, read
from refusals import SECRET, refused

from medcnn.data.prepared.open_listing import open_listing

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
