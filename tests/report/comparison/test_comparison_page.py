import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fixture_runs import HOME, PERSON, predictions, write_json, write_run
from html_page import Page
from sklearn.metrics import brier_score_loss, mean_absolute_error, roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from medcnn.errors import UserError
from medcnn.report.comparison.figures import STYLES, Axis, colour, curve_charts, parallel
from medcnn.report.comparison.page import distinct_names, write_comparison
from medcnn.report.comparison.paired_tests import TESTED, Difference, paired_tests
from medcnn.report.comparison.sweep import Importance, axes, differing, importance, varied
from medcnn.report.comparison.sweep_section import _hint, is_sweep, sweep_section
from medcnn.report.comparison.tables import difference_table, figure_table
from medcnn.report.runs import check_finished, read_run


def pair(folder: Path, task: str = "binary", **changes: Any) -> list[Path]:
    """A good run and a bad one, of the same images."""
    good = write_run(folder / "good", task, seed=1, quality=2.5, **changes)
    return [good, write_run(folder / "bad", task, seed=2, quality=0.3, **changes)]


def page(runs: list[Path], **options: Any) -> Page:
    out = runs[0].parent / "pages" / "comparison.html"
    assert write_comparison(runs, out, **options) == out
    text = out.read_text(encoding="utf-8")
    for personal in (PERSON, HOME, "erika", "Mustermann", str(runs[0].parent), "500.png"):
        assert personal not in text
    assert "://" not in text
    return Page(text)


def sections(shown: Page) -> list[str]:
    return [str(attributes["id"]) for tag, attributes in shown.tags if tag == "section"]


def sweep(folder: Path, runs: int, overrides: Any = None) -> list[Path]:
    """Runs whose score depends on the learning rate alone."""
    made = []
    for k in range(runs):
        rate, model = 10.0 ** -(1 + k % 5), ("lenet", "vgg")[k % 2]
        given = (f"optimizer.lr={rate}", f"model={model}", "seed=0")
        score = 0.9 - 0.1 * abs(k % 5 - 2) + 0.001 * k
        settings = {"optimizer.lr": rate, "model.name": model}
        made.append(
            write_run(
                folder / f"{k}-phantom",
                seed=k,
                patients=24,
                score=score,
                config=settings,
                overrides=given if overrides is None else overrides,
            )
        )
    (folder / "summary.csv").write_text("run\n")
    return made


# The page


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


