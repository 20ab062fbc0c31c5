import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from medcnn.data.splits import assign_splits, patient_strata
from medcnn.errors import UserError

CONF = Path(__file__).parents[2] / "conf"
SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


def patients_table(classes: list[int], seed: int = 0, most: int = 4) -> pd.DataFrame:
    """Patients of these classes with 1 … `most` images each, rows shuffled."""
    rng = np.random.default_rng(seed)
    rows = [
        {"image": f"{k}-{i}.png", "patient": f"P{k}", "label": label}
        for k, label in enumerate(classes)
        for i in range(rng.integers(1, most + 1))
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=seed).reset_index(drop=True)


def split(table: pd.DataFrame, **changed: Any) -> pd.Series:
    options: dict[str, Any] = {"task": "multiclass", "label_columns": ["label"], "seed": 0}
    return assign_splits(table, **(options | {"shares": SHARES} | changed))


def of_patients(table: pd.DataFrame, assigned: pd.Series) -> pd.DataFrame:
    """One row a patient; fails where a patient is in two splits."""
    both = table.assign(split=assigned)
    assert (both.groupby("patient")["split"].nunique() == 1).all()
    return both.groupby("patient").first()


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
