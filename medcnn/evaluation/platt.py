"""Platt scaling: logits of the scores of a loss that learns no probabilities."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax, softmax
from torch import Tensor

from medcnn.evaluation.ranking import Floats
from medcnn.objective import UNKNOWN, Task

_LEAST_SLOPE = 1e-3  # of scores of standard deviation 1; the order of the scores never changes


def fit_platt(
    scores: ArrayLike, labels: ArrayLike, *, task: Task, positive: int | None = None
) -> dict[str, list[float]]:
    """Return the slope and the offset of each output, by which its scores become logits.

    They minimise the log loss of slope · score + offset. Its truth is softened, from 1 and 0 to
    (n₁ + 1) / (n₁ + 2) and 1 / (n₀ + 2) for n₁ and n₀ samples, so that scores which tell the labels
    without error have a slope, too (J. Platt, "Probabilistic outputs for support vector machines
    and comparisons to regularized likelihood methods", 1999, section 2.2). In a multiclass task
    there is one slope and no offset, so that the most probable class stays what it was; the truth
    of class k becomes (n_k + 1) / (n_k + K). Labels that aren't known don't count.

    Args:
        scores: (N, outputs) as `medcnn.objective.Objective` takes them for the task.
        labels: (N,) class indices, or for multi-label data (N, K) of 0 and 1; -1 for unknown.
        task: binary, multiclass or multilabel.
        positive: The class that the single score of a binary task speaks for; None for the last.

    Returns:
        ``{"slope": […], "offset": […]}``, a number an output; the slopes are above 0.
    """
    z, y = np.asarray(scores, np.float64), np.asarray(labels)
    if task == "multiclass":
        known = y != UNKNOWN
        counts = np.bincount(y[known], minlength=z.shape[1])
        each = counts[y[known]][:, None] + float(z.shape[1])
        soft = (np.eye(z.shape[1])[y[known]] * (each - z.shape[1]) + 1) / each
        slope, _ = _fit(z[known], soft, several=False)
        return {"slope": [slope] * z.shape[1], "offset": [0.0] * z.shape[1]}
    if task == "binary":
        sought = 1 if positive is None else positive
        y = np.where(y == UNKNOWN, UNKNOWN, y == sought)[:, None]
    found: dict[str, Any] = {"slope": [], "offset": []}
    for own, truth in zip(z.T, y.T, strict=True):
        ill, healthy = own[truth == 1], own[truth == 0]
        soft = np.repeat(
            [(len(ill) + 1) / (len(ill) + 2), 1 / (len(healthy) + 2)], [len(ill), len(healthy)]
        )
        slope, offset = _fit(np.concatenate([ill, healthy])[:, None], soft[:, None], several=True)
        found["slope"].append(slope)
        found["offset"].append(offset)
    return found


def apply_platt(scores: Tensor, fitted: Mapping[str, Any]) -> Tensor:
    """Return the logits of scores (N, outputs), by what `fit_platt` found."""
    return scores * scores.new_tensor(fitted["slope"]) + scores.new_tensor(fitted["offset"])


def _fit(scores: Floats, soft: Floats, several: bool) -> tuple[float, float]:
    """Return slope and offset of scores (N, C) for soft truths (N, C); without several no offset.

    Several: each column is a question of its own; else the C are classes of which one is true.
    """
    if len(scores) == 0:
        return 1.0, 0.0
    spread = float(scores.std()) or 1.0
    z = scores / spread

    def loss(both: Floats) -> tuple[float, Floats]:
        logits = both[0] * z + both[1]
        if several:
            probs = expit(logits)
            terms = -(soft * log_expit(logits) + (1 - soft) * log_expit(-logits))
        else:
            probs, terms = softmax(logits, axis=1), -soft * log_softmax(logits, axis=1)
        rest = probs - soft
        slope = np.array([(rest * z).sum(), rest.sum() * several])
        return float(terms.sum()) / len(z), slope / len(z)

    bounds = [(_LEAST_SLOPE, None), (None, None)]
    best = minimize(loss, np.array([1.0, 0.0]), jac=True, bounds=bounds, tol=1e-12).x
    return float(best[0] / spread), float(best[1])
