"""How much worse a score gets where an input says nothing: permutation importance."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.intervals import Interval, check_level, draws, group_numbers
from medcnn.evaluation.predictions import Predictions
from medcnn.evaluation.proper_scores import one_vs_rest
from medcnn.evaluation.ranking import Floats, Weights, areas, rank, ranking_scores
from medcnn.evaluation.regression import target_figures, target_sums
from medcnn.evaluation.resampling import Drawn, bounds

_AT_ONCE = 200_000  # numbers of the weights of a set of resamples


def permutation_importance(
    base: Predictions,
    permuted: Mapping[str, Floats],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return how far the score falls where an input is permuted among the samples.

    s − mean_r s_r with the score s (the AUROC of `evaluate`, in regression R²) of the predictions,
    and s_r of those with an input of other samples in the place of each one's own (L. Breiman,
    "Random forests", Machine Learning 2001, section 10; the mean over several permutations as
    in A. Fisher, C. Rudin, F. Dominici, "All models are wrong, but many are useful", JMLR 2019).
    Inputs that say the same stand in for each other: permuted one at a time, neither counts.

    The interval is the percentile bootstrap over patients, the same draws for all.

    Args:
        base: The predictions of N samples, with their labels and patients.
        permuted: By input the probabilities (R, N, K) with it permuted in R ways.
        resamples: Number of bootstrap samples.
        level: Confidence level, between 0 and 1.
        seed: Of the draws.

    Returns:
        By input; NaN where the score is undefined, and bounds with fewer than two patients.
    """
    check_level(level)
    known = base.known
    members = group_numbers(base.patients[known], int(known.sum()))
    size = int(members.max(initial=-1)) + 1
    sets = [np.ones((size, 1))]
    if size > 1:
        at_once = max(1, _AT_ONCE // size)
        sets += [np.ascontiguousarray(part.T) for part in draws(size, resamples, seed, at_once)]
    whole = _scores(base, base.probs[known], members, sets)
    found = {}
    for name, several in permuted.items():
        each = [_scores(base, probs[known], members, sets) for probs in several]
        fallen = whole - np.mean(each, axis=0)
        value, replicates = float(fallen[0]), fallen[1:] if size > 1 else np.array([np.nan])
        low, high = bounds(Drawn({name: value}, {name: replicates}), level)[name]
        found[name] = Interval(value, *(np.nan if x is None else x for x in (low, high)))
    return found


def _scores(
    base: Predictions, probs: Floats, members: NDArray[np.int64], sets: list[Weights]
) -> NDArray[np.float64]:
    """Return the score of probabilities (n, K) of the known samples for weights (G, r) each."""
    labels = base.labels[base.known]
    if base.task == "regression":
        targets = target_sums(probs, labels, members)
        return np.concatenate([target_figures(targets, w)["r2"].mean(0) for w in sets])
    probs, truth, there = one_vs_rest(probs, labels)
    scores = ranking_scores(probs, several=base.task == "multilabel")
    classes = range(scores.shape[1]) if base.single is None else [base.single]
    size = len(sets[0])
    rankings = [
        rank(scores[t, k], truth[t, k], members[t], size) for k in classes for t in [there[:, k]]
    ]
    return np.concatenate([np.mean([areas(one, w)[0] for one in rankings], axis=0) for w in sets])
