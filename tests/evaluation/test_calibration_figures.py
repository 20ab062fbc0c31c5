"""Figures of calibration of any task, from the reliability diagram and from resampled rows."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from test_calibration import classes, data, ece
from torchmetrics.classification import BinaryCalibrationError, MulticlassCalibrationError

from medcnn.errors import UserError
from medcnn.evaluation import calibration_figures as module
from medcnn.evaluation.calibration import (
    calibration_line,
    reliability,
)
from medcnn.evaluation.calibration_figures import calibration_figures
from medcnn.evaluation.predictions import Predictions


def figures(
    probs: Any, labels: Any, task: Any, *, positive: Any = None, groups: Any = None, **options: Any
) -> dict[str, Any]:
    probs, labels = np.asarray(probs), np.asarray(labels)
    patients = np.arange(len(probs)) if groups is None else np.asarray(groups)
    names, table = tuple(map(str, range(probs.shape[1]))), pd.DataFrame(index=range(len(probs)))
    made = Predictions(probs, labels, labels, patients, task, names, positive, table)
    return dict(calibration_figures(made, **{"resamples": 200, **options}))


def binary(scores: Any, truth: Any, **options: Any) -> dict[str, Any]:
    """Values of the figures of two classes, of which the second has these scores."""
    scores = np.asarray(scores)
    found = figures(np.stack([1 - scores, scores], 1), np.asarray(truth, int), "binary", **options)
    return {key: figure["value"] for key, figure in found.items()}


@pytest.mark.parametrize("bins", [1, 15])
def test_ece_against_torchmetrics(bins: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BINS", bins)
    probs, labels = classes()
    metric = MulticlassCalibrationError(4, n_bins=bins)
    expected = metric(torch.tensor(probs), torch.tensor(labels))
    found = figures(probs, labels, "multiclass")["ece"]["value"]
    assert found == pytest.approx(float(expected), abs=1e-6)
    scores, truth = data()
    theirs = BinaryCalibrationError(n_bins=bins)(torch.tensor(scores), torch.tensor(truth).int())
    assert binary(scores, truth)["ece"] == pytest.approx(float(theirs), abs=1e-6)


def test_ece_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BINS", 2)
    found = binary([0.1, 0.2, 0.7, 0.8], [False, True, True, True])
    distances = np.array([0.5 - 0.15, 1 - 0.75])
    assert found["ece"] == found["ece_mass"] == pytest.approx(distances.mean())


def test_hard_cases_of_the_bins() -> None:
    assert binary([0.3], [True])["ece"] == pytest.approx(0.7)
    assert binary([1.0, 0.0], [True, False])["ece_mass"] == 0
    assert binary(np.full(9, 0.3), [True] * 9)["ece"] == pytest.approx(0.7)
    for by in ("width", "mass"):
        assert [len(x) for x in reliability([], [], by=by, groups=[])] == [0] * 5  # type: ignore[arg-type]
    half = np.array([0.3, 0.6], np.float16)
    assert binary(half, [0, 1])["ece"] == pytest.approx(0.35, abs=1e-3)


def test_ece_of_calibrated_scores_is_above_zero() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random((100, 300))
    truth = generator.random(scores.shape) < scores
    errors = [binary(*pair, resamples=1)["ece"] for pair in zip(scores, truth, strict=True)]
    assert 0.05 < np.mean(errors) < 0.15


@pytest.mark.parametrize("positive", [None, 0, 1])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_figures_of_two_classes_are_of_the_positive_one(task: Any, positive: int | None) -> None:
    scores, truth = data()
    probs, labels = np.stack([1 - scores, scores], 1), truth.astype(int)
    patients = np.arange(400) // 4
    found = figures(probs, labels, task, positive=positive, groups=patients)
    if positive == 0:
        scores, truth = probs[:, 0], ~truth
    line = calibration_line(scores, truth, patients)
    expected = {
        "ece": ece(scores, truth),
        "ece_mass": ece(scores, truth, by="mass"),
        "calibration_slope": line[0].value,
        "calibration_intercept": line[1].value,
    }
    assert {key: figure["value"] for key, figure in found.items()} == pytest.approx(expected)
    assert {figure["n"] for figure in found.values()} == {400}
    assert found["calibration_slope"]["high"] == pytest.approx(line[0].high)


def test_bootstrap_of_the_ece_is_that_of_resampled_rows() -> None:
    """The same draws, each ECE from the rows themselves."""
    scores, truth = data(60)
    patients = np.arange(60) // 3
    found = figures(np.stack([1 - scores, scores], 1), truth.astype(int), "binary", groups=patients)
    drawn = np.random.default_rng(0).integers(20, size=(200, 20), dtype=np.int32)
    rows = (3 * drawn[..., None] + np.arange(3)).reshape(200, 60)
    errors = [ece(scores[row], truth[row]) for row in rows]
    bounds = found["ece"]["low"], found["ece"]["high"]
    assert bounds == pytest.approx(tuple(np.quantile(errors, [0.025, 0.975])))


def test_interval_of_a_calibrated_forecast_lies_high() -> None:
    """What the docstring warns of."""
    generator = np.random.default_rng(0)
    scores = generator.random(200)
    labels = (generator.random(200) < scores).astype(int)
    ece = figures(np.stack([1 - scores, scores], 1), labels, "binary", resamples=2000)["ece"]
    assert ece["high"] - ece["value"] > 2 * abs(ece["value"] - ece["low"])


def test_of_equally_probable_classes_the_first_is_the_decision() -> None:
    probs = np.array([[0.4, 0.4, 0.2], [0.5, 0.25, 0.25]])
    found = figures(probs, np.array([0, 0]), "multiclass")
    assert found["ece"]["value"] == pytest.approx((0.6 + 0.5) / 2)


@pytest.mark.parametrize("task", ["multiclass", "ordinal"])
def test_figures_of_several_classes(task: Any) -> None:
    probs, labels = classes()
    found = figures(probs, labels, task)
    confidence, right = probs.max(1), probs.argmax(1) == labels
    columns = [(probs[:, k], labels == k) for k in range(4)]
    expected = {
        "ece": ece(confidence, right),
        "ece_mass": ece(confidence, right, by="mass"),
        "calibration_slope": calibration_line(confidence, right)[0].value,
        "calibration_intercept": calibration_line(confidence, right)[1].value,
        "ece_classwise": np.mean([ece(*c) for c in columns]),
        "ece_mass_classwise": np.mean([ece(*c, by="mass") for c in columns]),
        "calibration_slope_classwise": np.mean([calibration_line(*c)[0].value for c in columns]),
        "calibration_intercept_classwise": np.mean(
            [calibration_line(*c)[1].value for c in columns]
        ),
    }
    assert {key: figure["value"] for key, figure in found.items()} == pytest.approx(expected)
    assert found["calibration_slope"]["low"] is not None
    assert found["calibration_slope_classwise"]["low"] is None
    assert found["ece_classwise"]["low"] < found["ece_classwise"]["high"]


def test_figures_of_labels_each_with_what_is_known_of_it() -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(200, 3))
    labels = (generator.random((200, 3)) < expit(logits)).astype(int)
    probs = expit(2 * logits)
    labels[:50, 1] = -1
    labels[7] = -1
    found = figures(probs, labels, "multilabel", groups=[f"p{k // 2}" for k in range(200)])
    known = [labels[:, k] >= 0 for k in range(3)]
    columns = [(probs[there, k], labels[there, k]) for k, there in enumerate(known)]
    expected = {
        "ece": np.mean([ece(*c) for c in columns]),
        "ece_mass": np.mean([ece(*c, by="mass") for c in columns]),
        "calibration_slope": np.mean([calibration_line(*c)[0].value for c in columns]),
        "calibration_intercept": np.mean([calibration_line(*c)[1].value for c in columns]),
    }
    assert {key: figure["value"] for key, figure in found.items()} == pytest.approx(expected)
    assert found["ece"]["n"] == 199
    assert found["ece"]["low"] < found["ece"]["high"]
    labels[:, 2] = -1
    assert figures(probs, labels, "multilabel")["ece"]["value"] is None
    labels[:2, 2] = 1
    few = figures(probs, labels, "multilabel", groups=range(200))["ece"]  # drawn now and then
    assert few["low"] < few["high"]


def test_unknown_samples_count_as_if_they_werent_there() -> None:
    probs, labels = classes()
    masked = np.where(np.arange(400) % 3 == 0, -1, labels)
    kept = masked >= 0
    groups = np.arange(400) // 2
    found = figures(probs, masked, "multiclass", groups=groups)
    assert found == figures(probs[kept], masked[kept], "multiclass", groups=groups[kept])
    assert found["ece"]["n"] == kept.sum()


def test_figures_in_hard_cases() -> None:
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    probs = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    unknown = figures(probs, [-1, -1, -1], "binary")
    assert list(unknown.values()) == [nothing] * 4
    assert set(figures(probs, np.full((3, 2), -1), "multilabel")) == set(unknown)
    one_class = figures(probs, [1, 1, 1], "binary")
    assert one_class["calibration_slope"]["value"] is None
    for alone in (
        figures(probs[:1], [0], "binary"),
        figures(probs, [0, 1, 0], "binary", groups=[4, 4, 4]),
    ):
        assert alone["ece"]["value"] is not None
        assert alone["ece"]["low"] is alone["ece_mass"]["high"] is None
    certain = figures(np.eye(3), [0, 1, 2], "multiclass")
    assert certain["ece"] == {"value": 0, "low": 0, "high": 0, "n": 3}
    assert certain["calibration_slope"]["value"] is None
    many = figures(*classes(50, 100), "multiclass", resamples=20)
    assert many["ece_classwise"]["value"] > 0
    assert many["calibration_slope_classwise"]["value"] is None  # most classes are absent
    assert figures(probs, probs, "regression") == {}


def test_rounding_errors_of_probabilities_are_forgiven() -> None:
    probs, labels = np.array([[0.8, 0.2], [0.0, 1.0], [1.0, 0.0], [0.1, 0.9]]), [1, 1, 0, 0]
    rounded = probs + np.where(probs == 1, 2e-7, np.where(probs == 0, -2e-7, 0))
    assert figures(rounded, labels, "binary") == figures(probs, labels, "binary")


def test_seed_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, labels = classes(60)
    whole = figures(probs, labels, "multiclass")
    assert figures(probs, labels, "multiclass") == whole
    assert figures(probs, labels, "multiclass", seed=1) != whole
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", 128 * 7)
    for key, figure in figures(probs, labels, "multiclass").items():
        assert figure == pytest.approx(whole[key], abs=1e-12)


@pytest.mark.parametrize(
    ("probs", "labels", "options", "words"),
    [
        ([[0.5, 1.5]], [0], {}, "0 … 1"),
        ([[0.5, 0.5]], [0], {"resamples": 0}, "resamples=0"),
    ],
)
def test_figures_refuse(probs: Any, labels: Any, options: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        figures(probs, labels, "binary", **options)
