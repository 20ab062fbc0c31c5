from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp
from sklearn.metrics import average_precision_score, roc_auc_score

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
