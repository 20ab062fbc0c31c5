from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp
from sklearn.metrics import average_precision_score, roc_auc_score

from medcnn.errors import UserError
from medcnn.evaluation import figures_with_intervals, read_predictions
from medcnn.evaluation.ranking import auroc, average_precision, ranking_scores
from medcnn.objective import Objective


@pytest.mark.parametrize("levels", [2, 5, 10**9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_scikit_learn(levels: int, dtype: type) -> None:
    """Few levels mean many ties."""
    generator = np.random.default_rng(levels)
    scores = (generator.integers(0, levels, (200, 4)) / levels).astype(dtype)
    truth = generator.random((200, 4)) < [0.5, 0.1, 0.9, 0.02]
    truth[0], truth[1] = True, False
    for ours, theirs in ((auroc, roc_auc_score), (average_precision, average_precision_score)):
        expected = [theirs(truth[:, k], scores[:, k]) for k in range(4)]
        np.testing.assert_allclose(ours(scores, truth), expected, rtol=1e-12)


def test_auroc_counts_pairs() -> None:
    generator = np.random.default_rng(0)
    scores, truth = generator.integers(0, 6, (40, 1)) / 6, generator.random((40, 1)) < 0.4
    wins = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high in scores[truth]
        for low in scores[~truth]
    ]
    assert auroc(scores, truth)[0] == pytest.approx(np.mean(wins), abs=1e-15)


def test_by_hand() -> None:
    scores = np.array([[0.1], [0.4], [0.35], [0.8]])
    truth = np.array([[False], [False], [True], [True]])
    assert auroc(scores, truth).tolist() == [0.75]
    assert average_precision(scores, truth)[0] == pytest.approx((1 + 2 / 3) / 2)
    assert auroc(np.ones((4, 1)), truth).tolist() == [0.5]
    assert average_precision(np.ones((4, 1)), truth).tolist() == [0.5]
    assert auroc(truth.astype(float), truth).tolist() == [1.0]
    assert auroc(-truth.astype(float), truth).tolist() == [0.0]


def test_undefined_is_nan() -> None:
    scores = np.array([[0.1, 0.5, 0.3], [0.4, 0.2, 0.3]])
    truth = np.array([[True, False, True], [True, False, False]])
    np.testing.assert_array_equal(auroc(scores, truth), [np.nan, np.nan, 0.5])
    np.testing.assert_array_equal(average_precision(scores, truth), [1.0, np.nan, 0.5])


@pytest.mark.parametrize("levels", [3, 10, 10**9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_against_scikit_learn(levels: int, dtype: type) -> None:
    """Weights of any size; few levels mean many ties."""
    generator = np.random.default_rng(levels)
    scores: np.ndarray = (generator.integers(0, levels, (80, 3)) / levels).astype(dtype)
    truth = generator.random((80, 3)) < [0.5, 0.1, 0.9]
    truth[0], truth[1] = True, False
    weights = generator.exponential(size=(20, 80))
    weights[:, 2:40] = 0
    for ours, theirs in (
        (auroc, roc_auc_score),
        (average_precision, average_precision_score),
    ):
        expected = [
            [theirs(truth[:, k], scores[:, k], sample_weight=w) for k in range(3)] for w in weights
        ]
        np.testing.assert_allclose(ours(scores, truth, weights), expected, rtol=1e-9)
        assert ours(scores, truth, weights[:0]).shape == (0, 3)


def test_equal_weights_change_nothing() -> None:
    generator = np.random.default_rng(0)
    scores: np.ndarray = generator.integers(0, 9, (50, 4)) / 9
    truth = generator.random((50, 4)) < 0.4
    weights = np.array([[0.25], [1], [3]]) * np.ones(50)
    for metric in (auroc, average_precision):
        expected = np.tile(metric(scores, truth), (3, 1))
        np.testing.assert_allclose(metric(scores, truth, weights), expected, rtol=1e-12)


@pytest.mark.filterwarnings("error")
def test_what_weighs_nothing_is_undefined() -> None:
    scores = np.array([[0.1, 0.5], [0.4, 0.2], [0.3, 0.3]])
    truth = np.array([[True, False], [False, False], [True, False]])
    weights = np.array([[1, 1, 1], [0, 1, 0], [1, 0, 1], [0, 0, 0.0]])
    nan = np.nan
    expected = np.array([[0, nan], [nan, nan], [nan, nan], [nan, nan]])
    np.testing.assert_array_equal(auroc(scores, truth, weights), expected)
    precision = average_precision(scores, truth, weights)
    np.testing.assert_allclose(precision[:, 0], [(1 / 2 + 2 / 3) / 2, nan, 1, nan])
    assert np.isnan(precision[:, 1]).all()


def test_refuses() -> None:
    scores, truth = np.zeros((3, 2)), np.zeros((3, 2), bool)
    for metric in (auroc, average_precision):
        with pytest.raises(UserError, match="don't fit"):
            metric(scores, truth, np.ones((2, 4)))
        with pytest.raises(UserError, match="don't fit"):
            metric(scores, truth[:, :1], np.ones((2, 3)))
        for bad in (-1.0, np.nan, np.inf):
            with pytest.raises(UserError, match="finite and at least 0"):
                metric(scores, truth, np.full((2, 3), bad))


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
