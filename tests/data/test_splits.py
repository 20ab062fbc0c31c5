"""Patients drawn for train, val and test in given shares, class by class."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from split_tables import SHARES, of_patients, patients_table, split

from medcnn.data.splits import patient_strata
from medcnn.errors import UserError

CONF = Path(__file__).parents[2] / "conf"


def test_shares_hold_for_the_patients_of_each_class() -> None:
    table = patients_table([0] * 200 + [1] * 50 + [2] * 10)
    patients = of_patients(table, split(table))
    counts = pd.crosstab(patients["label"], patients["split"])[["train", "val", "test"]]
    assert counts.to_numpy().tolist() == [[140, 20, 40], [35, 5, 10], [7, 1, 2]]


@pytest.mark.parametrize("shares", [(0.6, 0.25, 0.15), (0.85, 0.05, 0.1), (1, 1, 1)])
@pytest.mark.parametrize("sizes", [(331, 47, 23), (20, 19, 18), (500, 3, 4)])
def test_shares_hold_where_they_do_not_divide(
    shares: tuple[float, ...], sizes: tuple[int, ...]
) -> None:
    table = patients_table(np.repeat(np.arange(3), sizes).tolist())
    given = dict(zip(SHARES, shares, strict=True))
    patients = of_patients(table, split(table, shares=given))
    counts = pd.crosstab(patients["label"], patients["split"])[[*SHARES]].to_numpy()
    ideal = np.array(sizes)[:, None] * np.array(shares) / sum(shares)
    assert np.abs(counts - ideal).max() < 2
    assert np.abs(counts.sum(0) - ideal.sum(0)).max() < 3  # each small class is everywhere
    assert counts.min() >= 1


def test_shares_are_in_any_unit() -> None:
    table = patients_table([0, 1] * 30)
    assert split(table).equals(split(table, shares={"train": 7, "val": 1, "test": 2}))


def test_a_seed_gives_the_same_splits_for_ever() -> None:
    table = pd.DataFrame({"patient": [f"P{k}" for k in range(12)], "label": [0, 1] * 6})
    letters = "".join(name[1] for name in split(table, seed=3))  # tRain, vAl, tEst
    assert letters == "aeerrarrrrrr"
    tests = [split(table, seed=3, fold=fold, folds=4).eq("test") for fold in range(4)]
    rows = [np.flatnonzero(test).tolist() for test in tests]
    assert rows == [[1, 7, 10], [0, 9, 11], [3, 6, 8], [2, 4, 5]]


def test_another_seed_gives_other_splits() -> None:
    table = patients_table([0, 1] * 30)
    assert not split(table, seed=0).equals(split(table, seed=1))
    assert not split(table, seed=0, fold=0).equals(split(table, seed=1, fold=0))


@pytest.mark.parametrize("options", [{}, {"fold": 1}, {"task": "regression"}])
def test_neither_the_order_of_rows_nor_other_columns_matter(options: dict[str, Any]) -> None:
    table = patients_table([0] * 40 + [1] * 20 + [2] * 2)
    if options.get("task") == "regression":
        table["label"] = np.random.default_rng(0).normal(size=len(table))
    assigned = split(table, **options)
    turned = table.sample(frac=1, random_state=9).assign(site="X", image="other", age=1)
    pd.testing.assert_series_equal(split(turned, **options).sort_index(), assigned)


def test_the_index_of_the_table_is_kept() -> None:
    table = patients_table([0, 1] * 10)
    table.index = table.index * 3 + 100
    assigned = split(table)
    assert assigned.index.equals(table.index)
    assert assigned.name == "split"


def test_numbers_and_texts_as_patients_give_one_split() -> None:
    table = pd.DataFrame({"patient": range(40), "label": [0, 1] * 20})
    assert split(table).equals(split(table.assign(patient=table["patient"].astype(str))))


def test_a_class_of_three_patients_is_in_every_split() -> None:
    table = patients_table([0] * 100 + [1] * 3 + [2] * 4)
    for seed in range(5):
        patients = of_patients(table, split(table, seed=seed))
        assert pd.crosstab(patients["label"], patients["split"]).min().min() >= 1


def test_five_patients_of_five_classes_fill_every_split() -> None:
    table = pd.DataFrame({"patient": list("abcde"), "label": range(5)})
    assert set(split(table)) == {"train", "val", "test"}


def test_too_few_patients() -> None:
    table = pd.DataFrame({"patient": list("aabb"), "label": [0, 1, 0, 1]})
    with pytest.raises(UserError, match="2 patients can't be split into train, val, test"):
        split(table)
    with pytest.raises(UserError, match="folds=5 needs as many patients: there are 2"):
        split(table, fold=0)


# The class that a patient counts for.


def strata(table: pd.DataFrame, task: str, columns: list[str]) -> dict[str, int]:
    patients = table["patient"].to_numpy(dtype=str)
    return patient_strata(patients, table, task, columns).to_dict()  # type: ignore[arg-type]


def test_a_patient_counts_for_the_rarest_class() -> None:
    table = pd.DataFrame({"patient": list("aabcdd"), "label": [0, 1, 0, 1, 0, -1]})
    # Class 0: patients a, b, d. Class 1: a, c, so it is the rarer one.
    assert strata(table, "binary", ["label"]) == {"a": 0, "b": 1, "c": 0, "d": 1}


def test_unknown_labels_are_a_class_of_their_own() -> None:
    table = pd.DataFrame({"patient": list("abcc"), "label": [0, -1, -1, -1]})
    found = strata(table, "binary", ["label"])
    assert found["b"] == found["c"] != found["a"]
    assert strata(table.assign(label=-1), "binary", ["label"]) == {"a": 1, "b": 1, "c": 1}


def test_multilabel_patients_count_for_the_rarest_finding() -> None:
    table = pd.DataFrame(
        {
            "patient": list("aabcdef"),
            "label:x": [1, 1, 1, 1, 0, -1, 0],
            "label:y": [0, 1, 0, 0, 0, -1, -1],
        }
    )
    # y (one patient) is rarer than x (three); d and f are negative as far as known, e is unknown.
    expected = {"a": 0, "b": 1, "c": 1, "d": 2, "e": 3, "f": 2}
    assert strata(table, "multilabel", ["label:x", "label:y"]) == expected


def test_multilabel_split_keeps_rare_findings_everywhere() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"patient": rng.integers(0, 300, 600)})
    for name, share in {"a": 0.4, "b": 0.1, "c": 0.02}.items():
        table[f"label:{name}"] = (rng.random(600) < share).astype(int)
    columns = [c for c in table if c.startswith("label:")]
    assigned = split(table, task="multilabel", label_columns=columns)
    of_patients(table, assigned)
    assert (table[columns].groupby(assigned).sum() > 0).all().all()


def test_regression_spreads_the_range_over_the_splits() -> None:
    table = pd.DataFrame({"patient": [f"P{k}" for k in range(100)], "label": np.arange(100.0)})
    assigned = split(table, task="regression")
    for fifth in range(5):
        counts = assigned[20 * fifth : 20 * fifth + 20].value_counts()
        assert counts.to_dict() == {"train": 14, "test": 4, "val": 2}


def test_regression_bins_the_means_of_patients() -> None:
    values = {"a": [0.0, 10.0], "b": [1.0], "c": [6.0], "d": [np.nan], "e": [2.0, np.nan]}
    values |= {"f": [9.0], "g": [7.0]}
    table = pd.DataFrame([(p, v) for p, vs in values.items() for v in vs])
    table.columns = ["patient", "label"]
    # Means: b 1, e 2, a 5 | c 6, g 7, f 9; six known patients make two bins.
    expected = {"a": 0, "b": 0, "c": 1, "d": 2, "e": 0, "f": 1, "g": 1}
    assert strata(table, "regression", ["label"]) == expected


def test_regression_with_unknown_targets_alone() -> None:
    table = pd.DataFrame({"patient": list("abcd"), "label": np.nan})
    assert set(split(table, task="regression")) == {"train", "val", "test"}


# Configs and real data.


@pytest.mark.parametrize("name", ["auto", "column", "patient", "site"])
def test_configs_hold_the_arguments(name: str) -> None:
    with initialize_config_dir(str(CONF / "splits"), version_base=None):
        config = compose(name)
    assert config == {"method": name, "shares": SHARES, "seed": 0, "test_sites": []}


def test_chest_films_by_patient(data_root: Path) -> None:
    table = pd.read_csv(data_root / "nih_chestxray_1000" / "labels.csv", dtype=str)
    table = table.rename(columns={"patient_id": "patient"})
    findings = table["finding_labels"].str.get_dummies("|").drop(columns="No Finding")
    labels = findings.rename(columns=lambda name: f"label:{name}")
    table = pd.concat([table, labels], axis=1)
    assigned = split(table, task="multilabel", label_columns=list(labels))
    patients = of_patients(table, assigned)["split"].value_counts(normalize=True)
    assert abs(patients - pd.Series(SHARES)).max() < 0.02
    lacking = (labels.groupby(assigned).sum() == 0).any()
    assert lacking[lacking].index.tolist() == ["label:Hernia"]  # which only two patients have
