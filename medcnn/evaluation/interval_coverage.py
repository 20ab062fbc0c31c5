"""Predicted intervals of a regression: the share of the labels that lie within."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medcnn.evaluation.columns import numbers_in
from medcnn.evaluation.figures import Figure, figure_of
from medcnn.evaluation.predictions import Predictions
from medcnn.evaluation.proportions import proportion_interval

QUANTILE = "quantile:"  # begins the columns of predicted quantiles


def quantile_column(level: float, name: str, names: Sequence[str]) -> str:
    """Return the column of a quantile of a target.

    >>> quantile_column(0.05, "age", ["age"]), quantile_column(0.5, "age", ["age", "dose"])
    ('quantile:0.05', 'quantile:0.5:age')
    """
    return f"{QUANTILE}{level:g}" + f":{name}" * (len(names) > 1)


def coverage_figures(predictions: Predictions) -> dict[str, Figure]:
    """Return ``coverage/<percent>`` of each central interval that the table has the ends of.

    Of several targets ``coverage/<percent>/<target>``. The intervals are those from the quantile τ
    to the quantile 1 − τ, which are to hold 100 · (1 − 2 τ) percent of the labels; the figures have
    Wilson's interval, with patients as clusters.
    """
    table, names = predictions.table, predictions.class_names
    found: dict[str, Figure] = {}
    for level in _levels(table):
        percent = f"{100 * (1 - 2 * level):g}"
        for k, name in enumerate(names):
            ends = [quantile_column(one, name, names) for one in (level, 1 - level)]
            if not all(end in table for end in ends):
                continue
            low, high = (numbers_in(table, end) for end in ends)
            truth = predictions.labels[:, k]
            known = ~np.isnan(truth)
            inside = np.where(known, (low <= truth) & (truth <= high), np.nan)
            key = f"coverage/{percent}" + f"/{name}" * (len(names) > 1)
            share = proportion_interval(inside, predictions.groups)
            found[key] = figure_of(share, int(known.sum()))
    return found


def _levels(table: pd.DataFrame) -> list[float]:
    """Return the levels below one half of the columns of quantiles, rising."""
    texts = {str(c).split(":")[1] for c in table if str(c).startswith(QUANTILE)}
    return sorted(level for level in map(float, texts) if level < 0.5)
