"""Several labels a row, in columns or in one cell, and numbers to be predicted."""

from typing import Any

import numpy as np
import pytest
from label_cells import many, one, values
from refusals import refused

# A column a label.


def test_columns_of_yes_and_no() -> None:
    labels = many(
        {
            "Edema": ["1", "0", "-1", "", "1.0"],
            "Mass": ["TRUE", "false", "No", "yes", "0.0"],
            "Rare": ["", "", "", "-1.0", ""],
        }
    )
    assert labels.task == "multilabel"
    assert labels.class_names == ("Edema", "Mass", "Rare")
    assert values(labels) == {
        "label:Edema": [1, 0, -1, -1, 1],
        "label:Mass": [1, 0, 0, 1, 0],
        "label:Rare": [-1] * 5,
    }
    assert labels.columns.dtypes.eq(np.int64).all()
    assert labels.columns.index.tolist() == [2, 3, 4, 5, 6]
    assert labels.positive is None


def test_one_column_in_a_list_is_one_label() -> None:
    labels = many({"Mass": ["1", "0"]}, task="multilabel")
    assert labels.class_names == ("Mass",)
    assert values(labels) == {"label:Mass": [1, 0]}


def test_classes_order_the_columns() -> None:
    labels = many({"a": ["1"], "b": ["0"]}, classes=["b", "a"])
    assert labels.class_names == ("b", "a")
    assert values(labels) == {"label:b": [0], "label:a": [1]}
    assert list(labels.columns) == ["label:b", "label:a"]
    for classes in (["a"], ["a", "c"], ["A", "B"], ["a", "b", "c"]):
        with refused(r"dataset\.classes=.* has to hold the names of the label columns, a, b"):
            many({"a": ["1"], "b": ["0"]}, classes=classes)


@pytest.mark.parametrize("cell", ["2", "0.5", "x", "-2", "positive"])
def test_cells_that_say_neither_yes_nor_no(cell: str) -> None:
    with refused(rf"label column b, line 3: '{cell}', neither 0 nor 1 \(nor empty or -1, for unkn"):
        many({"a": ["1", "0"], "b": ["0", cell]})


@pytest.mark.parametrize("task", ["binary", "multiclass", "ordinal"])
def test_tasks_that_do_not_go_with_several_columns(task: str) -> None:
    with refused(rf"dataset\.task={task} doesn't go with several label columns"):
        many({"a": ["1"], "b": ["0"]}, task=task)


def test_a_separator_does_not_go_with_several_columns() -> None:
    with refused(r"dataset\.separator is for one label column, but several are named"):
        many({"a": ["1"], "b": ["0"]}, separator="|")


# Several labels in a cell.


def test_cells_of_several_labels() -> None:
    cells = ["Mass|Edema", "No Finding", "", " Edema ", "Nodule | Mass|Mass", "|", "no finding"]
    labels = one(cells, separator="|", no_finding="No  finding")
    assert labels.task == "multilabel"
    assert labels.class_names == ("Edema", "Mass", "Nodule")
    expected = [[1, 1, 0], [0, 0, 0], [-1] * 3, [1, 0, 0], [0, 1, 1], [-1] * 3, [0, 0, 0]]
    assert labels.columns.to_numpy().tolist() == expected
    assert list(labels.columns) == ["label:Edema", "label:Mass", "label:Nodule"]
    assert labels.columns.index.tolist() == [*range(2, 9)]


def test_without_no_finding_every_label_is_a_class() -> None:
    labels = one(["b;a", "none"], separator=";", task="multilabel")
    assert labels.class_names == ("a", "b", "none")
    assert labels.columns.to_numpy().tolist() == [[1, 1, 0], [0, 0, 1]]


def test_separators_of_several_signs_and_numbers_as_labels() -> None:
    labels = one(["10, 2", "2", "3.0, 10"], separator=", ")
    assert labels.class_names == ("2", "3", "10")
    assert labels.columns.to_numpy().tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 1]]


def test_classes_of_cells_of_several_labels() -> None:
    options = {"separator": "|", "no_finding": "none", "classes": ["Mass", "Edema", "Hernia"]}
    labels = one(["edema|MASS", "mass"], **options)
    assert labels.class_names == ("Mass", "Edema", "Hernia")
    assert labels.columns.to_numpy().tolist() == [[1, 1, 0], [1, 0, 0]]
    with refused(r"label column dx, line 3: 'mass\|x', none of dataset\.classes"):
        one(["edema", "mass|x"], **options)


