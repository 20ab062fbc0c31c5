"""Curves over all thresholds, by scikit-learn and by loops."""

import math
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk
from test_operating_point import data

from medcnn.errors import UserError
from medcnn.evaluation.curves import MOST_POINTS, net_benefit, pr_points, roc_band, roc_points
from medcnn.evaluation.intervals import resample_counts


@pytest.mark.parametrize("levels", [0, 5])
def test_curves_against_scikit_learn(levels: int) -> None:
    scores, truth = data(300, levels)
    fpr, sensitivity = roc_points(scores, truth)
    expected = sk.roc_curve(truth, scores, drop_intermediate=levels == 0)[:2]
    if levels == 0:  # theirs keep the first score's point, on the way up from 0
        for ours, theirs in zip((fpr, sensitivity), expected, strict=True):
            np.testing.assert_allclose(ours, np.delete(theirs, 1), rtol=1e-12)
    whole = {tuple(point) for point in np.round(np.transpose(expected), 9).tolist()}
    kept = np.round(np.transpose((fpr, sensitivity)), 9).tolist()
    assert {tuple(point) for point in kept} <= whole
    assert sk.auc(fpr, sensitivity) == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-12)
    recall, precision = pr_points(scores, truth)
    theirs = sk.precision_recall_curve(truth, scores, drop_intermediate=True)
    np.testing.assert_allclose(recall, theirs[1][::-1], rtol=1e-12)
    np.testing.assert_allclose(precision, theirs[0][::-1], rtol=1e-12)


def test_thinned_curves_look_the_same() -> None:
    scores, truth = data(100_000)
    for points, curve, swap in (
        (roc_points, sk.roc_curve, False),
        (pr_points, sk.precision_recall_curve, True),
    ):
        x, y = points(scores, truth)
        exact = curve(truth, scores)
        exact_x, exact_y = (exact[1][::-1], exact[0][::-1]) if swap else exact[:2]
        assert 100 < len(x) <= MOST_POINTS
        assert len(x) == len(y)
        assert (x[0], x[-1]) == (0, 1)
        grid = np.linspace(0.001, 1, 500)
        apart = np.interp(grid, x, y) - np.interp(grid, exact_x, exact_y)
        assert np.abs(apart).max() < 0.01
    fpr, sensitivity = roc_points(scores, truth)
    assert sk.auc(fpr, sensitivity) == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-3)


def test_curves_of_little() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fpr, sensitivity = roc_points(np.full(4, 0.5), [True, False, True, True])
        assert (fpr.tolist(), sensitivity.tolist()) == ([0, 1], [0, 1])
        fpr, sensitivity = roc_points([0.1, 0.5], [False, False])
        assert fpr.tolist() == [0, 1]
        assert np.isnan(sensitivity).all()
        recall, precision = pr_points([0.1, 0.5], [False, False])
        assert np.isnan(recall).all()
        assert precision.tolist() == [1, 0]
        assert pr_points([0.4], [True])[0].tolist() == [0, 1]


def naive_band(scores: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
    """One bootstrap sample after the other, each with scikit-learn's curve."""
    drawn = resample_counts(np.random.default_rng(3), 50, int(groups.max()) + 1)
    curves = []
    for counts in drawn:
        weights = counts[groups]
        if not (weights[truth].sum() and weights[~truth].sum()):
            continue
        fpr, sensitivity, _ = sk.roc_curve(truth, scores, sample_weight=weights)
        just_after = np.linspace(0, 1, 101) + 1e-9  # the upper end of an upright part
        curves.append(np.interp(just_after, fpr, sensitivity))
    return list(np.quantile(curves, [0.025, 0.975], axis=0))


@pytest.mark.parametrize("levels", [0, 5])
@pytest.mark.parametrize("size", [1, 4])
def test_band_against_a_loop(levels: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, truth = data(40, levels, seed=5)
    groups = np.arange(40) // size
    fpr, *found = roc_band(scores, truth, groups.astype(str) if size == 1 else groups, 50, 3)
    if size == 1:
        groups = np.unique(groups.astype(str), return_inverse=True)[1]
    expected = naive_band(scores, truth, groups)
    assert fpr == pytest.approx(np.arange(101) / 100)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    monkeypatch.setattr("medcnn.evaluation.curves.NUMBERS_AT_ONCE", 2 * 40 * 7)
    np.testing.assert_allclose(roc_band(scores, truth, groups, 50, 3)[1:], expected, atol=1e-6)


def test_band_where_corners_lie_on_the_grid() -> None:
    """Each bootstrap sample has 100 negatives, and 0.29 · 100 isn't 29 in floating point."""
    truth, groups = np.arange(200) % 2 == 0, np.arange(200) // 100
    for seed in range(20):
        scores = np.random.default_rng(seed).normal(size=200) + truth
        found = roc_band(scores, truth, groups, 50, 3)[1:]
        np.testing.assert_allclose(found, naive_band(scores, truth, groups), atol=1e-6)


def test_band_without_groups_is_that_of_samples() -> None:
    scores, truth = data(50)
    alone = roc_band(scores, truth, np.arange(50))
    np.testing.assert_array_equal(roc_band(scores, truth), alone)
    assert (alone[1] <= alone[2]).all()
    x, y, _ = sk.roc_curve(truth, scores)
    inside = np.interp(alone[0], x, y)
    assert np.mean((alone[1] - 0.05 <= inside) & (inside <= alone[2] + 0.05)) == 1
    assert np.any(roc_band(scores, truth, seed=1)[1] != alone[1])


def test_band_of_many_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that are put together don't move it visibly."""
    scores, truth = data(3000)
    groups = np.arange(3000) // 3
    exact = roc_band(scores, truth, groups)
    monkeypatch.setattr("medcnn.evaluation.curves._MOST_STEPS", 1000)
    np.testing.assert_allclose(roc_band(scores, truth, groups), exact, atol=0.004)


def test_band_of_too_few_patients() -> None:
    scores, truth, groups = [0.1, 0.4, 0.8, 0.3], [False, True, True, False], ["p", "q", "q", "r"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for labels in (truth, [True] * 4, [False] * 4):
            fpr, low, high = roc_band(scores, labels, groups)
            assert np.isnan([low, high]).all()
            assert len(fpr) == 101
        few = [roc_band(scores, truth, ["p", "q", "s", "r"], 1, seed)[1] for seed in range(40)]
    empty = [np.isnan(low).all() for low in few]
    assert any(empty)
    assert not all(empty)


def test_net_benefit_by_hand() -> None:
    scores, truth = data(100, 20)
    thresholds = np.array([0.0, 0.05, 0.2, 0.5, 0.9])
    curves = net_benefit(scores, truth, thresholds)
    for k, t in enumerate(thresholds):
        (tn, fp), (_, tp) = sk.confusion_matrix(truth, scores >= t, labels=[False, True])
        assert curves.model[k] == pytest.approx(tp / 100 - fp / 100 * t / (1 - t))
        share = truth.mean()
        assert curves.all[k] == pytest.approx(share - (1 - share) * t / (1 - t))
        assert tn + fp == (~truth).sum()
    assert curves.none.tolist() == [0] * 5
    assert curves.model[0] == curves.all[0] == pytest.approx(truth.mean())
    assert net_benefit([0.2], [True], [0.1]).model.tolist() == [1]
    assert net_benefit([0.2], [False], [0.5]).model.tolist() == [0]
    for bad in ([1.0], [-0.1, 0.5], [math.nan]):
        with pytest.raises(UserError, match="at least 0 and below 1"):
            net_benefit([0.1], [True], bad)
