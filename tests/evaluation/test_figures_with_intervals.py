"""Figures with their intervals, of all tasks."""

import numpy as np
import pytest
from test_analysis import ALL, binary

from medcnn.evaluation.figures_with_intervals import figures_with_intervals
from medcnn.evaluation.predictions import Predictions


def test_without_resamples_there_are_the_closed_forms() -> None:
    figures = figures_with_intervals(ALL["ordinal"], resamples=0)
    assert figures["kappa"]["low"] is None
    assert figures["auroc/c1"]["low"] is not None
    drawn = figures_with_intervals(ALL["ordinal"], resamples=50)
    assert drawn["kappa"]["low"] is not None
    assert drawn["auroc/c1"] == figures["auroc/c1"]


def test_the_positive_class_is_the_one_that_is_named() -> None:
    made = binary()
    other = Predictions.of(made.table, task="binary", class_names=["well", "ill"], positive=0)
    first, second = (figures_with_intervals(p, resamples=20) for p in (made, other))
    assert first["sensitivity"] == second["specificity"]
    assert first["sensitivity"] == first["sensitivity/ill"] != second["sensitivity"]


def test_patients_of_several_images_make_intervals_wider() -> None:
    made = binary(patients=30)
    alone = Predictions.of(
        made.table.drop(columns="patient"), task="binary", class_names=["well", "ill"], positive=1
    )
    score = np.repeat(np.arange(30) / 30, 4)  # all images of a patient alike: no more than 30
    table = made.table.assign(**{"patient": np.repeat(np.arange(30), 4).astype(str)})
    table["label"] = np.where(np.repeat(np.arange(30) % 2, 4) == 1, "ill", "well")
    table["prob:ill"], table["prob:well"] = score, 1 - score
    table["decision"] = np.where(score > 0.5, "ill", "well")
    same = Predictions.of(table, task="binary", class_names=["well", "ill"], positive=1)
    free = Predictions.of(
        table.drop(columns="patient"), task="binary", class_names=["well", "ill"], positive=1
    )
    wide, narrow = (figures_with_intervals(p, resamples=200) for p in (same, free))
    for name in ("auroc", "accuracy", "sensitivity", "f1", "log_loss"):
        widths = [f[name]["high"] - f[name]["low"] for f in (wide, narrow)]
        assert widths[0] > 1.5 * widths[1], name
    assert not alone.clustered


@pytest.mark.parametrize("name", ["regression", "two targets"])
def test_all_figures_of_a_regression_have_intervals(name: str) -> None:
    for key, figure in figures_with_intervals(ALL[name], resamples=100).items():
        value, low, high = figure["value"], figure["low"], figure["high"]
        assert value is not None, key
        assert low is not None, key
        assert high is not None, key
        assert low < value < high, key
