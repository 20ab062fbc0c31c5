from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from medcnn.errors import UserError
from medcnn.evaluation import confusion


def matrix(classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, decisions that say something about them, and the matrix of both."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, 12 * classes)
    other = generator.integers(0, classes, len(labels))
    decisions = np.where(generator.random(len(labels)) < 0.5, labels, other)
    return labels, decisions, sk.confusion_matrix(labels, decisions, labels=range(classes))


@pytest.mark.parametrize("classes", [2, 3, 5, 100])
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
        "ppv": sk.precision_score(labels, decisions, **options),
        "npv": [sk.precision_score(~y, ~d) for y, d in one],
        "f1": sk.f1_score(labels, decisions, **options),
        "mcc": sk.matthews_corrcoef(labels, decisions),
        "cohen_kappa": sk.cohen_kappa_score(labels, decisions),
        "mean_absolute_error": sk.mean_absolute_error(labels, decisions),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(confusion, name)(counts), value, rtol=1e-12)
    quadratic = sk.cohen_kappa_score(labels, decisions, weights="quadratic")
    assert confusion.cohen_kappa(counts, "quadratic") == pytest.approx(quadratic, rel=1e-12)


def test_leading_axes_are_many_matrices() -> None:
    counts = np.random.default_rng(1).integers(1, 9, (2, 3, 4, 4))
    for name in NAMES:
        figure = getattr(confusion, name)
        found = figure(counts)
        assert found.shape[:2] == (2, 3)
        np.testing.assert_array_equal(found[1, 2], figure(counts[1, 2]))
    np.testing.assert_allclose(confusion.mcc(7.5 * counts), confusion.mcc(counts), rtol=1e-12)


NAMES = (
    "accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv", "f1", "mcc",
    "cohen_kappa", "mean_absolute_error",
)  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_undefined_is_nan() -> None:
    """Three classes of which the first alone has samples, and all are taken for it; and nothing."""
    nan = np.nan
    alone = np.array([[5, 0, 0], [0, 0, 0], [0, 0, 0]])
    expected = {
        "accuracy": 1, "balanced_accuracy": nan, "sensitivity": [1, nan, nan],
        "specificity": [nan, 1, 1], "ppv": [1, nan, nan], "npv": [nan, 1, 1], "f1": [1, nan, nan],
        "mcc": nan, "cohen_kappa": nan, "mean_absolute_error": 0,
    }  # fmt: skip
    for name in NAMES:
        np.testing.assert_array_equal(getattr(confusion, name)(alone), expected[name], name)
        assert np.isnan(getattr(confusion, name)(np.zeros((2, 3, 3)))).all()
    assert np.isnan(confusion.cohen_kappa(alone, "quadratic"))


def test_all_taken_for_one_class() -> None:
    assert np.isnan(confusion.mcc([[5, 0], [3, 0]]))
    assert confusion.cohen_kappa([[5, 0], [3, 0]]) == 0
    np.testing.assert_array_equal(confusion.f1([[5, 0], [3, 0]]), [10 / 13, 0])


def test_by_hand() -> None:
    """Perfect, opposite and independent decisions."""
    for name in ("mcc", "cohen_kappa"):
        figure = getattr(confusion, name)
        assert figure([[3, 0], [0, 7]]) == 1
        assert figure([[0, 5], [5, 0]]) == -1
        assert figure([[2, 4], [3, 6]]) == pytest.approx(0, abs=1e-15)
    assert confusion.mean_absolute_error([[0, 0, 1], [0, 1, 0], [0, 1, 0]]) == 1


@pytest.mark.parametrize("bad", [[1, 2], [[1, 2]], np.zeros((2, 3, 4)), 3])
def test_refuses(bad: Any) -> None:
    for name in NAMES:
        with pytest.raises(UserError, match="confusion matrix: shape"):
            getattr(confusion, name)(bad)