def test_no_finding_together_with_a_finding() -> None:
    with refused(r"label column dx, line 3: none together with a finding$"):
        one(["none", "none|Mass", "Mass"], separator="|", no_finding="none")


def test_no_finding_that_no_row_has() -> None:
    for name in ("nothing", ""):
        with refused(rf"dataset\.no_finding={name}: no row of label column dx has it"):
            one(["none", "Mass"], separator="|", no_finding=name)


def test_no_finding_is_no_class() -> None:
    with refused(r"dataset\.no_finding=None: leave it out of dataset\.classes"):
        one(["none", "a"], separator="|", no_finding="None", classes=["a", "none"])


def test_nothing_but_no_finding() -> None:
    with refused(r"label column dx holds no label but none$"):
        one(["none", "", "none"], separator="|", no_finding="none")


def test_capitals_in_cells_of_several_labels() -> None:
    with refused(r"the labels Mass and mass differ in capitals only"):
        one(["Mass|b", "mass"], separator="|")


@pytest.mark.parametrize("separator", ["", " ", "\t", 5])
def test_separators_that_are_none(separator: Any) -> None:
    with refused(r"dataset\.separator=.*: give a sign that is no space, or null"):
        one(["a b"], separator=separator)


@pytest.mark.parametrize("task", ["binary", "multiclass", "ordinal", "regression"])
def test_tasks_that_do_not_go_with_a_separator(task: str) -> None:
    with refused(rf"dataset\.task={task} doesn't go with dataset\.separator"):
        one(["a|b"], separator="|", task=task)


def test_no_finding_needs_a_separator() -> None:
    with refused(r"dataset\.no_finding goes with dataset\.separator only"):
        one(["a", "b"], no_finding="a")


# Numbers to be predicted.


def test_one_target() -> None:
    labels = one(["1.5", "", "-2", "1e3", "3.0"], task="regression")
    assert labels.task == "regression"
    assert labels.class_names == ("dx",)
    assert labels.positive is None
    assert list(labels.columns) == ["label"]
    np.testing.assert_array_equal(labels.columns["label"], [1.5, np.nan, -2, 1000, 3])
    assert labels.columns["label"].dtype == np.float64
    assert labels.columns.index.tolist() == [2, 3, 4, 5, 6]


def test_one_target_by_another_name() -> None:
    labels = one(["1", "2"], task="regression", classes=["Bone age (months)"])
    assert labels.class_names == ("Bone age (months)",)
    assert values(labels) == {"label": [1, 2]}
    with refused(r"label column dx, line 3: 'x', no number"):
        one(["1", "x"], task="regression", classes=["Bone age (months)"])
    with refused(r"dataset\.classes=\['a', 'b'\] has to hold the names of the label columns, dx"):
        one(["1", "2"], task="regression", classes=["a", "b"])


def test_several_targets() -> None:
    cells = {"ef": ["60", "", "-1"], "volume": ["1", "2.5", ""]}
    labels = many(cells, task="regression")
    assert labels.class_names == ("ef", "volume")
    assert list(labels.columns) == ["label:ef", "label:volume"]
    np.testing.assert_array_equal(labels.columns, [[60, 1], [np.nan, 2.5], [-1, np.nan]])
    labels = many(cells, task="regression", classes=["volume", "ef"])
    assert labels.class_names == ("volume", "ef")
    np.testing.assert_array_equal(labels.columns["label:ef"], [60, np.nan, -1])
    with refused(r"dataset\.classes=\['x'\] has to hold the names of the label columns"):
        many(cells, task="regression", classes=["x"])


def test_one_target_in_a_list() -> None:
    labels = many({"ef": ["60", "50"]}, task="regression")
    assert labels.class_names == ("ef",)
    assert values(labels) == {"label": [60, 50]}


@pytest.mark.parametrize("cell", ["x", "1,5", "inf", "-inf", "12 mm", "1e999"])
def test_cells_that_are_no_number(cell: str) -> None:
    with refused(rf"label column dx, line 3: '{cell}', no number$"):
        one(["1", cell, ""], task="regression")
