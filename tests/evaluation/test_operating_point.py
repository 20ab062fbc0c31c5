import math
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit, ndtr
from scipy.stats import gaussian_kde

from medcnn.errors import UserError
from medcnn.evaluation.operating_point import OperatingPoint, Rule, choose_threshold, parse_rule


def data(count: int = 200, levels: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that say something about the truth, with ties if there are few levels."""
    generator = np.random.default_rng(seed)
    truth = generator.random(count) < 0.3
    scores = expit(generator.normal(size=count) + 1.5 * truth)
    return (np.round(scores * levels) / levels if levels else scores), truth


def rates(scores: np.ndarray, truth: np.ndarray, threshold: float) -> tuple[float, float]:
    return np.mean(scores[truth] >= threshold), np.mean(scores[~truth] < threshold)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("youden", Rule("youden", None)),
        ("argmax", Rule("threshold", 0.5)),
        ("sensitivity>=0.95", Rule("sensitivity", 0.95)),
        ("sensitivity=0.95", Rule("sensitivity", 0.95)),  # which a shell leaves alone
        (" specificity >= 1", Rule("specificity", 1.0)),
        ("cost=5", Rule("cost", 5.0)),
        ("cost = .5e-1", Rule("cost", 0.05)),
        ("0.3", Rule("threshold", 0.3)),
        (0.3, Rule("threshold", 0.3)),
        (1, Rule("threshold", 1.0)),
        ("0", Rule("threshold", 0.0)),
    ],
)
def test_rules(text: str | float, rule: Rule) -> None:
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    "text",
    ["", "best", "cost", "Youden", "sensitivity", "sensitivity>0.9", "sensitivity=95",
     "specificity>=0", "cost=0", "cost=-1", "cost>=3", "cost=1e999", "=0.3", "1.5", "-0.1", "nan",
     "inf", "sensitivity>=nan", "0.3.1", "e", None, True],
)  # fmt: skip
def test_no_rules(text: Any) -> None:
    with pytest.raises(UserError, match=r"^evaluation\.operating_point=.*: give youden, .*\)$"):
        parse_rule(text)


def best(scores: np.ndarray, truth: np.ndarray, rule: str) -> tuple[float, float]:
    """Sensitivity and specificity of the best of all thresholds, found one by one."""
    found = [rates(scores, truth, t) for t in [*np.unique(scores), 2.0]]
    share = truth.mean()
    keys: dict[str, Any] = {
        "sensitivity>=0.9": lambda r: (r[0] >= 0.9, r[1], r[0]),
        "sensitivity>=1": lambda r: (r[0] == 1, r[1], r[0]),
        "specificity>=0.8": lambda r: (r[1] >= 0.8, r[0], r[1]),
        "specificity>=1": lambda r: (r[1] == 1, r[0], r[1]),
        "cost=4": lambda r: (-round(4 * share * (1 - r[0]) + (1 - share) * (1 - r[1]), 9), r[0]),
        "cost=.1": lambda r: (-round(share * (1 - r[0]) + 10 * (1 - share) * (1 - r[1]), 9), r[0]),
    }
    return max(found, key=keys[rule])


RULES = ["sensitivity>=0.9", "sensitivity>=1", "specificity>=0.8", "specificity>=1",
         "cost=4", "cost=.1"]  # fmt: skip


@pytest.mark.parametrize("levels", [0, 4])
@pytest.mark.parametrize("rule", RULES)
def test_the_best_of_all_thresholds(rule: str, levels: int) -> None:
    for seed in range(10):
        scores, truth = data(40, levels, seed)
        for given in (scores, scores.astype(np.float32)):
            point = choose_threshold(given, truth, rule)
            assert (point.sensitivity, point.specificity) == pytest.approx(
                rates(given, truth, point.threshold), abs=1e-12
            )
            assert (point.sensitivity, point.specificity) == pytest.approx(
                best(given, truth, rule), abs=1e-12
            )
            assert point.rule == rule
            assert np.abs(given - point.threshold).min() > 0 or given.min() == 0


def test_threshold_lies_half_way() -> None:
    scores, truth = np.array([0.2, 0.4, 0.8]), np.array([False, False, True])
    point = choose_threshold(scores, truth, "youden")
    assert point == OperatingPoint(point.threshold, "youden", 1.0, 1.0)
    assert point.threshold == pytest.approx(0.6)
    assert choose_threshold(scores, ~truth, "sensitivity>=1").threshold == pytest.approx(0.1)
    assert choose_threshold(scores, ~truth, "specificity>=1").threshold == pytest.approx(0.9)
    full = np.array([0.0, 0.4, 1.0])
    assert choose_threshold(full, ~truth, "specificity>=1").threshold == pytest.approx(1.5)
    assert choose_threshold(full, ~truth, "sensitivity>=1").threshold == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neighbouring_numbers_are_parted(dtype: type) -> None:
    """Also for who compares in float32, and where the scores have been made float64 on the way."""
    low = dtype(0.3)
    for _ in range(4):
        high = np.nextafter(low, dtype(1))
        scores = np.array([low, high])
        for given in (scores, scores.astype(np.float64)):
            threshold = choose_threshold(given, [False, True], "youden").threshold
            assert (scores >= threshold).tolist() == [False, True]
            assert (scores >= dtype(threshold)).tolist() == [False, True]
        low = high


def test_equal_scores() -> None:
    point = choose_threshold(np.full(5, 0.5), [True, False, False, True, False], "youden")
    assert point == OperatingPoint(0.25, "youden", 1.0, 0.0)
    point = choose_threshold(np.full(5, 0.5), [True, False, False, True, False], "specificity>=.1")
    assert point == OperatingPoint(0.75, "specificity>=.1", 0.0, 1.0)


def test_fixed_thresholds_need_no_classes() -> None:
    scores = [0.5, 0.2, 0.7, 0.4]
    point = choose_threshold(scores, np.array([1, 1, 1, 1]), "argmax")
    assert (point.threshold, point.rule, point.sensitivity) == (0.5, "argmax", 0.5)
    assert math.isnan(point.specificity)
    point = choose_threshold(scores, [False] * 4, 0.3)
    assert (point.threshold, point.rule, point.specificity) == (0.3, "0.3", 0.25)
    assert math.isnan(point.sensitivity)


def test_choosing_refuses() -> None:
    for truth, word in (([True, True], "negative"), ([False, False], "positive")):
        for rule in ("youden", "sensitivity>=0.9", "cost=2"):
            with pytest.raises(UserError, match=f"operating_point={rule}: .* no {word} sample"):
                choose_threshold([0.1, 0.2], truth, rule)


def test_data_are_refused() -> None:
    for scores, truth, words in (
        ([], [], "at least one"),
        ([0.1], [True, False], r"shapes \(1,\) and \(2,\)"),
        ([[0.1]], [[True]], r"shapes \(1, 1\)"),
        ([0.1], [2], "one class at a time"),
        ([0.1], [-1], "one class at a time"),
        ([0.1], [0.5], "one class at a time"),
        ([math.nan, 0.1], [True, False], "aren't finite"),
    ):
        with pytest.raises(UserError, match=words):
            choose_threshold(scores, truth, "youden")


def test_youdens_threshold_is_that_of_smoothed_distributions() -> None:
    """Beside kernel densities of SciPy, summed up; on many samples it is that of the truth."""
    scores, truth = data(60, 0, 0)
    point = choose_threshold(scores, truth, "youden")
    grid = np.linspace(-12, 12, 2001)
    sides = []
    for own in (logit(scores[truth]), logit(scores[~truth])):
        iqr = np.subtract(*np.quantile(own, [0.75, 0.25]))
        width = 0.9 * min(own.std(), iqr / 1.34) * len(own) ** -0.2
        density = gaussian_kde(own, width / own.std(ddof=1))
        sides.append(np.array([density.integrate_box_1d(t, np.inf) for t in grid]))
    expected = grid[np.argmax(sides[0] - sides[1])]
    near = np.abs(np.sort(logit(scores)) - expected).min()
    assert logit(point.threshold) == pytest.approx(expected, abs=max(0.3, 2 * near))
    assert (point.sensitivity, point.specificity) == rates(scores, truth, point.threshold)
    draws = np.random.default_rng(0)
    truth = np.arange(40_000) % 4 == 0
    scores = expit(draws.normal(np.where(truth, 1.0, -1.0)))  # densities cross at log-odds of 0
    assert choose_threshold(scores, truth, "youden").threshold == pytest.approx(0.5, abs=0.02)


def test_youdens_threshold_from_few_samples_serves_others() -> None:
    draws = np.random.default_rng(0)
    lost: dict[str, list[float]] = {"smoothed": [], "counted": []}
    for _ in range(100):
        truth = np.arange(60) % 3 == 0
        values = draws.normal(np.where(truth, 0.75, -0.75))
        counted = max(np.unique(values), key=lambda t: sum(rates(values, truth, t)))
        smoothed = logit(choose_threshold(expit(values), truth, "youden").threshold)
        for how, t in (("smoothed", smoothed), ("counted", counted)):
            lost[how].append(ndtr(0.75 - t) + ndtr(t + 0.75))  # in truth
    assert np.mean(lost["smoothed"]) > np.mean(lost["counted"]) + 0.01