def test_one_run_is_no_comparison(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    for runs in ([], [run], [run, tmp_path / "b" / ".." / "a"]):
        with pytest.raises(UserError, match="at least two runs"):
            write_comparison(runs, tmp_path / "x.html")


def test_runs_that_are_not_ready(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        check_finished(tmp_path / "nothing")
    with pytest.raises(UserError, match="no run of medcnn"):
        check_finished(tmp_path)
    run = write_run(tmp_path / "a")
    (run / "evaluation.json").unlink()
    with pytest.raises(UserError, match=r"evaluation\.json is missing"):
        read_run(run)
    write_json(run / "status.json", {"state": "running"})
    with pytest.raises(UserError, match=r"unfinished run \(running\).*resume="):
        check_finished(run)


def test_names(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / place / "run") for place in "ab"]
    paths.append(write_run(tmp_path / "other"))
    assert distinct_names([read_run(path) for path in paths]) == ["run (1)", "run (2)", "other"]


# Paired tests


def test_binary_differences_against_other_libraries(tmp_path: Path) -> None:
    paths = [*pair(tmp_path), write_run(tmp_path / "third", seed=3, quality=1.0)]
    paired = paired_tests([read_run(path) for path in paths], ["a", "b", "c"])
    found = {(d.first, d.second, d.figure): d for d in paired.differences}
    assert (paired.reasons, paired.clustered) == ([], False)
    assert {key[2] for key in found} == set(TESTED["binary"])
    made = [predictions("binary", *key, 60, 1) for key in ((1, 2.5), (2, 0.3), (3, 1.0))]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        (_, p, truth, d), (_, q, _, e) = made[first], made[second]
        area = roc_auc_score(truth, p[:, 1]) - roc_auc_score(truth, q[:, 1])
        assert found[first, second, "auroc"].difference == pytest.approx(area, abs=1e-9)
        ours = [brier_score_loss(truth, probs[:, 1]) for probs in (p, q)]
        brier = found[first, second, "brier"].difference
        assert brier == pytest.approx(ours[0] - ours[1], abs=1e-9)
        a, b = d == truth, e == truth
        counts = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
        exact = mcnemar(counts, exact=True)
        mid = exact.pvalue - math.comb(
            int(counts[0][1] + counts[1][0]), int(min(counts[0][1], counts[1][0]))
        ) * 0.5 ** int(counts[0][1] + counts[1][0])
        one = found[first, second, "accuracy"]
        assert one.difference == pytest.approx(a.mean() - b.mean())
        assert one.p == pytest.approx(mid, abs=1e-9)
    for figure in TESTED["binary"]:
        mine = [d for d in paired.differences if d.figure == figure]
        expected = multipletests([d.p for d in mine], method="holm")[1]
        assert [d.corrected for d in mine] == pytest.approx(expected.tolist())
        assert all(d.low <= d.difference <= d.high for d in mine)


def test_images_of_one_patient_go_to_the_bootstrap(tmp_path: Path) -> None:
    alone = paired_tests(list(map(read_run, pair(tmp_path / "1"))), ["a", "b"])
    together = paired_tests(
        list(map(read_run, pair(tmp_path / "2", images=3, patients=20))), ["a", "b"]
    )
    assert (alone.clustered, together.clustered) == (False, True)
    first, second = (
        next(d for d in one.differences if d.figure == "accuracy") for one in (alone, together)
    )
    assert first.difference == pytest.approx(second.difference)
    assert first.p != second.p
    assert second.p * 2001 / 2 == pytest.approx(round(second.p * 2001 / 2))  # of 2,000 resamples


def test_regression_differences(tmp_path: Path) -> None:
    paired = paired_tests(list(map(read_run, pair(tmp_path, "regression"))), ["a", "b"])
    (_, p, truth, _), (_, q, _, _) = (
        predictions("regression", *key, 60, 1) for key in ((1, 2.5), (2, 0.3))
    )
    found = {d.figure: d for d in paired.differences}
    error = mean_absolute_error(truth, p) - mean_absolute_error(truth, q)
    assert list(found) == ["mae", "rmse", "r2"]
    assert found["mae"].difference == pytest.approx(error)
    assert found["mae"].high < 0 < found["r2"].low


def test_the_order_of_the_images_does_not_matter(tmp_path: Path) -> None:
    runs = pair(tmp_path)
    before = paired_tests(list(map(read_run, runs)), ["a", "b"]).differences
    table = pd.read_csv(runs[1] / "predictions.csv")
    other = table.head(3).assign(split="val", image="elsewhere")
    pd.concat([other, table.sample(frac=1, random_state=0)]).to_csv(
        runs[1] / "predictions.csv", index=False
    )
    after = paired_tests(list(map(read_run, runs)), ["a", "b"]).differences
    assert after == before


def test_runs_of_other_images_are_not_tested(tmp_path: Path) -> None:
    runs = [*pair(tmp_path), write_run(tmp_path / "more", seed=4, patients=80)]
    shown = page(runs)
    assert "good and more tested other images (60 and 80, 60 of them the same)" in shown.text
    assert "bad and more tested other images" in shown.text
    assert "of 1 pairs differ" in shown.text
    alone = page([runs[0], runs[2]])
    assert "First run minus second" not in alone.text
    assert "Test of" not in alone.text
    assert "beyond chance" not in alone.text


def test_labels_that_differ_and_predictions_without_images(tmp_path: Path) -> None:
    runs = pair(tmp_path)
    table = pd.read_csv(runs[1] / "predictions.csv")
    table["label"] = table["label"].where(table["row"] > 502, "malignant")
    table.to_csv(runs[1] / "predictions.csv", index=False)
    changed = int((predictions("binary", 2, 0.3, 60, 1)[2][:3] == 0).sum())
    reasons = paired_tests(list(map(read_run, runs)), ["a", "b"]).reasons
    assert changed
    assert reasons == [f"a and b have different labels for {changed} of the images."]
    table.drop(columns="image").to_csv(runs[1] / "predictions.csv", index=False)
    reasons = paired_tests(list(map(read_run, runs)), ["a", "b"]).reasons
    assert reasons == ["b is left out: its predictions.csv doesn't name images and patients."]


def test_slices_of_one_file_and_unknown_labels(tmp_path: Path) -> None:
    runs = pair(tmp_path)
    for path in runs:
        table = pd.read_csv(path / "predictions.csv")
        table["image"] = table["image"].where(table["row"] > 510, "volume.nii")
        table["patient"] = table["patient"].where(table["row"] > 510, "one")
        table.loc[table["row"] > 540, "label"] = None
        table.to_csv(path / "predictions.csv", index=False)
    paired = paired_tests(list(map(read_run, runs)), ["a", "b"])
    (_, p, truth, _), (_, q, _, _) = (
        predictions("binary", *key, 60, 1) for key in ((1, 2.5), (2, 0.3))
    )
    area = roc_auc_score(truth[:41], p[:41, 1]) - roc_auc_score(truth[:41], q[:41, 1])
    assert paired.differences[0].difference == pytest.approx(area)
    assert paired.clustered


def test_one_class_alone_has_no_auroc(tmp_path: Path) -> None:
    runs = pair(tmp_path)
    for path in runs:
        table = pd.read_csv(path / "predictions.csv")
        table[table["label"] == "benign"].to_csv(path / "predictions.csv", index=False)
    paired = paired_tests(list(map(read_run, runs)), ["a", "b"])
    found = {d.figure: d for d in paired.differences}
    assert math.isnan(found["auroc"].difference)
    assert math.isnan(found["auroc"].corrected)
    assert found["accuracy"].difference > 0
    shown = page(runs)
    assert "beyond chance" not in shown.text


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, seed=1) for name in "ab"]
    shown = page(runs)
    assert "no two of them differ in AUROC beyond chance" in shown.text
    assert "All runs have the same settings." in shown.text
    assert "0.000" in shown.of("td")


