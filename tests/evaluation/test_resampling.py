"""Weights against resampled arrays: every figure by scikit-learn, of the same draws."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from by_scikit_learn import figures_by_scikit_learn

from medcnn.errors import UserError
from medcnn.evaluation import bootstrap_means, evaluate, resampling
from medcnn.evaluation.intervals import resample_counts
from medcnn.evaluation.predictions import Predictions
from medcnn.evaluation.resampling import Drawn, bounds, draw

RESAMPLES = 8
Bounds = dict[str, tuple[float | None, float | None]]
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def drawn_of(*arrays: Any, task: Any, class_names: Any, positive: Any, **options: Any) -> Drawn:
    """Of probabilities, labels, decisions and patients."""
    probs, labels, decisions, patients = map(np.asarray, arrays)
    table, names = pd.DataFrame(index=range(len(probs))), tuple(class_names)
    made = Predictions(probs, labels, decisions, patients, task, names, positive, table)
    return draw(made, **options)


def bootstrap_figures(*arrays: Any, level: float = 0.95, **options: Any) -> Bounds:
    return bounds(drawn_of(*arrays, **options), level)


def classes(count: int, samples: int = 150, patients: int = 40, seed: int = 0) -> Arrays:
    """Probabilities with ties, labels of which some are unknown, decisions, and patients."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(samples) % count)
    logits = generator.normal(size=(samples, count)) + np.eye(count)[labels]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    groups = np.append(generator.integers(patients, size=samples - 10), np.full(10, 10**6))
    labels[::13] = -1
    labels[-10:] = -1  # of the last patient nothing is known
    decisions = probs.argmax(1)
    return probs.round(2).clip(0.005), labels, decisions, groups


def several(patients: int = 40) -> Arrays:
    """Three labels, a fifth of them unknown."""
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, (150, 3))
    probs = (0.3 * labels + 0.7 * generator.random((150, 3))).round(2).clip(0.01, 0.99)
    labels[generator.random((150, 3)) < 0.2] = -1
    return probs, labels, (probs > 0.6).astype(int), generator.integers(patients, size=150)


def numbers(targets: int, patients: int = 40) -> Arrays:
    generator = np.random.default_rng(2)
    labels = generator.normal(50, 3, (150, targets))
    predictions = labels + generator.normal(1, 2, (150, targets))
    labels[generator.random((150, targets)) < 0.2] = np.nan
    return predictions, labels, predictions, generator.integers(patients, size=150)


@cache  # scikit-learn is slow, and cases share their resamples
def cached(
    task: str, positive: int | None, shape: tuple[int, int], *tables: bytes
) -> dict[str, float]:
    """Figures of arrays as bytes."""
    p, kind = np.frombuffer(tables[0]).reshape(shape), float if task == "regression" else np.int64
    y, d = (np.frombuffer(table, kind) for table in tables[1:])
    if task in ("regression", "multilabel"):
        y, d = y.reshape(shape), d.reshape(shape)
    return figures_by_scikit_learn(p, y, d, task, positive)


def naive(data: Arrays, task: str, positive: int | None, seed: int) -> dict[str, np.ndarray]:
    """All figures of explicit resamples: rows repeated as often as their patient is drawn."""
    probs, labels, decisions, groups = data
    unknown = np.isnan(labels) if task == "regression" else labels < 0
    rows = ~unknown.reshape(len(labels), -1).all(1)
    members = np.unique(groups[rows], return_inverse=True)[1]
    drawn = resample_counts(np.random.default_rng(seed), RESAMPLES, members.max() + 1)
    found: dict[str, list[float]] = {}
    for counts in drawn.astype(int):
        p, y, d = (np.repeat(a[rows], counts[members], axis=0) for a in (probs, labels, decisions))
        figures = cached(task, positive, p.shape, *(a.tobytes() for a in (p, y, d)))
        for key, value in figures.items():
            found.setdefault(key, []).append(value)
    return {key: np.array(values) for key, values in found.items()}


