import base64
import io
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import page_runs
import pandas as pd
import pytest
from html_page import Page
from PIL import Image
from sklearn import metrics

from medcnn.errors import UserError
from medcnn.report import privacy, svg
from medcnn.report.run import figures as charts
from medcnn.report.run import maps as run_maps
from medcnn.report.run.confusions import confusions, label_table
from medcnn.report.run.page import write_run_page

ALL = [
    "Summary", "Data", "Training", "ROC and precision–recall", "Confusion", "Calibration",
    "In the clinic", "Decision curve", "Selective prediction", "Subgroups", "All figures", "Maps",
    "Worst errors", "How to reproduce",
]  # fmt: skip


def page_of(folder: Path, evaluation: dict[str, Any], maps: int = 0) -> Page:
    out = write_run_page(page_runs.make_run(folder / "run", evaluation, maps))
    assert out == folder / "run" / "report.html"
    return Page(out.read_text(encoding="utf-8"))


def bare(folder: Path, evaluation: Any) -> Page:
    """Of a run directory that holds nothing else."""
    page_runs.write(folder / "evaluation.json", evaluation)
    return Page(write_run_page(folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, dict[str, Any]]:
    content = page_runs.binary()
    return page_of(tmp_path_factory.mktemp("binary"), content, maps=15), content


def test_every_section_is_there(binary: tuple[Page, dict[str, Any]]) -> None:
    page, _ = binary
    assert page.of("h1") == ["Test report: breast ultrasound"]
    assert page.of("h2") == ALL
    links = [a["href"] for tag, a in page.tags if tag == "a"][1:]
    sections = [f"#{a['id']}" for tag, a in page.tags if tag == "section"]
    assert links == sections
    assert len(links) == len(ALL)
    assert "resnet-18 · binary task · 2026-11-28" in page.of("p")


def test_structure(binary: tuple[Page, dict[str, Any]]) -> None:
    page, _ = binary
    names = [tag for tag, _ in page.tags]
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert names.count(landmark) == 1
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    heads = [int(tag[1]) for tag in names if tag in ("h1", "h2", "h3")]
    assert all(after <= before + 1 for before, after in pairwise(heads))
    for tag, attributes in page.tags:
        assert tag != "th" or "scope" in attributes
        assert tag != "img" or "alt" in attributes
        assert attributes.get("role") != "img" or attributes["aria-label"]
        for key in ("src", "href", "xlink:href"):
            assert (attributes.get(key) or "#").startswith(("data:", "#"))
    for outside in ("http:", "https:", "@import", "//"):
        assert outside not in re.sub(r"base64,[^\"]*", "", page.source)
    assert "prefers-color-scheme: dark" in page.source
    assert "@media print" in page.source
    assert len(page.source) < 3e6


def test_worst_errors_name_their_files(binary: tuple[Page, dict[str, Any]]) -> None:
    page, content = binary
    rows = [error["row"] for error in content["levels"]["image"]["errors"]]
    assert len(rows) > 1
    assert {"image", *(f"row {row} · film-{row}.png" for row in rows)} <= set(page.of("th"))


def test_nothing_personal(binary: tuple[Page, dict[str, Any]], tmp_path: Path) -> None:
    content = binary[1] | {"data": f"{page_runs.HOME}/breast", "notes": [f"see {page_runs.HOME}/x"]}
    for page in (binary[0], page_of(tmp_path, content, maps=2)):
        assert page_runs.SECRET not in page.source
        assert "/home" not in page.source
        for uri in re.findall(r"base64,([^\"]*)", page.source):
            assert page_runs.SECRET.encode() not in base64.b64decode(uri)
    assert str(tmp_path) not in page.source
    assert "see PATH" in page.of("li")
    command = "python -m medcnn.train dataset=csv dataset.csv=PATH model=resnet paths.run=PATH"
    assert command in page.of("pre")
    config = next(text for text in page.of("pre") if text.startswith("seed: 7"))
    assert "csv: PATH name: breast ultrasound model: _target_: medcnn.nets.build" in config
    assert "logger" not in config


def test_the_summary_in_words(binary: tuple[Page, dict[str, Any]]) -> None:
    page, content = binary
    level = content["levels"]["image"]
    counts, clinic, auroc = level["counts"], level["clinic"]["figures"], level["figures"]["auroc"]
    text = " ".join(page.of("dd"))
    assert (
        "The test split of breast ultrasound: 312 images of 156 patients "
        f"(benign: {counts['benign']}; malignant: {counts['malignant']})."
    ) in text
    bounds = f"(95 % interval {auroc['low']:.3f} to {auroc['high']:.3f})"
    assert f"AUROC {auroc['value']:.3f} {bounds}: a random image of class malignant gets" in text
    assert "from a probability of 0.31 on (chosen on the validation split, rule: Youden's" in text
    sensitivity = clinic["sensitivity"]
    low, high = (f"{100 * sensitivity[key]:.1f}" for key in ("low", "high"))
    value = f"{100 * sensitivity['value']:.1f} %"
    assert f"it finds {value} (95 % interval {low} to {high}) (sensitivity)" in text
    assert "differ by 4.6 percentage points (95 % interval 3.1 to 7.9)" in text
    assert "corrected by temperature scaling (T = 1.21)" in text
    assert "The test split of breast ultrasound: 156 patients (" in text
    rates = [f"{100 * clinic[key]['value']:.1f} %" for key in ("specificity", "ppv", "npv")]
    assert page.of("strong")[1:7] == [f"{auroc['value']:.3f}", value, *rates, "0.046"]
    warnings = page.of("li")
    assert "Site C has 4 images only: its figures aren't shown." in warnings
    assert "The audit of the data found 3 problems: see Data." in warnings


def test_numbers_of_the_figures_in_words(binary: tuple[Page, dict[str, Any]]) -> None:
    page, content = binary
    level = content["levels"]["image"]
    labels = page.labels("svg")
    roc = next(label for label in labels if label.startswith("ROC curve of malignant"))
    assert f"AUROC {level['figures']['auroc']['value']:.3f}" in roc
    curve = level["curves"]["malignant"]["roc"]
    at = max(s for f, s in zip(curve["fpr"], curve["sensitivity"], strict=True) if f <= 0.1)
    assert f"sensitivity {at:.2f} at 1 − specificity 0.10" in roc
    assert "operating point at sensitivity" in roc
    pr = next(label for label in labels if label.startswith("Precision–recall curve"))
    assert f"average precision {level['figures']['average_precision']['value']:.3f}" in pr
    assert f"prevalence {100 * level['counts']['malignant'] / 312:.1f} %" in pr
    net = next(label for label in labels if label.startswith("Decision curve"))
    assert re.search(r"net benefit at 0.1: model 0\.\d{3}, all 0\.\d{3}", net)
    kept = next(label for label in labels if label.startswith("Selective"))
    (tn, fp), (fn, tp) = level["confusion"]["counts"]
    assert f"{100 * (fp + fn) / (tn + fp + fn + tp):.1f} % errors with the surest 100 %" in kept
    loss = next(label for label in labels if label.startswith("Loss"))
    assert "training from 0.654 to 0.095" in loss
    assert "best epoch 20" in loss
    calibrated = next(label for label in labels if label.startswith("Reliability"))
    bins = level["reliability"]["malignant"]
    first = f"at {bins['score'][0]:.2f} observed {bins['share'][0]:.2f} of {bins['count'][0]}"
    assert first in calibrated


def test_tables(binary: tuple[Page, dict[str, Any]]) -> None:
    page, content = binary
    level = content["levels"]["image"]
    (tn, fp), (fn, tp) = level["confusion"]["counts"]
    cells, small = page.of("td"), page.of("small")
    start = cells.index(str(tn))
    assert cells[start : start + 6] == [str(v) for v in (tn, fp, tn + fp, fn, tp, fn + tp)]
    for count, size in ((tn, tn + fp), (fp, tn + fp), (fn, fn + tp), (tp, fn + tp)):
        assert f"{100 * count / size:.1f} %" in small
    ratio = level["clinic"]["figures"]["lr_positive"]
    assert f"{ratio['value']:.3f}" in cells
    assert f"[{ratio['low']:.3f}, {ratio['high']:.3f}]" in cells
    assert "DeLong, logit scale" in cells
    assert "The test in the clinic at the threshold 0.31" in page.of("caption")
    assert "Counts, and shares of each true class, at the operating point" in page.of("caption")
    assert "is of those at the operating point above" in page.text
    ill = round(1000 * level["clinic"]["figures"]["prevalence"]["value"])
    assert f"Of 1,000 images, {ill} of them of class malignant" in page.text
    samples = page_runs.samples_table(content)
    sizes = samples["split"].value_counts()
    assert [cells[k] for k in range(3)] == [str(sizes[s]) for s in ("train", "val", "test")]
    ages = samples.loc[samples["split"] == "train", "age"]
    assert f"{ages.median():.3g}" in cells
    assert "No patient is in more than one split." in page.of("p")
    assert {"near-duplicate images in two splits", "site A", "sex F"} <= set(page.of("th"))
    start = cells.index("test and training")
    assert cells[start - 1 : start + 2] == ["warning", "test and training", "3"]


def test_forest_plot(binary: tuple[Page, dict[str, Any]]) -> None:
    page, content = binary
    groups = content["levels"]["image"]["subgroups"]
    old = next(group for group in groups if group["group"] == "65 and above")
    value, gap = old["figures"]["auroc"], old["difference"]["auroc"]
    shown = f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
    assert shown in page.of("td")
    assert f"{gap['value']:.3f} ≠".replace("-", "−") in page.of("strong")
    assert "too few" in page.of("td")
    assert page.of("strong").count("≠") == 0
    assert len([text for text in page.of("strong") if "≠" in text]) == 2  # of images, of patients
    assert page.of("caption").count("Sensitivity") == 2


def test_levels_are_switched_without_a_script(binary: tuple[Page, dict[str, Any]]) -> None:
    page, _ = binary
    radios = [a for tag, a in page.tags if tag == "input" and a.get("type") == "radio"]
    assert [a["id"] for a in radios] == ["level-1", "level-2"]
    assert "checked" in radios[0]
    assert {"312 images", "156 patients"} <= set(page.of("label"))
    for number in (1, 2):
        assert f"body:has(#level-{number}:checked) .level:not(.of-{number})" in page.source
    parts = [a["class"] for tag, a in page.tags if (a.get("class") or "").startswith("level of-")]
    assert parts.count("level of-1") == parts.count("level of-2") == 10


def test_maps(binary: tuple[Page, dict[str, Any]]) -> None:
    page, _ = binary
    images = [a for tag, a in page.tags if tag == "img"]
    under = [a for a in images if a["class"] == "under"]
    assert len(under) == 15
    assert len([a for a in images if a["class"] == "over"]) == 14  # one is empty
    assert "no map" in page.of("span")
    label = under[0]["alt"] or ""
    assert re.fullmatch(
        r"Row 10: true malignant, predicted malignant 0\.\d\d, right\. Grad-CAM map over it, "
        r"highest (at the|in the) [a-z ]+; \d+ % of it on the lesion\.",
        label,
    )
    assert [text for text in page.of("figcaption") if text.startswith("row")][:2] == [
        "row 10",
        "row 11",
    ]
    wrong = [a for tag, a in page.tags if tag == "figure" and a.get("class") == "wrong"]
    assert len(wrong) == 3
    assert page.of("b").count("wrong") == 3
    ranges = [a["id"] for tag, a in page.tags if tag == "input" and a.get("type") == "range"]
    assert ranges == ["opacity", "threshold"]
    assert [a["id"] for t, a in page.tags if t == "input" and a["type"] == "checkbox"] == [
        "outline"
    ]
    picture = Image.open(io.BytesIO(base64.b64decode((under[0]["src"] or "").split(",")[1])))
    assert picture.size == (96, 96)
    assert picture.info == {}


def test_everything_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('&')</script>"
    text = json.dumps(page_runs.binary()).replace("malignant", evil)
    page = page_of(tmp_path, json.loads(text) | {"data": evil, "notes": [evil]})
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.of("h1") == [f"Test report: {evil}"]
    assert any(label.startswith(f"ROC curve of {evil}") for label in page.labels("svg"))


@pytest.mark.parametrize("task", ["multiclass", "ordinal"])
def test_several_classes(task: str, tmp_path: Path) -> None:
    content = page_runs.classes(task, 4)
    page = page_of(tmp_path, content)
    level = content["levels"]["image"]
    names = content["class_names"]
    labels = page.labels("svg")
    for name in names:
        auroc = level["figures"][f"auroc/{name}"]["value"]
        assert any(x.startswith(f"ROC curve of {name}; AUROC {auroc:.3f} (95 %") for x in labels)
        assert any(x.startswith(f"Reliability of {name}") for x in labels)
    assert "In the clinic" not in page.of("h2")
    assert "Subgroups" not in page.of("h2")
    assert "Worst errors" not in page.of("h2")
    text = " ".join(page.of("dd"))
    rates = {name: level["figures"][f"sensitivity/{name}"]["value"] for name in names}
    best = max(rates, key=lambda name: rates[name])
    assert f"Found most often: {best}, {100 * rates[best]:.1f} %" in text
    assert "the mean over the classes" in text
    assert "divide its logits by 0.80, so it is underconfident" in text
    assert "no interval" in page.of("small") or task == "ordinal"  # of MCC
    assert "Figures of" not in page.text


def test_a_hundred_classes(tmp_path: Path) -> None:
    content = page_runs.classes("multiclass", 100, n=1500)
    page = page_of(tmp_path, content)
    labels = page.labels("svg")
    drawn = [x.split(";")[0].removeprefix("ROC curve of ") for x in labels if x.startswith("ROC")]
    figures = content["levels"]["image"]["figures"]
    area = {name: figures[f"auroc/{name}"]["value"] for name in content["class_names"]}
    assert set(drawn) == set(sorted(area, key=lambda name: area[name])[:12])
    assert "Curves of 12 of the 100 classes" in page.text
    matrix = np.array(content["levels"]["image"]["confusion"]["counts"])
    right = 100 * matrix.trace() / matrix.sum()
    heat = next(x for x in labels if x.startswith("Confusion matrix of 100 classes"))
    assert f"{right:.1f} % on the diagonal" in heat
    wrong = matrix - np.diag(matrix.diagonal())
    truth, call = np.unravel_index(wrong.argmax(), wrong.shape)
    assert f"class {truth} called class {call}: {wrong.max()}" in heat
    assert {"classes there", "fewest of a class", "most of a class"} <= set(page.of("th"))
    assert "By class (100)" in page.of("summary")
    assert "1,500 images, 100 classes." in page.text
    assert len(page.source) < 3e6


def test_several_labels_at_their_operating_points(tmp_path: Path) -> None:
    content = page_runs.multilabel()
    level = content["levels"]["image"]

    def figure(value: float, n: int) -> dict[str, Any]:
        return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": n}

    own = {"sensitivity": figure(0.75, 140), "specificity": figure(0.5, 460)}
    level["confusion"]["per_label"]["class 0"] = [[230, 230], [35, 105]]
    level["clinic"] = {
        "figures": {"sensitivity": figure(0.75, 600), "specificity": figure(0.5, 600)},
        "labels": {"class 0": {"threshold": 0.125, "figures": own}},
    }
    content["operating_point"] = {"rule": "youden", "chosen_on": "val", "labels": {}}
    page = page_of(tmp_path, content)
    start = page.of("td").index("105")
    assert page.of("td")[start : start + 4] == ["105", "35", "230", "230"]
    assert "0.125" in page.of("td")
    assert "one image may have several" in page.text
    assert "78.7 %" in page.of("small")  # of class 1 are found
    assert "Each label is called from a probability of its own on (chosen on the" in page.text
    assert "is of those at the operating points above" in page.text
    assert any("at its operating point (0.5 where there is none)" in x for x in page.of("caption"))
    assert "The test in the clinic, each label at its own threshold" in page.of("caption")


def test_regression(tmp_path: Path) -> None:
    content = page_runs.regression()
    page = page_of(tmp_path, content)
    assert page.of("h2") == [
        "Summary", "Data", "Training", "Agreement", "All figures", "How to reproduce",
    ]  # fmt: skip
    scatter = content["levels"]["image"]["scatter"]
    mae = metrics.mean_absolute_error(scatter["truth"], scatter["prediction"])
    r2 = metrics.r2_score(scatter["truth"], scatter["prediction"])
    labels = page.labels("svg")
    first = next(x for x in labels if x.startswith("Predicted against true values of 180 cases"))
    assert f"MAE {mae:.3f}" in first
    assert f"R² {r2:.3f}" in first
    gap = np.array(scatter["prediction"]) - np.array(scatter["truth"])
    second = next(x for x in labels if x.startswith("Bland–Altman"))
    assert f"bias {gap.mean():.3f}" in second
    assert f"upper limit {gap.mean() + 1.96 * gap.std(ddof=1):.3f}" in second
    assert f"It is off by {mae:.3f}" in page.text
    assert page.source.count('class="sample" cx') == 2 * 180 + 2  # and two in the legends
    assert "label, median" in page.of("th")


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


def test_pooled_folds_have_a_point_each_on_its_own_curve(tmp_path: Path) -> None:
    """Thresholds are those that were applied; no dot lies beside a curve."""
    content = page_runs.binary()
    level = content["levels"]["image"]
    level["clinic"] |= {"threshold": None, "thresholds": [0.2, 0.41234]}
    curve = {"fpr": [0, 0.25, 1], "sensitivity": [0, 0.8, 1]}
    level["curves"]["malignant"]["folds"] = [
        {"fold": k, **curve, "point": {"fpr": 0.25, "sensitivity": 0.8}} for k in range(2)
    ]
    page = page_of(tmp_path, content)
    assert "from a probability of 0.2 and 0.412 on, in each fold its own (chosen on" in page.text
    assert "The test in the clinic at the folds' own thresholds 0.2 and 0.412" in page.of("caption")
    roc, precision = (
        next(x for x in page.labels("svg") if x.startswith(kind)) for kind in ("ROC", "Precision")
    )
    assert "fold 1 at sensitivity 0.800, specificity 0.750" in roc
    assert "operating point" not in roc + precision


def test_an_old_run_still_has_a_page(tmp_path: Path) -> None:
    content = {"format": 1, "task": "binary", "class_names": ["a", "b"], "levels": {"image": {}}}
    page = bare(tmp_path, content)
    assert page.of("h2") == ["Summary"]
    assert "The chosen split of a data set." in page.of("dd")
    two = {"image": {"n": 1}, "study": {"n": 3, "figures": {"mcc": page_runs.figure(0.2, 3)}}}
    page = bare(tmp_path, content | {"levels": two})
    assert page.of("h2") == ["Summary", "All figures"]
    assert "Not known of this level." in page.of("div")
    assert {"1 image", "3 studies"} <= set(page.of("label"))


def test_missing_keys_and_unknown_values(tmp_path: Path) -> None:
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    content = page_runs.binary()
    level = content["levels"]["image"]
    content["level_names"] = None
    content["operating_point"] = {"threshold": 0.31}
    content["calibration_applied"] = "isotonic"
    level["figures"] |= {"auroc": nothing, "ece": nothing, "strange_one": nothing}
    level["clinic"]["figures"] |= {"specificity": nothing, "ppv": nothing, "npv": nothing}
    for key in ("reliability", "decision_curve", "selective", "subgroups"):
        level[key] = None
    del level["figures"]["sensitivity/benign"]
    level["figures"]["auroc/benign"] = nothing
    del level["curves"]["malignant"]["band"], level["errors"], level["counts"]
    page = page_of(tmp_path, content | {"levels": {"image": level}})
    assert "–" in page.of("strong")
    assert "strange one" in page.of("th")
    assert "corrected by isotonic regression" in page.text
    assert "Accuracy" in " ".join(page.of("dd"))
    assert "Calibration" not in page.of("h2")
    assert "operating point" not in " ".join(page.labels("svg"))


def test_operating_points(tmp_path: Path) -> None:
    content = page_runs.binary()
    said = {
        "sensitivity>=0.95": "(rule: sensitivity>=0.95).",
        "": "from a probability of 0.31 on. Of class",
    }
    for rule, words in said.items():
        page = bare(tmp_path, content | {"operating_point": {"rule": rule}})
        assert words in page.text
    assert "on. Of class" in bare(tmp_path, content | {"operating_point": None}).text
    for level in content["levels"].values():
        level["clinic"] = None
    page = bare(tmp_path, content | {"operating_point": None, "temperature": 1.0})
    assert "Calls are for the most probable class." in page.text
    assert "corrected by temperature scaling (T = 1.00)" in page.text
    assert "operating point" not in page.labels("svg")[0]


def test_warnings(tmp_path: Path) -> None:
    run = page_runs.make_run(tmp_path, page_runs.binary() | {"notes": []})
    table = pd.read_csv(run / "samples.csv")
    table.loc[0, "split"], table.loc[1, "split"] = "train", "test"
    table.loc[table["split"] == "val", "age"] = None
    table.to_csv(run / "samples.csv", index=False)
    page_runs.write(run / "status.json", {"state": "running"})  # as it is while the page is made
    (run / "problems.csv").write_text("severity,kind,image,split,other_image,other_split,reason\n")
    page = Page(write_run_page(run).read_text(encoding="utf-8"))
    assert "1 patient in more than one split: the figures may be too good." in page.of("li")
    assert "finished" not in page.text
    assert "Warning" in page.of("strong")
    assert "No patient" not in page.text
    assert "–" in page.of("td")[:20]  # the age in validation
    assert "The audit found no unusable file" in page.text
    (run / "samples.csv").write_text("image,split\n1,nowhere\n")
    assert "Images by split" not in Page(write_run_page(run).read_text()).of("caption")


def test_a_cross_validation_shows_the_maps_and_the_environment_of_its_folds(
    tmp_path: Path,
) -> None:
    """Samples of both folds; of their errors (row 14 and 19 of 10 each) the pooled worst alone."""
    content = page_runs.binary()
    content["levels"]["image"]["errors"] = [{"row": 19, "true": "a", "predicted": "b"}]
    run = page_runs.make_run(tmp_path, content)
    for fold in ("fold-0", "fold-1"):
        page_runs.make_maps(run / fold / "cams", 10, 16)
    (run / "environment.json").rename(run / "fold-0" / "environment.json")
    page = Page(write_run_page(run).read_text(encoding="utf-8"))
    assert {"Maps", "Worst errors", "How to reproduce"} <= set(page.of("h2"))
    assert "2.14.1" in page.of("dd")  # torch
    shown = [a["alt"].split(":")[0] for tag, a in page.tags if a.get("class") == "under"]
    assert shown == 2 * [f"Row {row}" for row in (10, 11, 12, 13, 15, 16, 17, 18)] + ["Row 19"]


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    run = page_runs.make_run(tmp_path, page_runs.binary(), maps=3)
    (run / "environment.json").write_text("[]")
    (run / "status.json").write_text("{")
    (run / "config.yaml").write_text("{")
    (run / "metrics.csv").write_text("loss\n1\n")
    (run / "samples.csv").write_text("")
    (run / "cams" / "layers" / "0.png").write_text("no picture")
    records = json.loads((run / "cams" / "layers.json").read_text())
    records[1]["image"] = "../../evaluation.json"
    records[2] |= {"mask": None, "map": None, "method": "", "correct": None, "probability": None}
    page_runs.write(run / "cams" / "layers.json", records)
    page = Page(write_run_page(run).read_text(encoding="utf-8"))
    assert page.of("h2") == [n for n in ALL if n not in ("Training", "How to reproduce")]
    images = [a["alt"] for tag, a in page.tags if tag == "img"]
    assert images == ["Row 12: true benign, predicted benign."]
    assert "outline" not in [a.get("id") for _, a in page.tags]
    assert "By Grad-CAM" in page.text
    page_runs.write(run / "cams" / "layers.json", records[2:] and [records[2] | {"kind": "error"}])
    page = Page(write_run_page(run).read_text(encoding="utf-8"))
    assert "Maps" not in page.of("h2")
    assert "Worst errors" in page.of("h2")
    assert "opacity" in [a.get("id") for _, a in page.tags]
    (run / "config.yaml").write_text("[]")
    write_run_page(run)


def test_bad_input(tmp_path: Path) -> None:
    for content, why in (
        (None, "is missing, as an older medcnn left it: make it with"),
        ("{", "is damaged"),
        ("[]", "holds no evaluation"),
        ('{"task": "art", "class_names": [], "levels": {"image": {}}}', "holds no evaluation"),
        ('{"task": "binary", "class_names": [], "levels": {}}', "holds no evaluation"),
        ('{"task": "binary", "class_names": [], "levels": {"image": 3}}', "holds no evaluation"),
        ('{"format": 2, "task": "binary", "class_names": [], "levels": {"i": {}}}', "of format 2"),
    ):
        if content is not None:
            (tmp_path / "evaluation.json").write_text(content)
        with pytest.raises(UserError, match=why) as error:
            write_run_page(tmp_path)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "report.html").exists()


