"""Platt scaling against scikit-learn, and against a grid."""

import numpy as np
import pytest
from scipy.special import expit, log_softmax
from sklearn.linear_model import LogisticRegression

from medcnn.evaluation.platt import fit_platt


def test_a_slope_and_an_offset_for_two_classes() -> None:
    """A weighted logistic regression: each sample once as each class, by its softened truth."""
    random = np.random.default_rng(0)
    labels = (random.random(80) < 0.3).astype(int)
    scores = 0.3 * labels + random.normal(0.1, 0.2, 80)
    ill = labels.sum()
    soft = np.where(labels == 1, (ill + 1) / (ill + 2), 1 / (80 - ill + 2))
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(
        np.r_[scores, scores][:, None], np.repeat([1, 0], 80), sample_weight=np.r_[soft, 1 - soft]
    )
    found = fit_platt(scores[:, None], labels, task="binary")
    assert found["slope"] == pytest.approx(reference.coef_[0], rel=1e-4)
    assert found["offset"] == pytest.approx(reference.intercept_, rel=1e-4)
    turned = fit_platt(-scores[:, None], labels, task="binary", positive=0)
    assert turned["slope"] == pytest.approx(found["slope"], rel=1e-4)
    unknown = np.r_[labels, -1]
    again = fit_platt(np.r_[scores, 99.0][:, None], unknown, task="binary")
    assert again["slope"] == pytest.approx(found["slope"], rel=1e-6)
    several = fit_platt(np.c_[scores, scores[::-1]], np.c_[labels, labels[::-1]], task="multilabel")
    assert several["slope"] == pytest.approx(found["slope"] * 2, rel=1e-4)


def test_scores_without_an_error_have_a_slope_and_worse_than_chance_keep_their_order() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    found = fit_platt(np.where(labels == 1, 2.0, -1.0)[:, None], labels, task="binary")
    probs = expit(found["slope"][0] * np.array([2.0, -1.0]) + found["offset"][0])
    assert probs == pytest.approx([3 / 4, 1 / 5], abs=1e-4)  # the softened truths
    wrong = fit_platt(np.where(labels == 1, -1.0, 2.0)[:, None], labels, task="binary")
    assert wrong["slope"][0] > 0


def test_one_slope_for_several_classes() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, 60)
    scores = np.eye(3)[labels] + random.normal(0, 1, (60, 3))
    found = fit_platt(scores, labels, task="multiclass")
    assert found["offset"] == [0, 0, 0]
    counts = np.bincount(labels)[labels][:, None]
    soft = np.where(np.eye(3)[labels] == 1, counts + 1, 1) / (counts + 3)
    slopes = np.linspace(0.1, 4, 3901)
    losses = [-(soft * log_softmax(s * scores, axis=1)).sum() for s in slopes]
    assert found["slope"] == pytest.approx([slopes[np.argmin(losses)]] * 3, abs=2e-3)
