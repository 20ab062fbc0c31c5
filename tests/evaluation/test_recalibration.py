import json
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from scipy.special import expit, logit, softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from medcnn.errors import UserError
from medcnn.evaluation.recalibration import (
    apply_isotonic,
    fit_isotonic,
    fit_logistic,
    fit_temperature,
)
from medcnn.objective import Objective

TASKS = ("binary", "multiclass", "multilabel", "ordinal")


def data(task: str, seed: int = 0, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are three times too large, and labels, some unknown."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, {"binary": 1, "ordinal": 3}.get(task, 4)))
    if task == "multilabel":
        labels = (generator.random(logits.shape) < expit(logits)).astype(int)
    elif task == "multiclass":
        labels = (logits + generator.gumbel(size=logits.shape)).argmax(1)
    else:
        labels = np.cumprod(generator.random(logits.shape) < expit(logits), 1).sum(1)
    labels[::17] = -1
    return 3 * logits, labels


def by_torch(logits: np.ndarray, labels: np.ndarray, objective: Objective) -> float:
    """The same minimum by another way: torch's L-BFGS on the objective's own loss."""
    z, y = torch.tensor(logits), torch.tensor(labels)
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [log_t],
        max_iter=200,
        tolerance_grad=1e-13,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = objective.loss(z / log_t.exp(), y)
        loss.backward()
        return loss

    optimiser.step(closure)
    return float(log_t.detach().exp())


@pytest.mark.parametrize("positive", [0, 1, None])
@pytest.mark.parametrize("task", TASKS)
def test_temperature_minimises_the_objectives_loss(task: Any, positive: int | None) -> None:
    logits, labels = data(task)
    if positive == 0 and task == "binary":
        logits = -logits
    objective = Objective(task, 2 if task == "binary" else 4, positive=positive).double()
    temperature = fit_temperature(logits, labels, task=task, positive=positive)
    assert temperature == pytest.approx(by_torch(logits, labels, objective), abs=1e-6)
    assert 2 < temperature < 5
    assert fit_temperature(logits / 10, labels, task=task, positive=positive) == pytest.approx(
        temperature / 10, rel=1e-9
    )
    kept = labels.reshape(len(labels), -1).min(1) >= 0
    if task != "multilabel":
        again = fit_temperature(logits[kept], labels[kept], task=task, positive=positive)
        assert again == temperature


@pytest.mark.parametrize("classes", [2, 4])
def test_temperature_against_scikit_learn(classes: int) -> None:
    generator = np.random.default_rng(classes)
    features = generator.normal(size=(400, 5))
    labels = (features[:, :classes] + 2 * generator.normal(size=(400, classes))).argmax(1)
    model = LogisticRegression(C=100).fit(features[:60], labels[:60])
    x, y = features[60:], labels[60:]
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(x, y)
    z = model.decision_function(x)
    if classes == 2:
        temperature = fit_temperature(z[:, None], y, task="binary")
        ours = expit(z / temperature)
        np.testing.assert_allclose(ours, theirs.predict_proba(x)[:, 1], atol=1e-6)
    else:
        temperature = fit_temperature(z, y, task="multiclass")
        ours = softmax(z / temperature, axis=1)
        np.testing.assert_allclose(ours, theirs.predict_proba(x), atol=1e-6)


def test_temperature_of_two_logits_is_that_of_their_difference() -> None:
    logits, labels = data("binary")
    both = np.hstack([-logits / 2, logits / 2]) + 7
    one = fit_temperature(logits, labels, task="binary")
    assert fit_temperature(both, labels, task="multiclass") == pytest.approx(one, abs=1e-9)


def test_temperature_by_hand() -> None:
    """All of one confidence: logit / T is the logit of the share that is right."""
    logits, labels = np.array([[4.0]] * 5 + [[-4.0]] * 5), [1, 1, 1, 1, 0, 0, 0, 0, 0, 1]
    expected = 4 / np.log(0.8 / 0.2)
    assert fit_temperature(logits, labels, task="binary") == pytest.approx(expected, abs=1e-9)


def test_temperature_of_a_hundred_classes_most_of_them_absent() -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(50, 100)).astype(np.float32)
    labels = np.where(np.arange(50) % 2, logits.argmax(1), 3)
    objective = Objective("multiclass", 100)
    expected = by_torch(logits.astype(float), labels, objective.double())
    assert fit_temperature(logits, labels, task="multiclass") == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_no_temperature_without_an_error(scale: float) -> None:
    generator = np.random.default_rng(2)
    labels = generator.integers(4, size=50)
    logits = scale * (generator.random((50, 4)) + 1.01 * np.eye(4)[labels])
    with pytest.raises(UserError, match="without error"):
        fit_temperature(logits, labels, task="multiclass")
    with pytest.raises(UserError, match="without error"):
        fit_temperature([[-scale], [scale]], [0, 1], task="binary")
    with pytest.raises(UserError, match="no better than chance"):
        fit_temperature([[scale], [-scale]], [0, 1], task="binary")
    with pytest.raises(UserError, match="no better than chance"):
        fit_temperature([[0.0], [0.0]], [0, 1], task="binary")


