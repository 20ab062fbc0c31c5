"""How sure a prediction is, and whether it is right to be."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

from medcnn.errors import UserError
from medcnn.evaluation.ranking import Floats
from medcnn.objective import UNKNOWN


def coverage_risk(confidence: ArrayLike, right: ArrayLike) -> tuple[Floats, Floats]:
    """Share of errors among the most confident predictions, if the others go to a human reader.

    Equally confident predictions come in no order: their errors are spread evenly over them.

    Args:
        confidence: (N,) finite, high for sure.
        right: (N,) True for a right decision.

    Returns:
        Coverages 1/N, 2/N … 1 and the risk at each, (N,) in [0, 1].

    Raises:
        UserError: Shapes that differ, or confidences that aren't finite numbers.

    Example:
        >>> coverages, risks = coverage_risk([0.9, 0.6, 0.8, 0.7], [True, False, True, True])
        >>> coverages.tolist(), risks.tolist()
        ([0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.0, 0.25])
    """
    confidence, right = np.asarray(confidence), np.asarray(right)
    if confidence.ndim != 1 or confidence.shape != right.shape or right.dtype.kind not in "biu":
        raise UserError(
            f"coverage: confidences of shape {confidence.shape} need as many true or false, got "
            f"{right.dtype} of shape {right.shape}"
        )
    if not np.isfinite(confidence).all():
        raise UserError("coverage: confidences hold numbers that aren't finite; leave those out")
    _, members, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    errors = np.bincount(members, right == 0, len(sizes))
    each = np.repeat(errors / sizes, sizes)
    count = np.arange(1, len(confidence) + 1)
    return count / max(len(confidence), 1), each.cumsum() / count


def aurc(confidence: ArrayLike, right: ArrayLike) -> float:
    """Area under the risk–coverage curve: the mean risk over the coverages 1/N … 1.

    0 if there is no error, and low if the errors are the least confident decisions (Y. Geifman,
    G. Uziel, R. El-Yaniv, "Bias-reduced uncertainty estimation for deep neural classifiers", 2018).

    Args:
        confidence: As in `coverage_risk`.
        right: As there.

    Returns:
        In [0, 1]; NaN of nothing.

    Raises:
        UserError: As `coverage_risk`.
    """
    risks = coverage_risk(confidence, right)[1]
    return float(risks.mean()) if len(risks) else float("nan")


def predictive_entropy(probs: ArrayLike) -> Floats:
    """−Σ p log p of a distribution over K classes, in nats.

    Args:
        probs: (…, K), each row sums to 1.

    Returns:
        (…) from 0, sure, to log K, all classes alike.

    Raises:
        UserError: Rows that aren't distributions.
    """
    entropy: Floats = entr(_distributions(probs)).sum(-1)
    return entropy


def mutual_information(member_probs: ArrayLike) -> Floats:
    """How much an ensemble disagrees: entropy of the mean − mean of the members' entropies.

    What more training data could take away of the uncertainty, in nats (N. Houlsby et al.,
    "Bayesian active learning for classification and preference learning", 2011, where it is called
    BALD).

    Args:
        member_probs: (M, N, K) of M members, each row sums to 1.

    Returns:
        (N,) from 0, all members alike, to log(min(M, K)).

    Raises:
        UserError: No members, or rows that aren't distributions.
    """
    probs = _distributions(member_probs)
    if probs.ndim != 3 or len(probs) == 0:
        raise UserError(
            f"mutual information: need (members, N, K) probabilities, got {probs.shape}"
        )
    disagreement: Floats = entr(probs.mean(0)).sum(-1) - entr(probs).sum(-1).mean(0)
    return disagreement.clip(min=0)


def most_confident_errors(
    probs: ArrayLike, labels: ArrayLike, decisions: ArrayLike, n: int
) -> NDArray[np.int64]:
    """The wrong decisions that had the highest probability.

    Args:
        probs: (N, K).
        labels: (N,) class indices; -1 for unknown, which is no error.
        decisions: (N,) class indices.
        n: How many at most.

    Returns:
        (≤ n,) indices, most confident first, of equal ones the first.

    Raises:
        UserError: Shapes that don't fit.
    """
    probs, labels, decisions = np.asarray(probs), np.asarray(labels), np.asarray(decisions)
    if probs.ndim != 2 or not labels.shape == decisions.shape == probs.shape[:1]:
        raise UserError(
            f"errors: probabilities of shape {probs.shape} need a label and a decision a row, got "
            f"shapes {labels.shape} and {decisions.shape}"
        )
    wrong = np.flatnonzero((labels != decisions) & (labels != UNKNOWN))
    confidence = probs[wrong, decisions[wrong]]
    return wrong[np.argsort(-confidence, kind="stable")][:n]


def _distributions(probs: ArrayLike) -> Floats:
    """Checked, in float64."""
    probs = np.asarray(probs, np.float64)
    fits = probs.ndim > 0 and (np.abs(probs.sum(-1) - 1) < 1e-3).all()
    if not fits or (probs < 0).any():
        raise UserError(
            f"uncertainty: probabilities of shape {probs.shape} must be at least 0 and sum to 1 "
            "over the last axis"
        )
    return probs