def test_the_table_of_differences() -> None:
    nan = float("nan")
    known = Difference(0, 1, "auroc", 0.25, 0.125, 0.5, 0.001, 0.002)
    rest = Difference(0, 1, "brier", -0.125, nan, nan, nan)
    table = difference_table([known, rest], ["a", "b"])
    assert table is not None
    first, second = table.rows[0].cells
    assert (table.rows[0].name, table.rows[0].about) == ("a", "minus b")
    assert (first.value, first.below, first.bold) == ("+0.250", "[+0.125, +0.500]\np = 0.002", True)
    assert (second.value, second.below, second.mark, second.bold) == ("−0.125", "", "", False)
    assert difference_table([], []) is None


def test_the_summary_names_some_of_many_pairs(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"good{k}", seed=k, quality=4.0) for k in range(3)]
    runs += [write_run(tmp_path / f"bad{k}", seed=9 + k, quality=0.0) for k in range(3)]
    text = page(runs).text
    assert "9 of 15 pairs differ in AUROC beyond chance: good0 lies" in text
    assert "5 more." in text


# Settings


def test_settings_that_differ_without_paths(tmp_path: Path) -> None:
    one = {"optimizer.lr": 0.1, "dataset.root": f"{HOME}/a", "model.pretrained": True}
    two = {"optimizer.lr": 0.01, "dataset.root": f"{HOME}/b", "paths.data": "elsewhere"}
    paths = [write_run(tmp_path / "a", config=one), write_run(tmp_path / "b", config=two)]
    content = json.loads((paths[1] / "environment.json").read_text())
    content["libraries"]["torch"] = "2.7.0"
    write_json(paths[1] / "environment.json", content)
    found = differing([read_run(path) for path in paths])
    assert found == {
        "dataset.root": ["PATH (1)", "PATH (2)"],
        "model.pretrained": [True, False],
        "optimizer.lr": [0.1, 0.01],
        "version of torch": ["2.6.0", "2.7.0"],
    }
    shown = page(paths)
    assert {"yes", "no", "0.1", "0.01", "PATH (1)"} <= set(shown.of("td"))


