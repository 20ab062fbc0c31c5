"""Figures of parts of the samples: by sex, age, site or any other column."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcnn.evaluation.figures import Figure, figure_of
from medcnn.evaluation.figures_with_intervals import figures_with_intervals
from medcnn.evaluation.intervals import Interval
from medcnn.evaluation.predictions import Predictions
from medcnn.evaluation.proportions import difference_interval

SHOWN = ("auroc", "accuracy", "sensitivity", "specificity", "mae", "rmse")
AGE_BANDS = (18, 40, 65)  # years at which a band begins, after the first
MOST_VALUES = 20  # of a column; one with more is no grouping, or if numbers is cut into quarters


def subgroups(
    known: Predictions, columns: Sequence[str], *, least: int, resamples: int
) -> list[dict[str, Any]]:
    """Return the figures of each subgroup, and their differences from those of all others.

    Args:
        known: Predictions whose labels are known.
        columns: Of its table; those that it lacks are left out. Ages become bands (below 18, 18–39,
            40–64, 65 and above), other numbers with many values quarters.
        least: Samples below which nothing is shown of a subgroup.
        resamples: Bootstrap samples of figures without a closed-form interval.

    Returns:
        A record a subgroup: column, group, n, shown, figures, and difference: group less the rest,
        with an interval by the square-and-add method from those of both (G. Y. Zou, A. Donner,
        "Construction of confidence limits about effect measures", Statistics in Medicine 2008).
        A patient with samples in and outside the group makes it wider than it need be.
    """
    found = []
    for column in columns:
        if column not in known.table:
            continue
        for name, members in _parts(known.table[column], column):
            record = {"column": column, "group": name, "n": int(members.sum()), "shown": False}
            found.append(record | {"figures": {}, "difference": {}})
            if members.sum() >= max(1, least):
                figures = _figures(known.where(members), resamples)
                rest = _figures(known.where(~members), resamples) if not members.all() else {}
                difference = {k: _difference(figures[k], rest[k]) for k in figures if k in rest}
                found[-1] |= {"shown": True, "figures": figures, "difference": difference}
    return found


def _figures(part: Predictions, resamples: int) -> dict[str, Figure]:
    """Return the figures that are shown of subgroups."""
    figures = figures_with_intervals(part, resamples=resamples, by_class=False)
    return {name: figures[name] for name in SHOWN if name in figures}


def _difference(group: Figure, rest: Figure) -> Figure:
    """Return a group's figure less that of the rest."""
    first, second = (
        Interval(*np.array([f["value"], f["low"], f["high"]], float).tolist())  # None is NaN
        for f in (group, rest)
    )
    return figure_of(difference_interval(first, second), group["n"] + rest["n"])


def _parts(values: "pd.Series[Any]", column: str) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield names and members (N,) of the groups that a column makes; unknown values make none."""
    numbers = pd.to_numeric(values, errors="coerce")
    many = values.nunique() > MOST_VALUES
    if column == "age" and numbers.notna().any():
        values = _bands(numbers, AGE_BANDS)
    elif many and numbers.notna().sum() >= values.notna().sum() > 0:
        cuts = np.unique(np.nanquantile(numbers, [0.25, 0.5, 0.75])).tolist()
        values = _bands(numbers, cuts)
    elif many:
        return
    for name in sorted(values.dropna().unique().tolist(), key=_order):
        yield str(name), (values == name).to_numpy(bool)


def _bands(numbers: "pd.Series[float]", cuts: Sequence[float]) -> "pd.Series[Any]":
    """Return the names of bands: ``<18``, ``18–39``, …, ``≥65`` for ages; NaN stays unknown."""
    whole = all(float(cut).is_integer() for cut in cuts) and bool((numbers.dropna() % 1 == 0).all())
    names = [f"<{cuts[0]:g}"]
    for low, high in pairwise(cuts):
        names.append(f"{low:g}–{high - 1:g}" if whole else f"{low:g} to <{high:g}")
    names.append(f"≥{cuts[-1]:g}")
    edges = [-np.inf, *cuts, np.inf]
    return pd.Series(pd.cut(numbers, edges, right=False, labels=names)).astype(object)


def _order(name: Any) -> tuple[int, float, str]:
    """Return a key for sorting: bands by their start, others by name."""
    text = str(name)
    if text.startswith("<"):
        return 0, -np.inf, text
    head = text.lstrip("≥").partition("–")[0].partition(" ")[0]
    try:
        return 0, float(head), text
    except ValueError:
        return 1, 0.0, text
