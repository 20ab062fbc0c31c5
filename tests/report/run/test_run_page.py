import base64
import io
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fixture_runs import (
    HOME,
    PERSON,
    add_label_issues,
    make_maps,
    whole_evaluation,
    write_json,
    write_run,
)
from html_page import Page
from PIL import Image
from sklearn import metrics

from medcnn.errors import UserError
from medcnn.report.run.page import write_run_page

ALL = [
    "Summary", "Data", "Training", "ROC and precision–recall", "Confusion", "Calibration",
    "In the clinic", "Decision curve", "Selective prediction", "Subgroups", "All figures", "Maps",
    "Worst errors", "How to reproduce",
]  # fmt: skip


def run_of(folder: Path, evaluation: dict[str, Any], maps: int = 0) -> Path:
    overrides = ("dataset=csv", f"dataset.csv={HOME}/list.csv", "model=resnet")
    changes = {"overrides": overrides, "evaluation": evaluation, "maps": maps}
    return write_run(folder / "run", evaluation["task"], patients=156, images=2, **changes)


def page_of(folder: Path, evaluation: dict[str, Any], maps: int = 0) -> Page:
    out = write_run_page(run_of(folder, evaluation, maps))
    assert out == folder / "run" / "report.html"
    page = Page(out.read_text(encoding="utf-8"))
    page.run = out.parent
    return page