# Sweeps


def test_a_page_of_a_sweep(tmp_path: Path) -> None:
    runs = sweep(tmp_path, 10)
    shown = page(runs)
    assert sections(shown)[0] == "sweep"
    assert f"the {STYLES} runs with the highest validation score" in shown.text
    assert "The highest validation score (0.907) is that of 7-phantom; its AUROC" in shown.text
    assert [text for text in shown.of("th") if text.endswith("-phantom")][:2] == [
        "7-phantom", "2-phantom",
    ]  # fmt: skip
    said = next(label for label in shown.labels("svg") if label.startswith("Parallel"))
    assert "10 runs over optimizer.lr, model and validation score" in said
    assert "the best run has optimizer.lr 0.001 and model vgg" in said
    assert len([1 for tag, a in shown.tags if "way" in str(a.get("class", ""))]) == 10
    assert "With 10 runs this is a hint" in shown.text
    assert len([1 for label in shown.labels("svg") if label.startswith("ROC")]) == 1


def test_what_a_sweep_varied(tmp_path: Path) -> None:
    runs = [read_run(path) for path in sweep(tmp_path, 4)]
    assert varied(runs) == {
        "optimizer.lr": ["0.1", "0.01", "0.001", "0.0001"],
        "model": ["lenet", "vgg", "lenet", "vgg"],
    }
    status = json.loads((runs[0].path / "status.json").read_text())
    write_json(runs[0].path / "status.json", {**status, "overrides": ["~model.depth", "model=vgg"]})
    first = varied([read_run(run.path) for run in runs])
    assert first["optimizer.lr"][0] == 0.1  # of the config
    assert first["model.depth"] == ["(removed)", 18, 18, 18]


