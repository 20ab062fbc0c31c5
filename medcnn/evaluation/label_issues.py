"""The labels that are likeliest wrong, by predictions of networks that never saw the images.

C. Northcutt, L. Jiang, I. Chuang, "Confident learning: estimating uncertainty in dataset labels",
J. Artif. Intell. Res. 70, 2021.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import median_abs_deviation

from medcnn.evaluation.predictions import Predictions
from medcnn.evaluation.ranking import Floats
from medcnn.objective import UNKNOWN

KEPT = ("row", "image", "patient", "fold")  # columns of the predictions
FAR = 3.5  # robust standard deviations (B. Iglewicz, D. Hoaglin, "How to detect outliers", 1993)
ROUNDING = 1e-6  # of a mean of equal probabilities
WHICH, SCORE = "of", "score"


def label_issues(predictions: Predictions) -> pd.DataFrame:
    """Return a row for each label that the predictions contradict, the likeliest wrong one first.

    Columns: those of `KEPT`; ``of``, the class or target that a label is of, where an image has
    several; ``label``; ``suggested``; ``score``. The score of a class label is `self_confidence`;
    that of a number is its standardised residual, the farthest first.

    Args:
        predictions: Out-of-fold; unknown labels count for nothing.
    """
    numeric = predictions.task == "regression"
    several = predictions.task == "multilabel" or (numeric and len(predictions.class_names) > 1)
    find = _far if numeric else _contradicted
    kept = [name for name in KEPT if name in predictions.table]
    table = predictions.table[kept].reset_index(drop=True)
    tables = []
    for k, name in enumerate(predictions.class_names if several or numeric else [""]):
        at, columns = find(predictions, k)
        named = {WHICH: name} if several else {}
        tables.append(table.iloc[at].assign(**named, **columns))
    found = pd.concat(tables, ignore_index=True)
    order = -found[SCORE].abs() if numeric else found[SCORE]
    return found.iloc[np.argsort(order.to_numpy(), kind="stable")].reset_index(drop=True)


def confident_classes(probs: Floats, labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class (N,) that each sample confidently has instead of its label; -1 for none.

    The threshold of a class is the mean probability of it among the samples labelled so. A sample
    confidently has the most probable of the classes whose thresholds it reaches (the paper's
    equation 1). It contradicts the label if it is another class and more probable.

    Args:
        probs: (N, K) probabilities.
        labels: (N,) class indices.
    """
    counts = np.bincount(labels, minlength=probs.shape[1])
    own = np.take_along_axis(probs, labels[:, None], axis=1)
    sums = np.bincount(labels, weights=own[:, 0], minlength=probs.shape[1])
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    reached = np.where(probs >= thresholds - ROUNDING, probs, -1.0)
    found = reached.argmax(1)
    return np.where((reached.max(1, keepdims=True) > own)[:, 0], found, UNKNOWN)


def self_confidence(probs: Floats, labels: NDArray[Any], ordinal: bool = False) -> Floats:
    """Return how well the probabilities (N, K) agree with the labels (N,), from 0 to 1.

    That is the probability of the label; of ordered classes one minus the expected distance from
    it, as a share of the longest one.
    """
    if not ordinal:
        return np.take_along_axis(probs, labels[:, None], axis=1)[:, 0]
    classes = np.arange(probs.shape[1])
    distances: Floats = np.abs(classes - labels[:, None]) / max(len(classes) - 1, 1)
    return 1 - (probs * distances).sum(1)


def _contradicted(predictions: Predictions, k: int) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return the samples with a contradicted label, of several labels of the k-th, and columns."""
    probs, labels, names = predictions.probs, predictions.labels, list(predictions.class_names)
    if predictions.task == "multilabel":
        probs, labels = np.stack([1 - probs[:, k], probs[:, k]], axis=1), labels[:, k]
        names = ["0", "1"]
    there = np.flatnonzero(labels != UNKNOWN)
    probs, labels = probs[there], labels[there]
    better = confident_classes(probs, labels)
    score = self_confidence(probs, labels, predictions.task == "ordinal")
    found = np.flatnonzero(better != UNKNOWN)
    words = np.array(names, dtype=object)
    columns = {"label": words[labels[found]], "suggested": words[better[found]]}
    return there[found], columns | {SCORE: score[found]}


def _far(predictions: Predictions, k: int) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return the samples whose k-th number is far from the prediction, and columns."""
    there = np.flatnonzero(~np.isnan(predictions.labels[:, k]))
    truth, told = predictions.labels[there, k], predictions.probs[there, k]
    residuals = truth - told
    if len(residuals):
        residuals = residuals - np.median(residuals)
    spread = median_abs_deviation(residuals, scale="normal") if len(residuals) else 0.0
    scores = residuals / spread if spread > 0 else np.zeros(len(residuals))
    found = np.flatnonzero(np.abs(scores) > FAR)
    return there[found], {
        "label": truth[found],
        "suggested": told[found],
        SCORE: scores[found],
    }
