import pandas as pd
import pytest
import torch

from medcnn.evaluation.few_images import (
    isotonic_lines,
    one_class_lines,
    operating_point_lines,
    rare,
    too_rare_to_rank,
    validation_lines,
)

NAMES = ("low", "high")
FIVE = torch.tensor([0] * 40 + [1] * 5 + [-1] * 30)  # of class high


def test_rare_classes_are_counted_by_what_is_known() -> None:
    assert rare(FIVE, "binary", NAMES, 10) == {"high": 5}
    assert rare(FIVE, "binary", NAMES, 5) == {}
    several = torch.tensor([[1, 0], [1, 0], [1, 1], [-1, 0]])
    assert rare(several, "multilabel", ("a", "b"), 2) == {"a": 0, "b": 1}
    numbers = torch.tensor([[1.0], [torch.nan]])
    assert rare(numbers, "regression", ("age",), 2) == {"age": 1}


def test_no_epoch_is_chosen_by_the_auroc_of_few() -> None:
    assert too_rare_to_rank(torch.tensor([0] * 40 + [1]), "binary", NAMES) == set(NAMES)
    assert too_rare_to_rank(FIVE, "binary", NAMES) == set()
    three = torch.tensor([0] * 9 + [1] * 9 + [2])
    assert too_rare_to_rank(three, "multiclass", ("a", "b", "c")) == {"c"}


def test_what_validation_is_too_small_for() -> None:
    (line,) = validation_lines(FIVE, "binary", NAMES)
    assert "(5 of high)" in line
    assert "lowest loss" not in line
    (line,) = validation_lines(torch.tensor([0] * 40 + [1]), "binary", NAMES)
    assert "the best epoch is that of the lowest loss" in line
    assert validation_lines(torch.tensor([0, 1] * 10), "binary", NAMES) == []


def test_a_threshold_that_rests_on_few() -> None:
    point = {"rule": "youden", "threshold": 0.4}
    (line,) = operating_point_lines(point, FIVE, "binary", NAMES)
    assert "(youden) rests on 5 images of high" in line
    assert operating_point_lines({**point, "rule": "0.4"}, FIVE, "binary", NAMES) == []
    assert operating_point_lines(None, FIVE, "binary", NAMES) == []
    several = {"rule": "youden", "labels": {"a": {"threshold": 0.5}, "b": None}}
    labels = torch.tensor([[0, 0]] * 20 + [[1, 1]] * 3)
    (line,) = operating_point_lines(several, labels, "multilabel", ("a", "b"))
    assert "3 images of a, or as few without" in line


def test_an_isotonic_curve_of_few_images() -> None:
    assert "calibration was fitted on 10 images" in isotonic_lines([{"n": 10}])[0]
    assert isotonic_lines([{"n": 100}, {}]) == []
    assert "of a member was fitted on 10 images" in isotonic_lines([{"n": 100}, {"n": 10}])[0]


@pytest.mark.parametrize(
    ("labels", "decisions", "lines"),
    [(["a", "b"], ["a", "a"], 1), (["a", "a"], ["a", "a"], 0), (["a", "b"], ["a", "b"], 0)],
)
def test_one_class_for_all(labels: list[str], decisions: list[str], lines: int) -> None:
    table = pd.DataFrame({"label": labels, "decision": decisions})
    assert len(one_class_lines(table)) == lines
    assert one_class_lines(table[["label"]]) == []