def test_runs_that_were_started_one_by_one(tmp_path: Path) -> None:
    paths = [
        write_run(
            tmp_path / str(k), overrides=("seed=1",),
            config={"model.name": "ab"[k // 2], "model.depth": 5 + k // 2, "optimizer.lr": k},
        )
        for k in range(4)
    ]  # fmt: skip
    runs = [read_run(path) for path in paths]
    assert not is_sweep(runs)
    assert varied(runs) == {"model.name": ["a", "a", "b", "b"], "optimizer.lr": [0, 1, 2, 3]}


def test_importance_finds_what_matters() -> None:
    generator = np.random.default_rng(0)
    rate, noise = generator.uniform(size=(2, 40))
    model = np.where(generator.uniform(size=40) < 0.5, "a", "b").tolist()
    scores = [*(rate + 0.3 * (np.array(model) == "b")).tolist(), None]
    settings = {
        "noise": [*noise.tolist(), 0.0], "rate": [*rate.tolist(), 9.0], "model": [*model, "b"],
    }  # fmt: skip
    found = importance(settings, scores)
    assert found is not None
    assert list(found.shares) == ["rate", "model", "noise"]
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["rate"] > 0.5 > found.shares["model"] > 0.1 > found.shares["noise"]
    assert (found.explained > 0.7, found.runs) == (True, 40)


def test_importance_of_nothing() -> None:
    assert importance({}, [0.1] * 9) is None
    assert importance({"a": list(range(9))}, [0.5] * 9) is None
    assert importance({"a": [1, 2, 3, 4]}, [0.1, 0.2, 0.3, 0.4]) is None
    assert importance({"a": list(range(5))}, [0.1, 0.2, 0.3, 0.4, None]) is None
    constant = importance({"a": [1] * 6}, [0.1, 0.5, 0.2, 0.9, 0.3, 0.4])
    assert constant is not None
    assert constant.shares == {"a": 0.0}
    assert constant.explained <= 0


def test_a_sweep_of_too_few_runs_and_one_without_settings(tmp_path: Path) -> None:
    few = sweep_section([read_run(path) for path in sweep(tmp_path / "few", 3)], list("abc"))
    assert few["importance"] is None
    assert "3 runs with a validation score are too few" in few["hint"]
    paths = sweep(tmp_path / "same", 8, overrides=())
    for path in paths:
        (path / "config.yaml").unlink()
    same = sweep_section([read_run(path) for path in paths], list("abcdefgh"))
    assert (same["chart"], same["settings"]) == ("", [])


def test_how_far_importance_is_to_be_trusted() -> None:
    for explained, runs, end in (
        (
            0.8,
            30,
            "80 % of the variance of the scores of runs that its trees haven't seen.",
        ),
        (0.8, 12, "With 12 runs this is a hint, not a finding."),
        (-0.4, 40, "so these numbers mean nothing."),
    ):
        assert _hint(Importance({}, explained, runs), runs).endswith(end)


def test_a_sweep_with_unknown_scores(tmp_path: Path) -> None:
    runs = sweep(tmp_path, 3)
    for path in runs:
        status = json.loads((path / "status.json").read_text())
        write_json(path / "status.json", {**status, "best": None, "seconds": None})
    shown = page(runs)
    assert "Parallel" not in " ".join(shown.labels("svg"))
    assert "The highest AUROC" in shown.text
    assert "isn't shown: 0 runs" in shown.text


def test_a_sweep_whose_best_run_has_no_figure_in_the_test(tmp_path: Path) -> None:
    runs = sweep(tmp_path, 3)
    content = json.loads((runs[2] / "evaluation.json").read_text())
    content["levels"]["image"]["figures"]["auroc"]["value"] = None
    write_json(runs[2] / "evaluation.json", content)
    assert "(0.902) is that of 2-phantom." in page(runs).text


def test_axes_of_parallel_coordinates() -> None:
    settings = {
        "lr": ["0.0001", "0.1", "0.01", "0.001", "1", "0.02"],
        "width": [1.0, 2.0, 3.5, 4.0, 9.0, 10.0],
        "model": ["vgg", "a-very-long-name-of-a-net", "vgg", "vgg", "vgg", None],
        "same": [3, 3, 3, 3, 3, 3],
        "left out": [1, 2, 3, 4, 5, 6],
    }
    shown = axes(settings, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], ["model", "same", "lr", "width"])
    assert [axis.name for axis in shown] == ["lr", "width", "model", "same", "validation score"]
    rate, width, model, same, score = shown
    assert rate.places == pytest.approx([0, 0.75, 0.5, 0.25, 1, (4 + math.log10(0.02)) / 4])
    assert list(rate.ticks.values()) == ["0.0001", "0.001", "0.01", "0.1", "1"]
    assert width.places[2] == pytest.approx(2.5 / 9)
    words = list(width.ticks.values())
    assert (words[0], words[-1]) == ("1", "10")
    assert sorted(model.ticks.values()) == ["a-very-long-n…", "vgg", "–"]
    assert (same.places.tolist(), same.ticks) == ([0.5] * 6, {0.5: "3"})
    assert (score.places[0], score.places[-1]) == (0, 1)
    only = axes({"model": ["vgg", "vgg"]}, [0.1, 0.1], ["model"])
    assert only[0].places.tolist() == [0.5, 0.5]


def test_words_on_an_axis_do_not_overlap() -> None:
    axis = axes({"lr": [0.0, 0.001, 0.002, 1.0]}, [0.1, 0.2, 0.3, 0.4], ["lr"])[0]
    assert list(axis.ticks.values()) == ["0", "1"]


def test_parallel_coordinates_draw_the_best_last() -> None:
    first = Axis("optimizer.weight_decay", np.array([0.0, 1.0]), {0.0: "0", 1.0: "<1>"})
    drawn = parallel([first, Axis("score", np.array([1.0, 0.0]), {})], ["best", "<worst>"], "said")
    assert drawn.index("&lt;worst&gt;") < drawn.index('class="way best"')
    assert "&lt;1&gt;" in drawn
    assert ">optimizer.<" in drawn
    assert ">weight_decay<" in drawn
    assert drawn.count("way best") == 1


def test_the_colours_of_scores_are_seen_on_white_and_on_black() -> None:
    def luminance(code: str) -> float:
        channels = [int(code[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark = luminance("#15181c")
    for share in np.linspace(0, 1, 21):
        own = luminance(colour(float(share)))
        assert 1.05 / (own + 0.05) >= 3
        assert (own + 0.05) / (dark + 0.05) >= 3
