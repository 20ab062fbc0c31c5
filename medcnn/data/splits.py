"""Splits into train, val and test, with each patient in one of them only."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcnn.data.draws import check_shares, draw_parts, draw_shares
from medcnn.data.image import Array
from medcnn.data.keys import tidy
from medcnn.data.samples import HOLDOUT, SPLITS
from medcnn.errors import UserError, check_whole_number
from medcnn.objective import UNKNOWN, Task

METHODS = ("auto", "column", "patient", "site")
# The usual names of splits by those that people give them, in small letters.
SPLIT_NAMES = {"training": "train", "testing": "test"} | {name: name for name in SPLITS}
SPLIT_NAMES |= dict.fromkeys(("valid", "validation", "dev"), "val")
QUANTILES = 5  # bins of a regression target that are spread evenly over the splits


def assign_splits(
    table: pd.DataFrame,
    task: Task,
    label_columns: Sequence[str],
    *,
    method: str = "auto",
    shares: Mapping[str, float],
    seed: int,
    test_sites: Sequence[str] | None = None,
    folds: int = 5,
    fold: int | None = None,
) -> pd.Series:
    """Return the split of every sample, train, val or test, with the table's index.

    Patients are drawn, not images, class by class: a patient counts for the rarest class that any
    of its images has (multi-label: the rarest label that is positive); patients without a positive
    label are one class more, those of whom nothing is known another. In regression the classes are
    fifths of the patients by the mean of their first target.

    The outcome depends on the seed, the patients and their labels (of the site method also on the
    sites), and neither on the order of the rows nor on the machine.

    The methods are:

    - ``column``: as the column ``split`` says. Without val, that is taken from train by patient.
    - ``patient``: train, val and test in the given shares of the patients of each class; a class
      of three patients or more is in all of them.
    - ``site``: the sites `test_sites` are the test; val is taken from the others by patient. A
      patient seen at both is in two splits then, which the audit calls an error.
    - ``auto``: ``column`` where the table has that column, else ``patient``.

    With a `fold` it is k-fold cross-validation: part `fold` of the patients is the test, and val is
    taken from the others by patient, so that every patient is in the test of exactly one fold. The
    test images of a column ``split`` stay out of all folds (methods auto and column): they are
    ``holdout``. With the method patient that column doesn't count.

    Args:
        table: Columns ``patient``, the label columns, and, where used, ``split`` and ``site``.
        task: What the labels mean.
        label_columns: As `medcnn.data.samples.Samples.label_columns`.
        method: One of `METHODS`.
        shares: Of the patients, in any unit, for train, val and test.
        seed: Of the draw, 0 … 2³² - 1.
        test_sites: Names of the sites to test on.
        folds: K, at least 2.
        fold: 0 … K-1, or None.

    Raises:
        UserError: A setting that makes no sense, a column that is missing or has gaps, or too few
            patients.
    """
    wanted = check_shares("splits.shares", shares, SPLITS)
    check_whole_number("splits.seed", seed, least=0, most=2**32 - 1)
    if method not in METHODS:
        raise UserError(f"splits.method={method}: choose one of {', '.join(METHODS)}")
    patients = _texts(table, "patient")
    if method == "auto":
        method = "column" if "split" in table and not _gaps(table["split"]).all() else "patient"
    if fold is not None and method == "site":
        raise UserError(f"fold={fold} doesn't go with splits=site: its test set is the sites'")
    assigned, names = np.full(len(table), "train", dtype=object), list(SPLITS)
    if fold is not None and method == "column":
        assigned[_named_splits(table) == "test"] = HOLDOUT
    elif method == "column":
        assigned = _by_column(table)
        names = ["train"] if "val" in assigned else ["train", "val"]
    elif method == "site":
        assigned[_at_sites(table, test_sites)] = "test"
        names = ["train", "val"]
    free = assigned == "train"
    if len(names) > 1:
        strata = patient_strata(patients[free], table[free], task, label_columns)
        if fold is None:
            drawn = draw_shares(strata, {name: wanted[name] for name in names}, seed)
        else:
            drawn = _fold(strata, folds, fold, wanted, seed)
        assigned[free] = drawn.reindex(patients[free]).to_numpy()
    return pd.Series(assigned, index=table.index, name="split")


def _texts(table: pd.DataFrame, column: str) -> NDArray[np.str_]:
    """Return a column without gaps, as text."""
    if column not in table:
        raise UserError(f"the table has no column {column!r}: without it no split can be made")
    missing = _gaps(table[column])
    if missing.any():
        raise UserError(
            f"column {column!r} is empty in {missing.sum()} of {len(table)} rows, the first "
            f"of them row {missing.to_numpy().argmax()}: fill it in, or leave these rows out"
        )
    return table[column].astype(str).to_numpy(dtype=str)


def _gaps(values: pd.Series) -> pd.Series:
    """Return a mask of the cells that are empty or blank."""
    return values.isna() | (values.astype(str).str.strip() == "")


def official_tests(table: pd.DataFrame) -> int:
    """Return the number of test samples of a table's own column ``split``; 0 without one."""
    return sum(_usual(str(name)) == "test" for name in table.get("split", []))


