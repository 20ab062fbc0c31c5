"""A table becomes a listing: its columns, its labels, and what else it holds."""

import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from csv_tables import TWO, column, read
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from refusals import SECRET, refused

from medcnn.data.sources.table import csv

CONF = Path(__file__).parents[3] / "conf"


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
        "crop": "none",
        "crop_margin": None,
        "allow_missing_geometry": True,
        "frame": None,
        "intensity": "lung",
        "columns": (),
        "missing_channel": "refuse",
        "mask_as": "none",
        "tiles": None,
        "tile_level": 0,
        "tile_spacing": None,
        "tile_overlap": 0.0,
        "tissue": None,
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
        ({"image": []}, r"dataset\.columns\.image=\[\]: give the names of one or more different"),
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
        ({"label": None}, r"dataset\.columns\.label=null: without labels give dataset\.task"),
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


def test_errors_of_the_table_itself(tmp_path: Path) -> None:
    with refused(r"dataset\.path: .*none\.csv is missing"):
        csv(path=tmp_path / "none.csv")
    with refused(r"table\.csv, line 2: 4 cells, but there are 3 columns"):
        read(tmp_path, f"image,label,patient\na.png,0,{SECRET},\n")


# Columns that are inputs.


INPUTS = (
    "image,label,Alter,sex,psa,split2,view\n"
    "a.png,0,062Y,female,3.1,x,1\nb.png,1,71,M,,y,2\n"
)  # fmt: skip


def test_inputs_have_their_names_in_the_sample_table(root: Path) -> None:
    columns = {"age": "Alter", "features": ["Alter", "sex", "psa"]}
    listing = read(root, INPUTS, columns=columns)
    assert listing.features == ("age", "sex", "psa")
    assert column(listing, "age") == ["62", "71"]
    assert column(listing, "sex") == ["F", "M"]
    assert column(listing, "psa") == ["3.1", ""]
    assert read(root, INPUTS, columns={"features": "psa"}).features == ("psa",)
    assert read(root, INPUTS).features == ()


def test_a_column_may_have_the_name_of_a_split(root: Path) -> None:
    text = INPUTS.replace("split2", "split")
    listing = read(root, text, columns={"split": None, "features": ["split"]})
    assert listing.features == ("table_split",)


@pytest.mark.parametrize(
    ("words", "features"),
    [
        ("dataset.columns.features=spa: no such column; did you mean psa", ["spa"]),
        ("dataset.columns.features=label: that is dataset.columns.label, and no input", ["label"]),
        ("dataset.columns.features=.*: give the names of one or more different", ["psa", "psa"]),
    ],
)
def test_columns_that_are_no_inputs(root: Path, words: str, features: list[str]) -> None:
    with refused(words):
        read(root, INPUTS, columns={"features": features})


@pytest.mark.parametrize(
    ("task", "classes", "columns", "unknown"),
    [
        ("binary", ["no", "yes"], ["label"], -1),
        ("multilabel", ["mass", "edema"], ["label:mass", "label:edema"], -1),
        ("regression", ["age"], ["label"], None),
    ],
)
def test_labels_may_all_be_unknown(
    task: str, classes: list[str], columns: list[str], unknown: int | None, root: Path
) -> None:
    text = "image,label,study\na.png,0,s\nb.png,1,s\n"
    given = {"columns": {"label": None}, "task": task, "classes": classes}
    listing = read(root, text, **given)
    assert listing.class_names == tuple(classes)
    assert [column(listing, name) for name in columns] == [[unknown, unknown]] * len(columns)
    assert column(listing, "table_label") == ["0", "1"]
    assert column(listing, "patient") == ["s", "s"]  # where the table doesn't say who it is
