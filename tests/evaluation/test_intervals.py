import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from medcnn.errors import UserError
from medcnn.evaluation import bootstrap_means
from medcnn.evaluation import intervals as module
from medcnn.evaluation.intervals import group_numbers, wilson_bounds


def bootstrap_mean(values: Any, groups: Any, **options: Any) -> tuple[float, float, float]:
    """Mean and bounds of one column."""
    found = bootstrap_means(np.asarray(values, float)[:, None], groups, **options)
    mean, low, high = (float(column[0]) for column in found)
    return mean, low, high


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilson_against_scipy(level: float) -> None:
    for k, n in ((0, 1), (1, 1), (0, 10), (3, 10), (50, 100), (999, 1000), (1000, 1000)):
        expected = stats.binomtest(k, n).proportion_ci(level, method="wilson")
        low, high = wilson_bounds(k / n, n, level)
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
        assert 0 <= low <= k / n <= high <= 1
    with pytest.raises(UserError, match="level=1"):
        wilson_bounds(0.5, 2, 1)


def test_bootstrap_of_independent_values_is_normal() -> None:
    values = np.random.default_rng(0).normal(3, 2, 1000)
    mean, low, high = bootstrap_mean(values, np.arange(1000))
    error = values.std() / np.sqrt(1000)
    assert mean == values.mean()
    assert low == pytest.approx(mean - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.1 * error)


def test_bootstrap_against_scipy() -> None:
    values = np.random.default_rng(1).exponential(size=30)
    _, low, high = bootstrap_mean(values, range(30), level=0.9, resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=20_000, method="percentile", rng=0
    ).confidence_interval
    width = theirs.high - theirs.low
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.03 * width)


def test_bootstrap_of_two_groups_by_hand() -> None:
    """Three images of one patient all hit, the one of the other doesn't: 1/4 · (0, ¾, ¾, 1)."""
    mean, low, high = bootstrap_mean([1, 1, 1, 0], ["p", "p", "p", "q"], level=0.4)
    assert (mean, low, high) == (0.75, 0.75, 0.75)
    assert bootstrap_mean([1, 1, 1, 0], ["p", "p", "p", "q"], level=0.6) == (0.75, 0.0, 1.0)


def test_groups_widen_the_interval() -> None:
    """Ten copies of each value carry no more information than one of each."""
    values = np.random.default_rng(2).normal(size=50)
    groups = np.repeat(np.arange(50), 10)
    one = bootstrap_mean(values, range(50))
    grouped = bootstrap_mean(np.repeat(values, 10), groups)
    ignored = bootstrap_mean(np.repeat(values, 10), range(500))
    assert grouped == pytest.approx(one, abs=1e-12)
    assert ignored[2] - ignored[1] < 0.4 * (one[2] - one[1])


def test_coverage() -> None:
    """About 95 % of the intervals from 40 patients with 1 to 5 images hold the true mean."""
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(200):
        groups = np.repeat(np.arange(40), generator.integers(1, 6, 40))
        values = generator.normal(size=40)[groups] + generator.normal(size=len(groups))
        _, low, high = bootstrap_mean(values, groups, resamples=1000)
        held += low < 0 < high
    assert 178 <= held <= 199  # 95 % is 190, three standard errors are 9, small samples lose a few


def test_seed_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values, groups = np.random.default_rng(4).random(60), np.repeat(np.arange(20), 3)
    whole = bootstrap_mean(values, groups)
    assert bootstrap_mean(values, groups) == whole
    assert bootstrap_mean(values, groups, seed=1) != whole
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", 20 * 999)
    assert bootstrap_mean(values, groups) == pytest.approx(whole, abs=1e-12)


def test_one_group_has_no_interval() -> None:
    mean, *bounds = bootstrap_mean([1.0, 0.0], [7, 7])
    assert mean == 0.5
    assert np.isnan(bounds).all()


def test_bootstrap_refuses() -> None:
    with pytest.raises(UserError, match="one for each of 2"):
        bootstrap_mean([1, 2], [1])
    with pytest.raises(UserError, match="level=95"):
        bootstrap_mean([1, 2], [1, 2], level=95)


def test_bootstrap_of_several_columns_is_that_of_each() -> None:
    generator = np.random.default_rng(3)
    values, groups = generator.normal(size=(60, 3)), generator.integers(20, size=60)
    means, low, high = bootstrap_means(values, groups, resamples=500)
    for k in range(3):
        alone = bootstrap_mean(values[:, k], groups, resamples=500)
        assert (means[k], low[k], high[k]) == pytest.approx(alone)


def test_bootstrap_leaves_out_what_is_unknown() -> None:
    """As if the rows weren't there, but for which groups are drawn."""
    values = np.array([[1.0, 1.0, np.nan], [0.0, np.nan, np.nan], [1.0, 0.0, np.nan], [0, 1, 5.0]])
    means, low, high = bootstrap_means(values, [0, 1, 2, 3], resamples=2000)
    assert means.tolist() == [0.5, pytest.approx(2 / 3), 5.0]
    drawn = np.random.default_rng(0).integers(4, size=(2000, 4), dtype=np.int32)
    expected = np.nanquantile(np.nanmean(values[drawn, 1], axis=1), [0.025, 0.975])
    assert (low[1], high[1]) == pytest.approx(expected)
    assert np.isnan([low[2], high[2]]).all()
    none = bootstrap_means(np.full((2, 1), np.nan), [0, 1])
    assert np.isnan(none).all()


def test_group_numbers() -> None:
    assert group_numbers(None, 3).tolist() == [0, 1, 2]
    assert group_numbers(["b", "a", "b"], 3).tolist() == [1, 0, 1]
    assert group_numbers(np.array([7.5, 2, 7.5]), 3).tolist() == [1, 0, 1]
    for missing in (None, math.nan):
        with pytest.raises(UserError, match="sample 1 has none"):
            group_numbers(np.array(["a", missing], object), 2)
    with pytest.raises(UserError, match="one for each of 3"):
        group_numbers(["a", "b"], 3)
