import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from compared_runs import page, pair, sections
from fixture_runs import HOME, predictions, write_json, write_run
from sklearn.metrics import roc_auc_score

from medcnn.errors import UserError
from medcnn.report.comparison.figures import curve_charts
from medcnn.report.comparison.page import distinct_names, write_comparison
from medcnn.report.comparison.tables import figure_table
from medcnn.report.runs import read_run


@pytest.mark.parametrize("task", ["binary", "multiclass", "ordinal", "multilabel", "regression"])
def test_a_page_of_each_task(tmp_path: Path, task: str) -> None:
    runs = pair(tmp_path, task, images=2, patients=40)
    shown = page(runs)
    curves = [] if task == "regression" else ["curves"]
    assert sections(shown) == ["figures", "differences", "settings", *curves, "training", "how"]
    assert shown.of("h1") == ["Comparison of 2 runs"]
    assert "80 images of 40 patients" in shown.text
    assert f"{'an' if task == 'ordinal' else 'a'} {task} task" in shown.text
    best = "lowest MAE" if task == "regression" else "highest AUROC"
    assert f"The {best}" in shown.text
    assert "of 1 pairs differ" in shown.text
    assert "patients have several" in shown.text
    ids = [a["id"] for _, a in shown.tags if a.get("id")]
    assert len(set(ids)) == len(ids)
    for anchor in [str(a["href"])[1:] for tag, a in shown.tags if tag == "a"]:
        assert anchor in ids
    scoped = [a for tag, a in shown.tags if tag == "th"]
    assert all("scope" in a for a in scoped)


def test_figures_stand_with_their_intervals_and_mark_the_best(tmp_path: Path) -> None:
    runs = [read_run(path) for path in pair(tmp_path)]
    table = figure_table(runs, ["good", "bad"], "image")
    assert [words.title for words, _ in table.columns][:2] == ["AUROC", "average precision"]
    assert {words.title: words.better for words, _ in table.columns}["log loss"] == "lower"
    _, probs, truth, _ = predictions("binary", 1, 2.5, 60, 1)
    cell = table.rows[0].cells[0]
    area = roc_auc_score(truth, probs[:, 1])
    assert (cell.value, cell.bold) == (f"{area:.3f}", True)
    assert cell.below.startswith(f"[{area - 0.05:.3f}, ")
    assert "<circle" in cell.mark
    assert not table.rows[1].cells[0].bold
    assert table.has_bold
    assert [row.style for row in table.rows] == [0, 1]


def test_figures_without_intervals_and_without_values(tmp_path: Path) -> None:
    def levels(**figure: Any) -> dict[str, Any]:
        return {"levels": {"image": {"figures": {"log_loss": figure, "auroc": figure}}}}

    low = write_run(tmp_path / "a", evaluation=levels(value=0.1, low=0.0, high=0.2))
    high = write_run(tmp_path / "b", evaluation=levels(value=0.5, low=0.3, high=0.7))
    bare = write_run(tmp_path / "c", evaluation=levels(value=0.5))
    none = write_run(tmp_path / "d", evaluation=levels(value=None))
    table = figure_table([read_run(low), read_run(high)], ["a", "b"], "image")
    bold = [[cell.bold for cell in row.cells] for row in table.rows]
    assert bold == [[False, True], [True, False]]
    assert table.rows[0].about == ""
    table = figure_table([read_run(low), read_run(bare), read_run(none)], ["a", "c", "d"], "image")
    assert not table.has_bold
    assert (table.rows[1].cells[0].below, table.rows[2].cells[0].value) == ("", "–")


def test_two_levels_and_notes(tmp_path: Path) -> None:
    runs = pair(tmp_path)
    for path in runs:
        content = json.loads((path / "evaluation.json").read_text())
        content["levels"]["patient"] = {**content["levels"]["image"], "n": 60}
        content["notes"] = [f"See {HOME}/x."] if path is runs[0] else []
        write_json(path / "evaluation.json", content)
    shown = page(runs, notes=["1 of 3 runs left out."])
    assert shown.of("caption")[:2] == ["By image", "By patient"]
    assert "1 of 3 runs left out." in shown.text
    assert "By image." in shown.text
    assert "See PATH Of good." in shown.text
    assert "60 patients" in shown.of("small")


