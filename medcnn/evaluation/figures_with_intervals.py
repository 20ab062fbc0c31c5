"""The figures of predictions, each with its interval."""

import numpy as np

from medcnn.evaluation.delong import auroc_interval
from medcnn.evaluation.figures import Figure, evaluate, figure_of
from medcnn.evaluation.intervals import Interval
from medcnn.evaluation.predictions import Predictions
from medcnn.evaluation.proportions import mean_interval, proportion_interval
from medcnn.evaluation.resampling import bounds, draw

MANY = 500  # classes, beyond which a bootstrap of their means would take minutes and gigabytes


def figures_with_intervals(
    predictions: Predictions,
    *,
    resamples: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
    by_class: bool = True,
) -> dict[str, Figure]:
    """Return all figures of `medcnn.evaluation.evaluate` with ``more``, with intervals.

    AUROCs of one class have a score interval with DeLong's variance (`auroc_interval`); accuracy,
    and sensitivity and specificity of one class, Wilson's (`proportion_interval`), both with
    patients as clusters where they have several samples; balanced accuracy of two classes
    square-and-add (`mean_interval`); all others a percentile bootstrap over patients
    (`resampling.bounds`), with more than `MANY` classes none.

    Args:
        predictions: Of one split.
        resamples: Bootstrap samples; 0 for closed-form intervals alone.
        level: Confidence level, between 0 and 1.
        seed: Of the bootstrap.
        by_class: True for figures of each class, too.

    Returns:
        As `evaluate`. Bounds are None where they are undefined.

    Raises:
        UserError: As `evaluate`.
    """
    figures = evaluate(*predictions.arrays, **predictions.meaning, more=True)
    if not by_class:
        figures = {name: figure for name, figure in figures.items() if "/" not in name}
    if resamples and predictions.known.any() and len(predictions.class_names) <= MANY:
        of_figures = bounds(draw(predictions, resamples=resamples, seed=seed), level)
        for name, figure in figures.items():
            if figure["value"] is not None:
                figure["low"], figure["high"] = of_figures[name]
    if predictions.task != "regression":
        for name, interval in _closed_forms(predictions, level, by_class).items():
            closed = figure_of(interval, figures[name]["n"])
            figures[name]["low"], figures[name]["high"] = closed["low"], closed["high"]
    return figures


def _closed_forms(predictions: Predictions, level: float, by_class: bool) -> dict[str, Interval]:
    """Return intervals of the figures that have one in closed form."""
    single, names = predictions.single, predictions.class_names
    found: dict[str, Interval] = {}
    chosen = range(len(names)) if by_class else [] if single is None else [single]
    for k in chosen:
        _, scores, truth, called, groups = predictions.versus_rest(k)
        if not len(truth):  # nothing is known of this label
            continue
        intervals = {
            "auroc": auroc_interval(scores, truth, groups, level),
            "sensitivity": proportion_interval(np.where(truth, called, np.nan), groups, level),
            "specificity": proportion_interval(np.where(truth, np.nan, ~called), groups, level),
        }
        for name, interval in intervals.items():
            if by_class:
                found[f"{name}/{names[k]}"] = interval
            if k == single:
                found[name] = interval
        if k == single:
            rates = intervals["sensitivity"], intervals["specificity"]
            found["balanced_accuracy"] = mean_interval(*rates)
    if predictions.task != "multilabel" and predictions.known.any():
        right = np.where(predictions.known, predictions.decisions == predictions.labels, np.nan)
        found["accuracy"] = proportion_interval(right, predictions.groups, level)
    return found