def test_lines_without_what_changes_nothing() -> None:
    plot = svg.Plot((0, 10), (0, 10), "x", "y", size=(50 + 14 + 100, 10 + 40 + 100))
    plot.line([0, 0, 0, 5, 5, 10], [0, 5, 10, 10, 10, 10], "a")
    assert plot.marks == ['<path class="a" d="M0 100L0 0L100 0"/>']
    plot.line([0, 1, np.nan, 2, 3], [0, 1, 1, 2, 5], "a")
    assert plot.marks[1] == '<path class="a" d="M0 100L10 90M20 80L30 50"/>'
    plot.line([0, 0, 0], [0, 10, 5], "a")  # there and back
    assert plot.marks[2] == '<path class="a" d="M0 100L0 0L0 50"/>'
    plot.line([np.nan], [np.nan], "a")
    assert plot.marks[3] == '<path class="a" d=""/>'
    plot.band([0, 1], [np.nan, np.nan], [1, 1])
    plot.dots([np.nan, 1], [1, 1])
    plot.whiskers([1, 2], [0, np.nan], [1, 1], "error")
    plot.bars([1, np.nan, 2], [0.5, 0.5, 0], 1)
    assert [mark.split()[0] for mark in plot.marks[4:]] == ["<circle", "<path", "<rect"]
    assert plot.marks[6] == '<rect class="bar" x="5.0" y="50.0" width="10.0" height="50.0"/>'