def bare(folder: Path, evaluation: Any) -> Page:
    """Of a run directory that holds nothing else."""
    write_json(folder / "evaluation.json", evaluation)
    return Page(write_run_page(folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, dict[str, Any]]:
    note = "Site C has 8 images only: its figures aren't shown."
    content = whole_evaluation(notes=[note])
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
    assert {"image", *(f"row {row} · {row}.png" for row in rows)} <= set(page.of("th"))


def test_nothing_personal(binary: tuple[Page, dict[str, Any]], tmp_path: Path) -> None:
    content = binary[1] | {"data": f"{HOME}/breast", "notes": [f"see {HOME}/x"]}
    for page in (binary[0], page_of(tmp_path, content, maps=2)):
        for personal in (*PERSON.split(), "/home", "erika"):
            assert personal not in page.source
        for uri in re.findall(r"base64,([^\"]*)", page.source):
            assert PERSON.encode() not in base64.b64decode(uri)
    assert str(tmp_path) not in page.source
    assert "see PATH" in page.of("li")
    command = "python -m medcnn.train dataset=csv dataset.csv=PATH model=resnet"
    assert command in page.of("pre")
    config = next(text for text in page.of("pre") if text.startswith("seed: 0"))
    assert "spatial_dims: 2 root: PATH splits:" in config
    assert "_target_: torch.optim.AdamW" in config
    assert "logger" not in config


def test_the_summary_in_words(binary: tuple[Page, dict[str, Any]]) -> None:
    page, content = binary
    level = content["levels"]["image"]
    counts, clinic = level["counts"], level["clinic"]["figures"]
    auroc, ece = (level["figures"][key] for key in ("auroc", "ece"))
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
    points, low, high = (f"{100 * ece[key]:.1f}" for key in ("value", "low", "high"))
    assert f"differ by {points} percentage points (95 % interval {low} to {high})" in text
    assert "corrected by temperature scaling (T = 1.21)" in text
    assert "The test split of breast ultrasound: 156 patients (" in text
    rates = [f"{100 * clinic[key]['value']:.1f} %" for key in ("specificity", "ppv", "npv")]
    assert page.of("strong")[1:7] == [f"{auroc['value']:.3f}", value, *rates, f"{ece['value']:.3f}"]
    warnings = page.of("li")
    assert "Site C has 8 images only: its figures aren't shown." in warnings
    assert "The audit of the data found 2 problems: see Data." in warnings


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
    history = pd.read_csv(page.run / "metrics.csv")
    first, last = history["train/loss"].iloc[[0, -1]]
    assert f"training from {first:.3f} to {last:.3f}" in loss
    assert f"best epoch {history['epoch'][history['val/score'].argmax()]}" in loss
    calibrated = next(label for label in labels if label.startswith("Reliability"))
    bins = level["reliability"]["malignant"]
    score, share, count = next(
        one for one in zip(bins["score"], bins["share"], bins["count"], strict=True) if one[2]
    )
    assert f"at {score:.2f} observed {share:.2f} of {count}" in calibrated


def test_tables(binary: tuple[Page, dict[str, Any]]) -> None:
    page, content = binary
    level = content["levels"]["image"]
    (tn, fp), (fn, tp) = level["confusion"]["counts"]
    cells, small = page.of("td"), page.of("small")
    counts = [str(v) for v in (tn, fp, tn + fp, fn, tp, fn + tp)]
    assert counts in [cells[start : start + 6] for start in range(len(cells))]
    for count, size in ((tn, tn + fp), (fp, tn + fp), (fn, fn + tp), (tp, fn + tp)):
        assert f"{100 * count / size:.1f} %" in small
    ratio = level["clinic"]["figures"]["lr_positive"]
    assert f"{ratio['value']:.3f}" in cells
    assert f"[{ratio['low']:.3f}, {ratio['high']:.3f}]" in cells
    assert content["intervals"]["auroc"] in cells
    assert "The test in the clinic at the threshold 0.31" in page.of("caption")
    assert "Counts, and shares of each true class, at the operating point" in page.of("caption")
    assert "is of those at the operating point above" in page.text
    ill = round(1000 * level["clinic"]["figures"]["prevalence"]["value"])
    assert f"Of 1,000 images, {ill} of them of class malignant" in page.text
    assert cells[:2] == ["312", "312"]  # images to train and to test on
    assert f"{np.median(20 + np.arange(312) % 60):.3g}" in cells
    assert "No patient is in more than one split." in page.of("p")
    assert {"near-duplicate images in two splits", "site A", "sex F"} <= set(page.of("th"))
    start = cells.index("training and test")
    assert cells[start - 1 : start + 2] == ["warning", "training and test", "2"]


def test_forest_plot(binary: tuple[Page, dict[str, Any]]) -> None:
    page, content = binary
    groups = [group for one in content["levels"].values() for group in one["subgroups"]]
    old = next(group for group in groups if group["group"] == "≥65")
    value, gap = old["figures"]["auroc"], old["difference"]["auroc"]
    shown = f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
    assert shown in page.of("td")
    assert gap["high"] < 0
    assert f"{gap['value']:.3f} ≠".replace("-", "−") in page.of("strong")
    assert "too few" in page.of("td")
    every = [difference for group in groups for difference in group["difference"].values()]
    apart = [one for one in every if one["low"] > 0 or one["high"] < 0]
    assert len([text for text in page.of("strong") if "≠" in text]) == len(apart) < len(every)
    assert page.of("caption").count("Sensitivity") == 2  # of images, of patients


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
    text = json.dumps(whole_evaluation()).replace("malignant", evil)
    page = page_of(tmp_path, json.loads(text) | {"data": evil, "notes": [evil]})
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.of("h1") == [f"Test report: {evil}"]
    assert any(label.startswith(f"ROC curve of {evil}") for label in page.labels("svg"))


@pytest.mark.parametrize("task", ["multiclass", "ordinal"])
def test_several_classes(task: str, tmp_path: Path) -> None:
    content = whole_evaluation(task, 4, temperature=0.8, calibration_applied="none")
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
    text = " ".join(page.of("dd"))
    rates = {name: level["figures"][f"sensitivity/{name}"]["value"] for name in names}
    best = max(rates, key=lambda name: rates[name])
    assert f"Found most often: {best}, {100 * rates[best]:.1f} %" in text
    assert "the mean over the classes" in text
    assert "divide its logits by 0.80, so it is underconfident" in text
    assert "Figures of" not in page.text


def test_a_hundred_classes(tmp_path: Path) -> None:
    content = whole_evaluation("multiclass", 100, n=1500)
    page = page_of(tmp_path, content)
    labels = page.labels("svg")
    drawn = [x.split(";")[0].removeprefix("ROC curve of ") for x in labels if x.startswith("ROC")]
    figures = content["levels"]["image"]["figures"]
    kept = content["levels"]["image"]["curves"]
    area = {name: figures[f"auroc/{name}"]["value"] for name in kept}
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
    content = whole_evaluation("multilabel", 3)
    level = content["levels"]["image"]

    def figure(value: float, n: int) -> dict[str, Any]:
        return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": n}

    own = {"sensitivity": figure(0.75, 140), "specificity": figure(0.5, 460)}
    calls = {"class 0": [[2300, 2300], [350, 1050]], "class 1": [[400, 60], [30, 111]]}
    level["confusion"] = {"per_label": calls}
    level["clinic"] = {
        "figures": {"sensitivity": figure(0.75, 600), "specificity": figure(0.5, 600)},
        "labels": {"class 0": {"threshold": 0.125, "figures": own}},
    }
    content["operating_point"] = {"rule": "youden", "chosen_on": "val", "labels": {}}
    page = page_of(tmp_path, content)
    start = page.of("td").index("1,050")
    assert page.of("td")[start : start + 4] == ["1,050", "350", "2,300", "2,300"]
    assert "0.125" in page.of("td")
    assert "one image may have several" in page.text
    assert "78.7 %" in page.of("small")  # of class 1 are found
    assert "Each label is called from a probability of its own on (chosen on the" in page.text
    assert "is of those at the operating points above" in page.text
    assert any("at its operating point (0.5 where there is none)" in x for x in page.of("caption"))
    assert "The test in the clinic, each label at its own threshold" in page.of("caption")


def test_regression(tmp_path: Path) -> None:
    content = whole_evaluation("regression", n=180)
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
    assert f"bias {gap.mean():.3f}".replace("-", "−") in second
    assert f"upper limit {gap.mean() + 1.96 * gap.std(ddof=1):.1f}" in second
    assert f"It is off by {mae:.3f}" in page.text
    assert page.source.count('class="sample" cx') == 2 * 180 + 2  # and two in the legends
    assert "label, median" in page.of("th")


def test_labels_that_may_be_wrong_have_their_pictures(tmp_path: Path) -> None:
    run = run_of(tmp_path, whole_evaluation())
    add_label_issues(run)
    page = Page(write_run_page(run).read_text(encoding="utf-8"))
    assert "Are the labels right?" in page.of("h2")
    section = page.source.partition('<section id="labels">')[2].partition("</section>")[0]
    first, second = section.split("<li>")[1:]
    assert re.findall(r"<figcaption>(.*)</figcaption>", first) == [
        "map of malignant (suggested)",
        "map of benign (label)",
    ]
    words = "Row 14: label benign, suggested malignant. Grad-CAM map of"
    assert f'alt="{words} malignant over it, highest at the upper right."' in first
    assert "no picture" in second
    assert re.findall(r"<dd>(0\.\d+)</dd>", section) == ["0.010", "0.200"]
    assert "opacity" in [a.get("id") for _, a in page.tags]  # there is no other map


def test_images_alone_of_labels_that_may_be_wrong(tmp_path: Path) -> None:
    run = run_of(tmp_path, whole_evaluation())
    add_label_issues(run)
    layers = run / "cams" / "layers.json"
    (record, _) = json.loads(layers.read_text())
    write_json(layers, [record | {"method": None, "map": None, "explained": None}])
    page = Page(write_run_page(run).read_text(encoding="utf-8"))
    (image,) = (a for tag, a in page.tags if tag == "img")
    assert image["alt"] == "Row 14: label benign, suggested malignant."
    assert "no map" not in page.text
    assert "The maps are by that network" not in page.text
    assert "opacity" not in [a.get("id") for _, a in page.tags]
    (run / "cams" / record["image"]).unlink()
    page = Page(write_run_page(run).read_text(encoding="utf-8"))
    assert "2 labels that may be wrong" in page.of("caption")


def test_pooled_folds_have_a_point_each_on_its_own_curve(tmp_path: Path) -> None:
    """Thresholds are those that were applied; no dot lies beside a curve."""
    content = whole_evaluation()
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
    two = {"image": {"n": 1}, "study": {"n": 3, "figures": {"mcc": {"value": 0.2}}}}
    page = bare(tmp_path, content | {"levels": two})
    assert page.of("h2") == ["Summary", "All figures"]
    assert "Not known of this level." in page.of("div")
    assert {"1 image", "3 studies"} <= set(page.of("label"))


def test_missing_keys_and_unknown_values(tmp_path: Path) -> None:
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    content = whole_evaluation()
    level = content["levels"]["image"]
    content["operating_point"] = {"threshold": 0.31}
    content["calibration_applied"] = "isotonic"
    level["figures"] |= {"auroc": nothing, "ece": nothing, "strange_one": nothing}
    level["clinic"]["figures"] |= {"specificity": nothing, "ppv": nothing, "npv": nothing}
    for key in ("reliability", "decision_curve", "selective", "subgroups"):
        level[key] = None
    level["figures"].pop("sensitivity/benign", None)
    level["figures"]["auroc/benign"] = nothing
    del level["curves"]["malignant"]["band"], level["errors"], level["counts"]
    page = page_of(tmp_path, content | {"levels": {"image": level}})
    assert "–" in page.of("strong")
    assert "no interval" in page.of("small")
    assert "strange one" in page.of("th")
    assert "corrected by isotonic regression" in page.text
    assert "Accuracy" in " ".join(page.of("dd"))
    assert "Calibration" not in page.of("h2")
    assert "operating point" not in " ".join(page.labels("svg"))


def test_operating_points(tmp_path: Path) -> None:
    content = whole_evaluation()
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
    run = run_of(tmp_path, whole_evaluation(notes=[]))
    table = pd.read_csv(run / "samples.csv")
    table.loc[0, "split"] = "test"
    table.loc[table["split"] == "train", "age"] = None
    table.loc[2:5, "split"] = "val"
    table.to_csv(run / "samples.csv", index=False)
    write_json(run / "status.json", {"state": "running"})  # as it is while the page is made
    (run / "problems.csv").write_text("severity,kind,image,split,other_image,other_split,reason\n")
    page = Page(write_run_page(run).read_text(encoding="utf-8"))
    assert "1 patient in more than one split: the figures may be too good." in page.of("li")
    assert "finished" not in page.text
    assert "Warning" in page.of("strong")
    assert "No patient" not in page.text
    assert "–" in page.of("td")[:20]  # the age in training
    start = page.of("th").index("training")
    assert page.of("th")[start : start + 3] == ["training", "validation", "test"]
    assert page.of("td")[:3] == ["307", "4", "313"]
    assert "The audit found no unusable file" in page.text
    (run / "samples.csv").write_text("image,split\n1,nowhere\n")
    assert "Images by split" not in Page(write_run_page(run).read_text()).of("caption")


def test_a_cross_validation_shows_the_maps_and_the_environment_of_its_folds(
    tmp_path: Path,
) -> None:
    """Samples of both folds; of their errors (row 14 and 19 of 10 each) the pooled worst alone."""
    content = whole_evaluation()
    content["levels"]["image"]["errors"] = [
        {"row": 19, "true": "a", "predicted": "b", "confidence": 0.9}
    ]
    run = run_of(tmp_path, content)
    for fold in ("fold-0", "fold-1"):
        make_maps(run / fold / "cams", 10, 16)
    (run / "environment.json").rename(run / "fold-0" / "environment.json")
    page = Page(write_run_page(run).read_text(encoding="utf-8"))
    assert {"Maps", "Worst errors", "How to reproduce"} <= set(page.of("h2"))
    assert "2.6.0" in page.of("dd")  # torch
    shown = [a["alt"].split(":")[0] for tag, a in page.tags if a.get("class") == "under"]
    assert shown == 2 * [f"Row {row}" for row in (10, 11, 12, 13, 15, 16, 17, 18)] + ["Row 19"]


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    run = run_of(tmp_path, whole_evaluation(), maps=3)
    (run / "environment.json").write_text("[]")
    (run / "status.json").write_text("{")
    (run / "config.yaml").write_text("{")
    (run / "metrics.csv").write_text("loss\n1\n")
    (run / "samples.csv").write_text("")
    (run / "cams" / "layers" / "0.png").write_text("no picture")
    records = json.loads((run / "cams" / "layers.json").read_text())
    records[1]["image"] = "../../evaluation.json"
    records[2] |= {"mask": None, "map": None, "method": "", "correct": None, "probability": None}
    write_json(run / "cams" / "layers.json", records)
    page = Page(write_run_page(run).read_text(encoding="utf-8"))
    assert page.of("h2") == [n for n in ALL if n not in ("Training", "How to reproduce")]
    images = [a["alt"] for tag, a in page.tags if tag == "img"]
    assert images == ["Row 12: true benign, predicted benign."]
    assert "outline" not in [a.get("id") for _, a in page.tags]
    assert "By Grad-CAM" in page.text
    write_json(run / "cams" / "layers.json", records[2:] and [records[2] | {"kind": "error"}])
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
