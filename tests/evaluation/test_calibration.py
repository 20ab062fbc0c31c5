from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from scipy import stats
from scipy.special import expit, logit, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from torchmetrics.classification import BinaryCalibrationError, MulticlassCalibrationError

from medcnn.errors import UserError
from medcnn.evaluation import calibration_figures as module
from medcnn.evaluation.calibration import (
    brier_decomposition,
    calibration_line,
    reliability,
)
from medcnn.evaluation.calibration_figures import calibration_figures
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


def figures(probs: Any, labels: Any, task: Any, **options: Any) -> dict[str, Any]:
    names = [str(k) for k in range(np.shape(probs)[1])]
    options = {"positive": None, "resamples": 200} | options
    return calibration_figures(probs, labels, task=task, class_names=names, **options)


def binary(scores: Any, truth: Any, **options: Any) -> dict[str, Any]:
    """Values of the figures of two classes, of which the second has these scores."""
    scores = np.asarray(scores)
    found = figures(np.stack([1 - scores, scores], 1), np.asarray(truth, int), "binary", **options)
    return {key: figure["value"] for key, figure in found.items()}


@pytest.mark.parametrize("bins", [1, 15])
def test_ece_against_torchmetrics(bins: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BINS", bins)
    probs, labels = classes()
    metric = MulticlassCalibrationError(4, n_bins=bins)
    expected = metric(torch.tensor(probs), torch.tensor(labels))
    found = figures(probs, labels, "multiclass")["ece"]["value"]
    assert found == pytest.approx(float(expected), abs=1e-6)
    scores, truth = data()
    theirs = BinaryCalibrationError(n_bins=bins)(torch.tensor(scores), torch.tensor(truth).int())
    assert binary(scores, truth)["ece"] == pytest.approx(float(theirs), abs=1e-6)


def test_ece_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BINS", 2)
    found = binary([0.1, 0.2, 0.7, 0.8], [False, True, True, True])
    distances = np.array([0.5 - 0.15, 1 - 0.75])
    assert found["ece"] == found["ece_mass"] == pytest.approx(distances.mean())


def test_hard_cases_of_the_bins() -> None:
    assert binary([0.3], [True])["ece"] == pytest.approx(0.7)
    assert binary([1.0, 0.0], [True, False])["ece_mass"] == 0
    assert binary(np.full(9, 0.3), [True] * 9)["ece"] == pytest.approx(0.7)
    for by in ("width", "mass"):
        assert [len(x) for x in reliability([], [], by=by, groups=[])] == [0] * 5  # type: ignore[arg-type]
    half = np.array([0.3, 0.6], np.float16)
    assert binary(half, [0, 1])["ece"] == pytest.approx(0.35, abs=1e-3)


def test_ece_of_calibrated_scores_is_above_zero() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random((100, 300))
    truth = generator.random(scores.shape) < scores
    errors = [binary(*pair, resamples=1)["ece"] for pair in zip(scores, truth, strict=True)]
    assert 0.05 < np.mean(errors) < 0.15


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


@pytest.mark.parametrize("positive", [None, 0, 1])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_figures_of_two_classes_are_of_the_positive_one(task: Any, positive: int | None) -> None:
    scores, truth = data()
    probs, labels = np.stack([1 - scores, scores], 1), truth.astype(int)
    patients = np.arange(400) // 4
    found = figures(probs, labels, task, positive=positive, groups=patients)
    if positive == 0:
        scores, truth = probs[:, 0], ~truth
    line = calibration_line(scores, truth, patients)
    expected = {
        "ece": ece(scores, truth),
        "ece_mass": ece(scores, truth, by="mass"),
        "calibration_slope": line[0].value,
        "calibration_intercept": line[1].value,
    }
    assert {key: figure["value"] for key, figure in found.items()} == pytest.approx(expected)
    assert {figure["n"] for figure in found.values()} == {400}
    assert found["calibration_slope"]["high"] == pytest.approx(line[0].high)


def test_bootstrap_of_the_ece_is_that_of_resampled_rows() -> None:
    """The same draws, each ECE from the rows themselves."""
    scores, truth = data(60)
    patients = np.arange(60) // 3
    found = figures(np.stack([1 - scores, scores], 1), truth.astype(int), "binary", groups=patients)
    drawn = np.random.default_rng(0).integers(20, size=(200, 20), dtype=np.int32)
    rows = (3 * drawn[..., None] + np.arange(3)).reshape(200, 60)
    errors = [ece(scores[row], truth[row]) for row in rows]
    bounds = found["ece"]["low"], found["ece"]["high"]
    assert bounds == pytest.approx(tuple(np.quantile(errors, [0.025, 0.975])))


def test_interval_of_a_calibrated_forecast_lies_high() -> None:
    """What the docstring warns of."""
    generator = np.random.default_rng(0)
    scores = generator.random(200)
    labels = (generator.random(200) < scores).astype(int)
    ece = figures(np.stack([1 - scores, scores], 1), labels, "binary", resamples=2000)["ece"]
    assert ece["high"] - ece["value"] > 2 * abs(ece["value"] - ece["low"])


def test_of_equally_probable_classes_the_first_is_the_decision() -> None:
    probs = np.array([[0.4, 0.4, 0.2], [0.5, 0.25, 0.25]])
    found = figures(probs, np.array([0, 0]), "multiclass")
    assert found["ece"]["value"] == pytest.approx((0.6 + 0.5) / 2)


@pytest.mark.parametrize("task", ["multiclass", "ordinal"])
def test_figures_of_several_classes(task: Any) -> None:
    probs, labels = classes()
    found = figures(probs, labels, task)
    confidence, right = probs.max(1), probs.argmax(1) == labels
    columns = [(probs[:, k], labels == k) for k in range(4)]
    expected = {
        "ece": ece(confidence, right),
        "ece_mass": ece(confidence, right, by="mass"),
        "calibration_slope": calibration_line(confidence, right)[0].value,
        "calibration_intercept": calibration_line(confidence, right)[1].value,
        "ece_classwise": np.mean([ece(*c) for c in columns]),
        "ece_mass_classwise": np.mean([ece(*c, by="mass") for c in columns]),
        "calibration_slope_classwise": np.mean([calibration_line(*c)[0].value for c in columns]),
        "calibration_intercept_classwise": np.mean(
            [calibration_line(*c)[1].value for c in columns]
        ),
    }
    assert {key: figure["value"] for key, figure in found.items()} == pytest.approx(expected)
    assert found["calibration_slope"]["low"] is not None
    assert found["calibration_slope_classwise"]["low"] is None
    assert found["ece_classwise"]["low"] < found["ece_classwise"]["high"]


def test_figures_of_labels_each_with_what_is_known_of_it() -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(200, 3))
    labels = (generator.random((200, 3)) < expit(logits)).astype(int)
    probs = expit(2 * logits)
    labels[:50, 1] = -1
    labels[7] = -1
    found = figures(probs, labels, "multilabel", groups=[f"p{k // 2}" for k in range(200)])
    known = [labels[:, k] >= 0 for k in range(3)]
    columns = [(probs[there, k], labels[there, k]) for k, there in enumerate(known)]
    expected = {
        "ece": np.mean([ece(*c) for c in columns]),
        "ece_mass": np.mean([ece(*c, by="mass") for c in columns]),
        "calibration_slope": np.mean([calibration_line(*c)[0].value for c in columns]),
        "calibration_intercept": np.mean([calibration_line(*c)[1].value for c in columns]),
    }
    assert {key: figure["value"] for key, figure in found.items()} == pytest.approx(expected)
    assert found["ece"]["n"] == 199
    assert found["ece"]["low"] < found["ece"]["high"]
    labels[:, 2] = -1
    assert figures(probs, labels, "multilabel")["ece"]["value"] is None
    labels[:2, 2] = 1
    few = figures(probs, labels, "multilabel", groups=range(200))["ece"]  # drawn now and then
    assert few["low"] < few["high"]


