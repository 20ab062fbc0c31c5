import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests

from medcnn.errors import UserError
from medcnn.evaluation.comparison import compare_auroc, holm, mcnemar
from medcnn.evaluation.delong import auroc_covariance


def models(seed: int, n: int = 80) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    generator = np.random.default_rng(seed)
    truth, groups = generator.random(n) < 0.4, generator.integers(n // 4, size=n)
    shared = generator.normal(size=n)[groups] + truth
    first, second = shared + generator.normal(size=(2, n))
    return first, second, truth, groups


def table(both: int, first: int, second: int, neither: int) -> tuple[NDArray, NDArray]:
    counts = [both, first, second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False] * 2, counts)


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_aurocs_from_their_covariance(clustered: bool, level: float) -> None:
    first, second, truth, groups = models(0)
    names = groups if clustered else np.arange(len(truth))
    areas, covariance = auroc_covariance([first, second], truth, names)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    counts = [np.unique(names[kind], return_counts=True)[1] for kind in (truth, ~truth)]
    freedom = min(n.sum() ** 2 / (n**2).sum() for n in counts) - 1
    student = stats.t(freedom, loc=areas[0] - areas[1], scale=error)
    found = compare_auroc(first, second, truth, groups if clustered else None, level)
    tail = stats.t.sf(abs(areas[0] - areas[1]) / error, freedom)
    expected = (areas[0] - areas[1], *student.interval(level), 2 * tail)
    assert found == pytest.approx(expected, abs=1e-9)
    low, high = compare_auroc(second, first, truth, groups if clustered else None, level)[1:3]
    assert (-high, -low) == pytest.approx(found[1:3])


def test_many_samples_give_delongs_normal_test() -> None:
    """Against the z of all pairs' placements, written as in DeLong's paper."""
    first, second, truth, _ = models(1, n=3000)
    pairs = [(np.sign(s[truth][:, None] - s[~truth]) + 1) / 2 for s in (first, second)]
    difference = pairs[0] - pairs[1]
    variance = sum(
        difference.mean(axis).var(ddof=1) / difference.shape[1 - axis] for axis in (0, 1)
    )
    z = difference.mean() / math.sqrt(variance)
    found = compare_auroc(first, second, truth)
    assert found.difference == pytest.approx(difference.mean(), abs=1e-12)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=0.01)


def test_aurocs_without_a_variance() -> None:
    truth = np.array([False, False, True, True])
    same = compare_auroc([1, 2, 3, 4], [2, 1, 4, 3], truth)
    assert same[::3] == (0.0, 1.0)
    assert np.isnan(same[1:3]).all()
    apart = compare_auroc([1, 2, 3, 4], [1, 1, 1, 1], truth)
    assert apart.difference == 0.5
    assert np.isnan(apart[1:]).all()
    for labels in (~truth & truth, truth | ~truth):
        assert np.isnan(compare_auroc([1, 2, 3, 4], [2, 1, 4, 3], labels)).all()
    one_patient = compare_auroc([1, 3, 2, 4], [2, 1, 4, 3], truth, list("abcc"))
    assert one_patient.difference == -0.25
    assert np.isnan(one_patient[1:]).all()


def test_bounds_of_two_patients_stay_possible() -> None:
    found = compare_auroc([1, 2, 3, 4, 5], [5, 2, 3, 1, 4], [False, False, True, False, True])
    assert found.difference == pytest.approx(5 / 6 - 4 / 6)
    assert found[1:3] == (-1, 1)


def test_aurocs_of_equal_models_seldom_differ() -> None:
    """Five ill patients are too few for the normal test, which errs in 9 %."""
    generator, truth, groups = np.random.default_rng(2), np.arange(200) < 20, np.arange(200) // 4
    rejected = 0
    for _ in range(400):
        shared = generator.normal(size=200)[groups] + 1.5 * truth
        first, second = (
            shared + generator.normal(size=(2, 200)) + generator.normal(size=(2, 200))[:, groups]
        )
        rejected += compare_auroc(first, second, truth, groups).p < 0.05
    assert rejected <= 0.075 * 400


