"""Predictions of several networks in one table: those of the folds of a cross-validation."""

from dataclasses import replace

import numpy as np
from scipy.stats import rankdata

from medcnn.evaluation.figures import Figure
from medcnn.evaluation.figures_with_intervals import figures_with_intervals
from medcnn.evaluation.predictions import Predictions


def auroc_within_folds(pooled: Predictions, *, resamples: int = 2_000, seed: int = 0) -> Figure:
    """Return the AUROC of pooled predictions, each replaced by its rank in its own fold.

    The probabilities of one network may all be higher than those of another, which tells its cases
    as well; pooled they are ranked as if they were of one. Ranks from 0 to 1 within each fold have
    one scale (they take the folds to have like shares of the classes, as stratified ones do).

    Args: As in `figures_with_intervals`; the table has a column ``fold``.
    """
    known = pooled.where(pooled.known)
    folds, ranks = known.table["fold"].to_numpy(), np.empty(known.probs.shape)
    for fold in np.unique(folds):
        own = folds == fold
        ranks[own] = rankdata(known.scores[own], axis=0) / (own.sum() + 1)
    ranked = replace(known, probs=ranks)
    figures = figures_with_intervals(ranked, resamples=resamples, seed=seed, by_class=False)
    return figures["auroc"]