def test_spans_and_ticks() -> None:
    assert svg.span([np.nan, 2.0, 4.0], margin=0.5) == (1.0, 5.0)
    assert svg.span([np.nan]) == (0.0, 1.0)
    low, high = svg.span([3.0])
    assert low < 3 < high
    assert svg.ticks(64.1, 140.1, 4) == [80, 100, 120, 140]


def test_forest_marks_stay_within_the_scale() -> None:
    mark = svg.interval_mark({"value": 0.5, "low": -3.0, "high": 9.0}, (0.0, 1.0), 0.25)
    assert 'M0.0 15H160.0"' in mark
    assert 'cx="80.0"' in mark
    assert 'M40.0 0V30"' in mark
    assert "circle" not in svg.interval_mark({}, (0.0, 1.0), None)


def test_a_scatter_of_classes_that_nobody_is_in() -> None:
    """Empty bins and a class that is absent make no mark and no warning."""
    bins = {"score": [None, 0.5], "share": [None, 0.4], "low": [None, 0.2], "high": [None, 0.6]}
    chart = charts.reliability("x", bins | {"size": [0, 5]}, {})
    assert chart.note == "The highest bar: 5 cases"
    assert chart.svg.count("<circle") == 1
    none = charts.reliability("x", {key: [] for key in [*bins, "count"]}, {})
    assert "<circle" not in none.svg
    counts = {"names": ["a", "b"], "counts": [[0, 0], [1, 3]]}
    matrix = confusions({"confusion": counts})[0]
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


