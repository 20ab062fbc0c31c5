import gzip
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

from medcnn.data.listing import BOX, Listing
from medcnn.data.prepared.open_listing import open_listing
from medcnn.data.sources.delimited import read_table
from medcnn.data.sources.table import csv
from medcnn.data.sources.table_paths import read_paths
from medcnn.errors import UserError

CONF = Path(__file__).parents[3] / "conf"
SECRET = "Doe^Jane"  # what no message may hold
TWO = f"image,label,patient\na.png,0,{SECRET}\nb.png,1,007\n"


@contextmanager
def refused(words: str) -> Iterator[None]:
    """An error of one line with these words, and without a patient's name."""
    with pytest.raises(UserError, match=words) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the (empty) images a.png … d.png."""
    top = tmp_path.resolve() / "root"
    top.mkdir()
    for name in "abcd":
        (top / f"{name}.png").touch()
    return top


def read(folder: Path, text: str, **options: Any) -> Listing:
    path = folder / "table.csv"
    path.write_text(text)
    return csv(path=path, **({"size": 8} | options))


def column(listing: Listing, name: str) -> list[Any]:
    return [None if pd.isna(cell) else cell for cell in listing.table[name]]


# A listing.


def test_a_table_becomes_a_listing(root: Path) -> None:
    listing = read(root, TWO)
    assert listing.name == "table"
    assert listing.root == root
    assert listing.spec.size == (8, 8)
    assert listing.task == "binary"
    assert listing.class_names == ("0", "1")
    assert listing.positive == 1
    assert listing.box_unit == "pixel"
    assert listing.table.to_dict("list") == {
        "image": ["a.png", "b.png"],
        "patient": [SECRET, "007"],
        "label": [0, 1],
    }
    assert listing.table.index.tolist() == [0, 1]


def test_any_kind_of_table(root: Path) -> None:
    expected = read(root, TWO).table
    for name, text in (
        ("table.tsv", "\ufeff" + TWO.replace(",", "\t")),
        ("two.parts.txt", TWO.replace(",", ";").replace("\n", "\r\n\r\n")),
        ("table.csv.gz", TWO),
        ("no_suffix", "\n".join(f",{line}" for line in TWO.splitlines())),
    ):
        content = text.encode()
        (root / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        listing = csv(path=str(root / name))
        pd.testing.assert_frame_equal(listing.table, expected)
        assert listing.name == {"two.parts.txt": "two.parts", "no_suffix": "no_suffix"}.get(
            name, "table"
        )


def test_the_order_is_that_of_the_table(root: Path) -> None:
    listing = read(root, "image,label,patient\nc.png,x,1\n\na.png,y,2\nb.png,x,1\n")
    assert column(listing, "image") == ["c.png", "a.png", "b.png"]
    assert column(listing, "label") == [0, 1, 0]


def test_what_becomes_of_files_is_kept(root: Path) -> None:
    listing = read(
        root,
        TWO,
        size=[8, 16, 16],
        spatial_dims=3,
        channels=1,
        spacing=[2, 1, 1],
        orientation="LPS",
        allow_missing_geometry=True,
        intensity="lung",
    )
    assert vars(listing.spec) == {
        "size": (8, 16, 16),
        "channels": 1,
        "spacing": (2, 1, 1),
        "orientation": "LPS",
        "slices": None,
        "allow_missing_geometry": True,
        "frame": None,
        "intensity": "lung",
    }
    assert read(root, TWO, slices="every:2").spec.slices == "every:2"
    with refused(r"dataset\.size=0"):
        read(root, TWO, size=0)


def test_the_config_holds_the_arguments(root: Path) -> None:
    (root / "table.csv").write_text(TWO)
    with initialize_config_dir(str(CONF / "dataset"), version_base=None):
        config = OmegaConf.to_container(compose("csv", [f"path='{root / 'table.csv'}'"]))
    assert isinstance(config, dict)
    assert config.pop("_target_") == "medcnn.data.sources.table.csv"
    options = {str(key): value for key, value in config.items() if key not in ("name", "epochs")}
    assert vars(csv(**options).spec) == vars(csv(path=root / "table.csv").spec)
    pd.testing.assert_frame_equal(csv(**options).table, csv(path=root / "table.csv").table)


# Labels: see test_labels.py.


def test_labels_in_several_columns(root: Path) -> None:
    text = "image,patient,edema,mass\na.png,1,1,0\nb.png,2,,1\n"
    listing = read(root, text, columns={"label": ["mass", "edema"]})
    assert listing.task == "multilabel"
    assert listing.class_names == ("mass", "edema")
    assert listing.table.to_dict("list") == {
        "image": ["a.png", "b.png"],
        "patient": ["1", "2"],
        "label:mass": [0, 1],
        "label:edema": [1, -1],
    }
    single = read(root, text, columns={"label": ["mass"]})
    assert (single.task, single.class_names) == ("multilabel", ("mass",))


def test_labels_in_one_cell(root: Path) -> None:
    text = "image,patient,label\na.png,1,Mass|Edema\nb.png,2,None\nc.png,3,NA\n"
    listing = read(root, text, separator="|", no_finding="none")
    assert listing.class_names == ("Edema", "Mass")
    assert column(listing, "label:Edema") == [1, 0, -1]
    assert column(listing, "label:Mass") == [1, 0, -1]
    assert "label" not in listing.table


def test_a_number_as_label(root: Path) -> None:
    text = "image,patient,label\na.png,1,0.5\nb.png,2,NaN\n"
    listing = read(root, text, task="regression", classes=["volume"])
    assert (listing.task, listing.class_names) == ("regression", ("volume",))
    assert column(listing, "label") == [0.5, None]


def test_classes_and_the_positive_one(root: Path) -> None:
    listing = read(root, TWO, classes=[1, 0], positive=0)
    assert (listing.class_names, listing.positive) == (("1", "0"), 1)
    assert column(listing, "label") == [1, 0]
    ordinal = read(root, TWO, task="ordinal", classes=["0", "1", "2"])
    assert (ordinal.task, ordinal.class_names) == ("ordinal", ("0", "1", "2"))
    with refused(r"label column label, line 3: '1', none of dataset\.classes"):
        read(root, TWO, classes=[0, 2])


def test_a_class_may_be_called_na(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "image,label,patient\na.png,AD,1\nb.png,NA,2\nc.png,MCI,3\nd.png,,4\n"
    assert column(read(root, text), "label") == [0, -1, 1, -1]
    (record,) = caplog.records
    assert record.getMessage() == (
        "note: 1 cells read as unknown: NA (in label); name it in dataset.classes if it is a class"
    )
    caplog.clear()
    listing = read(root, text, classes=["AD", "NA", "MCI"])
    assert column(listing, "label") == [0, 1, 2, -1]
    assert not caplog.records


def test_a_column_can_be_label_and_fact(root: Path) -> None:
    text = "image,patient,sex,age\na.png,1,F,50\nb.png,2,M,60\n"
    listing = read(root, text, columns={"label": "sex"})
    assert column(listing, "label") == [0, 1]
    assert column(listing, "sex") == ["F", "M"]
    listing = read(root, text, columns={"label": "age"}, task="regression")
    assert column(listing, "label") == [50, 60]
    assert column(listing, "age") == ["50", "60"]


# Names of columns.


def test_other_names_of_columns(root: Path) -> None:
    text = "file,dx,pid,fold_name,where\na.png,x,1,train,A\nb.png,y,2,test,B\n"
    names = {"image": "file", "label": "dx", "patient": "pid", "split": "fold_name"}
    listing = read(root, text, columns={**names, "site": "where"})
    assert listing.table.to_dict("list") == {
        "image": ["a.png", "b.png"],
        "patient": ["1", "2"],
        "split": ["train", "test"],
        "label": [0, 1],
        "site": ["A", "B"],
    }


def test_names_of_columns_may_be_numbers(root: Path) -> None:
    listing = read(
        root, "image,2020,7\na.png,x,1\nb.png,y,2\n", columns={"label": 2020, "patient": 7}
    )
    assert column(listing, "patient") == ["1", "2"]


@pytest.mark.parametrize("key", ["image", "label"])
def test_columns_that_are_needed(root: Path, key: str) -> None:
    with refused(rf"dataset\.columns\.{key}={key}: no such column; .*there are .*x.*, patient"):
        read(root, TWO.replace(key, "x"))


@pytest.mark.parametrize("key", ["patient", "split", "mask", "study", "site", "sex", "age"])
def test_columns_that_were_named_have_to_be_there(root: Path, key: str) -> None:
    with refused(rf"dataset\.columns\.{key}=x: no such column; there are image, label, patient"):
        read(root, TWO, columns={key: "x"})


def test_some_of_a_box_is_not_enough(root: Path) -> None:
    text = "image,label,patient,box_left,box_top,box_right\na.png,0,1,1,2,3\nb.png,1,2,1,2,3\n"
    with refused(r"dataset\.columns\.box=box_bottom: no such column; did you mean box_"):
        read(root, text)
    assert column(read(root, text, columns={"box": None}), "table_box_left") == ["1", "1"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"lable": "x"}, r"dataset\.columns=.*: the keys are image, label, patient, split"),
        ("label", r"dataset\.columns=label: the keys are image"),
        ({"image": ["image"]}, r"dataset\.columns\.image=\['image'\]: give a name$"),
        ({"site": ["a", "b"]}, r"dataset\.columns\.site=.*: give a name, or null$"),
        ({"box": "x"}, r"dataset\.columns\.box=x: no such column"),
        (
            {"box": ["l", "t", "r"]},
            r"columns\.box=.*: give the names of one or four different columns",
        ),
        (
            {"box": list("ltrr")},
            r"columns\.box=.*: give the names of one or four different columns",
        ),
        ({"label": []}, r"columns\.label=\[\]: give the names of one or more different columns"),
        ({"label": ["a", "a"]}, r"columns\.label=.*: give the names of one or more different"),
        ({"image": None}, r"dataset\.columns\.image=None: no such column"),
        ({"label": None}, r"dataset\.columns\.label=None: no such column"),
    ],
)
def test_names_of_columns_that_can_not_be(root: Path, columns: Any, words: str) -> None:
    with refused(words):
        read(root, TWO, columns=columns)


@pytest.mark.parametrize(
    "columns",
    [
        {"label": "patient"},
        {"label": "image"},
        {"patient": "image"},
        {"label": ["label", "patient"]},
        {"split": "patient"},
        {"split": "label"},
    ],
)
def test_columns_of_two_meanings(root: Path, columns: dict[str, Any]) -> None:
    with refused(r"dataset\.columns: \w+ can't be two of image, label, patient, split at once"):
        read(root, TWO, columns=columns)


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


# Facts and other columns.


def test_study_site_sex_and_age_are_taken_over(root: Path) -> None:
    text = "image,label,patient,study,site,sex,age\na.png,0,1,s1,A,F,050\nb.png,1,2,,,,\n"
    listing = read(root, text)
    facts = listing.table[["study", "site", "sex", "age"]].fillna("none").to_numpy().tolist()
    assert facts == [["s1", "A", "F", "50"], ["none"] * 4]


def test_other_columns_are_kept(root: Path) -> None:
    text = "note,image,label,patient,box\nx,a.png,0,1,2\n,b.png,1,2,3\n"
    listing = read(root, text)
    assert list(listing.table) == ["image", "patient", "label", "note", "box"]
    assert column(listing, "note") == ["x", ""]
    assert column(listing, "box") == ["2", "3"]


def test_other_columns_whose_name_has_a_meaning(root: Path) -> None:
    names = ["patient", "split", "mask", "site", "slice", "fold", "row", "box_top", "label:a"]
    text = f"file,dx,{','.join(names)}\na.png,0,{','.join(names)}\nb.png,1,{','.join(names)}\n"
    unused = dict.fromkeys(["patient", "split", "mask", "site", "box"])
    listing = read(root, text, columns={"image": "file", "label": "dx", **unused})
    assert list(listing.table) == ["image", "patient", "label", *(f"table_{n}" for n in names)]
    for name in names:
        assert column(listing, f"table_{name}") == [name] * 2


def test_columns_that_were_renamed_before(root: Path) -> None:
    text = (
        "image,label,patient,split,table_split,table_table_split\na.png,0,1,x,y,z\nb.png,1,2,,,\n"
    )
    listing = read(root, text, columns={"split": None})
    kept = {name: column(listing, name)[0] for name in list(listing.table)[3:]}
    assert kept == {"table_table_table_split": "x", "table_split": "y", "table_table_split": "z"}


# Paths: see also test_sources.py.


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
    with refused(r"line 2: .*image=image holds an address \(such as https://…\).*: download"):
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


def test_errors_of_the_table_itself(tmp_path: Path) -> None:
    with refused(r"dataset\.path: .*none\.csv is missing"):
        csv(path=tmp_path / "none.csv")
    with refused(r"table\.csv, line 2: 4 cells, but there are 3 columns"):
        read(tmp_path, f"image,label,patient\na.png,0,{SECRET},\n")
