from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import expit, logit, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from medcnn.errors import UserError
from medcnn.evaluation.calibration import (
    brier_decomposition,
    calibration_line,
    reliability,
)
from medcnn.evaluation.proportions import proportion_interval


def data(count: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overconfident scores and the truth."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=count)
    return expit(2 * logits + 0.3), generator.random(count) < expit(logits)


def classes(count: int = 400, k: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, k))
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(1)
    return softmax(2 * logits, axis=1), labels


@pytest.mark.parametrize(("by", "strategy"), [("width", "uniform"), ("mass", "quantile")])
@pytest.mark.parametrize("bins", [1, 10])
def test_reliability_against_scikit_learn(by: Any, strategy: str, bins: int) -> None:
    scores, truth = data()
    points = reliability(scores, truth, bins, by)
    share, score = calibration_curve(truth, scores, n_bins=bins, strategy=strategy)
    np.testing.assert_allclose(points.score, score, atol=1e-12)
    np.testing.assert_allclose(points.share, share, atol=1e-12)
    assert points.size.sum() == 400
    for share, low, high, size in zip(*points[1:], strict=True):
        assert (low, high) == pytest.approx(
            stats.binomtest(round(share * size), int(size)).proportion_ci(0.95, "wilson"), abs=1e-12
        )


def test_bins_of_equal_mass_are() -> None:
    scores, truth = data(103)
    assert sorted(set(reliability(scores, truth, 10, "mass").size.tolist())) == [10, 11]


def test_equal_scores_stay_together_and_bins_hold_their_upper_edge() -> None:
    scores, truth = [0.2] * 6 + [0.4, 0.9], [True] * 3 + [False] * 5
    assert reliability(scores, truth, 4, "mass").size.tolist() == [6, 2]
    assert reliability(np.full(5, 0.3), truth[:5], 4, "mass").size.tolist() == [5]
    points = reliability([0, 0.1, 0.2, 0.21, 1], [False] * 5, 10)
    np.testing.assert_allclose(points.score, [0.05, 0.2, 0.21, 1])


def test_bounds_are_those_of_the_shares_of_patients() -> None:
    scores, truth = data(200)
    patients = np.arange(200) // 4
    points = reliability(scores, truth, 4, groups=patients)
    for k, (low, high) in enumerate(zip(points.low, points.high, strict=True)):
        there = (scores > k / 4) & (scores <= (k + 1) / 4)
        expected = proportion_interval(truth[there], patients[there])
        assert (points.share[k], low, high) == pytest.approx(expected)
    alone = reliability([0.1, 0.2], [True, False], 2, groups=[7, 7])
    assert np.isnan(alone.low).all()  # one patient doesn't tell how patients vary


def ece(scores: Any, truth: Any, by: Any = "width") -> float:
    """From the points of a reliability diagram, which scikit-learn has too."""
    points = reliability(scores, truth, 15, by)
    return float(np.average(np.abs(points.share - points.score), weights=points.size))


@pytest.mark.parametrize("bins", [3, 1000])
def test_brier_decomposition_is_exact(bins: int) -> None:
    scores, truth = data()
    rel, res, unc, variance, covariance = brier_decomposition(scores, truth, bins)
    total = rel - res + unc + variance - covariance
    assert total == pytest.approx(brier_score_loss(truth, scores), abs=1e-12)
    assert unc == pytest.approx(truth.var(), abs=1e-12)
    points = reliability(scores, truth, bins)
    weights = points.size / 400
    assert rel == pytest.approx((weights * (points.score - points.share) ** 2).sum(), abs=1e-12)
    assert res == pytest.approx((weights * (points.share - truth.mean()) ** 2).sum(), abs=1e-12)


def test_brier_decomposition_by_hand() -> None:
    """One bin: no resolution; variance and covariance are those of all samples."""
    scores, truth = np.array([0.2, 0.4, 0.9]), np.array([False, True, True])
    parts = brier_decomposition(scores, truth, 1)
    assert parts.reliability == pytest.approx((0.5 - 2 / 3) ** 2)
    assert parts.resolution == pytest.approx(0)
    assert parts.within_variance == pytest.approx(scores.var())
    assert parts.within_covariance == pytest.approx(2 * np.cov(scores, truth, ddof=0)[0, 1])
    murphy = brier_decomposition([0.25, 0.25, 0.75], [False, True, True])
    assert murphy[3:] == pytest.approx((0, 0))
    assert np.isnan(brier_decomposition([], [])).all()


