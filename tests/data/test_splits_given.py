"""Folds, and splits that the table names: its column or its sites."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from split_tables import SHARES, of_patients, patients_table, split

from medcnn.errors import UserError

# k-fold.


@pytest.mark.parametrize("folds", [2, 3, 8])
def test_each_patient_is_tested_in_one_fold(folds: int) -> None:
    table = patients_table([0] * 43 + [1] * 21 + [2] * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of the class with fewer patients than folds
        runs = pd.DataFrame({k: split(table, folds=folds, fold=k) for k in range(folds)})
    for fold in range(folds):
        patients = of_patients(table, runs[fold])
        tested = patients[patients["split"] == "test"]["label"].value_counts()
        assert abs(tested[0] - 43 / folds) < 1
        assert abs(tested[1] - 21 / folds) < 1
        assert tested.get(2, 0) <= 1
        assert abs(tested.sum() - 66 / folds) < 2
        rest = patients[patients["split"] != "test"]
        for label in (0, 1):  # val is 10 of the 70 + 10 that are no test
            validates = rest.loc[rest["label"] == label, "split"] == "val"
            assert abs(validates.sum() - len(validates) / 8) < 1
    assert (runs.eq("test").sum(axis=1) == 1).all()


def test_folds_where_every_class_is_smaller_than_the_folds() -> None:
    table = pd.DataFrame({"patient": [f"P{k}" for k in range(9)], "label": np.arange(9) % 4})
    runs = pd.DataFrame({k: split(table, fold=k) for k in range(5)})
    assert (runs.eq("test").sum(axis=1) == 1).all()
    assert set(runs.eq("test").sum()) == {1, 2}


@pytest.mark.parametrize("method", ["auto", "column"])
def test_official_test_images_stay_out_of_all_folds(method: str) -> None:
    table = patients_table([0, 1] * 20)
    given = np.where(table.index < 10, "test", np.where(table.index < 20, "validation", "train"))
    runs = [split(table.assign(split=given), fold=k, folds=3, method=method) for k in range(3)]
    for run in runs:
        assert set(run[:10]) == {"holdout"}
        assert set(run[10:]) == {"train", "val", "test"}
    alone = split(table[10:], fold=1, folds=3)
    pd.testing.assert_series_equal(runs[1][10:], alone)


def test_the_method_patient_gives_the_official_test_set_up() -> None:
    table = patients_table([0, 1] * 10)
    given = table.assign(split=np.where(table.index % 3 == 0, "test", "train"))
    assert split(given, fold=2, method="patient").equals(split(table, fold=2))
    assert split(table.assign(split="train"), fold=2).equals(split(table, fold=2))


def test_a_fold_does_not_go_with_sites() -> None:
    with pytest.raises(UserError, match="fold=0 doesn't go with splits=site"):
        split(patients_table([0, 1] * 10), method="site", fold=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 5}, "fold=5: give a whole number, 0 … 4"),
        ({"fold": -1}, "fold=-1"),
        ({"fold": "all"}, "fold=all"),
        ({"fold": 0, "folds": 1}, "folds=1: give a whole number, at least 2"),
        ({"seed": -1}, "splits.seed=-1"),
        ({"seed": 2**32}, "splits.seed"),
        ({"method": "random"}, "splits.method=random: choose one of auto, column, patient, site"),
        ({"shares": {"train": 1, "test": 1}}, "give a share for each of train"),
        ({"shares": 1}, "splits.shares=1: give a share for each of train, val, test"),
        ({"shares": SHARES | {"val": 0}}, "splits.shares.val=0: give a number above 0"),
        ({"shares": SHARES | {"test": "2"}}, "splits.shares.test=2"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        split(patients_table([0, 1] * 10), **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("gap", [None, np.nan, "", " "])
def test_rows_without_a_patient_are_refused(gap: object) -> None:
    table = pd.DataFrame({"patient": ["a", "b", gap, "d"], "label": 0})
    with pytest.raises(
        UserError, match="'patient' is empty in 1 of 4 rows, the first of them row 2"
    ):
        split(table)
    with pytest.raises(UserError, match="no column 'patient'"):
        split(table[["label"]])


# The column.


@pytest.mark.parametrize("method", ["auto", "column"])
def test_the_column_is_taken_as_it_is(method: str) -> None:
    table = patients_table([0, 1] * 10)
    names = np.resize(["train", "val", "test"], len(table))
    assert split(table.assign(split=names), method=method).tolist() == names.tolist()


def test_usual_names_in_the_column() -> None:
    table = pd.DataFrame({"patient": list("abcd"), "label": 0})
    table["split"] = ["Training", "valid ", "validation", "TEST"]
    assert split(table).tolist() == ["train", "val", "val", "test"]


def test_val_is_taken_from_train_by_patient() -> None:
    table = patients_table([0] * 60 + [1] * 40)
    number = table["patient"].str[1:].astype(int)
    table["split"] = np.where(number % 5 == 0, "test", "train")
    assigned = split(table)
    assert (assigned.eq("test") == table["split"].eq("test")).all()
    patients = of_patients(table, assigned)
    counts = pd.crosstab(patients["label"], patients["split"])
    assert counts["val"].tolist() == [6, 4]  # 1 / 8 of 48 and of 32
    with pytest.raises(UserError, match="1 patients can't be split into train, val"):
        split(pd.DataFrame({"patient": ["a", "b"], "label": 0, "split": ["train", "test"]}))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train", "val"], "has no test rows, only train and val"),
        (["val", "test"], "has no train rows, only test and val"),
        (["val", "val"], "has no train and no test rows, only val"),
        (["train", "holdout"], "holds 'holdout': it has to hold train, val, test"),
        (["train", None], "'split' is empty in 1 of 2 rows"),
    ],
)
def test_columns_that_do_not_do(names: list[str | None], message: str) -> None:
    table = pd.DataFrame({"patient": ["a", "b"], "label": 0, "split": names})
    with pytest.raises(UserError, match=message):
        split(table)


def test_auto_goes_by_patient_without_a_column() -> None:
    table = patients_table([0, 1] * 20)
    by_patient = split(table, method="patient")
    assert split(table).equals(by_patient)
    assert split(table.assign(split=None)).equals(by_patient)
    assert split(table.assign(split="test"), method="patient").equals(by_patient)
    with pytest.raises(UserError, match="no column 'split'"):
        split(table, method="column")


# Sites.


def test_a_site_is_held_out() -> None:
    table = patients_table([0] * 60 + [1] * 40)
    number = table["patient"].str[1:].astype(int)
    table["site"] = np.array(["A", "B", "C", "D", "1"])[number % 5]
    assigned = split(table, method="site", test_sites=["B", 1])
    assert (assigned.eq("test") == table["site"].isin(["B", "1"])).all()
    patients = of_patients(table, assigned)
    counts = patients["split"].value_counts()
    assert abs(counts["val"] - 60 / 8) < 2
    assert split(table, method="site", test_sites="B").eq("test").sum() == (table.site == "B").sum()


@pytest.mark.parametrize(
    ("test_sites", "message"),
    [
        (None, "no site is named; choose of A, B"),
        ([], "no site is named; choose of A, B"),
        (["Z", "A"], "there is no Z; choose of A, B"),
        (["A", "B"], "names every site"),
    ],
)
def test_sites_that_do_not_do(test_sites: list[str] | None, message: str) -> None:
    table = pd.DataFrame({"patient": list("abcd"), "label": 0, "site": list("AABB")})
    with pytest.raises(UserError, match=message):
        split(table, method="site", test_sites=test_sites)


def test_site_needs_a_whole_column() -> None:
    table = pd.DataFrame({"patient": list("abcd"), "label": 0})
    with pytest.raises(UserError, match="needs a column 'site'"):
        split(table, method="site", test_sites=["A"])
    with pytest.raises(UserError, match="'site' is empty in 1"):
        split(table.assign(site=["A", None, "B", "B"]), method="site", test_sites=["A"])