@pytest.mark.parametrize(
    ("logits", "labels", "task", "words"),
    [
        ([1.0, 2.0], [0, 1], "binary", "finite logits"),
        ([[1.0], [np.nan]], [0, 1], "binary", "finite logits"),
        ([[1.0], [2.0]], [0, 2], "binary", "outside 0 … 1"),
        ([[1.0], [2.0]], [0, -2], "binary", "outside 0 … 1"),
        ([[1.0], [2.0]], [0], "binary", "shape"),
        ([[1.0], [2.0]], [0.0, 1.0], "binary", "integers"),
        ([[1.0, 0.0], [2.0, 0.0]], [0, 3], "ordinal", "outside 0 … 2"),
        ([[1.0, 0.0], [2.0, 0.0]], [0, 1], "multilabel", "shape"),
        ([[1.0], [2.0]], [1, 1], "binary", "all the same"),
        ([[1.0], [2.0]], [-1, 1], "binary", "all the same"),
        ([[1.0], [2.0]], [[1.0], [1.0]], "regression", "regression"),
        (np.zeros((0, 1)), np.zeros(0, int), "binary", "all the same"),
    ],
)
def test_temperature_refuses(logits: Any, labels: Any, task: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        fit_temperature(logits, labels, task=task)
    assert "\n" not in str(error.value)


def probabilities(task: Any, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = data(task, seed)
    objective = Objective(task, 2 if task == "binary" else 4)
    return objective.probs(torch.tensor(logits)).double().numpy(), labels


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_isotonic_against_scikit_learn(task: Any) -> None:
    """Theirs gets the probabilities of a model that only passes them on."""

    class Pass(LogisticRegression):
        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return x

        decision_function = None  # so that they take the probabilities

    probs, labels = probabilities(task)
    fresh, _ = probabilities(task, seed=9)
    kept = labels >= 0
    model = Pass().fit(probs[kept], labels[kept])
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="isotonic")
    theirs.fit(probs[kept], labels[kept])
    fitted = json.loads(json.dumps(fit_isotonic(probs, labels, task=task)))
    ours = apply_isotonic(fresh, fitted)
    np.testing.assert_allclose(ours, theirs.predict_proba(fresh), atol=1e-6)
    np.testing.assert_allclose(ours.sum(1), 1, atol=1e-12)


def test_isotonic_of_either_positive_class_is_the_same() -> None:
    probs, labels = probabilities("binary")
    probs[:, 0] = 1 - probs[:, 1]  # to the last digit
    one = fit_isotonic(probs, labels, task="binary", positive=1)
    other = fit_isotonic(probs, labels, task="binary", positive=0)
    assert (one["fitted"], other["fitted"]) == ([1], [0])
    ours = apply_isotonic(probs, one)
    np.testing.assert_allclose(ours, apply_isotonic(probs, other), atol=1e-12)
    assert (ours[probs[:, 1] > 0.9, 1] > ours[probs[:, 1] > 0.9, 0]).all()


def test_isotonic_of_labels_each_alone_with_unknown_ones() -> None:
    probs, labels = probabilities("multilabel")
    labels[:30, 2] = -1
    ours = apply_isotonic(probs, fit_isotonic(probs, labels, task="multilabel"))
    for k in range(4):
        known = labels[:, k] >= 0
        curve = IsotonicRegression(out_of_bounds="clip").fit(probs[known, k], labels[known, k])
        np.testing.assert_allclose(ours[:, k], curve.predict(probs[:, k]), atol=1e-6)


def test_isotonic_is_level_beyond_its_ends_and_uniform_where_nothing_is_left() -> None:
    probs = np.array([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]] * 2)
    fitted = fit_isotonic(probs, [0, 1, 2] * 2, task="ordinal")
    np.testing.assert_allclose(apply_isotonic(probs, fitted), np.eye(3)[[0, 1, 2] * 2])
    np.testing.assert_allclose(apply_isotonic([[0.0, 0.0, 1.0]], fitted), [[0, 0, 1]])
    np.testing.assert_allclose(apply_isotonic([[0.3, 0.3, 0.1]], fitted), [[1 / 3] * 3])


