from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from medcnn.evaluation import confusion
from medcnn.evaluation.confusion import Counts


def matrix(classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, decisions that say something about them, and the matrix of both."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, 12 * classes)
    other = generator.integers(0, classes, len(labels))
    decisions = np.where(generator.random(len(labels)) < 0.5, labels, other)
    return labels, decisions, sk.confusion_matrix(labels, decisions, labels=range(classes))


def counts_of(matrix: Any) -> Counts:
    """The sums of confusion matrices (…, K, K), rows truth."""
    cells = np.asarray(matrix, float)
    return Counts(np.diagonal(cells, axis1=-2, axis2=-1), cells.sum(-1), cells.sum(-2))


def quadratic(matrix: Any) -> np.ndarray:
    classes = np.arange(np.shape(matrix)[-1])
    squares = (np.asarray(matrix) * (classes[:, None] - classes) ** 2).sum((-2, -1))
    return confusion.quadratic_kappa(counts_of(matrix), squares)


@pytest.mark.parametrize("classes", [2, 5])
def test_against_scikit_learn(classes: int) -> None:
    labels, decisions, counts = matrix(classes)
    options: dict[str, Any] = {"average": None, "labels": range(classes)}
    assert len(set(labels)) == len(set(decisions)) == classes  # nothing undefined
    one = [(labels == k, decisions == k) for k in range(classes)]
    expected = {
        "accuracy": sk.accuracy_score(labels, decisions),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, decisions),
        "sensitivity": sk.recall_score(labels, decisions, **options),
        "specificity": [sk.recall_score(~y, ~d) for y, d in one],
        "f1": sk.f1_score(labels, decisions, **options),
        "mcc": sk.matthews_corrcoef(labels, decisions),
        "cohen_kappa": sk.cohen_kappa_score(labels, decisions),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(confusion, name)(counts_of(counts)), value, rtol=1e-12)
    expected = sk.cohen_kappa_score(labels, decisions, weights="quadratic")
    assert quadratic(counts) == pytest.approx(expected, rel=1e-12)


def test_leading_axes_are_many_matrices() -> None:
    counts = np.random.default_rng(1).integers(1, 9, (2, 3, 4, 4))
    for name in NAMES:
        figure = getattr(confusion, name)
        found = figure(counts_of(counts))
        assert found.shape[:2] == (2, 3)
        np.testing.assert_array_equal(found[1, 2], figure(counts_of(counts[1, 2])))
    np.testing.assert_array_equal(quadratic(counts)[1, 2], quadratic(counts[1, 2]))
    heavier = confusion.mcc(counts_of(7.5 * counts))
    np.testing.assert_allclose(heavier, confusion.mcc(counts_of(counts)), rtol=1e-12)


NAMES = (
    "accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1", "mcc", "cohen_kappa",
)  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_undefined_is_nan() -> None:
    """Three classes of which the first alone has samples, and all are taken for it; and nothing."""
    nan = np.nan
    alone = np.array([[5, 0, 0], [0, 0, 0], [0, 0, 0]])
    expected = {
        "accuracy": 1, "balanced_accuracy": nan, "sensitivity": [1, nan, nan],
        "specificity": [nan, 1, 1], "f1": [1, nan, nan], "mcc": nan, "cohen_kappa": nan,
    }  # fmt: skip
    for name in NAMES:
        figure = getattr(confusion, name)
        np.testing.assert_array_equal(figure(counts_of(alone)), expected[name], name)
        assert np.isnan(figure(counts_of(np.zeros((2, 3, 3))))).all()
    assert np.isnan(quadratic(alone))


def test_all_taken_for_one_class() -> None:
    one = counts_of([[5, 0], [3, 0]])
    assert np.isnan(confusion.mcc(one))
    assert confusion.cohen_kappa(one) == 0
    np.testing.assert_array_equal(confusion.f1(one), [10 / 13, 0])


def test_by_hand() -> None:
    """Perfect, opposite and independent decisions."""
    for name in ("mcc", "cohen_kappa"):
        figure = getattr(confusion, name)
        assert figure(counts_of([[3, 0], [0, 7]])) == 1
        assert figure(counts_of([[0, 5], [5, 0]])) == -1
        assert figure(counts_of([[2, 4], [3, 6]])) == pytest.approx(0, abs=1e-15)
