"""Labels of one class a row, and what is said of labels."""

from typing import Any

import numpy as np
import pytest
from label_cells import many, one, values
from refusals import refused

# One class a row.


def test_two_classes_are_binary() -> None:
    labels = one(["sick", "healthy", "", "sick"])
    assert labels.task == "binary"
    assert labels.class_names == ("healthy", "sick")
    assert values(labels) == {"label": [1, 0, -1, 1]}
    assert labels.columns["label"].dtype == np.int64
    assert labels.columns.index.tolist() == [2, 3, 4, 5]
    assert labels.positive is None


def test_more_classes_are_multiclass() -> None:
    labels = one(["b", "c", "a", "b"])
    assert labels.task == "multiclass"
    assert labels.class_names == ("a", "b", "c")
    assert values(labels) == {"label": [1, 2, 0, 1]}
    assert labels.positive is None


def test_numbers_are_sorted_by_value() -> None:
    labels = one(["10", "9", "2", "10.0", " 2.00"])
    assert labels.class_names == ("2", "9", "10")
    assert values(labels) == {"label": [2, 1, 0, 2, 0]}
    mixed = one(["10", "9", "2", "x"])
    assert mixed.class_names == ("10", "2", "9", "x")


def test_spaces_do_not_matter() -> None:
    labels = one(["low  grade", " low grade ", "high\tgrade"], classes=["low  grade", "high grade"])
    assert labels.class_names == ("low grade", "high grade")
    assert values(labels) == {"label": [0, 0, 1]}


def test_given_classes_have_their_order_whatever_the_capitals() -> None:
    labels = one(["MILD", "severe", "mild"], classes=["None", "Mild", "Severe"])
    assert labels.task == "multiclass"
    assert labels.class_names == ("None", "Mild", "Severe")
    assert values(labels) == {"label": [1, 2, 1]}


def test_given_classes_may_be_numbers_and_truth_values() -> None:
    assert values(one(["1", "2.0", "3"], classes=[3, 2, 1])) == {"label": [2, 1, 0]}
    labels = one(["true", "FALSE"], classes=[True, False])
    assert labels.class_names == ("True", "False")
    assert values(labels) == {"label": [0, 1]}
    assert labels.positive == 0


@pytest.mark.parametrize("classes", ["ab", 5, {"a": 0}, [], ["a", None], ["a", ""], ["a", "A"]])
def test_lists_of_classes_that_are_none(classes: Any) -> None:
    with refused(r"dataset\.classes=.*: give a list of different names, or null"):
        one(["a", "b"], classes=classes)


def test_a_cell_that_is_none_of_the_classes() -> None:
    with refused(r"label column dx, lines 4, 6: 'c', none of dataset\.classes"):
        one(["a", "b", "c", "", "d"], classes=["a", "b"])


def test_one_class_is_not_enough() -> None:
    with refused(r"label column dx holds one class only, a: give all in dataset\.classes"):
        one(["a", "", "a"])
    assert one(["a", "", "a"], classes=["a", "b"]).class_names == ("a", "b")


def test_no_label_at_all() -> None:
    with refused(r"dataset\.columns\.label: dx holds no label at all"):
        one(["", " "], classes=["a", "b"])
    with refused(r"dataset\.columns\.label: a, b holds no label at all"):
        many({"a": [""], "b": [""]})


def test_labels_that_differ_in_capitals() -> None:
    with refused(
        r"the labels (Sick and sick|sick and Sick) differ in capitals only: make them one"
    ):
        one(["Sick", "sick", "healthy"])
    assert values(one(["Sick", "sick", "healthy"], classes=["healthy", "sick"])) == {
        "label": [1, 1, 0]
    }


# Minus one.


@pytest.mark.parametrize("options", [{}, {"task": "binary"}, {"classes": [0, 1]}])
def test_minus_one_beside_zero_and_one_is_unknown(options: dict[str, Any]) -> None:
    labels = one(["0", "-1", "1.0", "-1.0", ""], **options)
    assert labels.task == "binary"
    assert labels.class_names == ("0", "1")
    assert values(labels) == {"label": [0, -1, 1, -1, -1]}


@pytest.mark.parametrize(
    ("cells", "options"),
    [
        (["-1", "0", "1"], {"classes": [-1, 0, 1]}),
        (["-1", "0", "1"], {"task": "multiclass"}),
        (["-1", "0", "1"], {"task": "ordinal"}),
        (["-1", "0", "1", "2"], {}),
    ],
)
def test_minus_one_can_be_a_class(cells: list[str], options: dict[str, Any]) -> None:
    labels = one(cells, **options)
    assert labels.class_names == tuple(cells)
    assert values(labels) == {"label": [*range(len(cells))]}


# The class that is sought.


@pytest.mark.parametrize(
    ("names", "positive"),
    [
        (("0", "1"), 1),
        (("false", "true"), 1),
        (("True", "False"), 0),
        (("no", "Yes"), 1),
        (("Positive", "negative"), 0),
        (("benign", "malignant"), None),
        (("1", "2"), None),
    ],
)
def test_obvious_findings(names: tuple[str, str], positive: int | None) -> None:
    assert one(list(names), classes=names).positive == positive