def test_what_is_missing_is_not_shown(tmp_path: Path) -> None:
    runs = pair(tmp_path)
    for path in runs:
        for name in ("metrics.csv", "environment.json", "config.yaml"):
            (path / name).unlink()
        (path / "predictions.csv").write_text("no table")
        content = json.loads((path / "evaluation.json").read_text())
        content = {key: content[key] for key in ("format", "task", "class_names", "levels")}
        content["levels"] = {"image": {}}
        write_json(path / "evaluation.json", content)
    shown = page(runs)
    assert sections(shown) == ["figures", "differences", "settings", "how"]
    assert "All runs have the same settings." in shown.text
    assert "good is left out: its predictions.csv is missing or can't be read." in shown.text
    assert "of a data set." in shown.text


def test_markup_in_names_stays_text(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"<b>&{k}", seed=k) for k in range(2)]
    shown = page(runs)
    assert not [tag for tag, _ in shown.tags if tag == "b"]
    assert "<b>&0" in shown.text
    assert any("<b>&0" in label for label in shown.labels("svg"))


def test_curves_say_their_areas(tmp_path: Path) -> None:
    shown = page(pair(tmp_path))
    _, probs, truth, _ = predictions("binary", 2, 0.3, 60, 1)
    said = next(
        label for label in shown.labels("svg") if label.startswith("ROC curve of malignant")
    )
    assert f"bad {roc_auc_score(truth, probs[:, 1]):.3f}" in said
    assert [a["class"] for tag, a in shown.tags if tag == "path" and "run-1" in str(a.get("class"))]
    histories = [label for label in shown.labels("svg") if "by epoch" in label]
    assert [text.split(",")[0] for text in histories] == ["Loss", "Loss", "AUROC"]
    assert "good from" in histories[0]


def test_of_many_classes_those_that_differ_most(tmp_path: Path) -> None:
    names = [f"class {k}" for k in range(100)]
    runs = []
    for r in range(2):
        figures = {
            f"auroc/{name}": {"value": 0.5 + 0.004 * k * r, "low": None, "high": None, "n": 9}
            for k, name in enumerate(names)
        }
        figures["auroc/class 99"]["value"] = None
        curve = {"roc": {"fpr": np.linspace(0, 1, 500).tolist()}}
        curve["roc"]["sensitivity"] = curve["roc"]["fpr"]
        level = {"figures": figures, "curves": dict.fromkeys(names, curve)}
        changes = {"class_names": names, "levels": {"image": level}, "positive": None}
        runs.append(write_run(tmp_path / str(r), "multiclass", seed=r, evaluation=changes))
    charts = curve_charts([read_run(path) for path in runs], ["a", "b"], "image")
    assert [chart.title for chart in charts] == [f"ROC curve: class {k}" for k in range(91, 99)]
    assert "a 0.500; b" in charts[0].svg
    shown = page(runs)
    assert "Of 100 classes the 8 in which the runs differ most." in shown.text


def test_one_epoch_is_a_dot(tmp_path: Path) -> None:
    runs = pair(tmp_path)
    for path in runs:
        pd.DataFrame({"epoch": [1], "val/loss": [0.5], "val/auroc": [np.nan]}).to_csv(
            path / "metrics.csv", index=False
        )
    shown = page(runs)
    assert [label for label in shown.labels("svg") if "epoch" in label] == [
        "Loss, validation, by epoch: good from 0.500 to 0.500; bad from 0.500 to 0.500"
    ]
    dots = [str(a["class"]) for tag, a in shown.tags if tag == "circle"]
    assert [dot for dot in dots if "run" in dot] == ["run-0 dot", "run-1 dot"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ["a", "b"]}, "its classes are a, b, not benign, malignant"),
        ({"levels": {"study": {}}}, "no level"),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", evaluation=changes)]
    with pytest.raises(UserError, match=message) as caught:
        write_comparison(runs, tmp_path / "x.html")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.html").exists()


def test_a_run_twice_is_no_comparison(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    with pytest.raises(UserError, match="at least two runs"):
        write_comparison([run, tmp_path / "b" / ".." / "a"], tmp_path / "x.html")


def test_names(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / place / "run") for place in "ab"]
    paths.append(write_run(tmp_path / "other"))
    assert distinct_names([read_run(path) for path in paths]) == ["run (1)", "run (2)", "other"]
