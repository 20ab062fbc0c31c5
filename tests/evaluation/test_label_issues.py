import numpy as np
import pandas as pd
import pytest

from medcnn.evaluation.label_issues import confident_classes, label_issues, self_confidence
from medcnn.evaluation.predictions import Predictions


def drawn(classes: int, seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities that follow the truth, labels of which 5 % are wrong, and which these are."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes)) + 3.5 * np.eye(classes)[truth]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = rng.permutation(n) < n // 20
    return probs, np.where(wrong, (truth + 1) % classes, truth), wrong


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_they_are_those_of_cleanlab(classes: int) -> None:
    library = pytest.importorskip("cleanlab", reason="cleanlab isn't there")
    probs, labels, _ = drawn(classes)
    flagged = library.filter.find_label_issues(
        labels, probs, filter_by="confident_learning", n_jobs=1
    )
    np.testing.assert_array_equal(confident_classes(probs, labels) >= 0, flagged)
    np.testing.assert_allclose(
        self_confidence(probs, labels),
        library.rank.get_self_confidence_for_each_label(labels, probs),
    )


def test_flipped_labels_come_first() -> None:
    probs, labels, wrong = drawn(2)
    table = pd.DataFrame({"row": np.arange(300), "prob:a": probs[:, 0], "prob:b": probs[:, 1]})
    table["fold"], table["label"] = 0, np.array(["a", "b"])[labels]
    table.loc[7, "label"] = None  # unknown
    found = label_issues(Predictions.of(table, task="binary", class_names=["a", "b"], positive=1))
    assert list(found) == ["row", "fold", "label", "suggested", "score"]
    assert wrong[found["row"][:15]].mean() > 0.8  # of 15 that are wrong
    assert (found["label"] != found["suggested"]).all()
    assert found["score"].is_monotonic_increasing
    assert 7 not in set(found["row"])


def test_thresholds_are_of_the_class() -> None:
    """By hand: the thresholds are 0.8 and 0.55; class c, which nothing is labelled, has none."""
    probs = np.array([[0.9, 0.1, 0], [0.9, 0.1, 0], [0.6, 0.4, 0], [0.3, 0.7, 0], [0.6, 0.4, 0]])
    labels = np.array([0, 0, 0, 1, 1])
    assert confident_classes(probs, labels).tolist() == [-1] * 5  # 0.6 is no confident a
    probs[4] = [0.85, 0.15, 0]
    assert confident_classes(probs, labels).tolist() == [-1, -1, -1, -1, 0]
    probs[3] = [0.1, 0.2, 0.7]
    assert confident_classes(probs, labels).tolist() == [-1, -1, -1, -1, 0]


def test_a_grade_further_off_is_likelier_wrong() -> None:
    probs = np.array([[0.2, 0.8, 0.0], [0.2, 0.0, 0.8]])
    labels = np.array([0, 0])
    assert self_confidence(probs, labels).tolist() == [0.2, 0.2]
    np.testing.assert_allclose(self_confidence(probs, labels, ordinal=True), [0.6, 0.2])


def test_each_of_several_labels_is_judged_by_itself() -> None:
    table = pd.DataFrame({"row": range(6), "prob:m": [0.9, 0.8, 0.9, 0.1, 0.2, 0.95]})
    table["label:m"], table["prob:o"], table["label:o"] = [1, 1, 1, 0, 0, 0], 0.5, [None] * 6
    found = label_issues(
        Predictions.of(table, task="multilabel", class_names=["m", "o"], positive=None)
    )
    assert found.to_dict("records") == [
        {"row": 5, "of": "m", "label": "0", "suggested": "1", "score": pytest.approx(0.05)}
    ]


def test_a_number_far_from_its_prediction() -> None:
    residuals = np.array([-1.0, 0.5, 0, -0.5, 1, 30, -40, 0.2, -0.2])
    table = pd.DataFrame({"row": range(9), "prediction": 50.0, "label": 50 + residuals})
    table.loc[9] = [9, 50.0, np.nan]
    found = label_issues(
        Predictions.of(table, task="regression", class_names=["age"], positive=None)
    )
    assert found["row"].tolist() == [6, 5]
    assert found["label"].tolist() == [10, 80]
    assert found["score"][1] == pytest.approx(30 / (1.4826 * 0.5), rel=1e-4)
    exact = table.assign(label=table["prediction"])
    same = Predictions.of(exact, task="regression", class_names=["age"], positive=None)
    assert len(label_issues(same)) == 0