def test_mcnemar_against_published_intervals() -> None:
    """Newcombe 1998 (36, 12, 2, 0); Fagerland, Lydersen, Laake 2014 (1, 1, 7, 12)."""
    assert mcnemar(*table(36, 12, 2, 0))[:3] == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)
    found = mcnemar(*table(1, 1, 7, 12))
    assert found == pytest.approx((-6 / 21, -0.507, -0.026, 10 / 256), abs=5e-4)


@pytest.mark.parametrize("counts", [(5, 9, 2, 4), (0, 1, 0, 9), (300, 40, 61, 99), (0, 0, 7, 0)])
def test_mcnemar_p_is_the_exact_one_less_half_of_what_was_seen(counts: tuple) -> None:
    _, b, c, _ = counts
    exact = their_mcnemar([counts[:2], counts[2:]], exact=True).pvalue
    expected = exact - stats.binom.pmf(b, b + c, 0.5)
    assert mcnemar(*table(*counts)).p == pytest.approx(expected, abs=1e-12)


def newcombe(counts: tuple, level: float) -> tuple[float, float]:
    """After D. G. Altman, "Statistics with confidence" (2000), section on paired proportions."""
    r, s, t, u = counts
    n = r + s + t + u
    p1, p2 = (r + s) / n, (r + t) / n
    l1, u1 = stats.binomtest(r + s, n).proportion_ci(level, "wilson")
    l2, u2 = stats.binomtest(r + t, n).proportion_ci(level, "wilson")
    a, b = (r + s) * (t + u) * (r + t) * (s + u), r * u - s * t
    c = b - n / 2 if b > n / 2 else min(b, 0)
    phi = c / math.sqrt(a) if a else 0
    low = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    high = (p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2
    return p1 - p2 - math.sqrt(low), p1 - p2 + math.sqrt(high)


@pytest.mark.parametrize(
    "counts", [(40, 3, 9, 30), (3, 9, 14, 2), (10, 2, 1, 1), (0, 3, 4, 0), (9, 1, 0, 0)]
)
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_mcnemar_interval(counts: tuple, level: float) -> None:
    found = mcnemar(*table(*counts), level)
    assert found[1:3] == pytest.approx(newcombe(counts, level), abs=1e-12)


def test_mcnemar_of_extremes() -> None:
    assert mcnemar(*table(2, 3, 3, 1))[::3] == (0, 1)
    assert mcnemar(*table(0, 0, 0, 1))[::3] == (0, 1)
    assert mcnemar(*table(0, 5, 0, 0))[::2] == (1, 1)
    assert mcnemar(*table(0, 0, 5, 0))[:2] == (-1, -1)


def test_mcnemar_refuses() -> None:
    right = np.array([True, False])
    for first, second in ((right, right[:1]), (right, [1, 0]), (right[:0], right[:0])):
        with pytest.raises(UserError, match="bool twice"):
            mcnemar(first, second)
    with pytest.raises(UserError, match="level=2"):
        mcnemar(right, right, level=2)


P_VALUES = [0.01, 0.04, 0.03, 0.005, 1.0, 0.04, 0.7, 0.0]


def test_holm_against_statsmodels() -> None:
    values = np.array([0.01, 0.04, 0.03, 0.005, 1.0, 0.04, 0.7, 0.0])
    expected = multipletests(values, method="holm")[1]
    np.testing.assert_allclose(holm(values), expected, atol=1e-15)
    with_gaps = np.insert(values, [0, 3, 8], np.nan)
    kept = with_gaps.copy()
    np.testing.assert_allclose(holm(with_gaps), np.insert(expected, [0, 3, 8], np.nan))
    np.testing.assert_array_equal(with_gaps, kept)  # what is given stays as it is
    assert np.isnan(holm([np.nan])).all()
    assert holm([]).shape == (0,)
    for wrong in ([0.1, 1.2], [-0.1], [[0.1]]):
        with pytest.raises(UserError, match="p-values"):
            holm(wrong)


def test_refuses() -> None:
    with pytest.raises(UserError, match=r"shapes \(2,\) and \(1,\)"):
        compare_auroc([1, 2], [1], [True, False])
    with pytest.raises(UserError, match="level=0"):
        compare_auroc([1, 2], [1, 2], [True, False], level=0)