def _by_column(table: pd.DataFrame) -> Array:
    """Return the table's own splits, by their usual names; train and test are among them."""
    values = _named_splits(table)
    lacking = [name for name in ("train", "test") if name not in values]
    if lacking:
        raise UserError(
            f"column 'split' has no {' and no '.join(lacking)} rows, only "
            f"{' and '.join(sorted(set(values)))}: add them, or set splits=patient"
        )
    return values


def _named_splits(table: pd.DataFrame) -> Array:
    """Return the column ``split`` by the usual names."""
    values = [_usual(value) for value in _texts(table, "split")]
    unknown = sorted(set(values) - set(SPLITS))
    if unknown:
        raise UserError(
            f"column 'split' holds {', '.join(map(repr, unknown[:5]))}: "
            f"it has to hold {', '.join(SPLITS)}, or set splits=patient"
        )
    return np.array(values, dtype=object)


def _usual(name: str) -> str:
    """Return the usual name of a split."""
    plain = name.strip().lower()
    return SPLIT_NAMES.get(plain, plain)


def _at_sites(table: pd.DataFrame, test_sites: str | Sequence[str] | None) -> NDArray[np.bool_]:
    """Return a mask of the rows of the sites to test on."""
    if "site" not in table:
        raise UserError("splits=site needs a column 'site': the table has none")
    sites = _texts(table, "site")
    named = [test_sites] if isinstance(test_sites, str) else test_sites or ()
    known = sorted(set(sites))
    wanted = [str(site) if str(site) in known else tidy(str(site)) for site in named]
    unknown = [site for site in wanted if site not in known]
    if unknown or not wanted:
        problem = f"there is no {', '.join(unknown)}" if unknown else "no site is named"
        listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
        raise UserError(f"splits.test_sites: {problem}; choose of {listed}")
    if set(wanted) == set(known):
        raise UserError("splits.test_sites names every site: none is left to train on")
    return np.isin(sites, wanted)


def patient_strata(
    patients: NDArray[np.str_], table: pd.DataFrame, task: Task, label_columns: Sequence[str]
) -> pd.Series:
    """Return the number of the class that each patient counts for; see `assign_splits`.

    The patients are those of the table's rows.
    """
    if task == "regression":
        return _quantile_strata(patients, table[label_columns[0]].to_numpy(dtype=float))
    labels = table[list(label_columns)].to_numpy(dtype=np.int64)
    known = labels != UNKNOWN
    positive = labels == (1 if task == "multilabel" else np.unique(labels[known]))
    has = pd.DataFrame(positive).groupby(patients).any()
    rarest_first = np.argsort(has.sum().to_numpy(), kind="stable")
    some_known = pd.Series(known.any(axis=1)).groupby(patients).any().to_numpy()
    carried = [has.to_numpy()[:, rarest_first], some_known, np.ones(len(has), bool)]
    return pd.Series(np.column_stack(carried).argmax(axis=1), index=has.index)


def _quantile_strata(patients: NDArray[np.str_], values: Array) -> pd.Series:
    """Return bins of equal size of the patients' means; unknown ones are a bin of their own."""
    order = np.lexsort((values, patients))  # sums in one order: the last digit can't change a bin
    means = pd.Series(values[order]).groupby(patients[order]).mean()
    ranks = means.rank(method="first") - 1
    bins = min(QUANTILES, max(1, int(means.notna().sum()) // 3))
    strata = (ranks * bins // max(1, means.notna().sum())).fillna(bins)
    return strata.astype(np.int64)


def _fold(
    strata: pd.Series, folds: int, fold: int, shares: Mapping[str, float], seed: int
) -> pd.Series:
    """Return the splits of one fold, indexed by patient as `strata`."""
    check_whole_number("folds", folds, least=2)
    check_whole_number("fold", fold, least=0, most=folds - 1)
    if len(strata) < folds:
        raise UserError(f"folds={folds} needs as many patients: there are {len(strata)}")
    tested = draw_parts(strata.to_numpy(), folds, seed) == fold
    assigned = pd.Series("test", index=strata.index, dtype=object)
    rest = {name: shares[name] for name in ("train", "val")}
    assigned[~tested] = draw_shares(strata[~tested], rest, seed)
    return assigned
