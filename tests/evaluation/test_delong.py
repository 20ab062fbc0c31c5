import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats
from sklearn.metrics import roc_auc_score

from medcnn.errors import UserError
from medcnn.evaluation.delong import (
    auroc_covariance,
    auroc_interval,
    contributions,
)


def sample(seed: int, n: int = 60, models: int = 3, levels: int = 10**9) -> tuple:
    """Scores (models, n), few levels mean many ties; truth and, for about four each, patients."""
    generator = np.random.default_rng(seed)
    truth = generator.random(n) < 0.4
    truth[:4] = [True, True, False, False]
    groups = generator.integers(max(2, n // 4), size=n)
    shared = generator.normal(size=n)[groups] + truth
    scores = shared + generator.normal(size=(models, n))
    return np.round(scores * levels / 4), truth, groups


def kernel(scores: NDArray, truth: NDArray) -> NDArray:
    """(P, Q): 1 where the positive sample outscores the negative one, ½ for a tie."""
    return (np.sign(scores[truth][:, None] - scores[~truth]) + 1) / 2


def obuchowski(scores: NDArray, truth: NDArray, groups: Sequence) -> NDArray:
    """Her equations, patient by patient, as slow as they read."""
    models, p, q = len(scores), truth.sum(), (~truth).sum()
    pairs = [kernel(values, truth) for values in scores]
    areas = [pair.mean() for pair in pairs]
    names = list(dict.fromkeys(groups))
    v10, v01, m, n = {}, {}, {}, {}
    for name in names:
        inside = np.array([group == name for group in groups])
        m[name], n[name] = (inside & truth).sum(), (inside & ~truth).sum()
        for k in range(models):
            v10[k, name] = pairs[k].mean(1)[inside[truth]].sum()
            v01[k, name] = pairs[k].mean(0)[inside[~truth]].sum()
    i10, i01, i = sum(v > 0 for v in m.values()), sum(v > 0 for v in n.values()), len(names)
    covariance = np.empty((models, models))
    for k in range(models):
        for j in range(models):
            s10 = s01 = s11 = s11_other = 0.0
            for g in names:
                a = (v10[k, g] - m[g] * areas[k], v10[j, g] - m[g] * areas[j])
                b = (v01[k, g] - n[g] * areas[k], v01[j, g] - n[g] * areas[j])
                s10 += i10 / ((i10 - 1) * p) * a[0] * a[1]
                s01 += i01 / ((i01 - 1) * q) * b[0] * b[1]
                s11 += i / (i - 1) * a[0] * b[1]
                s11_other += i / (i - 1) * a[1] * b[0]
            covariance[k, j] = s10 / p + s01 / q + (s11 + s11_other) / (p * q)
    return covariance


@pytest.mark.parametrize("levels", [1, 4, 10**9])
def test_delong_from_all_pairs(levels: int) -> None:
    scores, truth, _ = sample(levels, levels=levels)
    areas, covariance = auroc_covariance(scores, truth)
    pairs = np.array([kernel(values, truth) for values in scores])
    s10, s01 = np.cov(pairs.mean(2)), np.cov(pairs.mean(1))
    expected = s10 / truth.sum() + s01 / (~truth).sum()
    np.testing.assert_allclose(areas, [roc_auc_score(truth, s) for s in scores], atol=1e-12)
    np.testing.assert_allclose(covariance, expected, atol=1e-14)


def theirs(truth: np.ndarray, scores: np.ndarray, **options: Any) -> Any:
    """Area and Wald interval by a library that can't be required: it wants an old setuptools."""
    library = pytest.importorskip("confidenceinterval", reason="confidenceinterval isn't there")
    return library.roc_auc_score(truth.astype(int), scores, **options)


@pytest.mark.parametrize("seed", range(2))
def test_delong_against_confidenceinterval(seed: int) -> None:
    scores, truth, _ = sample(seed, n=200, models=1)
    area, (low, high) = theirs(truth, scores[0], confidence_level=0.9)
    areas, covariance = auroc_covariance(scores, truth)
    half = stats.norm.ppf(0.95) * math.sqrt(covariance[0, 0])
    assert (area, low, high) == pytest.approx((areas[0], areas[0] - half, areas[0] + half))


def test_delong_is_the_variance_of_brunner_and_munzel() -> None:
    scores, truth, _ = sample(7, models=1, levels=5)
    areas, covariance = auroc_covariance(scores, truth)
    theirs = stats.brunnermunzel(scores[0, ~truth], scores[0, truth]).statistic
    assert (areas[0] - 0.5) / math.sqrt(covariance[0, 0]) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("levels", [2, 10**9])
def test_patients_as_obuchowski_writes_it(levels: int) -> None:
    scores, truth, groups = sample(levels + 1, levels=levels)
    names = [f"patient {group}" for group in groups]
    areas, covariance = auroc_covariance(scores, truth, names)
    np.testing.assert_allclose(covariance, obuchowski(scores, truth, names), atol=1e-14)
    np.testing.assert_allclose(areas, auroc_covariance(scores, truth)[0])
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_one_image_a_patient_is_delong() -> None:
    scores, truth, _ = sample(3)
    alone = auroc_covariance(scores, truth)
    names = np.random.default_rng(0).permutation(len(truth))
    for ours, expected in zip(auroc_covariance(scores, truth, names), alone, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_copies_of_an_image_tell_nothing_more() -> None:
    scores, truth, _ = sample(4)
    alone = auroc_covariance(scores, truth)
    groups = np.repeat(np.arange(60), 3)
    copied = auroc_covariance(scores.repeat(3, 1), truth.repeat(3), groups)
    for ours, expected in zip(copied, alone, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)
    interval = auroc_interval(scores[0].repeat(3), truth.repeat(3), groups)
    assert interval == pytest.approx(auroc_interval(scores[0], truth))


def test_a_hundred_classes_at_once() -> None:
    scores, truth, groups = sample(5, n=300, models=100)
    areas, covariance = auroc_covariance(scores, truth, groups)
    for k in (0, 57, 99):
        alone = auroc_covariance(scores[k : k + 1], truth, groups)
        assert (areas[k], covariance[k, k]) == pytest.approx((alone[0][0], alone[1][0, 0]))
    np.testing.assert_array_equal(covariance, covariance.T)


def test_infinite_scores_are_ranked() -> None:
    truth = np.array([False, False, True, True])
    assert auroc_covariance([[-np.inf, 0, -1, np.inf]], truth)[0].tolist() == [0.75]


def test_undefined_is_nan() -> None:
    for truth in ([True, True], [False, False], [True]):
        areas, covariance = auroc_covariance(np.ones((2, len(truth))), truth)
        assert np.isnan(areas).all()
        assert np.isnan(covariance).all()
        assert np.isnan(auroc_interval(np.ones(len(truth)), truth)).all()
    areas, covariance = auroc_covariance([[1, 2, 3]], [True, False, False])
    assert (areas[0], np.isnan(covariance[0, 0])) == (0.0, True)
    one_patient = auroc_interval([3, 2, 1, 0], [True, True, False, False], ["a", "a", "b", "c"])
    assert one_patient[0] == 1
    assert np.isnan(one_patient[1:]).all()


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_interval_solves_its_equation(level: float) -> None:
    """(A − a)² = z² a (1 − a) r / m, solved for a without its closed form."""
    scores, truth, groups = sample(6, n=80, models=1)
    interval = auroc_interval(scores[0], truth, groups, level)
    areas, covariance = auroc_covariance(scores, truth, groups)
    area = areas[0]
    m = min(
        kind.sum() ** 2 / sum((kind & (groups == g)).sum() ** 2 for g in set(groups))
        for kind in (truth, ~truth)
    )
    r = ((m - 1) * covariance[0, 0] * m / (area * (1 - area)) + 2) / (m + 1)
    z = stats.norm.ppf((1 + level) / 2)

    def excess(a: float) -> float:
        return (area - a) ** 2 - z**2 * a * (1 - a) * r / m

    expected = (area, optimize.brentq(excess, 0, area), optimize.brentq(excess, area, 1))
    assert interval == pytest.approx(expected, abs=1e-9)


def test_many_patients_give_delongs_interval() -> None:
    scores, truth, _ = sample(8, n=20_000, models=1)
    value, low, high = auroc_interval(scores[0], truth)
    area, bounds = theirs(truth, scores[0])
    assert (value, low, high) == pytest.approx((area, *bounds), abs=1e-4)
    assert high - low == pytest.approx(bounds[1] - bounds[0], rel=2e-3)


@pytest.mark.parametrize("positives", [2, 10, 300])
def test_perfect_separation_is_wilsons_bound_of_the_rarer_kind(positives: int) -> None:
    truth = np.arange(1000) < positives
    expected = stats.binomtest(positives, positives).proportion_ci(method="wilson").low
    value, low, high = auroc_interval(truth.astype(float), truth)
    assert (value, low, high) == (1, pytest.approx(expected, abs=1e-12), 1)
    mirrored = auroc_interval(-truth.astype(float), truth)
    assert mirrored == (0, 0, pytest.approx(1 - expected, abs=1e-12))
    patients = auroc_interval(truth.repeat(2).astype(float), truth.repeat(2), np.arange(2000) // 2)
    assert patients.low == pytest.approx(expected, abs=1e-12)


def test_equal_scores_are_a_coin() -> None:
    value, low, high = auroc_interval(np.ones(40), np.arange(40) < 10)
    assert value == 0.5
    assert 0.5 - low == pytest.approx(high - 0.5)
    assert 0 < low < 0.5


def test_interval_is_mirrored_with_the_scores() -> None:
    scores, truth, groups = sample(9, models=1)
    value, low, high = auroc_interval(scores[0], truth, groups)
    assert auroc_interval(-scores[0], truth, groups) == pytest.approx(
        (1 - value, 1 - high, 1 - low)
    )
    assert auroc_interval(scores[0], ~truth, groups) == pytest.approx(
        (1 - value, 1 - high, 1 - low)
    )


@pytest.mark.parametrize("images", [1, 4])
def test_coverage_near_one(images: int) -> None:
    """20 positive and 180 negative samples of an AUROC of 0.95; Wald's interval holds it in 85 %.

    Where they are of 5 and 45 patients, correlated by ½, it holds it in 79 %.
    """
    generator, held = np.random.default_rng(10), 0
    truth, groups = np.arange(200) < 20, np.arange(200) // images
    for _ in range(400):
        patient = generator.normal(size=200)[groups] * math.sqrt(0.5 if images > 1 else 0)
        image = generator.normal(size=200) * math.sqrt(0.5 if images > 1 else 1)
        shift = math.sqrt(2) * stats.norm.ppf(0.95)
        _, low, high = auroc_interval(patient + image + shift * truth, truth, groups)
        held += low < 0.95 < high
    assert held >= 0.93 * 400


def test_a_million_images_take_seconds() -> None:
    generator = np.random.default_rng(11)
    truth = generator.random(10**6) < 0.2
    scores = (generator.normal(size=10**6) + truth).astype(np.float32)
    start = time.process_time()
    value, low, high = auroc_interval(scores, truth, generator.integers(250_000, size=10**6))
    assert time.process_time() - start < 10
    assert low < stats.norm.cdf(1 / math.sqrt(2)) < high
    assert value == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)


def test_effective_groups() -> None:
    truth = np.array([True] * 6 + [False] * 6)
    groups = list("aaabbb") + list("cccccd")
    assert contributions(np.zeros((1, 12)), truth, groups).effective_groups == 36 / 26
    assert contributions(np.zeros((1, 12)), truth).effective_groups == 6


def test_refuses() -> None:
    truth = np.array([True, False])
    for wrong in ([1, 0], np.array([[True, False]]), np.zeros(0, bool)):
        with pytest.raises(UserError, match="truth is"):
            auroc_interval([1.0, 2.0], wrong)
    for scores in ([1.0, 2.0, 3.0], ["a", "b"], [[1.0, 2.0]]):
        with pytest.raises(UserError, match="scores are"):
            auroc_interval(scores, truth)
    with pytest.raises(UserError, match=r"scores of 1 samples are NaN \(the first at 1\)"):
        auroc_covariance([[1.0, 2.0], [1.0, np.nan]], truth)
    with pytest.raises(UserError, match="level=1"):
        auroc_interval([1.0, 2.0], truth, level=1)
