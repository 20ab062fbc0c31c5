"""Which samples train, which validate and which test: never two of them for one patient."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcnn.data.image import Array
from medcnn.data.keys import tidy
from medcnn.data.samples import SPLITS
from medcnn.errors import UserError, check_whole_number
from medcnn.objective import UNKNOWN, Task

METHODS = ("auto", "column", "patient", "site")
OTHER_NAMES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
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
    """Puts every sample into train, val or test.

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

    With a `fold` it is k-fold cross-validation (methods auto and patient; a column ``split`` is
    then ignored, so an official test split is not kept apart): part `fold` of the patients is the
    test, the part after it val, the others train, so that every patient is in the test of exactly
    one fold.

    Args:
        table: Columns ``patient``, the label columns, and, where used, ``split`` and ``site``.
        task: What the labels mean.
        label_columns: As `medcnn.data.samples.Samples.label_columns`.
        method: One of `METHODS`.
        shares: Of the patients, in any unit, for train, val and test.
        seed: Of the draw, 0 … 2³² - 1.
        test_sites: Names of the sites to test on.
        folds: K, at least 3.
        fold: 0 … K-1, or None.

    Returns:
        Names of splits, with the table's index.

    Raises:
        UserError: A setting that makes no sense, a column that is missing or has gaps, or too few
            patients.
    """
    wanted = _check_shares(shares)
    check_whole_number("splits.seed", seed, least=0, most=2**32 - 1)
    if method not in METHODS:
        raise UserError(f"split.method={method}: choose one of {', '.join(METHODS)}")
    patients = _texts(table, "patient")
    if fold is not None:
        if method not in ("auto", "patient"):
            raise UserError(f"fold={fold} needs splits=auto or splits=patient, not splits={method}")
        assigned = _by_fold(patients, table, task, label_columns, folds, fold, seed)
        return pd.Series(assigned, index=table.index, name="split")
    if method == "auto":
        given = "split" in table and not _gaps(table["split"]).all()
        method = "column" if given else "patient"
    assigned = np.full(len(table), "train", dtype=object)
    names = list(SPLITS)
    if method == "column":
        assigned = _by_column(table)
        names = ["train"] if "val" in assigned else ["train", "val"]
    elif method == "site":
        assigned[_at_sites(table, test_sites)] = "test"
        names = ["train", "val"]
    free = assigned == "train"
    if len(names) > 1:
        strata = patient_strata(patients[free], table[free], task, label_columns)
        drawn = _draw(strata, {name: wanted[name] for name in names}, seed)
        assigned[free] = drawn.reindex(patients[free]).to_numpy()
    return pd.Series(assigned, index=table.index, name="split")


def _check_shares(shares: Mapping[str, float]) -> dict[str, float]:
    """The shares, after a look at them."""
    given = dict(shares) if isinstance(shares, Mapping) else shares
    if not isinstance(given, dict) or set(given) != set(SPLITS):
        raise UserError(f"splits.shares={given}: give train, val and test")
    for name, share in given.items():
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not (number and 0 < share < float("inf")):
            raise UserError(f"splits.shares.{name}={share}: give a number above 0")
    return given


def _texts(table: pd.DataFrame, column: str) -> NDArray[np.str_]:
    """A column that has no gaps, as text."""
    if column not in table:
        raise UserError(f"the table has no column {column!r}: without it no split can be made")
    missing = _gaps(table[column])
    if missing.any():
        raise UserError(
            f"column {column!r} is empty in {int(missing.sum())} of {len(table)} rows, the first "
            f"of them row {int(missing.argmax())}: fill it in, or leave these rows out"
        )
    return table[column].astype(str).to_numpy(dtype=str)


def _gaps(values: pd.Series) -> NDArray[np.bool_]:
    """Where a column is empty or blank."""
    gaps: NDArray[np.bool_] = (values.isna() | (values.astype(str).str.strip() == "")).to_numpy()
    return gaps


def _by_column(table: pd.DataFrame) -> Array:
    """The splits that the table gives, by their usual names."""
    values = [OTHER_NAMES.get(v, v) for v in map(_plain, _texts(table, "split"))]
    unknown = sorted(set(values) - set(SPLITS))
    if unknown:
        raise UserError(
            f"column 'split' holds {', '.join(map(repr, unknown[:5]))}: "
            f"it has to hold {', '.join(SPLITS)}, or set splits=patient"
        )
    lacking = [name for name in ("train", "test") if name not in values]
    if lacking:
        raise UserError(
            f"column 'split' has no {' and no '.join(lacking)} rows, only "
            f"{' and '.join(sorted(set(values)))}: add them, or set splits=patient"
        )
    return np.array(values, dtype=object)


def _plain(name: str) -> str:
    return name.strip().lower()


def _at_sites(table: pd.DataFrame, test_sites: str | Sequence[str] | None) -> NDArray[np.bool_]:
    """Which rows are of the sites to test on."""
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
    """The class that each patient counts for when patients are drawn; see `assign_splits`.

    Args:
        patients: (N,) the patient of each row.
        table: N rows with the label columns.
        task: What the labels mean.
        label_columns: Their names.

    Returns:
        Whole numbers, indexed by patient in the order of their names.
    """
    if task == "regression":
        return _quantile_strata(patients, table[label_columns[0]].to_numpy(dtype=float))
    labels = table[list(label_columns)].to_numpy(dtype=np.int64)
    known = labels != UNKNOWN
    positive = labels == (1 if task == "multilabel" else np.unique(labels[known]))
    has = pd.DataFrame(positive).groupby(patients).any()
    rarest_first = np.argsort(has.sum().to_numpy(), kind="stable")
    carried = has.to_numpy()[:, rarest_first]
    nothing_known = ~pd.Series(known.any(axis=1)).groupby(patients).any().to_numpy()
    none = np.where(nothing_known, carried.shape[1] + 1, carried.shape[1])
    if carried.shape[1] == 0:
        return pd.Series(none, index=has.index)
    return pd.Series(np.where(carried.any(axis=1), carried.argmax(axis=1), none), index=has.index)


def _quantile_strata(patients: NDArray[np.str_], values: Array) -> pd.Series:
    """Bins of equal size of the patients' means; unknown means are a bin of their own."""
    order = np.lexsort((values, patients))  # sums in one order: the last digit can't change a bin
    means = pd.Series(values[order]).groupby(patients[order]).mean()
    ranks = means.rank(method="first") - 1
    bins = min(QUANTILES, max(1, int(means.notna().sum()) // 3))
    strata = (ranks * bins // max(1, means.notna().sum())).fillna(bins)
    return strata.astype(np.int64)


def _draw(strata: pd.Series, shares: Mapping[str, float], seed: int) -> pd.Series:
    """A split for each patient, the shares kept in every stratum.

    scikit-learn has no grouped and stratified draw of given shares (StratifiedGroupKFold makes
    equal parts, of which small classes may all end up in one).
    """
    names = list(shares)
    if len(strata) < len(names):
        raise UserError(
            f"{len(strata)} patients can't be split into {', '.join(names)}: "
            f"at least {len(names)} are needed"
        )
    parts = np.array(list(shares.values()), float)
    counts = _quotas(np.bincount(strata.to_numpy()), parts / parts.sum())
    if (counts.sum(axis=0) == 0).any():  # of very few patients, each of another class
        strata = strata * 0
        counts = _quotas(np.array([len(strata)]), parts / parts.sum())
    generator = np.random.RandomState(seed)  # numpy keeps its numbers the same for ever
    drawn = np.empty(len(strata), dtype=object)
    for stratum, quota in enumerate(counts):
        members = np.flatnonzero(strata.to_numpy() == stratum)
        drawn[generator.permutation(members)] = np.repeat(names, quota)
    return pd.Series(drawn, index=strata.index)


def _quotas(sizes: Array, shares: Array) -> NDArray[np.int64]:
    """How many of each stratum (S,) go to each split (P,): whole numbers (S, P).

    At least one each where there are enough, smallest strata first; what rounding leaves over goes
    to the split that is furthest behind its share of all the strata so far.
    """
    counts = np.zeros((len(sizes), len(shares)), np.int64)
    total = np.zeros(len(shares))
    for stratum in np.argsort(sizes, kind="stable"):
        size, count = sizes[stratum], counts[stratum]
        count += np.floor(size * shares + 1e-9).astype(np.int64)
        if size >= len(shares):
            np.maximum(count, 1, out=count)
        while count.sum() > size:
            count[np.argmax(count)] -= 1
        due = (total.sum() + size) * shares
        while count.sum() < size:
            count[np.argmax(np.round(due - total - count, 9))] += 1
        total += count
    return counts


def _by_fold(
    patients: NDArray[np.str_],
    table: pd.DataFrame,
    task: Task,
    label_columns: Sequence[str],
    folds: int,
    fold: int,
    seed: int,
) -> Array:
    """The splits of one fold of a cross-validation."""
    check_whole_number("folds", folds, least=3)
    check_whole_number("fold", fold, least=0, most=folds - 1)
    strata = patient_strata(patients, table, task, label_columns)
    if len(strata) < folds:
        raise UserError(f"folds={folds} needs as many patients: there are {len(strata)}")
    parts = _parts(strata.to_numpy(), folds, seed)
    behind = (parts - fold) % folds  # 0: this fold, 1: the one after it
    names = np.array(["test", "val", *["train"] * (folds - 2)], dtype=object)[behind]
    chosen: Array = names[strata.index.get_indexer(pd.Index(patients))]
    return chosen


def _parts(strata: Array, folds: int, seed: int) -> NDArray[np.int64]:
    """The part (P,) of each of P patients, 0 … folds-1."""
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import

    if np.bincount(strata).max() < folds:  # which scikit-learn refuses
        strata = np.zeros_like(strata)
    # Its own shuffle loses the strata in older versions (scikit-learn issue 32478), so the patients
    # come shuffled.
    shuffled = np.random.RandomState(seed).permutation(len(strata))
    parts = np.empty(len(strata), np.int64)
    with warnings.catch_warnings():  # of a class with fewer patients than folds: the audit tells
        warnings.filterwarnings("ignore", message="The least populated class")
        splitter = StratifiedGroupKFold(folds).split(strata, strata, groups=shuffled)
        for part, (_, members) in enumerate(splitter):
            parts[members] = part
    return parts
