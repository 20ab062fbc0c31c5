"""The share of labels within predicted intervals, against scipy's Wilson interval."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from medcnn.evaluation.interval_coverage import coverage_figures
from medcnn.evaluation.predictions import Predictions


def test_coverage() -> None:
    random = np.random.default_rng(0)
    labels = random.normal(size=40)
    labels[3] = np.nan
    table = pd.DataFrame({
        "label:age": labels, "label:dose": labels, "prediction:age": 0.0, "prediction:dose": 0.0,
        "quantile:0.1:age": -1.0, "quantile:0.9:age": 1.0, "quantile:0.1:dose": -2.0,
        "quantile:0.8:dose": 2.0, "quantile:0.8:age": 2.0,
    })  # fmt: skip
    given = Predictions.of(table, task="regression", class_names=["age", "dose"], positive=None)
    found = coverage_figures(given)
    assert list(found) == ["coverage/80/age"]  # of dose one end is missing
    hits = int((np.abs(labels) <= 1).sum())
    expected = binomtest(hits, 39).proportion_ci(method="wilson")
    figure = found["coverage/80/age"]
    assert figure["value"] == pytest.approx(hits / 39)
    assert (figure["low"], figure["high"]) == pytest.approx((expected.low, expected.high))
    assert figure["n"] == 39


def test_patients_pooled_have_no_interval() -> None:
    table = pd.DataFrame({
        "patient": ["a", "a", "b"], "label": [1.0, 1.0, 2.0], "prediction": [1.0, 1.5, 2.5],
        "quantile:0.05": [0.0, 0.5, 3.0], "quantile:0.95": [2.0, 2.5, 4.0],
    })  # fmt: skip
    given = Predictions.of(table, task="regression", class_names=["age"], positive=None)
    assert coverage_figures(given)["coverage/90"]["value"] == pytest.approx(2 / 3)
    assert coverage_figures(given.by_patient()) == {}
