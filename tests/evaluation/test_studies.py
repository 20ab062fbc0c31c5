"""Slices to studies: against loops written out by hand."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from medcnn.errors import UserError
from medcnn.evaluation.studies import aggregate, check_aggregation, study_labels

STUDIES = np.array([1, 0, 2, 1, 0, 1])  # slices lie in any order


def slices(classes: int, independent: bool = False) -> np.ndarray:
    probs = np.random.default_rng(classes).random((6, classes))
    return probs if independent else probs / probs.sum(1, keepdims=True)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "ordinal", "regression"])
def test_mean(task: Any) -> None:
    probs = slices(2)
    expected = [probs[m == STUDIES].mean(0) for m in range(3)]
    np.testing.assert_allclose(aggregate(probs, STUDIES, "mean", task=task), expected)


@pytest.mark.parametrize("positive", [0, 1, None])
@pytest.mark.parametrize("task", ["binary", "multiclass", "ordinal"])
def test_two_classes(task: Any, positive: int | None) -> None:
    probs = slices(2)
    sought = 1 if positive is None else positive
    for how in ("max", "noisy-or"):
        found = aggregate(probs, STUDIES, how, task=task, positive=positive)
        for m in range(3):
            own = probs[m == STUDIES, sought]
            expected = own.max() if how == "max" else 1 - np.prod([1 - p for p in own])
            assert found[m, sought] == pytest.approx(expected)
            assert found[m, 1 - sought] == pytest.approx(1 - expected)


def test_several_labels_stand_for_themselves() -> None:
    probs = slices(3, independent=True)
    found = {how: aggregate(probs, STUDIES, how, task="multilabel") for how in ("max", "noisy-or")}
    for m, k in product(range(3), range(3)):
        own = probs[m == STUDIES, k]
        assert found["max"][m, k] == own.max()
        assert found["noisy-or"][m, k] == pytest.approx(1 - np.prod(1 - own))


def test_the_highest_of_independent_grades() -> None:
    """noisy-or is its distribution: every combination of the slices' grades, counted out."""
    probs = slices(4)
    found = aggregate(probs, STUDIES, "noisy-or", task="ordinal")
    for m in range(3):
        own = probs[m == STUDIES]
        expected = np.zeros(4)
        for grades in product(range(4), repeat=len(own)):
            expected[max(grades)] += np.prod([p[g] for p, g in zip(own, grades, strict=True)])
        np.testing.assert_allclose(found[m], expected)


def test_the_highest_chance_of_each_grade() -> None:
    probs = slices(4)
    found = aggregate(probs, STUDIES, "max", task="ordinal")
    for m in range(3):
        reached = [max(p[k:].sum() for p in probs[m == STUDIES]) for k in range(4)]
        np.testing.assert_allclose([found[m, k:].sum() for k in range(4)], reached)
    assert (found >= 0).all()


def test_the_highest_of_classes_without_order() -> None:
    probs = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    found = aggregate(probs, [0, 0], "max", task="multiclass")
    np.testing.assert_allclose(found, np.array([[0.7, 0.6, 0.3]]) / 1.6)


def test_regression_takes_the_highest() -> None:
    found = aggregate([[1.0, -5.0], [3.0, -7.0], [9.0, 0.0]], [0, 0, 1], "max", task="regression")
    assert found.tolist() == [[3.0, -5.0], [9.0, 0.0]]


@pytest.mark.parametrize("how", ["mean", "max", "noisy-or"])
@pytest.mark.parametrize("task", ["binary", "multilabel", "ordinal"])
def test_one_slice_is_the_study(how: str, task: Any) -> None:
    probs = slices(2).astype(np.float32)
    for positive in (0, 1):
        found = aggregate(probs, np.arange(6), how, task=task, positive=positive)
        np.testing.assert_allclose(found, probs, atol=1e-6)


def test_what_there_is_not() -> None:
    with pytest.raises(UserError, match="aggregate=median: choose one of mean, max, noisy-or"):
        aggregate(slices(2), STUDIES, "median", task="binary")
    for task in ("multiclass", "regression"):
        with pytest.raises(UserError, match=f"aggregate=noisy-or: a {task} task has no class"):
            aggregate(slices(3), STUDIES, "noisy-or", task=task)  # type: ignore[arg-type]
    check_aggregation("noisy-or", "multiclass", 2)


def test_labels_of_studies() -> None:
    names = ["x", "y", "z"]
    labels = np.array([2, -1, -1, -1, 0, 2])
    assert study_labels(labels, STUDIES, names).tolist() == [0, 2, -1]
    many = np.array([[1, -1], [0, 1], [0, 0], [1, 0], [-1, 1], [-1, 0]])
    assert study_labels(many, STUDIES, names).tolist() == [[0, 1], [1, 0], [0, 0]]
    numbers = np.array([[1.5], [np.nan], [np.nan], [1.5], [-4.0], [np.nan]], np.float32)
    found = study_labels(numbers, STUDIES, names)
    np.testing.assert_array_equal(found, np.array([[-4.0], [1.5], [np.nan]], np.float32))


@pytest.mark.parametrize(
    "labels", [[0, 1, 2, 1, 1, 0], [[0.0], [1.0], [2.0], [0.0], [1.0], [np.inf]]]
)
def test_slices_of_a_study_that_contradict_each_other(labels: list[Any]) -> None:
    with pytest.raises(UserError, match=r"slices of y have different labels \(1 such studies\)"):
        study_labels(np.array(labels), STUDIES, ["x", "y", "z"])