def test_the_positive_class_is_given() -> None:
    assert one(["benign", "malignant"], positive="Malignant").positive == 1
    assert one(["benign", "malignant"], positive="benign").positive == 0
    assert one(["0", "1"], positive=0).positive == 0
    assert one(["0", "1", "1"], positive="1.0", task="binary").positive == 1


def test_positive_classes_that_can_not_be() -> None:
    with refused(r"dataset\.positive=x: give one of two classes; they are a, b"):
        one(["a", "b"], positive="x")
    with refused(r"dataset\.positive=a: give one of two classes; they are a, b, c"):
        one(["a", "b", "c"], positive="a")
    for options in ({"task": "ordinal"}, {"task": "regression"}, {"separator": "|"}):
        with refused(r"dataset\.positive is for two classes only \(task binary\)"):
            one(["1", "2"], positive="1", **options)
    with refused(r"dataset\.positive is for two classes only"):
        many({"a": ["1"], "b": ["0"]}, positive="a")


def test_a_task_without_a_positive_class_has_none() -> None:
    assert one(["0", "1"], task="multiclass").positive is None
    assert one(["0", "1"], task="ordinal").positive is None


# The task.


def test_the_task_can_be_given() -> None:
    for task in ("binary", "multiclass", "ordinal"):
        assert one(["1", "2"], task=task).task == task
    with refused(r"dataset\.task=binary, but label column dx has 3 classes"):
        one(["a", "b", "c"], task="binary")


def test_ordinal_needs_an_order() -> None:
    assert one(["3", "10", "1"], task="ordinal").class_names == ("1", "3", "10")
    with refused(r"dataset\.task=ordinal: give the order of the classes, dataset\.classes"):
        one(["mild", "severe", "none"], task="ordinal")
    labels = one(["mild", "severe", ""], task="ordinal", classes=["none", "mild", "severe"])
    assert labels.task == "ordinal"
    assert values(labels) == {"label": [1, 2, -1]}
    for cell in ("inf", "nan"):
        with refused(r"dataset\.task=ordinal: give the order"):
            one(["1", "2", cell], task="ordinal")


def test_twenty_numbers_may_be_classes_and_more_are_a_question() -> None:
    cells = [str(number) for number in range(20)]
    assert one(cells).class_names == tuple(cells)
    question = r"holds 21 different numbers: say .* dataset\.task=regression, ordinal or multiclass"
    with refused(question):
        one([*cells, "20"])
    for options in ({"task": "multiclass"}, {"classes": range(21)}):
        assert len(one([*cells, "20"], **options).class_names) == 21


def test_broken_numbers_are_a_question() -> None:
    with refused(r"label column dx holds 2 different numbers: say whether they are a quantity"):
        one(["1.5", "2"])
    assert one(["1.5", "2"], task="multiclass").class_names == ("1.5", "2")


@pytest.mark.parametrize("sign", ["|", ";"])
def test_signs_between_labels_are_a_question(sign: str) -> None:
    cells = ["a", f"a{sign}b"]
    with refused(rf"label column dx holds labels with '\{sign}': say dataset\.separator='\{sign}'"):
        one(cells)
    assert one(cells, task="multiclass").class_names == tuple(cells)
    assert one(cells, classes=cells).task == "binary"


def test_tasks_that_there_are_not() -> None:
    with refused(r"dataset\.task=segment: choose one of auto, binary, multiclass, multilabel, ord"):
        one(["a", "b"], task="segment")
    with refused(r"dataset\.task=multilabel: name several columns.*dataset\.separator"):
        one(["a", "b"], task="multilabel")


# What is said of them.


def test_minus_one_beside_zero_alone_is_asked_for() -> None:
    with refused(r"label column dx holds 0 and -1 alone: give dataset.classes=\[0,1\] if -1 means"):
        one(["0", "-1", ""])
    assert values(one(["0", "-1"], classes=[0, 1])) == {"label": [0, -1]}
    assert values(one(["0", "-1"], classes=[-1, 0])) == {"label": [1, 0]}


def test_minus_one_is_said_to_be_unknown(caplog: pytest.LogCaptureFixture) -> None:
    assert values(one(["-1", "0", "1", "-1"])) == {"label": [-1, 0, 1, -1]}
    (record,) = caplog.records
    assert record.getMessage() == (
        "note: 2 cells of label column dx are -1, unknown as in CheXpert; "
        "dataset.classes=[-1,0,1] makes it a class"
    )
    caplog.clear()
    assert values(one(["-1", "0", "1"], classes=[-1, 0, 1])) == {"label": [0, 1, 2]}
    assert not caplog.records
    many({"a": ["-1", "0"], "b": ["1", "0"]})
    assert "1 cells of label column a are -1" in caplog.text


def test_labels_that_look_alike(caplog: pytest.LogCaptureFixture) -> None:
    assert one(["01", "1", "2"]).class_names == ("01", "1", "2")
    assert "the labels 01 and 1 look alike; they are different classes" in caplog.text


def test_signs_that_a_terminal_obeys_are_made_visible() -> None:
    assert one(["a\x1b[31m", "b\u202ec"]).class_names == (r"a\x1b[31m", r"b\u202ec")
