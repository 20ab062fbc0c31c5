import math
import warnings
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn import metrics as sk

from medcnn.errors import UserError
from medcnn.evaluation.clinic import clinic
from medcnn.evaluation.curves import MOST_POINTS, net_benefit, pr_points, roc_band, roc_points
from medcnn.evaluation.intervals import resample_counts
from medcnn.evaluation.operating_point import OperatingPoint, Rule, choose_threshold, parse_rule
from medcnn.evaluation.proportions import difference_interval, proportion_interval, ratio_interval

Bounds = tuple[Any, Any, Any]


def data(count: int = 200, levels: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that say something about the truth, with ties if there are few levels."""
    generator = np.random.default_rng(seed)
    truth = generator.random(count) < 0.3
    scores = expit(generator.normal(size=count) + 1.5 * truth)
    return (np.round(scores * levels) / levels if levels else scores), truth


def rates(scores: np.ndarray, truth: np.ndarray, threshold: float) -> tuple[float, float]:
    return np.mean(scores[truth] >= threshold), np.mean(scores[~truth] < threshold)


def judge(scores: Any, truth: Any, threshold: float, groups: Any = None, **options: Any) -> Any:
    """The clinic's figures of calls at a threshold."""
    return clinic(np.asarray(scores) >= threshold, np.asarray(truth), groups, **options)


def bounds(figure: Any) -> Bounds:
    return figure["value"], figure["low"], figure["high"]


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
    with pytest.raises(UserError, match=r"^operating_point=.*: give youden, argmax, .*\)$"):
        parse_rule(text)


def best(scores: np.ndarray, truth: np.ndarray, rule: str) -> tuple[float, float]:
    """Sensitivity and specificity of the best of all thresholds, found one by one."""
    found = [rates(scores, truth, t) for t in [*np.unique(scores), 2.0]]
    share = truth.mean()
    keys: dict[str, Any] = {
        "youden": lambda r: (round(r[0] + r[1], 9), r[0]),
        "sensitivity>=0.9": lambda r: (r[0] >= 0.9, r[1], r[0]),
        "sensitivity>=1": lambda r: (r[0] == 1, r[1], r[0]),
        "specificity>=0.8": lambda r: (r[1] >= 0.8, r[0], r[1]),
        "specificity>=1": lambda r: (r[1] == 1, r[0], r[1]),
        "cost=4": lambda r: (-round(4 * share * (1 - r[0]) + (1 - share) * (1 - r[1]), 9), r[0]),
        "cost=.1": lambda r: (-round(share * (1 - r[0]) + 10 * (1 - share) * (1 - r[1]), 9), r[0]),
    }
    return max(found, key=keys[rule])


RULES = ["youden", "sensitivity>=0.9", "sensitivity>=1", "specificity>=0.8", "specificity>=1",
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
    with pytest.raises(UserError, match=r"groups have shape"):
        judge([0.1], [True], 0.5, ["p", "q"])
    with pytest.raises(UserError, match="prevalence=5 must"):
        judge([0.1], [True], 0.5, prevalence=5)
    with pytest.raises(UserError, match="level=95"):
        judge([0.1], [True], 0.5, level=95)
    for bad in ([1.0], [-0.1, 0.5], [math.nan]):
        with pytest.raises(UserError, match="at least 0 and below 1"):
            net_benefit([0.1], [True], bad)


KEYS = ["sensitivity", "specificity", "ppv", "npv", "accuracy", "prevalence", "lr_positive",
        "lr_negative", "balanced_accuracy", "f1", "mcc"]  # fmt: skip


def test_clinic_against_scikit_learn() -> None:
    scores, truth = data()
    figures = judge(scores, truth, 0.6)
    called = scores >= 0.6
    ratios = sk.class_likelihood_ratios(truth, called)
    expected = [
        sk.recall_score(truth, called), sk.recall_score(~truth, ~called),
        sk.precision_score(truth, called), sk.precision_score(~truth, ~called),
        sk.accuracy_score(truth, called), truth.mean(), *ratios,
        sk.balanced_accuracy_score(truth, called), sk.f1_score(truth, called),
        sk.matthews_corrcoef(truth, called),
    ]  # fmt: skip
    assert list(figures) == KEYS
    assert [figure["value"] for figure in figures.values()] == pytest.approx(expected, abs=1e-12)
    positive, yes = int(truth.sum()), int(called.sum())
    sizes = [positive, 200 - positive, yes, 200 - yes, *[200] * 7]
    assert [figure["n"] for figure in figures.values()] == sizes
    for key in ("f1", "mcc"):
        assert bounds(figures[key])[1:] == (None, None)


@pytest.mark.parametrize("clustered", [False, True])
def test_clinic_intervals(clustered: bool) -> None:
    scores, truth = data()
    called = scores >= 0.6
    groups = np.arange(200) // 4 if clustered else None
    names = None if groups is None else [f"p{g}" for g in groups]
    figures = judge(scores, truth, 0.6, names, level=0.9)
    cases = [(called, truth), (~called, ~truth), (truth, called), (~truth, ~called)]
    for key, (hits, among) in zip(KEYS, cases, strict=False):
        own = None if groups is None else groups[among]
        assert bounds(figures[key]) == pytest.approx(proportion_interval(hits[among], own, 0.9))
    assert bounds(figures["accuracy"]) == pytest.approx(
        proportion_interval(called == truth, groups, 0.9)
    )
    sensitivity = proportion_interval(called[truth], None if groups is None else groups[truth], 0.9)
    alarms = proportion_interval(called[~truth], None if groups is None else groups[~truth], 0.9)
    youden = difference_interval(sensitivity, alarms)
    assert bounds(figures["balanced_accuracy"]) == pytest.approx([(x + 1) / 2 for x in youden])
    if groups is None:
        n, m = int(truth.sum()), int((~truth).sum())
        for key, sign in (("lr_positive", 1), ("lr_negative", -1)):
            p, q = sensitivity.value, alarms.value
            p, q = (p, q) if sign == 1 else (1 - p, 1 - q)
            assert bounds(figures[key]) == pytest.approx(ratio_interval(p, n, q, m, 0.9))


def test_groups_widen_the_likelihood_ratios() -> None:
    """Ten images of each patient, all alike, tell about as much as one."""
    scores, truth = data()
    one = judge(scores, truth, 0.6)
    ten = judge(np.repeat(scores, 10), np.repeat(truth, 10), 0.6, np.repeat(np.arange(200), 10))
    ignored = judge(np.repeat(scores, 10), np.repeat(truth, 10), 0.6)
    for key in ("lr_positive", "lr_negative", "ppv", "balanced_accuracy"):
        value, low, high = bounds(one[key])
        assert ten[key]["value"] == pytest.approx(value)
        assert math.log(bounds(ten[key])[2] / bounds(ten[key])[1]) == pytest.approx(
            math.log(high / low), rel=0.06
        )
        assert bounds(ignored[key])[2] - bounds(ignored[key])[1] < 0.5 * (high - low)


def test_predictive_values_at_a_stated_prevalence() -> None:
    """By Bayes' rule, with the variance of the logit as N. D. Mercaldo et al. 2007 give it."""
    scores, truth = data()
    se, sp = rates(scores, truth, 0.6)
    n, m = int(truth.sum()), int((~truth).sum())
    figures = judge(scores, truth, 0.6, prevalence=0.02)
    ppv = se * 0.02 / (se * 0.02 + (1 - sp) * 0.98)
    npv = sp * 0.98 / (sp * 0.98 + (1 - se) * 0.02)
    half = 1.959963985 * math.sqrt((1 - se) / (se * n) + sp / ((1 - sp) * m))
    expected = [ppv, expit(logit(ppv) - half), expit(logit(ppv) + half)]
    assert bounds(figures["ppv"]) == pytest.approx(expected, abs=1e-8)
    half = 1.959963985 * math.sqrt(se / ((1 - se) * n) + (1 - sp) / (sp * m))
    expected = [npv, expit(logit(npv) - half), expit(logit(npv) + half)]
    assert bounds(figures["npv"]) == pytest.approx(expected, abs=1e-8)
    assert figures["prevalence"] == {"value": 0.02, "low": None, "high": None, "n": 200}
    assert figures["ppv"]["n"] == figures["npv"]["n"] == 200
    own = judge(scores, truth, 0.6, prevalence=float(truth.mean()))
    assert own["ppv"]["value"] == pytest.approx(judge(scores, truth, 0.6)["ppv"]["value"])


def test_clinic_of_a_perfect_test() -> None:
    truth = np.arange(40) < 10
    figures = judge(truth.astype(float), truth, 0.5, prevalence=0.1)
    value, low, high = bounds(figures["lr_positive"])
    assert (value, high) == (None, None)
    expected = math.log(10.5 / 11 / (0.5 / 31)) - 1.959963985 * math.sqrt(
        1 / 10.5 - 1 / 11 + 1 / 0.5 - 1 / 31
    )
    assert math.log(low) == pytest.approx(expected)
    assert bounds(figures["lr_negative"])[:2] == (0, 0)
    assert bounds(figures["ppv"]) == pytest.approx((1, expit(logit(0.1) + expected), 1))
    assert bounds(figures["npv"])[::2] == (1, 1)
    assert figures["mcc"]["value"] == figures["f1"]["value"] == 1


def test_clinic_of_an_inverted_test() -> None:
    truth = np.arange(40) < 10
    figures = judge((~truth).astype(float), truth, 0.5, prevalence=0.1)
    assert bounds(figures["lr_positive"])[:2] == (0, 0)
    assert bounds(figures["ppv"])[:2] == (0, 0)
    assert bounds(figures["npv"])[:2] == (0, 0)
    assert figures["f1"]["value"] == 0
    assert figures["mcc"]["value"] == -1


def test_clinic_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        healthy = judge([0.1, 0.2, 0.7], [False] * 3, 0.5, prevalence=0.3)
        ill = judge([0.1, 0.2, 0.7], [True] * 3, 0.5)
        silent = judge([0.1, 0.2], [True, False], 0.5)
        single = judge([0.7], [True], 0.5, ["p"])
        patient = judge([0.7, 0.2, 0.8], [True, False, False], 0.5, ["p", "p", "p"])
    undefined = {key for key, figure in healthy.items() if figure["value"] is None}
    assert undefined == {
        "sensitivity", "ppv", "npv", "lr_positive", "lr_negative", "balanced_accuracy", "mcc"
    }  # fmt: skip
    assert healthy["sensitivity"] == {"value": None, "low": None, "high": None, "n": 0}
    undefined = {key for key, figure in ill.items() if figure["value"] is None}
    assert undefined == {"specificity", "lr_positive", "lr_negative", "balanced_accuracy", "mcc"}
    undefined = {key for key, figure in silent.items() if figure["value"] is None}
    assert undefined == {"ppv", "lr_positive", "mcc"}
    assert silent["lr_positive"]["low"] is None
    assert silent["f1"]["value"] == 0
    for key, figure in (single | patient).items():
        assert bounds(figure)[1:] == (None, None), key
    assert patient["sensitivity"]["value"] == 1
    only = judge([0.1, 0.2], [False, False], 0.5)
    assert only["f1"] == {"value": None, "low": None, "high": None, "n": 2}


@pytest.mark.parametrize("levels", [0, 5])
def test_curves_against_scikit_learn(levels: int) -> None:
    scores, truth = data(300, levels)
    fpr, sensitivity, thresholds = roc_points(scores, truth)
    expected = sk.roc_curve(truth, scores, drop_intermediate=levels == 0)
    if levels == 0:  # theirs keep the first score's point, on the way up from 0
        for ours, theirs in zip((fpr, sensitivity, thresholds), expected, strict=True):
            np.testing.assert_allclose(ours, np.delete(theirs, 1), rtol=1e-12)
    whole = {tuple(point) for point in np.round(np.transpose(expected), 9).tolist()}
    kept = np.round(np.transpose((fpr, sensitivity, thresholds)), 9).tolist()
    assert {tuple(point) for point in kept} <= whole
    assert sk.auc(fpr, sensitivity) == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-12)
    recall, precision, thresholds = pr_points(scores, truth)
    theirs = sk.precision_recall_curve(truth, scores, drop_intermediate=True)
    np.testing.assert_allclose(recall, theirs[1][::-1], rtol=1e-12)
    np.testing.assert_allclose(precision, theirs[0][::-1], rtol=1e-12)
    np.testing.assert_allclose(thresholds, np.append(np.inf, theirs[2][::-1]), rtol=1e-12)


def test_thinned_curves_look_the_same() -> None:
    scores, truth = data(100_000)
    for points, curve, swap in (
        (roc_points, sk.roc_curve, False),
        (pr_points, sk.precision_recall_curve, True),
    ):
        x, y, thresholds = points(scores, truth)
        exact = curve(truth, scores)
        exact_x, exact_y = (exact[1][::-1], exact[0][::-1]) if swap else exact[:2]
        assert 100 < len(x) <= MOST_POINTS
        assert len(x) == len(y) == len(thresholds)
        assert (x[0], x[-1]) == (0, 1)
        grid = np.linspace(0.001, 1, 500)
        apart = np.interp(grid, x, y) - np.interp(grid, exact_x, exact_y)
        assert np.abs(apart).max() < 0.01
    fpr, sensitivity, _ = roc_points(scores, truth)
    assert sk.auc(fpr, sensitivity) == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-3)


def test_curves_of_little() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fpr, sensitivity, thresholds = roc_points(np.full(4, 0.5), [True, False, True, True])
        assert (fpr.tolist(), sensitivity.tolist()) == ([0, 1], [0, 1])
        assert thresholds.tolist() == [math.inf, 0.5]
        fpr, sensitivity, _ = roc_points([0.1, 0.5], [False, False])
        assert fpr.tolist() == [0, 1]
        assert np.isnan(sensitivity).all()
        recall, precision, _ = pr_points([0.1, 0.5], [False, False])
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
