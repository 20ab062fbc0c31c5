"""The whole of an evaluation, and its parts by subgroup."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from by_scikit_learn import figures_by_scikit_learn
from sklearn import metrics

from medcnn.evaluation.analysis import Settings, analyse, analyse_level
from medcnn.evaluation.predictions import Predictions

POINT = {"rule": "youden", "threshold": 0.4, "sensitivity": 0.9, "specificity": 0.8}
QUICK = Settings(POINT, resamples=100, least=15)


def binary(n: int = 120, patients: int | None = None, seed: int = 0) -> Predictions:
    """Scores that tell the classes apart, not quite."""
    rng = np.random.default_rng(seed)
    patient = np.arange(n) if patients is None else np.arange(n) % patients
    truth = patient % 3 == 0
    score = 1 / (1 + np.exp(-(2 * truth - 1 + rng.normal(0, 1, n))))
    names = np.array(["well", "ill"])
    table = pd.DataFrame(
        {
            "row": np.arange(n),
            "patient": [f"patient {p}" for p in patient],
            "label": names[truth.astype(int)],
            "prob:well": 1 - score,
            "prob:ill": score,
            "decision": names[(score > 0.5).astype(int)],
            "sex": np.where(rng.random(n) < 0.5, "F", "M"),
            "age": rng.integers(1, 90, n),
            "site": "one",
            "dose": rng.random(n),
        }
    )
    return Predictions.of(table, task="binary", class_names=["well", "ill"], positive=1)


def numbers(n: int = 60, targets: int = 1) -> Predictions:
    rng = np.random.default_rng(0)
    names = [f"t{k}" for k in range(targets)]
    truth = rng.normal(50, 10, (n, targets))
    said = truth + rng.normal(1, 2, truth.shape)
    truth[0, 0] = np.nan
    if targets == 1:
        table = pd.DataFrame({"label": truth[:, 0], "prediction": said[:, 0]})
    else:
        table = pd.DataFrame(
            {f"{c}:{t}": v[:, k] for k, t in enumerate(names)
             for c, v in (("label", truth), ("prediction", said))}
        )  # fmt: skip
    return Predictions.of(table, task="regression", class_names=names, positive=None)


def multilabel(n: int = 80) -> Predictions:
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 2, (n, 3))
    probs = rng.random((n, 3))
    table = pd.DataFrame(
        {f"{c}:{k}": v[:, i] for i, k in enumerate("xyz")
         for c, v in (("label", labels), ("prob", probs), ("decision", (probs >= 0.5).astype(int)))}
    )  # fmt: skip
    return Predictions.of(
        table.replace(-1, np.nan), task="multilabel", class_names=list("xyz"), positive=None
    )


def classes(n: int = 90, k: int = 4, task: str = "multiclass") -> Predictions:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % k
    probs = rng.random((n, k)) + np.eye(k)[labels]
    probs /= probs.sum(1, keepdims=True)
    names = np.array([f"c{i}" for i in range(k)])
    table = pd.DataFrame(probs, columns=[f"prob:{name}" for name in names])
    table["label"], table["decision"] = names[labels], names[probs.argmax(1)]
    return Predictions.of(table, task=task, class_names=list(names), positive=None)  # type: ignore[arg-type]


ALL = {
    "binary": binary(),
    "clustered": binary(patients=40),
    "multiclass": classes(),
    "ordinal": classes(task="ordinal"),
    "multilabel": multilabel(),
    "regression": numbers(),
    "two targets": numbers(targets=2),
}


@pytest.mark.parametrize("name", ALL)
def test_every_task_has_a_whole_evaluation(name: str) -> None:
    content = analyse({"image": ALL[name]}, QUICK, {"data": "made", "split": "test"})
    json.dumps(content, allow_nan=False)
    level = content["levels"]["image"]
    assert content["task"] == ALL[name].task
    for key, figure in level["figures"].items():
        if key.startswith("calibration_"):  # undefined where the classes are apart
            continue
        assert figure["value"] is not None, key
        if figure["low"] is not None:
            assert figure["low"] <= figure["high"], key
        else:
            assert key in ("ece_mass", "mce"), key
    single = content["task"] == "binary"
    assert (level.get("clinic") is not None) == single
    assert ("patient" in content["levels"]) == (name == "clustered")
    if content["task"] not in ("multilabel", "regression"):
        assert sum(map(sum, level["confusion"]["counts"])) == level["n"]
    if content["task"] != "regression":
        assert set(level["curves"]) == set(["ill"] if single else content["class_names"])


def test_figures_are_those_of_scikit_learn() -> None:
    made, found = binary(), analyse_level(binary(), QUICK)
    truth, score = made.labels, made.probs[:, 1]
    called = (score >= 0.4).astype(int)  # at the operating point, whatever is counted
    expected = figures_by_scikit_learn(made.probs, truth, called, "binary", 1)
    for name in (name for name in expected if "/" not in name):
        assert found["figures"][name]["value"] == pytest.approx(expected[name], abs=1e-6), name
    assert found["confusion"]["counts"].tolist() == metrics.confusion_matrix(truth, called).tolist()
    at = found["clinic"]["figures"]
    assert at["sensitivity"]["value"] == pytest.approx(metrics.recall_score(truth, score >= 0.4))
    assert at["ppv"]["value"] == pytest.approx(metrics.precision_score(truth, score >= 0.4))
    curve = found["curves"]["ill"]["roc"]
    assert metrics.auc(curve["fpr"], curve["sensitivity"]) == pytest.approx(
        expected["auroc"], abs=1e-6
    )


def test_a_figure_is_the_same_with_its_bounds_wherever_it_stands() -> None:
    found = analyse_level(binary(60, patients=30), QUICK)
    twice = found["figures"].keys() & found["clinic"]["figures"].keys()
    assert twice >= {"sensitivity", "specificity", "accuracy", "balanced_accuracy", "f1", "mcc"}
    for name in twice:
        assert found["figures"][name] == pytest.approx(found["clinic"]["figures"][name]), name


def test_the_parts_of_the_brier_score_make_it_up() -> None:
    made = binary()
    level = analyse_level(made, QUICK)
    parts = level["reliability"]["ill"]["brier"]
    whole = parts["reliability"] - parts["resolution"] + parts["uncertainty"]
    whole += parts["within_variance"] - parts["within_covariance"]
    expected = metrics.brier_score_loss(made.labels, made.probs[:, 1])
    assert whole == pytest.approx(expected, abs=1e-12)


def test_a_mean_over_classes_is_not_said_to_have_the_interval_of_one() -> None:
    said = {name: analyse({"image": made}, QUICK, {})["intervals"] for name, made in ALL.items()}
    assert said["binary"]["auroc"] == "score interval with DeLong's variance"
    assert said["clustered"]["auroc"].endswith("the images of a patient as one cluster")
    for name in ("multiclass", "ordinal", "multilabel"):
        keys = {key for keys in said[name] for key in keys.split(", ")}
        assert not keys & {"auroc", "sensitivity", "specificity"}
        assert ("accuracy" in keys) == (name != "multilabel")
    assert said["regression"] == {"*": "bootstrap over patients, 100 resamples"}


def test_warnings() -> None:
    few = binary(24)
    content = analyse({"image": few}, QUICK, {})
    assert any("smallest class has 8 samples" in note for note in content["notes"])
    made = binary(patients=12)
    notes = analyse({"image": made}, QUICK, {})["notes"]
    assert any("Only 12 patients" in note for note in notes)
    mixed = made.table.assign(label=np.where(np.arange(120) % 2, "ill", "well"), patient="a")
    both = Predictions.of(mixed, task="binary", class_names=["well", "ill"], positive=1)
    content = analyse({"image": both}, QUICK, {})
    assert list(content["levels"]) == ["image"]
    assert any("no figures by patient" in note for note in content["notes"])
    unknown = made.table.assign(label=made.table["label"].where(made.table["row"] > 9))
    part = Predictions.of(unknown, task="binary", class_names=["well", "ill"], positive=1)
    assert any(
        "10 samples have no known label" in n for n in analyse({"image": part}, QUICK, {})["notes"]
    )


def test_one_class_alone() -> None:
    made = binary()
    only = made.where(made.labels == 0)
    content = analyse({"image": only}, QUICK, {})
    level = content["levels"]["image"]
    assert level["figures"]["auroc"]["value"] is None
    assert level["figures"]["specificity"]["low"] is not None
    assert level["curves"] == {}
    assert any("No sample of ill" in note for note in content["notes"])


def test_one_sample_and_a_hundred_classes() -> None:
    one = analyse({"image": binary(1)}, QUICK, {})["levels"]["image"]
    assert one["figures"]["accuracy"]["value"] in (0.0, 1.0)
    many = analyse({"image": classes(300, 100)}, QUICK, {})["levels"]["image"]
    assert many["figures"]["auroc"]["value"] > 0.5
    assert len(many["curves"]) == 20


def test_thousands_of_classes_leave_out_what_takes_too_long() -> None:
    """And say so; the figures themselves and their closed intervals are there."""
    content = analyse({"image": classes(700, 601)}, QUICK, {})
    level = content["levels"]["image"]
    assert level["confusion"] is None
    assert "601 classes: with more than 500, intervals by bootstrap" in content["notes"][0]
    made = classes(700, 601)
    figures = level["figures"]
    for name, of in (("mcc", metrics.matthews_corrcoef), ("kappa", metrics.cohen_kappa_score)):
        assert figures[name]["value"] == pytest.approx(of(made.labels, made.decisions), abs=1e-12)
        assert figures[name]["low"] is None
    assert figures["accuracy"]["low"] < figures["accuracy"]["high"]
    assert figures["auroc/c7"]["low"] is not None
    assert "ece" in figures
    assert "ece_classwise" not in figures
    json.dumps(content, allow_nan=False)


def test_folds_have_thresholds_of_their_own() -> None:
    made = binary()
    table = made.table.assign(threshold=0.0)
    all_called = Predictions.of(table, task="binary", class_names=["well", "ill"], positive=1)
    at = analyse_level(all_called, QUICK)["clinic"]["figures"]
    assert at["sensitivity"]["value"] == 1
    assert at["specificity"]["value"] == 0
    fold = np.arange(120) // 40
    table = made.table.assign(fold=fold, threshold=0.3 + 0.1 * fold)
    pooled = Predictions.of(table, task="binary", class_names=["well", "ill"], positive=1)
    level = analyse_level(pooled, QUICK)
    assert level["clinic"]["threshold"] is None
    assert level["clinic"]["thresholds"] == pytest.approx([0.3, 0.4, 0.5])  # that were applied
    for curve in level["curves"]["ill"]["folds"]:
        point = curve["point"]  # lies on the curve of its fold
        at_point = np.interp(point["fpr"], curve["fpr"], curve["sensitivity"])
        upright = curve["sensitivity"][np.isclose(curve["fpr"], point["fpr"])]
        ends = [*upright, at_point]
        assert min(ends) - 1e-9 <= point["sensitivity"] <= max(ends) + 1e-9


def test_patients_are_judged_by_what_their_images_say_together() -> None:
    table = pd.DataFrame(
        {
            "row": [0, 1, 2, 3], "patient": ["a", "a", "b", "b"],
            "label": ["ill", "ill", "well", "well"],
            "decision": ["well", "ill", "well", "well"], "prob:well": [0.9, 0.1, 0.95, 0.85],
            "prob:ill": [0.1, 0.9, 0.05, 0.15], "threshold": 0.4,
        }
    )  # fmt: skip
    made = Predictions.of(table, task="binary", class_names=["well", "ill"], positive=1)
    levels = analyse({"image": made}, QUICK, {})["levels"]
    assert levels["image"]["clinic"]["figures"]["sensitivity"]["value"] == 0.5
    assert levels["patient"]["clinic"]["figures"]["sensitivity"]["value"] == 1


@pytest.mark.parametrize("name", ["binary", "multilabel", "regression"])
def test_without_a_known_label_all_is_undefined(name: str) -> None:
    made = ALL[name]
    unknown = replace(
        made, labels=np.full_like(made.labels, np.nan if name == "regression" else -1)
    )
    content = analyse({"image": unknown}, QUICK, {})
    level = content["levels"]["image"]
    assert level["n"] == 0
    assert {figure["value"] for figure in level["figures"].values()} == {None}
    assert "No label is known, so that no figure is defined." in content["notes"] or (
        name == "regression"
    )


def test_a_label_of_which_nothing_is_known_leaves_the_others() -> None:
    made = multilabel()
    labels = made.labels.copy()
    labels[:, 1] = -1
    level = analyse_level(replace(made, labels=labels), QUICK)
    assert level["figures"]["auroc/y"]["value"] is None
    assert level["figures"]["auroc/x"]["low"] is not None
    assert "y" not in level["curves"]


def test_the_surest_are_those_whose_decision_is_likeliest() -> None:
    """At a threshold of 0.2, 0.3 is called ill with a confidence of 0.3, the least of all."""
    ill = np.array([0.3, 0.9, 0.05, 0.35])
    table = pd.DataFrame({"prob:well": 1 - ill, "prob:ill": ill, "label": ["well", *["ill"] * 3]})
    table["row"] = range(4)
    told = Predictions.of(table, task="binary", class_names=["well", "ill"], positive=1)
    level = analyse_level(told, Settings({"rule": "0.2", "threshold": 0.2}, resamples=10))
    # well, wrong, 0.95; ill, right, 0.9; ill, right, 0.35; ill, wrong, 0.3
    assert level["selective"]["risk"] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 2])
    assert [error["row"] for error in level["errors"]] == [2, 0]


def test_doubt_that_a_table_has_is_compared_with_the_errors() -> None:
    ill = np.array([0.3, 0.9, 0.05, 0.35])
    table = pd.DataFrame({"prob:well": 1 - ill, "prob:ill": ill, "label": ["well", *["ill"] * 3]})
    meaning: dict[str, Any] = {"task": "binary", "class_names": ["well", "ill"], "positive": 1}
    told = table.assign(row=range(4), entropy=[0.1, 0.2, 0.3, 0.4], mutual_information=0.5)
    level = analyse_level(Predictions.of(told, **meaning), Settings(resamples=10))
    areas = level["selective"]["auroc_of_errors"]  # at 0.5 the last two are wrong
    assert [area["value"] for area in areas.values()] == [0.5, 1.0, 0.5]
    assert areas["entropy"].keys() == {"value", "low", "high"}
    for other in ("high", np.nan):  # a column of somebody else's
        level = analyse_level(Predictions.of(told.assign(entropy=other), **meaning), QUICK)
        assert "auroc_of_errors" not in level["selective"]
