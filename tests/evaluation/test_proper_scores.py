from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from medcnn.errors import UserError
from medcnn.evaluation import evaluate
from medcnn.evaluation import proper_scores as extra

# Peak expiratory flow by two meters, litres a minute (Bland & Altman, Lancet 1986, table 1).
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def data(classes: int, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(classes)
    labels = generator.permutation(np.arange(count) % classes)
    logits = generator.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), labels


def several() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(-1, 2, (200, 3))
    return generator.random((200, 3)).round(1), labels


@pytest.mark.parametrize("classes", [2, 3, 100])
def test_classes_against_scikit_learn(classes: int) -> None:
    probs, labels = data(classes)
    options: dict[str, Any] = {"labels": range(classes)}
    micro = sk.roc_auc_score(np.eye(classes)[labels], probs, average="micro")
    assert extra.micro_auroc(probs, labels) == pytest.approx(micro, abs=1e-12)
    if classes == 2:
        score = sk.brier_score_loss(labels, probs[:, 1])
    else:
        score = sk.brier_score_loss(labels, probs, **options)
    assert extra.brier(probs, labels) == pytest.approx(score, abs=1e-12)
    loss = extra.log_loss_terms(probs, labels).mean()
    assert loss == pytest.approx(sk.log_loss(labels, probs, **options), abs=1e-12)


def test_several_labels_against_scikit_learn() -> None:
    probs, labels = several()
    known = labels >= 0
    micro = sk.roc_auc_score(labels[known], probs[known])
    assert extra.micro_auroc(probs, labels) == pytest.approx(micro, abs=1e-12)
    columns = [(labels[known[:, k], k], probs[known[:, k], k]) for k in range(3)]
    score = np.mean([sk.brier_score_loss(y, p) for y, p in columns])
    assert extra.brier(probs, labels) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_log_loss_is_that_of_evaluate(dtype: type) -> None:
    probs, labels = several()
    shared: dict[str, Any] = {"class_names": "abc", "positive": None}
    probs = probs.astype(dtype)
    figures = evaluate(probs, labels, probs >= 0.5, task="multilabel", **shared)
    loss = np.nanmean(extra.log_loss_terms(probs, labels), axis=0).mean()
    assert loss == pytest.approx(figures["log_loss"]["value"], abs=1e-12)
    probs, labels = np.array([[1, 0, 0], [0, 1, 0]], dtype), np.array([0, 2])
    figures = evaluate(probs, labels, probs.argmax(1), task="multiclass", **shared)
    loss = extra.log_loss_terms(probs, labels).mean()
    assert loss == pytest.approx(figures["log_loss"]["value"], abs=1e-12)


@pytest.mark.filterwarnings("error")
def test_unknown_and_undefined() -> None:
    probs = [[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]]
    assert extra.brier(probs, [0, 1, -1]) == pytest.approx((0.01 + 0.16) / 2)
    assert extra.micro_auroc(probs, [0, 1, -1]) == 1
    np.testing.assert_array_equal(
        np.isnan(extra.log_loss_terms(probs, [0, -1, -1]))[:, 0], [0, 1, 1]
    )
    assert np.isnan(extra.brier(probs, [-1, -1, -1]))
    assert np.isnan(extra.micro_auroc(probs, [-1, -1, -1]))
    assert np.isnan(extra.micro_auroc(probs, np.ones((3, 2), int)))
    assert np.isnan(extra.brier(probs, [[0, -1], [1, -1], [1, -1]]))
    assert extra.brier([[1.0, 0.0, 0.0]], [1]) == 2


@pytest.mark.parametrize(
    ("probs", "labels", "message"),
    [
        ([[0.5, 0.5]], [0, 1], "labels are int64 of shape"),
        ([0.5, 0.5], [0, 1], "labels are int64 of shape"),
        ([[0.5, 0.5]], [0.0], "labels are float64"),
        ([[0.5, 0.5]], [2], "outside 0 … 1"),
        ([[0.5, 0.5]], [[0, -2]], "outside 0 … 1"),
    ],
)
def test_refuses(probs: Any, labels: Any, message: str) -> None:
    for figure in (extra.brier, extra.micro_auroc):
        with pytest.raises(UserError, match=message):
            figure(probs, labels)


def test_peak_flow_of_bland_and_altman() -> None:
    """Published: bias −2.1 (−22.0 to 17.8), sd 38.8; they took 2 sd, and rounded."""
    found = extra.bland_altman(WRIGHT, MINI)
    assert found.bias == pytest.approx((-2.1, -22.0, 17.8), abs=0.1)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert found.lower.value == pytest.approx(-2.12 - 1.96 * 38.77, abs=0.02)
    # standard error of a limit √(3/n) sd, published as 16.3, here with 1.96 and n − 1
    t = stats.t.ppf(0.975, 16)
    half = (found.upper.high - found.upper.low) / 2
    assert half == pytest.approx(t * 16.3, rel=0.01)


def test_bland_altman_against_scipy() -> None:
    generator = np.random.default_rng(0)
    labels = generator.normal(1000, 5, 40)
    predictions = labels + generator.normal(3, 2, 40)
    found = extra.bland_altman(predictions, labels, level=0.9)
    theirs = stats.ttest_rel(predictions, labels).confidence_interval(0.9)
    assert found.bias[1:] == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    d = predictions - labels
    assert found.sd == pytest.approx(d.std(ddof=1))
    ends = (found.lower.value, found.upper.value)
    assert ends == pytest.approx((d.mean() - 1.96 * d.std(ddof=1), d.mean() + 1.96 * d.std(ddof=1)))
    error = d.std(ddof=1) * np.sqrt(1 / 40 + 1.96**2 / 78)
    for limit in (found.lower, found.upper):
        bounds = stats.t.interval(0.9, 39, limit.value, error)
        assert limit[1:] == pytest.approx(bounds, abs=1e-9)


def test_intervals_of_limits_hold_the_limits() -> None:
    """About 95 % of those of 30 normal differences; 400 have a standard error of 1.1 %."""
    d = np.random.default_rng(0).normal(size=(400, 30))
    held = sum(b.upper.low < 1.96 < b.upper.high for b in map(extra.bland_altman, d, 0 * d))
    assert 0.92 < held / 400 < 0.98


@pytest.mark.filterwarnings("error")
def test_agreement_of_few() -> None:
    assert np.isnan(np.hstack(extra.bland_altman([1.0], [np.nan]))).all()
    one = extra.bland_altman([3.0, 1.0], [1.0, np.nan])
    assert one.bias.value == 2
    assert np.isnan([*one.bias[1:], one.sd, *one.lower, *one.upper]).all()
    same = extra.bland_altman([2.0, 3.0], [1.0, 2.0])
    assert [*same.bias, same.sd, *same.lower, *same.upper] == [1, 1, 1, 0, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("predictions", "labels", "level", "message"),
    [
        ([1.0], [1.0, 2.0], 0.95, "must both be"),
        ([[1.0]], [[1.0]], 0.95, "one target after the other"),
        ([np.nan], [1.0], 0.95, "must be finite"),
        ([1.0], [np.inf], 0.95, "must be finite"),
        ([1.0], [1.0], 95, "level=95"),
    ],
)
def test_bland_altman_refuses(predictions: Any, labels: Any, level: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        extra.bland_altman(predictions, labels, level)
