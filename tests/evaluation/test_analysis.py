"""The whole of an evaluation, and its parts by subgroup."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from medcnn.evaluation.analysis import Settings, analyse, analyse_level
from medcnn.evaluation.figures_with_intervals import figures_with_intervals
from medcnn.evaluation.predictions import Predictions
from medcnn.evaluation.subgroups import subgroups

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
    figures, truth, score = found["figures"], made.labels, made.probs[:, 1]
    called = (score >= 0.4).astype(int)  # at the operating point, whatever is counted
    expected = {
        "auroc": metrics.roc_auc_score(truth, score),
        "average_precision": metrics.average_precision_score(truth, score),
        "mcc": metrics.matthews_corrcoef(truth, called),
        "kappa": metrics.cohen_kappa_score(truth, called),
        "brier": metrics.brier_score_loss(truth, score),
        "log_loss": metrics.log_loss(truth, score),
        "f1": metrics.f1_score(truth, called),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, called),
    }
    for name, value in expected.items():
        assert figures[name]["value"] == pytest.approx(value, abs=1e-6), name
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


def test_of_several_classes_the_micro_average_and_kappa() -> None:
    made = classes()
    figures = figures_with_intervals(made, resamples=50)
    truth = np.eye(4)[made.labels]
    micro = metrics.roc_auc_score(truth, made.probs, average="micro")
    assert figures["micro_auroc"]["value"] == pytest.approx(micro, abs=1e-6)
    graded = figures_with_intervals(classes(task="ordinal"), resamples=0)
    kappa = metrics.cohen_kappa_score(made.labels, made.decisions, weights="quadratic")
    ordinal = ALL["ordinal"]
    kappa = metrics.cohen_kappa_score(ordinal.labels, ordinal.decisions, weights="quadratic")
    assert graded["kappa"]["value"] == pytest.approx(kappa, abs=1e-6)
    assert graded["kappa"]["low"] is None  # no closed form
    assert graded["auroc/c1"]["low"] is not None


def test_a_mean_over_classes_is_not_said_to_have_the_interval_of_one() -> None:
    said = {name: analyse({"image": made}, QUICK, {})["intervals"] for name, made in ALL.items()}
    assert said["binary"]["auroc"] == "score interval with DeLong's variance"
    assert said["clustered"]["auroc"].endswith("the images of a patient as one cluster")
    for name in ("multiclass", "ordinal", "multilabel"):
        keys = {key for keys in said[name] for key in keys.split(", ")}
        assert not keys & {"auroc", "sensitivity", "specificity"}
        assert ("accuracy" in keys) == (name != "multilabel")
    assert said["regression"] == {"*": "bootstrap over patients, 100 resamples"}


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


def test_subgroups_by_hand() -> None:
    made = binary(400)
    found = subgroups(made, ["sex", "age", "site", "none", "dose"], least=15, resamples=50)
    by = {(r["column"], r["group"]): r for r in found}
    ages = [r["group"] for r in found if r["column"] == "age"]
    assert ages == ["<18", "18–39", "40–64", "≥65"]
    women = made.where((made.table["sex"] == "F").to_numpy())
    men = made.where((made.table["sex"] == "M").to_numpy())
    aurocs = [metrics.roc_auc_score(p.labels, p.probs[:, 1]) for p in (women, men)]
    record = by["sex", "F"]
    assert record["n"] == len(women)
    assert record["figures"]["auroc"]["value"] == pytest.approx(aurocs[0])
    difference = record["difference"]["auroc"]
    assert difference["value"] == pytest.approx(aurocs[0] - aurocs[1])
    assert difference["low"] < difference["value"] < difference["high"]
    assert by["site", "one"]["difference"] == {}
    assert sum(r["n"] for r in found if r["column"] == "dose") == 400
    assert len([r for r in found if r["column"] == "dose"]) == 4
    old = made.table["age"].between(40, 64).sum()
    assert by["age", "40–64"]["n"] == old


def test_small_subgroups_are_not_shown() -> None:
    made = binary(40)
    table = made.table.assign(sex=["F"] * 3 + ["M"] * 30 + [None] * 7)
    few = Predictions.of(table, task="binary", class_names=["well", "ill"], positive=1)
    found = subgroups(few, ["sex"], least=10, resamples=20)
    assert [(r["group"], r["n"], r["shown"]) for r in found] == [("F", 3, False), ("M", 30, True)]
    assert found[0]["figures"] == {}
    texts = table.assign(sex=[f"name {k}" for k in range(40)])
    named = Predictions.of(texts, task="binary", class_names=["well", "ill"], positive=1)
    assert subgroups(named, ["sex"], least=1, resamples=20) == []


def test_regression_agrees_with_scipy() -> None:
    made = numbers()
    figures = figures_with_intervals(made, resamples=100)
    errors = (made.probs - made.labels)[1:, 0]
    assert figures["bias"]["value"] == pytest.approx(errors.mean())
    limit = errors.mean() + 1.96 * errors.std(ddof=1)
    assert figures["limit_high"]["value"] == pytest.approx(limit)
    assert figures["mae"]["low"] < figures["mae"]["value"] < figures["mae"]["high"]
    two = figures_with_intervals(numbers(targets=2), resamples=50)
    assert "bias/t1" in two
    assert not math.isnan(two["bias/t1"]["value"])  # type: ignore[arg-type]


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
