import numpy as np
import pytest
import statsmodels.api as sm  # type: ignore[import-untyped]
from scipy import stats
from statsmodels.stats.proportion import (  # type: ignore[import-untyped]
    confint_proportions_2indep,
    proportion_confint,
)

from medcnn.errors import UserError
from medcnn.evaluation.intervals import Interval
from medcnn.evaluation.proportions import (
    difference_interval,
    effective_sizes,
    proportion_interval,
    proportion_intervals,
    ratio_interval,
)

COUNTS = [(0, 1), (1, 1), (0, 10), (3, 10), (50, 100), (999, 1000), (1000, 1000)]


def shares(k: int, n: int) -> np.ndarray:
    return np.arange(n) < k


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize(("k", "n"), COUNTS)
def test_independent_images_against_statsmodels(k: int, n: int, level: float) -> None:
    found = proportion_interval(shares(k, n), level=level)
    expected = proportion_confint(k, n, 1 - level, method="wilson")
    assert found == pytest.approx((k / n, *expected), abs=1e-12)
    if n > 1:
        alone = proportion_interval(shares(k, n), np.arange(n).astype(str), level)
        assert alone == pytest.approx(found, abs=1e-9)


def clusters() -> tuple[np.ndarray, np.ndarray]:
    """Images of 12 patients, 4 in the mean, that resemble each other."""
    groups = np.repeat(np.arange(12), [1, 7, 4, 4, 2, 6, 3, 5, 4, 4, 1, 7])
    generator = np.random.default_rng(0)
    return generator.random(48) < generator.beta(1.5, 0.5, 12)[groups], groups


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_effective_size_against_statsmodels(level: float) -> None:
    """A quarter of a patient more: each of the others four times, and one of all hits, of none."""
    hits, groups = clusters()
    values = np.concatenate([np.tile(hits, 4), np.ones(4), np.zeros(4)]).astype(float)
    copies = [groups + 100 * copy for copy in range(4)]
    labels = np.concatenate([*copies, np.full(4, 900), np.full(4, 901)])
    fit = sm.OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": labels, "use_correction": False}
    )
    variance = 4 * fit.bse[0] ** 2 * 12.5 / 11.5  # of a quarter of these patients
    share = values.mean()
    design = variance / (share * (1 - share) / (50 - 1))
    tails = stats.t.ppf((1 + level) / 2, 47) / stats.t.ppf((1 + level) / 2, 11)
    expected = 48 / design * tails**2
    assert design > 1.5
    found = effective_sizes(hits[:, None], groups, level)
    assert found == pytest.approx([expected], abs=1e-9)
    wilson = proportion_confint(hits.mean() * expected, expected, 1 - level, method="wilson")
    assert proportion_interval(hits, groups, level)[1:] == pytest.approx(wilson, abs=1e-9)


def test_copies_carry_no_information() -> None:
    """The size of 50 patients of ten equal images is about 50, never more than of 50 images."""
    hits = np.random.default_rng(1).random(50) < 0.7
    groups = np.repeat(np.arange(50), 10)
    size = effective_sizes(np.repeat(hits, 10)[:, None], groups)
    assert 45 < size[0] <= 50
    order = np.random.default_rng(2).permutation(500)
    shuffled = proportion_interval(np.repeat(hits, 10)[order], groups[order])
    assert shuffled == pytest.approx(proportion_interval(np.repeat(hits, 10), groups))


def test_never_more_than_the_images() -> None:
    """Each patient has one hit and one miss: the share varies less than by chance."""
    hits, groups = np.tile([True, False], 200), np.repeat(np.arange(200), 2)
    tails = stats.t.ppf(0.975, 399) / stats.t.ppf(0.975, 199)
    assert effective_sizes(hits[:, None], groups) == pytest.approx([400 * tails**2])


@pytest.mark.parametrize("hit", [True, False])
def test_all_or_none(hit: bool) -> None:
    groups = np.repeat(np.arange(5), 4)
    expected = proportion_confint(5 * hit, 5, method="wilson")
    assert proportion_interval(np.full(20, hit), groups) == pytest.approx((float(hit), *expected))
    uneven = np.repeat(np.arange(3), [1, 2, 5])
    assert effective_sizes(np.full((8, 1), hit), uneven) == pytest.approx([64 / 30])


def test_undefined() -> None:
    assert np.isnan(proportion_interval([])).all()
    assert np.isnan(proportion_interval(np.array([], bool), [])).all()
    for hits in ([True, False], [True, True]):
        one = proportion_interval(hits, ["p", "p"])
        assert one.value == np.mean(hits)
        assert np.isnan(one[1:]).all()
    assert np.isnan(proportion_interval([np.nan], [1])).all()


