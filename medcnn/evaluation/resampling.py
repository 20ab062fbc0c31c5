"""Percentile bootstrap intervals of all figures: patients are drawn, predictions only weighted."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import check_whole_number
from medcnn.evaluation.figure_function import Values, figure_function
from medcnn.evaluation.figures import check_predictions
from medcnn.evaluation.intervals import check_level, draws, group_numbers
from medcnn.evaluation.predictions import Predictions

_LEFT_OUT = 0.05  # the largest share of resamples in which a figure may be undefined
_IN_CACHE = 500_000  # numbers of a table that the processor's cache holds
_IN_MEMORY = 3_000_000  # numbers of the largest table; about six of them are there at a time


class Drawn(NamedTuple):
    """The figures of one model by name, NaN where undefined."""

    values: dict[str, float]  # of all samples
    replicates: Values  # of each resample, (resamples,)


class Difference(NamedTuple):
    """A figure of the first model less that of the second; None for what is undefined."""

    difference: float | None  # of all samples
    low: float | None
    high: float | None
    p: float | None  # two-sided


def draw(predictions: Predictions, *, resamples: int = 2000, seed: int = 0) -> Drawn:
    """Return all figures of `evaluate` with ``more``, of all samples and of bootstrap samples.

    Patients of whom a label is known are drawn with replacement, each with all its samples (A. C.
    Davison, D. V. Hinkley, "Bootstrap methods and their application", 1997, sections 3.8 and 5.3);
    all figures are of the same resamples.

    Args:
        predictions: With the same labels and patients the draws are the same.
        resamples: At least 1; there are none of a single patient.
        seed: Of the draws.

    Raises:
        UserError: What `evaluate` refuses, or no resamples.
    """
    arrays = check_predictions(*predictions.arrays, predictions.task, predictions.class_names)
    check_whole_number("bootstrap: resamples", resamples, least=1)
    known = predictions.known
    members = group_numbers(predictions.patients[known], int(known.sum()))
    p, y, d = (array[known] for array in arrays)
    figures = figure_function(p, y, d, members, **predictions.meaning)
    size = int(members.max(initial=-1)) + 1
    values = figures(np.ones((size, 1)))
    replicates = dict.fromkeys(values, np.array([np.nan]))
    if size > 1:
        # of one ranking, or of the counts
        widest = max(arrays[1].size, 3 * len(predictions.class_names))
        at_once = min(max(8, _IN_CACHE // len(members)), _IN_MEMORY // widest)
        parts = [
            figures(np.ascontiguousarray(part.T)) for part in draws(size, resamples, seed, at_once)
        ]
        replicates = {name: np.concatenate([part[name] for part in parts]) for name in values}
    return Drawn({name: float(value[0]) for name, value in values.items()}, replicates)


def bounds(drawn: Drawn, level: float = 0.95) -> dict[str, tuple[float | None, float | None]]:
    """Return the bounds of figures at a confidence level, as percentiles of their resamples.

    A resample in which a figure is undefined (no sample of a class) is left out; both bounds are
    None where that are more than 5 %, and where there are fewer than two patients.
    """
    check_level(level)
    return {name: _bounds(values, level) for name, values in drawn.replicates.items()}


def differences(first: Drawn, second: Drawn, level: float = 0.95) -> dict[str, Difference]:
    """Return first less second, of the figures of two models on the same samples and resamples.

    p = 2 · min(1 + #(d* ≤ 0), 1 + #(d* ≥ 0)) / (1 + R), at most 1, with the differences d* of R
    resamples: about the lowest 1 − level whose percentile interval leaves 0 out. Both have to be
    drawn of the same labels, patients, number and seed; bounds and p are None where `bounds` are.
    """
    check_level(level)
    found = {}
    for name, values in first.replicates.items():
        difference = first.values[name] - second.values[name]
        drawn = values - second.replicates[name]
        low, high = _bounds(drawn, level)
        p = None if low is None else _p_value(drawn)
        found[name] = Difference(None if np.isnan(difference) else difference, low, high, p)
    return found


def _bounds(values: NDArray[np.float64], level: float) -> tuple[float | None, float | None]:
    """Return percentiles of what is defined, None where too much isn't."""
    known = values[~np.isnan(values)]
    if len(known) == 0 or len(known) < (1 - _LEFT_OUT) * len(values):
        return None, None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _p_value(differences: NDArray[np.float64]) -> float:
    """Return the two-sided p-value, of what is defined."""
    known = differences[~np.isnan(differences)]
    rarer = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (1 + rarer) / (1 + len(known)))