def test_private_words() -> None:
    assert privacy.command(["python"]) == ""
    words = ["C:\\Anna\\python.exe", "C:\\Anna\\medcnn\\evaluate.py", "run=C:\\Anna", "a b=c d"]
    assert privacy.command(words) == "python.exe -m medcnn.evaluate run=PATH 'a b=c d'"
    words = ["python", "tool.py", "/x/y", "plain", "wandb.entity=anna", "+logger.name=x", "lr=0.1"]
    rest = "plain wandb.entity=HIDDEN +logger.name=PATH lr=0.1"
    assert privacy.command(words) == f"python tool.py PATH {rest}"
    shown = privacy.config({"a": ["x/y", 1, {"user": "anna", "token": None}], "b": "list.csv"})
    assert shown == {"a": ["PATH", 1, {"user": "HIDDEN", "token": None}], "b": "PATH"}
    text = "and/or, 3/4 of ~/x, C:\\Anna\\x.csv; ./y and ../z"
    assert privacy.without_paths(text) == "and/or, 3/4 of PATH, PATH; PATH and PATH"


def test_outline_is_the_edge_of_the_mask() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((9, 7)) < 0.5
    total = 0.0
    for x, y, way, end in re.findall(r"M(\d+) (\d+)([HV])(\d+)", run_maps.outline(mask)):
        total += int(end) - int(x if way == "H" else y)
    padded = np.pad(mask, 1)
    edges = (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
    assert total == edges
    assert run_maps.outline(np.zeros((3, 3), bool)) == ""


def test_large_pictures_are_shrunk_and_colour_is_kept(tmp_path: Path) -> None:
    Image.new("RGB", (900, 450), (200, 30, 40)).save(tmp_path / "a.png")
    record = {"row": 1, "image": "a.png", "map": "a.png", "mask": None, "empty": True}
    (layers,) = run_maps.read_layers([record, {"image": "a.png"}], tmp_path, "sample")
    picture = Image.open(io.BytesIO(base64.b64decode(layers.panes[0].image.split(",")[1])))
    assert picture.size == (320, 160)
    assert picture.mode == "RGB"
    assert layers.panes[0].map == ""
    assert layers.label.endswith("The map is empty.")
    assert not layers.panes[0].small
    assert len(run_maps.read_layers([record] * 40, tmp_path, "sample")) == 24
    middle = np.zeros((9, 9), np.uint8)
    middle[4, 4] = 255
    Image.fromarray(middle).save(tmp_path / "m.png")
    record = {"row": 1, "image": "m.png", "map": "m.png", "mask": "m.png", "method": "new"}
    (layers,) = run_maps.read_layers([record], tmp_path, "sample")
    assert "new map over it, highest in the middle; 100 % of it on the lesion." in layers.label
    assert layers.panes[0].small
