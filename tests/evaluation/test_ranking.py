from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp
from sklearn.metrics import average_precision_score, roc_auc_score

from medcnn.evaluation import figures_with_intervals, read_predictions
from medcnn.evaluation.ranking import areas, rank, ranking_scores
from medcnn.objective import Objective


def by_columns(scores: np.ndarray, truth: np.ndarray, weights: Any = None) -> np.ndarray:
    """AUROC and average precision, (2, R, K), each sample being a group."""
    count = len(scores)
    weights = np.ones((1, count)) if weights is None else weights
    weights = np.ascontiguousarray(np.transpose(weights), float)
    columns = zip(scores.T, truth.T, strict=True)
    found = [areas(rank(s, t, np.arange(count), count), weights) for s, t in columns]
    return np.stack(found, axis=2)


@pytest.mark.parametrize("levels", [5, 10**9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_scikit_learn(levels: int, dtype: type) -> None:
    """Weights of any size; few levels mean many ties."""
    generator = np.random.default_rng(levels)
    scores: np.ndarray = (generator.integers(0, levels, (80, 3)) / levels).astype(dtype)
    truth = generator.random((80, 3)) < [0.5, 0.1, 0.9]
    truth[0], truth[1] = True, False
    weights = generator.exponential(size=(5, 80))
    weights[:, 2:40] = 0
    weights[0] = 1
    for ours, theirs in zip(
        by_columns(scores, truth, weights), (roc_auc_score, average_precision_score), strict=True
    ):
        expected = [
            [theirs(truth[:, k], scores[:, k], sample_weight=w) for k in range(3)] for w in weights
        ]
        np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_by_hand() -> None:
    scores = np.array([[0.1], [0.4], [0.35], [0.8]])
    truth = np.array([[False], [False], [True], [True]])
    assert by_columns(scores, truth).ravel() == pytest.approx([0.75, (1 + 2 / 3) / 2])
    assert by_columns(np.ones((4, 1)), truth).ravel().tolist() == [0.5, 0.5]
    assert by_columns(truth.astype(float), truth)[0].tolist() == [[1.0]]
    assert by_columns(-truth.astype(float), truth)[0].tolist() == [[0.0]]


@pytest.mark.filterwarnings("error")
def test_what_weighs_nothing_is_undefined() -> None:
    scores = np.array([[0.1, 0.5], [0.4, 0.2], [0.3, 0.3]])
    truth = np.array([[True, False], [False, False], [True, False]])
    weights = np.array([[1, 1, 1], [0, 1, 0], [1, 0, 1], [0, 0, 0.0]])
    nan = np.nan
    auroc, precision = by_columns(scores, truth, weights)
    np.testing.assert_array_equal(auroc, [[0, nan], [nan, nan], [nan, nan], [nan, nan]])
    np.testing.assert_allclose(precision[:, 0], [(1 / 2 + 2 / 3) / 2, nan, 1, nan])
    assert np.isnan(precision[:, 1]).all()


def test_two_sure_classes_have_one_auroc(tmp_path: Path) -> None:
    """Logits so large that the other class's probability is 1 in float32; through a file, too."""
    margins = np.random.default_rng(0).normal(-60, 20, 50)
    truth = margins + np.random.default_rng(1).normal(0, 20, 50) > -60
    logits = torch.tensor(np.stack([np.zeros(50), margins], axis=1))
    probs = Objective("multiclass", 2).probs(logits)
    assert (probs[:, 0] > 1 - 1e-12).sum() > 40
    table = pd.DataFrame(probs.numpy(), columns=["prob:other", "prob:ill"])
    table["label"] = np.where(truth, "ill", "other")
    table.to_csv(tmp_path / "told.csv", index=False)
    told = read_predictions(tmp_path / "told.csv", task="multiclass")
    figures = figures_with_intervals(told, resamples=200)
    expected = roc_auc_score(truth, margins)
    for name in ("auroc/ill", "auroc/other", "auroc", "micro_auroc"):
        if name != "micro_auroc":
            assert figures[name]["value"] == pytest.approx(expected, abs=1e-12)
        assert figures[name]["low"] < figures[name]["value"] < figures[name]["high"]
    assert figures["auroc/ill"]["low"] == pytest.approx(figures["auroc/other"]["low"], abs=1e-12)


def test_ranking_scores_are_log_odds() -> None:
    logits = np.array([[50.0, 0.0, 1.0], [40.0, -3.0, 0.0], [0.3, 0.2, 0.1]])
    probs = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    others = [logsumexp(np.delete(logits, k, axis=1), axis=1) for k in range(3)]
    np.testing.assert_allclose(ranking_scores(probs), logits - np.stack(others, 1), rtol=1e-9)
    given = np.array([[3.0, -1.0]])  # no probabilities
    assert ranking_scores(given) is given
    labels = np.array([[0.9, 0.8]])
    assert ranking_scores(labels, several=True) is labels