CASES: dict[str, tuple[Arrays, str, int | None]] = {
    "binary": (classes(2), "binary", 1),
    "binary, first positive": (classes(2), "binary", 0),
    "binary, none positive": (classes(2), "binary", None),
    "multiclass": (classes(4), "multiclass", None),
    "two classes": (classes(2), "multiclass", 1),
    "ordinal": (classes(4), "ordinal", None),
    "multilabel": (several(), "multilabel", None),
    "regression": (numbers(1), "regression", None),
    "targets": (numbers(3), "regression", None),
}
MORE = {
    "binary": {"mcc", "brier", "kappa"},
    "multiclass": {"mcc", "brier", "kappa", "micro_auroc"},
    "ordinal": {"mcc", "brier", "micro_auroc"},
    "multilabel": {"mcc", "brier", "micro_auroc"},
    "regression": {"bias", "limit_low", "limit_high"},
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", CASES)
def test_against_resampled_arrays(case: str) -> None:
    data, task, positive = CASES[case]
    names = "abcd"[: data[0].shape[1]]
    shared: dict[str, Any] = {"task": task, "class_names": names, "positive": positive}
    expected = naive(data, task, positive, seed=5)
    for level in (0.25, 0.5, 0.75, 0.95):
        found = bootstrap_figures(*data, **shared, resamples=RESAMPLES, level=level, seed=5)
        assert found.keys() == expected.keys()
        for key, values in expected.items():
            bounds = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
            assert found[key] == pytest.approx(bounds, abs=1e-9, rel=1e-9), key


@pytest.mark.parametrize("case", CASES)
def test_the_figures_are_those_of_evaluate(case: str) -> None:
    """Their names, and their values if each patient is drawn once."""
    data, task, positive = CASES[case]
    names = "abcd"[: data[0].shape[1]]
    shared: dict[str, Any] = {"task": task, "class_names": names, "positive": positive}
    figures = evaluate(*data[:3], **shared, more=True)
    found = drawn_of(*data, **shared, resamples=3).values
    assert figures.keys() == found.keys()
    more = {name.split("/")[0] for name in found.keys() - evaluate(*data[:3], **shared).keys()}
    assert more == MORE[task]
    for key, figure in figures.items():
        assert found[key] == pytest.approx(figure["value"], abs=1e-9), key


@pytest.mark.filterwarnings("error")
def test_a_hundred_classes_of_which_some_are_absent() -> None:
    generator = np.random.default_rng(0)
    probs, labels = generator.dirichlet(np.ones(100), 300), generator.integers(0, 90, 300)
    found = bootstrap_figures(
        probs, labels, probs.argmax(1), range(300), task="multiclass",
        class_names=[str(k) for k in range(100)], positive=None, resamples=100,
    )  # fmt: skip
    for key in ("auroc", "f1", "balanced_accuracy", "auroc/95", "sensitivity/95"):
        assert found[key] == (None, None)
    for key in ("accuracy", "mcc", "micro_auroc", "specificity/95", "log_loss", "brier"):
        low, high = found[key]
        assert low is not None
        assert high is not None
        assert low <= high


def test_more_than_five_percent_undefined() -> None:
    """With n patients, 1 or 2 of them ill, 37 % or 13 % of resamples have no ill one; 4: 2 %."""
    found = {}
    for ill in (1, 2, 4):
        labels = np.arange(40) < ill
        probs = np.stack([0.6 - 0.2 * labels, 0.4 + 0.2 * labels], axis=1)
        probs[-1] = [0.3, 0.7]
        found[ill] = bootstrap_figures(
            probs, labels.astype(int), probs.argmax(1), range(40),
            task="binary", class_names="ab", positive=1,
        )  # fmt: skip
    for ill in (1, 2):
        assert found[ill]["sensitivity"] == found[ill]["auroc"] == (None, None)
        assert None not in found[ill]["specificity"]
    assert found[4]["sensitivity"] == (1, 1)
    low, high = found[4]["auroc"]
    assert low is not None
    assert 0.9 < low < 1
    assert high == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", ["binary", "multilabel", "targets"])
def test_no_interval_of_one_patient(case: str) -> None:
    data, task, positive = CASES[case]
    shared: dict[str, Any] = {
        "task": task, "class_names": "abcd"[: data[0].shape[1]], "positive": positive,
    }  # fmt: skip
    probs, labels, decisions, _ = data
    found = bootstrap_figures(probs, labels, decisions, ["p"] * 150, **shared)
    assert found.keys() >= evaluate(*data[:3], **shared).keys()
    assert set(found.values()) == {(None, None)}
    one = bootstrap_figures(probs[1:2], labels[1:2], decisions[1:2], ["p"], **shared)
    assert set(one.values()) == {(None, None)}
    unknown = np.full_like(labels, np.nan if task == "regression" else -1)
    none = bootstrap_figures(probs, unknown, decisions, data[3], **shared)
    assert none.keys() == found.keys()
    assert set(none.values()) == {(None, None)}


@pytest.mark.filterwarnings("error")
def test_regression_where_the_truth_hardly_differs() -> None:
    """R² is undefined in the half of resamples with one patient, and of equal labels."""
    shared: dict[str, Any] = {"task": "regression", "class_names": ["x"], "positive": None}
    predictions = np.array([[1.5], [2.0], [0.5], [1.0]])
    found = bootstrap_figures(
        predictions, np.array([[1.0], [1], [2], [2]]), 0, list("aabb"), **shared
    )
    assert found["r2"] == (None, None)
    assert found["mae"] == (0.75, 1.25)
    same = bootstrap_figures(predictions, np.full((4, 1), 0.1), 0, list("abcd"), **shared)
    assert same["r2"] == (None, None)
    assert None not in same["limit_low"]


def test_equal_scores_and_perfect_ones() -> None:
    labels = np.arange(40) % 2
    shared: dict[str, Any] = {"task": "binary", "class_names": "ab", "positive": 1}
    flat = bootstrap_figures(np.full((40, 2), 0.5), labels, labels, range(40), **shared)
    assert flat["auroc"] == (0.5, 0.5)
    perfect = bootstrap_figures(np.eye(2)[labels], labels, labels, range(40), **shared)
    for key in ("auroc", "average_precision", "accuracy", "f1", "mcc"):
        assert perfect[key] == (1, 1)
    assert perfect["brier"] == (0, 0)


def test_accuracy_is_that_of_bootstrap_means() -> None:
    """Same draws, other code; strings as patients, and in any order."""
    probs, labels, decisions, groups = classes(3)
    rows = labels >= 0
    found = bootstrap_figures(
        probs, labels, decisions, [f"p{g:07d}" for g in groups],
        task="multiclass", class_names="abc", positive=None, seed=7,
    )  # fmt: skip
    right = (labels == decisions)[rows]
    _, low, high = bootstrap_means(right[:, None] * 1.0, groups[rows], resamples=2000, seed=7)
    assert found["accuracy"] == pytest.approx((low[0], high[0]), abs=1e-12)


@pytest.mark.parametrize("case", ["multiclass", "multilabel", "targets"])
def test_seed_and_parts(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, task, positive = CASES[case]
    shared: dict[str, Any] = {
        "task": task, "class_names": "abcd"[: data[0].shape[1]], "positive": positive,
        "resamples": 100,
    }  # fmt: skip
    whole = bootstrap_figures(*data, **shared)
    assert bootstrap_figures(*data, **shared) == whole
    assert bootstrap_figures(*data, **shared, seed=1) != whole
    monkeypatch.setattr(resampling, "_IN_CACHE", 0)
    cut = bootstrap_figures(*data, **shared)
    monkeypatch.setattr(resampling, "_IN_MEMORY", 0)
    single = bootstrap_figures(*data, **shared)
    for key, expected in whole.items():
        assert cut[key] == pytest.approx(expected, abs=1e-12)
        assert single[key] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resamples": 0}, "resamples=0: give a whole number, at least 1"),
        ({"level": 1.0}, "level=1.0 must lie between 0 and 1"),
        ({"labels": np.full(150, 2)}, "labels lie outside 0 … 1"),
        ({"class_names": "abc"}, "don't fit 3 class names"),
    ],
)
def test_refuses(changes: dict[str, Any], message: str) -> None:
    probs, labels, decisions, groups = classes(2)
    good: dict[str, Any] = {"task": "binary", "class_names": "ab", "positive": 1}
    given = good | changes
    labels = given.pop("labels", labels)
    with pytest.raises(UserError, match=message):
        bootstrap_figures(probs, labels, decisions, groups, **given)
