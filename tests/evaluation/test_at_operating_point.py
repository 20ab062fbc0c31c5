"""Figures at thresholds that were chosen elsewhere, of two classes and of several labels."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from medcnn.evaluation.at_operating_point import at_operating_point
from medcnn.evaluation.figures_with_intervals import figures_with_intervals
from medcnn.evaluation.predictions import Predictions

NAMES = ["mass", "oedema", "rare"]
POINTS = {"labels": {"mass": {"threshold": 0.3}, "oedema": {"threshold": 0.7}, "rare": None}}


def several(n: int = 90) -> Predictions:
    """Three labels, some unknown; the patients have three images each."""
    rng = np.random.default_rng(1)
    labels = rng.integers(-1, 2, (n, 3))
    probs = 0.2 * (labels == 1) + rng.random((n, 3)) * 0.8
    columns: dict[str, Any] = {"patient": [f"p{row // 3}" for row in range(n)]}
    for k, name in enumerate(NAMES):
        columns |= {
            f"label:{name}": np.where(labels[:, k] < 0, np.nan, labels[:, k]),
            f"prob:{name}": probs[:, k],
            f"decision:{name}": (probs[:, k] >= 0.5).astype(int),
        }
    table = pd.DataFrame(columns)
    made = Predictions.of(table, task="multilabel", class_names=NAMES, positive=None)
    return made.where(made.known)


def at(made: Predictions, point: Any, resamples: int = 1) -> Any:
    """Figures of predictions at a point."""
    known = made.at(point)
    return at_operating_point(known, point, figures_with_intervals(known, resamples=resamples))


def judged(known: Predictions, k: int, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    there = known.labels[:, k] >= 0
    return known.labels[there, k], (known.probs[there, k] >= threshold).astype(int)


def test_each_label_has_its_own_threshold_and_the_mean_is_over_all() -> None:
    known = several()
    found = at(known, POINTS, resamples=200)
    assert list(found["labels"]) == ["mass", "oedema"]
    for k, (name, threshold) in enumerate([("mass", 0.3), ("oedema", 0.7)]):
        truth, called = judged(known, k, threshold)
        figures = found["labels"][name]["figures"]
        tn, fp, fn, tp = metrics.confusion_matrix(truth, called).ravel()
        assert figures["sensitivity"]["value"] == pytest.approx(tp / (tp + fn), abs=1e-12)
        assert figures["npv"]["value"] == pytest.approx(tn / (tn + fn), abs=1e-12)
        assert figures["specificity"]["n"] == tn + fp
        low, high = figures["sensitivity"]["low"], figures["sensitivity"]["high"]
        assert low < tp / (tp + fn) <= high
    cases = [judged(known, k, at) for k, at in enumerate([0.3, 0.7, 0.5])]  # rare: as decided
    for key, rate in {
        "sensitivity": metrics.recall_score,
        "f1": metrics.f1_score,
        "mcc": metrics.matthews_corrcoef,
        "accuracy": metrics.accuracy_score,
        "balanced_accuracy": metrics.balanced_accuracy_score,
    }.items():
        figure = found["figures"][key]
        assert figure["value"] == pytest.approx(np.mean([rate(*case) for case in cases]), abs=1e-12)
        assert figure["low"] < figure["value"] < figure["high"]


def test_rows_of_folds_are_judged_by_their_own_thresholds() -> None:
    known = several()
    rows = known.table.assign(**{"threshold:mass": np.arange(len(known)) % 2 * 2.0 - 0.5})
    own = Predictions.of(rows, task="multilabel", class_names=NAMES, positive=None)
    found = at(own, POINTS)
    truth = own.labels[:, 0]
    called = np.arange(len(own)) % 2 == 0  # all of the even rows, none of the odd ones
    expected = called[truth == 1].mean()
    assert found["labels"]["mass"]["figures"]["sensitivity"]["value"] == pytest.approx(expected)
    assert found["labels"]["mass"]["thresholds"] == [-0.5, 1.5]  # those that were applied
    assert found["labels"]["oedema"]["threshold"] == 0.7


def test_rows_of_a_fold_that_chose_none_stay_as_decided() -> None:
    known = several()
    half = np.arange(len(known)) % 2 == 0
    rows = known.table.assign(**{"threshold:mass": np.where(half, 0.0, np.nan)})
    own = Predictions.of(rows, task="multilabel", class_names=NAMES, positive=None)
    found = at(own, POINTS)
    called = np.where(half, 1, own.decisions[:, 0])
    expected = called[own.labels[:, 0] == 1].mean()
    assert found["labels"]["mass"]["figures"]["sensitivity"]["value"] == pytest.approx(expected)


def test_a_label_that_nobody_knows_leaves_the_others() -> None:
    known = several()
    known.labels[:, 1] = -1
    found = at(known, POINTS, resamples=10)
    assert list(found["labels"]) == ["mass"]
    assert found["figures"]["sensitivity"]["value"] is None


def test_of_two_classes_f1_has_an_interval_too() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.4
    score = 1 / (1 + np.exp(-(2 * truth - 1 + rng.normal(0, 1, 200))))
    names = np.array(["well", "ill"])
    table = pd.DataFrame(
        {"label": names[truth.astype(int)], "prob:well": 1 - score, "prob:ill": score,
         "decision": names[(score > 0.5).astype(int)]}
    )  # fmt: skip
    made = Predictions.of(table, task="binary", class_names=list(names), positive=1)
    point = {"threshold": 0.35}
    found = at(made, point, resamples=300)
    f1 = found["figures"]["f1"]
    assert f1["value"] == pytest.approx(metrics.f1_score(truth, score >= 0.35), abs=1e-12)
    drawn = [
        metrics.f1_score(truth[rows], score[rows] >= 0.35)
        for rows in rng.integers(0, 200, (400, 200))
    ]
    assert (f1["low"], f1["high"]) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)
    assert found["figures"]["mcc"]["low"] < found["figures"]["mcc"]["value"]
    assert at(made, None) is None
