"""Patients drawn at random, class by class: in given shares, or in equal parts."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcnn.data.image import Array
from medcnn.errors import UserError


def check_shares(key: str, shares: Any, names: Sequence[str]) -> dict[str, float]:
    """Return shares in the order of names; raise UserError unless each is a number above 0."""
    if not isinstance(shares, Mapping) or set(shares) != set(names):
        raise UserError(f"{key}={shares}: give a share for each of {', '.join(names)}")
    for name in names:
        number = isinstance(shares[name], int | float) and not isinstance(shares[name], bool)
        if not (number and 0 < shares[name] < float("inf")):
            raise UserError(f"{key}.{name}={shares[name]}: give a number above 0")
    return {name: shares[name] for name in names}


def draw_shares(strata: pd.Series, shares: Mapping[str, float], seed: int) -> pd.Series:
    """Draw a split for each patient, keeping the shares in every stratum.

    scikit-learn has no grouped and stratified draw of given shares (StratifiedGroupKFold makes
    equal parts, of which small classes may all end up in one).

    Args:
        strata: The stratum of each patient, whole numbers from 0, indexed by patient.
        shares: By the name of a split its share, in any unit.
        seed: Of the draw.

    Raises:
        UserError: Fewer patients than splits.
    """
    names = list(shares)
    if len(strata) < len(names):
        raise UserError(
            f"{len(strata)} patients can't be split into {', '.join(names)}: "
            f"at least {len(names)} are needed"
        )
    parts = np.array(list(shares.values()), float)
    of_patients = strata.to_numpy()
    counts = _quotas(np.bincount(of_patients), parts / parts.sum())
    if (counts.sum(axis=0) == 0).any():  # of very few patients, each of another class
        of_patients = np.zeros_like(of_patients)
        counts = _quotas(np.array([len(strata)]), parts / parts.sum())
    generator = np.random.RandomState(seed)  # numpy keeps its numbers the same for ever
    drawn = np.empty(len(strata), dtype=object)
    for stratum, quota in enumerate(counts):
        members = np.flatnonzero(of_patients == stratum)
        drawn[generator.permutation(members)] = np.repeat(names, quota)
    return pd.Series(drawn, index=strata.index)


def _quotas(sizes: Array, shares: Array) -> NDArray[np.int64]:
    """Return how many of each stratum (S,) go to each split (P,): whole numbers (S, P).

    At least one each where there are enough, smallest strata first; the rest of rounding goes to
    the split that is furthest behind its share of all the strata so far.
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


def draw_parts(strata: Array, folds: int, seed: int) -> NDArray[np.int64]:
    """Draw the part 0 … folds-1 of each patient (P,), each part with its share of every stratum.

    The strata (P,) are whole numbers from 0; there are at least as many patients as folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import

    if np.bincount(strata).max() < folds:  # which scikit-learn refuses
        strata = np.zeros_like(strata)
    # Its own shuffle loses the strata in older versions (scikit-learn issue 32478), so the patients
    # come shuffled.
    shuffled = np.random.RandomState(seed).permutation(len(strata))
    parts = np.empty(len(strata), np.int64)
    with warnings.catch_warnings():  # of a class with fewer patients than folds: see the audit
        warnings.filterwarnings("ignore", message="The least populated class")
        splitter = StratifiedGroupKFold(folds).split(strata, strata, groups=shuffled)
        for part, (_, members) in enumerate(splitter):
            parts[members] = part
    return parts
