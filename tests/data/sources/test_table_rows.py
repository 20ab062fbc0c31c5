"""Patients, splits, masks and boxes in the rows of a table."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from csv_tables import TWO, column, read
from refusals import SECRET, refused

from medcnn.data.listing import BOX

# Patients.


@pytest.mark.parametrize("columns", [None, {"patient": None}])
def test_without_patients_each_image_is_one(
    root: Path, columns: Any, caplog: pytest.LogCaptureFixture
) -> None:
    text = TWO if columns else TWO.replace("patient", "other")
    listing = read(root, text, columns=columns)
    assert column(listing, "patient") == ["a.png", "b.png"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "each image counts as a patient of its own" in record.getMessage()
    assert "dataset.columns.patient" in record.getMessage()
    assert column(listing, "table_patient" if columns else "other") == [SECRET, "007"]


def test_with_patients_there_is_no_warning(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(root, TWO)
    assert not caplog.records


def test_a_row_without_a_patient(root: Path) -> None:
    with refused(r"dataset\.path, line 4: dataset\.columns\.patient=patient is empty"):
        read(root, TWO + "c.png,1,NA\n")


def test_names_are_tidied_alike(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = (
        "image,label,patient,site\n"
        "a.png,caf\u00e9,100,N\u00ee mes\nb.png,cafe\u0301,100.0,Ni\u0302  mes\u200b\n"
        "c.png,no,7,n\u00ee mes\nd.png,no,007,\n"
    )
    listing = read(root, text)
    assert listing.class_names == ("caf\u00e9", "no")
    assert column(listing, "patient") == ["100", "100", "7", "007"]
    assert column(listing, "site") == ["N\u00ee mes", "N\u00ee mes", "n\u00ee mes", None]
    patients, sites = (record.getMessage() for record in caplog.records)
    assert patients == (
        "note: dataset.columns.patient=patient: 1 names differ from another in capitals or leading "
        "zeros only, such as those of lines 4, 5; they count as different"
    )
    assert "dataset.columns.site=site: 1 names" in sites
    assert "lines 2, 4" in sites


def test_sexes_and_ages(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "image,label,patient,sex,age\na.png,0,1,M,062Y\nb.png,1,2,Female,90+\n"
    listing = read(root, text + "c.png,0,3, male ,old\nd.png,1,4,,018M\n")
    assert column(listing, "sex") == ["M", "F", "M", None]
    assert column(listing, "age") == ["62", "90", None, "1.5"]
    (record,) = caplog.records
    assert "dataset.columns.age=age: 1 of 4 cells hold no age" in record.getMessage()
    assert record.getMessage().endswith("count as unknown: line 4")


# Splits.


def test_names_of_splits(root: Path) -> None:
    text = "image,label,patient,split\na.png,0,1,Training\nb.png,1,2,VALID\nc.png,1,3,dev\n"
    listing = read(root, text + "d.png,0,4,testing\n")
    assert column(listing, "split") == ["train", "val", "val", "test"]


def test_a_row_without_a_split(root: Path) -> None:
    text = "image,label,patient,split\na.png,0,1,train\nb.png,1,2,\nc.png,1,3,\n"
    with refused(
        r"dataset\.path, lines 3, 4: dataset\.columns\.split=split is empty; .*split=null"
    ):
        read(root, text)
    listing = read(root, text, columns={"split": None})
    assert "split" not in listing.table
    assert column(listing, "table_split") == ["train", "", ""]


def test_splits_that_there_are_not(root: Path) -> None:
    text = "image,label,patient,part\na.png,0,1,train\nb.png,1,2,holdout\nc.png,1,3,1\n"
    with refused(
        r"lines 3, 4: dataset\.columns\.split=part holds 1, holdout instead of train, val or test; "
        r"to split anew, dataset\.columns\.split=null"
    ):
        read(root, text, columns={"split": "part"})


# Masks and boxes.


def test_masks(root: Path) -> None:
    listing = read(root, "image,label,patient,mask\na.png,0,1,\nb.png,1,2,./c.png\n")
    assert column(listing, "mask") == [None, "c.png"]
    nothing = read(root, "image,label,patient,mask\na.png,0,1,\nb.png,1,2,\n")
    assert column(nothing, "mask") == [None, None]
    with refused(r"line 3: a path of dataset\.columns\.mask=mask leads out of dataset\.root"):
        read(root, "image,label,patient,mask\na.png,0,1,\nb.png,1,2,../c.png\n")
    with refused(r"none of the 1 paths of dataset\.columns\.mask=mask leads to a file"):
        read(root, "image,label,patient,mask\na.png,0,1,\nb.png,1,2,x.png\n")


def test_boxes(root: Path) -> None:
    text = "image,label,patient,box_left,box_top,box_right,box_bottom\n"
    listing = read(root, text + "a.png,0,1,,,,\nb.png,1,2,1,2,30,40\n")
    expected = [[np.nan] * 4, [2, 1, 40, 30]]
    np.testing.assert_array_equal(listing.table[list(BOX)], expected)
    assert not [name for name in listing.table if name.startswith("table_")]


def test_boxes_of_another_format(root: Path) -> None:
    text = "image,label,patient,x,y,w,h\na.png,0,1,.5,.5,.2,.4\nb.png,1,2,,,,\n"
    options: dict[str, Any] = {"box_format": "cxcywh", "box_unit": "fraction"}
    listing = read(root, text, columns={"box": list("xywh")}, **options)
    assert listing.box_unit == "fraction"
    np.testing.assert_allclose(listing.table.loc[0, list(BOX)].astype(float), [0.3, 0.4, 0.7, 0.6])
    assert not {"x", "y", "w", "h"} & set(listing.table)
    with refused(r"dataset\.columns\.box, line 2: the box has no width or no height"):
        read(root, text, columns={"box": list("xywh")})
    with refused(r"dataset\.box_format=yxyx: choose one of xyxy, xywh, cxcywh"):
        read(root, text, box_format="yxyx")
    with refused(r"dataset\.box_unit=mm: choose one of pixel, fraction"):
        read(root, text, box_unit="mm")


def test_several_masks_an_image(root: Path) -> None:
    listing = read(root, "image,label,patient,mask\na.png,0,1,./c.png; d.png\nb.png,1,2,\n")
    assert column(listing, "mask") == ["c.png;d.png", None]


def test_a_mask_a_label(root: Path) -> None:
    text = "image,patient,edema,mass,m1,m2\na.png,1,1,1,c.png,d.png\nb.png,2,0,1,,c.png\n"
    columns = {"label": ["mass", "edema"], "mask": ["m2", "m1"]}
    listing = read(root, text, columns=columns, classes=["edema", "mass"])
    assert column(listing, "mask:mass") == ["d.png", "c.png"]
    assert column(listing, "mask:edema") == ["c.png", None]
    with refused(
        r"mask=\['m1'\]: several columns are for several labels, one for each of mass, ed"
    ):
        read(root, text, columns={**columns, "mask": ["m1"]})


def test_a_row_a_lesion(root: Path) -> None:
    text = "image,label,patient,mask,box,note\na.png,1,1,c.png,1 2 3 4,x\nb.png,0,2,,,\n"
    text += "a.png,1,1,,5 6 7 8,y\na.png,1,1,d.png,9 9 12 12,z\n"
    listing = read(root, text, columns={"box": "box"})
    assert column(listing, "image") == ["a.png", "b.png"]
    assert column(listing, "mask") == ["c.png;d.png", None]
    assert column(listing, "label") == [1, 0]
    assert column(listing, "note") == ["x", ""]
    assert column(listing, BOX[0]) == ["2;6;9", ""]
    for row in ("a.png,0,1,,5 6 7 8,", "a.png,1,2,,5 6 7 8,", "a.png,1,1,c.png,1 2 3 4,"):
        with refused(r"an image is listed more than once; its rows may differ in its mask or box"):
            read(root, f"{text}{row}\n", columns={"box": "box"})