def expected_line(scores: np.ndarray, truth: np.ndarray, groups: Any) -> list[list[float]]:
    kind = {} if groups is None else {"cov_type": "cluster", "cov_kwds": {"groups": groups}}
    x, y = logit(scores), truth.astype(float)
    slope = sm.Logit(y, sm.add_constant(x)).fit(disp=0, tol=1e-14, **kind)
    family = sm.families.Binomial()
    offset = sm.GLM(y, np.ones_like(x), family=family, offset=x).fit(tol=1e-14, **kind)
    return [
        [fit.params[k], *fit.conf_int()[k]]
        for fit, k in ((slope, 1), (offset, 0))  # statsmodels' intervals are Wald's too
    ]


@pytest.mark.parametrize("patients", [None, 30, 400])
def test_line_against_statsmodels(patients: int | None) -> None:
    scores, truth = data()
    groups = None if patients is None else np.random.default_rng(5).permutation(400) % patients
    slope, intercept = calibration_line(scores, truth, groups)
    expected = expected_line(scores, truth, groups)
    assert list(slope) == pytest.approx(expected[0], abs=1e-6)
    assert list(intercept) == pytest.approx(expected[1], abs=1e-6)
    assert slope.high < 1  # overconfident by construction


def test_line_of_scores_that_hardly_differ() -> None:
    scores, truth = data()
    slope, *_ = calibration_line(expit(1e-5 * logit(scores)), truth)
    expected = expected_line(scores, truth, None)[0]
    assert [1e-5 * x for x in slope] == pytest.approx(expected, rel=1e-5)


def test_copies_of_samples_leave_the_clustered_interval() -> None:
    scores, truth = data()
    many = calibration_line(np.repeat(scores, 5), np.repeat(truth, 5), np.repeat(range(400), 5))
    one = calibration_line(scores, truth, range(400))
    assert many[0] == pytest.approx(one[0], rel=3e-3)  # but for the factor (N−1)/(N−P)
    naive = calibration_line(np.repeat(scores, 5), np.repeat(truth, 5))[0]
    assert naive.high - naive.low < 0.5 * (many[0].high - many[0].low)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_line_of_scores_of_zero_and_one_is_finite(dtype: type) -> None:
    scores = np.array([0, 0, 1, 1, 0.5, 0.4] * 5, dtype)
    slope, intercept = calibration_line(scores, [0, 1, 1, 0, 1, 0] * 5)
    assert np.isfinite([*slope, *intercept]).all()
    x = logit(np.clip(scores.astype(float), np.finfo(dtype).eps, 1 - np.finfo(dtype).eps))
    expected = expected_line(expit(x), np.array([0, 1, 1, 0, 1, 0] * 5), None)
    assert slope.value == pytest.approx(expected[0][0], abs=1e-6)


def nan(interval: Any) -> bool:
    return bool(np.isnan(interval).all())


@pytest.mark.parametrize("truth", [[True] * 3, [False] * 3])
def test_line_without_a_class(truth: list[bool]) -> None:
    slope, intercept = calibration_line([0.1, 0.5, 0.7], truth)
    assert nan(slope)
    assert nan(intercept)
    assert nan(calibration_line([], [])[0])
    assert nan(calibration_line([0.3], [True])[1])


@pytest.mark.parametrize(
    ("scores", "truth"),
    [
        ([0.1, 0.2, 0.2, 0.4], [0, 0, 1, 1]),  # quasi-separation: a tie
        ([0.1, 0.2, 0.3, 0.4], [1, 1, 0, 0]),
        ([0.2, 0.2, 0.2, 0.2], [1, 0, 0, 0]),
    ],
)
def test_line_without_a_slope(scores: list[float], truth: list[int]) -> None:
    slope, intercept = calibration_line(scores, truth)
    assert nan(slope)
    total = expit(logit(scores) + intercept.value).sum()
    assert total == pytest.approx(sum(truth), abs=1e-6)  # what the likelihood asks of it


def test_line_of_one_patient_has_no_bounds() -> None:
    slope, intercept = calibration_line(*data(), [3] * 400)
    assert nan(slope[1:])
    assert nan(intercept[1:])
    assert slope.value == pytest.approx(calibration_line(*data())[0].value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: reliability([0.1, 0.2], [True]), "shape"),
        (lambda: reliability([[0.1]], [[True]]), "shape"),
        (lambda: reliability([0.1, 1.2], [True, False]), "0 … 1"),
        (lambda: reliability([0.1, np.nan], [True, False]), "0 … 1"),
        (lambda: reliability([0.1], [2]), "True or False"),
        (lambda: reliability([0.1], [True], bins=0), "bins=0"),
        (lambda: reliability([0.1], [True], by="size"), "by=size"),  # type: ignore[arg-type]
        (lambda: reliability([0.1], [True], groups=[1, 2]), "groups have shape"),
        (lambda: calibration_line([0.1, 0.2], [True, False], [1]), "groups have shape"),
    ],
)
def test_refuses(call: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        call()
    assert "\n" not in str(error.value)
