import numpy as np
import pandas as pd

from medcnn.report.run import figures as charts
from medcnn.report.run.confusions import confusion_of, label_table


def test_bland_altman_without_figures() -> None:
    truth = np.linspace(0, 10, 2001)
    scatter = {"truth": [*truth, None], "prediction": [*(truth + 0.5 + np.sin(9 * truth)), 1.0]}
    first, second = charts.agreement(scatter, {})
    gap = 0.5 + np.sin(9 * truth)
    assert f"Bias {gap.mean():.3f}" in second.note
    assert f"lower limit {gap.mean() - 1.96 * gap.std(ddof=1):.3f}".replace("-", "−") in second.note
    assert first.note == "1,500 of 2,001 cases are shown."
    assert first.svg.count("<circle") == 1500
    assert charts.agreement({"truth": [None], "prediction": [1.0]}, {}) == []
    single = charts.agreement({"truth": [1.0], "prediction": [2.0]}, {})
    assert "Bias 1.000" in single[1].note
    nothing = {key: {"value": None} for key in ("bias", "limit_low", "limit_high")}
    unknown = charts.agreement({"truth": [1.0], "prediction": [2.0]}, nothing)
    assert unknown[1].note == ""


def test_a_scatter_of_classes_that_nobody_is_in() -> None:
    """Empty bins and a class that is absent make no mark and no warning."""
    bins = {"score": [None, 0.5], "share": [None, 0.4], "low": [None, 0.2], "high": [None, 0.6]}
    chart = charts.reliability("x", bins | {"count": [0, 5]}, {})
    assert chart.note == "The highest bar: 5 cases"
    assert chart.svg.count("<circle") == 1
    none = charts.reliability("x", {key: [] for key in [*bins, "count"]}, {})
    assert "<circle" not in none.svg
    counts = {"names": ["a", "b"], "counts": [[0, 0], [1, 3]]}
    matrix = confusion_of({"confusion": counts})
    assert matrix is not None
    assert matrix.rows[0] == ("a", [("0", 0.0), ("0", 0.0)], "0")
    tables = label_table({"per_label": {"a": [[0, 0], [1, 1]]}})
    assert tables is not None
    assert tables.rows[0].cells[2].below == ""


def test_the_parts_of_the_brier_score() -> None:
    parts = {
        "reliability": 0.01, "resolution": 0.1, "uncertainty": 0.24, "within_variance": 0.001,
        "within_covariance": 0.003,
    }  # fmt: skip
    bins = {key: [0.5] for key in ("score", "share", "low", "high")} | {"count": [4]}
    note = charts.reliability("x", bins | {"brier": parts}, {}).note
    words = "0.148 = 0.010 (miscalibration) − 0.100 (resolution) + 0.240 (prevalence) − 0.002"
    assert words in note


def test_decision_curve_of_a_model_without_use() -> None:
    curve = {"threshold": [0.2, 0.6], "model": [-0.1, -0.2], "all": [0.1, -0.5], "none": [0, 0]}
    chart = charts.decision_curve("x", curve)
    assert chart.note.endswith("at 0 of the 2 thresholds.")
    useful = charts.decision_curve("x", curve | {"model": [0.2, -0.2]})
    assert useful.note.endswith("at 1 of the 2 thresholds, between 0.20 and 0.20.")
    assert "net benefit at 0.2: model 0.200, all 0.100" in useful.svg
    assert "at 0.1:" not in useful.svg


def test_learning_curves_as_far_as_they_are_known() -> None:
    table = pd.DataFrame({"val/loss": [0.5, 0.3]}, index=[1, 2])
    (loss,) = charts.learning(table)
    assert loss.title == "loss"
    assert "best epoch" not in loss.svg
    table["val/score"] = [None, None]
    assert "best epoch" not in charts.learning(table)[0].svg
    table["val/r2"], table["val/score"] = [None, 0.4], [0.1, 0.4]
    assert "R² over 2 epochs; validation from 0.400 to 0.400" in charts.learning(table)[1].svg
    many = pd.DataFrame({"val/loss": np.linspace(1, 0, 60)}, index=range(60))
    assert "<circle" not in charts.learning(many)[0].svg
    assert charts.selective({"coverage": [], "risk": []}, "images").note.endswith("(AURC) –.")
