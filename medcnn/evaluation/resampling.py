"""Percentile bootstrap intervals of all figures: patients are drawn, predictions only weighted."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medcnn.errors import UserError
from medcnn.evaluation.figure_function import FigureFunction, Values, figure_function
from medcnn.evaluation.figures import check_predictions
from medcnn.evaluation.intervals import resample_counts
from medcnn.evaluation.ranking import parts
from medcnn.objective import UNKNOWN, Task

_LEFT_OUT = 0.05  # the largest share of resamples in which a figure may be undefined


class Difference(NamedTuple):
    """First model minus second; None for what is undefined.

    Args:
        difference: Of the figures of all samples.
        low: Lower bound.
        high: Upper bound.
        p: Two-sided p-value.
    """

    difference: float | None
    low: float | None
    high: float | None
    p: float | None


def bootstrap_figures(
    probs: ArrayLike,
    labels: ArrayLike,
    decisions: ArrayLike,
    groups: ArrayLike,
    *,
    task: Task,
    class_names: Sequence[str],
    positive: int | None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float | None, float | None]]:
    """Percentile intervals of all figures of `evaluate` with ``more``.

    Patients of whom a label is known are drawn with replacement, each with all its samples (A. C.
    Davison, D. V. Hinkley, "Bootstrap methods and their application", 1997, sections 3.8 and 5.3);
    all figures are of the same resamples.

    Args:
        probs: As in `evaluate`, like labels, decisions, task, class_names and positive.
        labels: (N,) or (N, K).
        decisions: (N,) or (N, K); not looked at in regression.
        groups: (N,) the patient of each sample, of any sortable type, none missing.
        task: One of `medcnn.objective.TASKS`.
        class_names: K names.
        positive: Index of the class that is sought, or None.
        resamples: Number of bootstrap samples.
        level: Confidence level, between 0 and 1.
        seed: Of the random draws; the same seed gives the same intervals.

    Returns:
        Lower and upper bound by the figure's name. A resample in which the figure is undefined (no
        sample of a class) is left out; both are None where that are more than 5 %, and where there
        are fewer than two patients.

    Raises:
        UserError: What `evaluate` refuses, groups that don't fit, a level or count out of range.

    Example:
        >>> bounds = bootstrap_figures(
        ...     [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]] * 9, [0, 1, 1] * 9, [0, 1, 0] * 9, range(27),
        ...     task="binary", class_names=["healthy", "ill"], positive=1,
        ... )
        >>> bounds["specificity"]
        (1.0, 1.0)
    """
    names: dict[str, Any] = {"task": task, "class_names": class_names, "positive": positive}
    _check_numbers(resamples, level)
    drawn = draw(probs, labels, decisions, groups, **names, resamples=resamples, seed=seed)
    return {name: _bounds(values, level) for name, values in drawn.replicates.items()}


def bootstrap_differences(
    first_probs: ArrayLike,
    second_probs: ArrayLike,
    labels: ArrayLike,
    first_decisions: ArrayLike,
    second_decisions: ArrayLike,
    groups: ArrayLike,
    *,
    task: Task,
    class_names: Sequence[str],
    positive: int | None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Difference]:
    """Differences of two models' figures on the same samples, each resample the same for both.

    p = 2 · min(1 + #(d* ≤ 0), 1 + #(d* ≥ 0)) / (1 + R), at most 1, with the differences d* of R
    resamples: about the lowest 1 − level whose percentile interval leaves 0 out.

    Args:
        first_probs: Of the first model, as in `bootstrap_figures`, like all others.
        second_probs: Of the second.
        labels: (N,) or (N, K).
        first_decisions: (N,) or (N, K).
        second_decisions: (N,) or (N, K).
        groups: (N,) the patient of each sample.
        task: One of `medcnn.objective.TASKS`.
        class_names: K names.
        positive: Index of the class that is sought, or None.
        resamples: Number of bootstrap samples.
        level: Confidence level, between 0 and 1.
        seed: Of the random draws.

    Returns:
        Differences by the figure's name; bounds and p are None where `bootstrap_figures` has none.

    Raises:
        UserError: As in `bootstrap_figures`.
    """
    names: dict[str, Any] = {"task": task, "class_names": class_names, "positive": positive}
    names |= {"resamples": resamples, "seed": seed}
    first = draw(first_probs, labels, first_decisions, groups, **names)
    second = draw(second_probs, labels, second_decisions, groups, **names)
    return differences(first, second, level)


class Drawn(NamedTuple):
    """The figures of one model.

    Args:
        values: Of all samples, by name; NaN where undefined.
        replicates: Of each resample, (resamples,).
    """

    values: dict[str, float]
    replicates: Values


def draw(
    probs: ArrayLike,
    labels: ArrayLike,
    decisions: ArrayLike,
    groups: ArrayLike,
    *,
    task: Task,
    class_names: Sequence[str],
    positive: int | None,
    resamples: int = 2000,
    seed: int = 0,
) -> Drawn:
    """What `differences` takes of each of several models: figures of the same resamples.

    Args, errors: As in `bootstrap_figures`. With the same labels, groups, number and seed the
    resamples are the same.
    """
    names: dict[str, Any] = {"task": task, "class_names": class_names, "positive": positive}
    arrays = check_predictions(probs, labels, decisions, task, class_names)
    _check_numbers(resamples, 0.95)
    known, members = _patients(labels, groups, task)
    p, y, d = (array[known] for array in arrays)
    measure = figure_function(p, y, d, members, **names)
    once = measure(np.ones((int(members.max(initial=-1)) + 1, 1)))
    found = _replicates(measure, members, _widest(labels, class_names), resamples, seed)
    return Drawn({name: float(value[0]) for name, value in once.items()}, found)


def differences(first: Drawn, second: Drawn, level: float = 0.95) -> dict[str, Difference]:
    """First less second, of figures that were drawn alike; see `bootstrap_differences`.

    Raises:
        UserError: A level out of range.
    """
    _check_numbers(1, level)
    found = {}
    for name, values in first.replicates.items():
        there = first.values[name] - second.values[name]
        drawn = values - second.replicates[name]
        low, high = _bounds(drawn, level)
        p = None if low is None else _p_value(drawn)
        found[name] = Difference(None if np.isnan(there) else there, low, high, p)
    return found


def _patients(
    labels: ArrayLike, groups: ArrayLike, task: Task
) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Which samples (N,) have a known label, and the number 0 … G-1 of the patient of each such."""
    values, names = np.asarray(labels), np.asarray(groups)
    if names.shape != values.shape[:1]:
        raise UserError(
            f"bootstrap: groups have shape {names.shape}, there are {len(values)} samples; give "
            "each sample its patient"
        )
    missing = pd.isna(names)
    if missing.any():
        raise UserError(
            f"bootstrap: {int(missing.sum())} of {len(names)} samples have no patient (the first "
            f"at {int(missing.argmax())}); give each a name of its own"
        )
    known = ~np.isnan(values) if task == "regression" else values != UNKNOWN
    rows = known.reshape(len(known), -1).any(1)
    return rows, np.unique(names[rows], return_inverse=True)[1]


def _replicates(
    measure: FigureFunction,
    members: NDArray[np.intp],
    widest: int,
    resamples: int,
    seed: int,
) -> Values:
    """The figures in all resamples, (resamples,) each; NaN of a single patient."""
    size, generator = int(members.max(initial=-1)) + 1, np.random.default_rng(seed)
    if size < 2:
        once = np.ones((size, 1))
        return dict.fromkeys(measure(once), np.array([np.nan]))
    found: dict[str, list[NDArray[np.float64]]] = {}
    for part in parts(resamples, len(members), widest):
        drawn = resample_counts(generator, part.stop - part.start, size)
        weights = np.ascontiguousarray(drawn.T)
        for name, values in measure(weights).items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _widest(labels: ArrayLike, class_names: Sequence[str]) -> int:
    """Numbers a resample in the largest table: scores of one ranking or counts of the classes."""
    return max(np.size(labels), 3 * len(class_names))


def _bounds(values: NDArray[np.float64], level: float) -> tuple[float | None, float | None]:
    """Percentiles of what is defined, None where too much isn't."""
    known = values[~np.isnan(values)]
    if len(known) == 0 or len(known) < (1 - _LEFT_OUT) * len(values):
        return None, None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _p_value(differences: NDArray[np.float64]) -> float:
    """Two-sided, of what is defined."""
    known = differences[~np.isnan(differences)]
    rarer = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (1 + rarer) / (1 + len(known)))


def _check_numbers(resamples: int, level: float) -> None:
    if resamples < 1:
        raise UserError(f"bootstrap: resamples={resamples} must be at least 1")
    if not 0 < level < 1:
        raise UserError(f"bootstrap: level={level} must lie between 0 and 1")
