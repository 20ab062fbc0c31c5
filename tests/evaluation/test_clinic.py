"""Figures for the clinic, by hand and by scikit-learn."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn import metrics as sk
from test_operating_point import data, rates

from medcnn.errors import UserError
from medcnn.evaluation.clinic import clinic
from medcnn.evaluation.proportions import difference_interval, proportion_interval, ratio_interval


def judge(scores: Any, truth: Any, threshold: float, groups: Any = None, **options: Any) -> Any:
    """The clinic's figures of calls at a threshold."""
    return clinic(np.asarray(scores) >= threshold, np.asarray(truth), groups, **options)


def bounds(figure: Any) -> tuple[Any, Any, Any]:
    return figure["value"], figure["low"], figure["high"]


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
    figures = judge(scores, truth, 0.6, names)
    cases = [(called, truth), (~called, ~truth), (truth, called), (~truth, ~called)]
    for key, (hits, among) in zip(KEYS, cases, strict=False):
        own = None if groups is None else groups[among]
        assert bounds(figures[key]) == pytest.approx(proportion_interval(hits[among], own))
    assert bounds(figures["accuracy"]) == pytest.approx(
        proportion_interval(called == truth, groups)
    )
    sensitivity = proportion_interval(called[truth], None if groups is None else groups[truth])
    alarms = proportion_interval(called[~truth], None if groups is None else groups[~truth])
    youden = difference_interval(sensitivity, alarms)
    assert bounds(figures["balanced_accuracy"]) == pytest.approx([(x + 1) / 2 for x in youden])
    if groups is None:
        n, m = int(truth.sum()), int((~truth).sum())
        for key, sign in (("lr_positive", 1), ("lr_negative", -1)):
            p, q = sensitivity.value, alarms.value
            p, q = (p, q) if sign == 1 else (1 - p, 1 - q)
            assert bounds(figures[key]) == pytest.approx(ratio_interval(p, n, q, m))


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


def test_refuses() -> None:
    with pytest.raises(UserError, match=r"groups have shape"):
        judge([0.1], [True], 0.5, ["p", "q"])
    with pytest.raises(UserError, match="prevalence=5 must"):
        judge([0.1], [True], 0.5, prevalence=5)
