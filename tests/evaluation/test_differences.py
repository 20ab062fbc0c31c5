"""Differences of two models' figures, against those of resampled arrays."""

from typing import Any

import numpy as np
import pytest
from test_resampling import CASES, RESAMPLES, classes, drawn_of, naive

from medcnn.evaluation.resampling import Difference, differences


def bootstrap_differences(
    first: Any, second: Any, labels: Any, one: Any, other: Any, groups: Any, **options: Any
) -> dict[str, Difference]:
    """Of two models' probabilities, and their decisions one and other."""
    level = options.pop("level", 0.95)
    drawn = (
        drawn_of(first, labels, one, groups, **options),
        drawn_of(second, labels, other, groups, **options),
    )
    return differences(*drawn, level)


@pytest.mark.parametrize("case", ["binary", "ordinal", "multilabel", "targets"])
def test_differences_against_resampled_arrays(case: str) -> None:
    data, task, positive = CASES[case]
    probs, labels, decisions, groups = data
    generator = np.random.default_rng(3)
    if task == "regression":
        second = probs + generator.normal(size=probs.shape)
        chosen = second
    elif task == "multilabel":
        second = generator.random(probs.shape).round(2).clip(0.01, 0.99)
        chosen = (second > 0.5).astype(int)
    else:
        second = generator.dirichlet(np.ones(probs.shape[1]), len(probs))
        chosen = second.argmax(1)
    shared: dict[str, Any] = {
        "task": task, "class_names": "abcd"[: probs.shape[1]], "positive": positive,
    }  # fmt: skip
    found = bootstrap_differences(
        probs, second, labels, decisions, chosen, groups, **shared, resamples=RESAMPLES, seed=5
    )
    first = naive(data, task, positive, seed=5)
    other = naive((second, labels, chosen, groups), task, positive, seed=5)
    assert found.keys() == first.keys()
    for key, (_, low, high, p) in found.items():
        d = first[key] - other[key]
        assert (low, high) == pytest.approx(np.quantile(d, [0.025, 0.975]), abs=1e-9, rel=1e-9)
        expected = 2 * (1 + min((d <= 1e-12).sum(), (d >= -1e-12).sum())) / (RESAMPLES + 1)
        assert p == pytest.approx(min(1, expected)), key


def test_differences_of_equal_and_opposite_models() -> None:
    probs, labels, decisions, groups = classes(2)
    shared: dict[str, Any] = {"task": "binary", "class_names": "ab", "positive": 1}
    same = bootstrap_differences(probs, probs, labels, decisions, decisions, groups, **shared)
    assert set(same.values()) == {Difference(0, 0, 0, 1)}
    turned, others = probs[:, ::-1], 1 - decisions
    worse = bootstrap_differences(probs, turned, labels, decisions, others, groups, **shared)
    better = bootstrap_differences(turned, probs, labels, others, decisions, groups, **shared)
    for key in ("auroc", "accuracy", "mcc"):
        difference, low, high, p = worse[key]
        assert difference is not None
        assert low is not None
        assert 0 < low < difference
        assert p == pytest.approx(2 / 2001)  # no resample on the other side
        assert better[key] == pytest.approx((-difference, -(high or 0), -low, p), abs=1e-12)


def test_p_is_where_the_interval_leaves_zero_out() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 200)
    scores = labels * 0.8 + generator.normal(size=(2, 200)) + [[0.2], [0.0]]
    first, second = (np.stack([1 - s, s], axis=1) for s in scores)
    shared: dict[str, Any] = {"task": "binary", "class_names": "ab", "positive": 1}
    chosen = [s.argmax(1) for s in (first, second)]
    ranks: Any = (first, second, labels, *chosen, range(200))
    p = bootstrap_differences(*ranks, **shared)["auroc"].p
    assert p is not None
    assert 0.01 < p < 0.99
    for level, holds in ((1 - p - 0.005, False), (1 - p + 0.005, True)):
        _, low, high, _ = bootstrap_differences(*ranks, **shared, level=level)["auroc"]
        assert low is not None
        assert high is not None
        assert (low < 0 < high) == holds


@pytest.mark.parametrize("case", ["binary", "multilabel", "targets"])
def test_of_unknown_labels_all_is_undefined(case: str) -> None:
    (probs, labels, decisions, groups), task, positive = CASES[case]
    names = "abcd"[: probs.shape[1]]
    shared: dict[str, Any] = {"task": task, "class_names": names, "positive": positive}
    unknown = np.full_like(labels, np.nan if task == "regression" else -1)
    found = bootstrap_differences(
        probs, probs, unknown, decisions, decisions, groups, **shared, resamples=9
    )
    assert set(found.values()) == {Difference(None, None, None, None)}