def test_columns_are_those_of_each() -> None:
    generator = np.random.default_rng(3)
    hits = (generator.random((60, 100)) < 0.8).astype(float)
    hits[generator.random((60, 100)) < 0.3] = np.nan
    hits[:, 0], hits[1:, 1] = np.nan, np.nan
    groups = generator.integers(15, size=60)
    for given in (groups, None):
        found = np.transpose(proportion_intervals(hits, given))
        for k in range(100):
            there = ~np.isnan(hits[:, k])
            alone = proportion_interval(
                hits[there, k] == 1, None if given is None else given[there]
            )
            assert found[k] == pytest.approx(alone, nan_ok=True)


def test_coverage() -> None:
    """20 patients of 1 to 7 images, intra-class correlation 0.5: about 95 %, not far above."""
    generator = np.random.default_rng(4)
    groups = np.repeat(np.arange(20), generator.integers(1, 8, 20))
    for share in (0.7, 0.9):
        chances = generator.beta(share, 1 - share, (20, 2000))[groups]
        _, low, high = proportion_intervals(generator.random(chances.shape) < chances, groups)
        assert 0.93 <= np.mean((low <= share) & (share <= high)) <= 0.985


def test_difference_against_statsmodels() -> None:
    for a, n, b, m in ((56, 70, 48, 80), (9, 10, 3, 10), (10, 10, 0, 20), (0, 10, 0, 10)):
        found = difference_interval(
            proportion_interval(shares(a, n)), proportion_interval(shares(b, m))
        )
        expected = confint_proportions_2indep(a, n, b, m, method="newcomb", compare="diff")
        assert found == pytest.approx((a / n - b / m, *expected), abs=1e-9)


def test_difference_published() -> None:
    """R. G. Newcombe 1998, 56/70 − 48/80: 0.2000, 0.0524 to 0.3339."""
    found = difference_interval(
        proportion_interval(shares(56, 70)), proportion_interval(shares(48, 80))
    )
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_undefined_difference() -> None:
    found = difference_interval(Interval(0.8), Interval(0.5, 0.4, 0.6))
    assert found.value == pytest.approx(0.3)
    assert np.isnan(found[1:]).all()
    assert np.isnan(difference_interval(Interval(np.nan), Interval(0.5, 0.4, 0.6))).all()


def test_ratio_against_statsmodels() -> None:
    for a, n, b, m in ((30, 40, 12, 80), (1, 10, 9, 10)):
        found = ratio_interval(a / n, n, b / m, m)
        expected = confint_proportions_2indep(a, n, b, m, method="log", compare="ratio")
        assert found == pytest.approx((a / n / (b / m), *expected), abs=1e-9)


def test_ratio_of_zeros_and_ones() -> None:
    """As of half a hit more each, and the ratio itself is always within."""
    none = ratio_interval(0.0, 10, 0.5, 20)
    expected = confint_proportions_2indep(
        0.5, 11, 10.5, 21, method="log", compare="ratio", correction=False
    )
    assert none == pytest.approx((0, 0, expected[1]), abs=1e-9)
    endless = ratio_interval(0.5, 20, 0.0, 10)
    assert endless == pytest.approx((np.inf, 1 / none.high, np.inf), abs=1e-9)
    sure = ratio_interval(1.0, 10, 0.5, 20)
    expected = confint_proportions_2indep(
        10.5, 11, 10.5, 21, method="log", compare="ratio", correction=False
    )
    assert sure == pytest.approx((2, *expected), abs=1e-9)
    assert np.isnan(ratio_interval(0.0, 3, 0.0, 3)).all()
    assert np.isnan(ratio_interval(0.5, 2, np.nan, 0)).all()
    one = ratio_interval(0.5, np.nan, 0.25, 4)
    assert one.value == 2
    assert np.isnan(one[1:]).all()
    for n, m in ((1, 1), (1, 9), (3, 4), (60, 2)):
        for a in range(n + 1):
            for b in range(m + 1):
                value, low, high = ratio_interval(a / n, n, b / m, m)
                assert np.isnan(value) if a == b == 0 else low <= value <= high


def test_refuses() -> None:
    with pytest.raises(UserError, match=r"need true or false in \(N, S\)"):
        proportion_interval([[True, False]])
    with pytest.raises(UserError, match="need true or false"):
        proportion_interval(["yes"])
    with pytest.raises(UserError, match="numbers other than 0, 1 and NaN"):
        proportion_interval([0.5, 1])
    with pytest.raises(UserError, match=r"groups have shape \(1,\)"):
        proportion_interval([True, False], ["p"])
    for level in (0, 1, 95):
        with pytest.raises(UserError, match=f"level={level}"):
            proportion_interval([True], level=level)
    with pytest.raises(UserError, match="level=2"):
        effective_sizes([[True]], level=2)