def test_unknown_samples_count_as_if_they_werent_there() -> None:
    probs, labels = classes()
    masked = np.where(np.arange(400) % 3 == 0, -1, labels)
    kept = masked >= 0
    groups = np.arange(400) // 2
    found = figures(probs, masked, "multiclass", groups=groups)
    assert found == figures(probs[kept], masked[kept], "multiclass", groups=groups[kept])
    assert found["ece"]["n"] == kept.sum()


def test_figures_in_hard_cases() -> None:
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    probs = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    unknown = figures(probs, [-1, -1, -1], "binary")
    assert list(unknown.values()) == [nothing] * 4
    assert set(figures(probs, np.full((3, 2), -1), "multilabel")) == set(unknown)
    one_class = figures(probs, [1, 1, 1], "binary")
    assert one_class["calibration_slope"]["value"] is None
    for alone in (
        figures(probs[:1], [0], "binary"),
        figures(probs, [0, 1, 0], "binary", groups=[4, 4, 4]),
    ):
        assert alone["ece"]["value"] is not None
        assert alone["ece"]["low"] is alone["ece_mass"]["high"] is None
    certain = figures(np.eye(3), [0, 1, 2], "multiclass")
    assert certain["ece"] == {"value": 0, "low": 0, "high": 0, "n": 3}
    assert certain["calibration_slope"]["value"] is None
    many = figures(*classes(50, 100), "multiclass", resamples=20)
    assert many["ece_classwise"]["value"] > 0
    assert many["calibration_slope_classwise"]["value"] is None  # most classes are absent
    assert figures(probs, probs, "regression") == {}


def test_rounding_errors_of_probabilities_are_forgiven() -> None:
    probs, labels = np.array([[0.8, 0.2], [0.0, 1.0], [1.0, 0.0], [0.1, 0.9]]), [1, 1, 0, 0]
    rounded = probs + np.where(probs == 1, 2e-7, np.where(probs == 0, -2e-7, 0))
    assert figures(rounded, labels, "binary") == figures(probs, labels, "binary")


def test_seed_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, labels = classes(60)
    whole = figures(probs, labels, "multiclass")
    assert figures(probs, labels, "multiclass") == whole
    assert figures(probs, labels, "multiclass", seed=1) != whole
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", 128 * 7)
    for key, figure in figures(probs, labels, "multiclass").items():
        assert figure == pytest.approx(whole[key], abs=1e-12)


@pytest.mark.parametrize(
    ("probs", "labels", "options", "words"),
    [
        ([[0.5, 1.5]], [0], {}, "0 … 1"),
        ([[0.5, 0.5]], [0], {"groups": [1, 2]}, "groups have shape"),
        ([[0.5, 0.5]], [0], {"resamples": 0}, "resamples=0"),
    ],
)
def test_figures_refuse(probs: Any, labels: Any, options: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        figures(probs, labels, "binary", **options)
