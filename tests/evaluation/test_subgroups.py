"""Figures of parts of the samples."""

import pytest
from sklearn import metrics
from test_analysis import binary

from medcnn.evaluation.predictions import Predictions
from medcnn.evaluation.subgroups import subgroups


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