def test_isotonic_of_equal_probabilities_is_the_share() -> None:
    fitted = fit_isotonic(np.full((5, 2), 0.5), [0, 0, 0, 1, 1], task="binary")
    np.testing.assert_allclose(apply_isotonic([[0.9, 0.1]], fitted), [[0.6, 0.4]])


HALF = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("probs", "labels", "task", "words"),
    [
        (HALF, [0, 0, 0, 1], "binary", "1 of 4 samples in class 1"),
        (HALF, [0, 1, 1, 1], "binary", "3 of 4 samples in class 1"),
        (HALF, [0, 1, 1, -1], "multiclass", "1 of 3 samples in class 0"),
        (HALF, [[0, 1], [0, 1], [1, 1], [1, 1]], "multilabel", "class 1"),
        (HALF, [0, 0, 2, 1], "binary", "outside 0 … 1"),
        (HALF, HALF, "regression", "regression"),
        (HALF[0], [0, 1], "binary", "shape"),
        (HALF[:0], [], "binary", "at least one"),
        (HALF + 1, [0, 0, 1, 1], "binary", "0 … 1"),
        (HALF * np.nan, [0, 0, 1, 1], "binary", "0 … 1"),
    ],
)
def test_isotonic_refuses(probs: Any, labels: Any, task: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        fit_isotonic(probs, labels, task=task)


def test_apply_isotonic_refuses() -> None:
    fitted = fit_isotonic(HALF, [0, 0, 1, 1], task="binary")
    with pytest.raises(UserError, match="2"):
        apply_isotonic(np.full((4, 3), 1 / 3), fitted)
    with pytest.raises(UserError, match="0 … 1"):
        apply_isotonic(HALF * 3, fitted)


@pytest.mark.parametrize("groups", [None, 40, 300])
@pytest.mark.parametrize("terms", [1, 3])
def test_logistic_against_statsmodels(terms: int, groups: int | None) -> None:
    generator = np.random.default_rng(terms)
    design = np.hstack([np.ones((300, 1)), generator.normal(size=(300, 2))])[:, :terms]
    offset = 2 * generator.normal(size=300)
    truth = generator.random(300) < expit(0.5 * design.sum(1) + offset)
    members = None if groups is None else generator.permutation(np.arange(300) % groups)
    coefficients, covariance = fit_logistic(design, offset, truth, members)
    model = sm.GLM(truth.astype(float), design, family=sm.families.Binomial(), offset=offset)
    kind = {} if groups is None else {"cov_type": "cluster", "cov_kwds": {"groups": members}}
    expected = model.fit(tol=1e-14, **kind)
    np.testing.assert_allclose(coefficients, expected.params, atol=1e-8)
    np.testing.assert_allclose(covariance, expected.cov_params(), atol=1e-8)


def test_logistic_from_far_away() -> None:
    """Offsets that a plain Newton step would overshoot from: 36 is the largest logit of float64."""
    truth = np.arange(100) % 2 == 0
    for far in (36.0, 8.0):
        coefficients, _ = fit_logistic(np.ones((100, 1)), np.full(100, far), truth)
        assert coefficients[0] == pytest.approx(-far, abs=1e-6)
    coefficients, _ = fit_logistic(np.ones((50, 1)), np.full(50, 36.0), np.arange(50) == 0)
    assert coefficients[0] == pytest.approx(logit(1 / 50) - 36, abs=1e-6)
    offset = np.where(np.arange(100) < 10, -36.0, 36.0)
    truth = ~(offset > 0)
    coefficients, _ = fit_logistic(np.ones((100, 1)), offset, truth)
    total = expit(coefficients[0] + offset).sum()
    assert total == pytest.approx(truth.sum(), abs=1e-6)


def test_logistic_of_one_group_has_no_covariance() -> None:
    truth = np.array([True, False, True])
    coefficients, covariance = fit_logistic(
        np.ones((3, 1)), np.zeros(3), truth, np.zeros(3, np.int64)
    )
    assert coefficients[0] == pytest.approx(np.log(2), abs=1e-9)
    assert np.isnan(covariance).all()
