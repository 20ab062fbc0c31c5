"""The uncertainty of predictions, and the errors among the surest."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr

from medcnn.evaluation.ranking import Floats


def coverage_risk(confidence: ArrayLike, right: ArrayLike) -> tuple[Floats, Floats]:
    """Return the share of errors among the most confident, if the others go to a human reader.

    Equally confident predictions come in no order: their errors are spread evenly over them.

    Args:
        confidence: (N,) finite, high for sure.
        right: (N,) True for a right decision.

    Returns:
        Coverages 1/N, 2/N … 1 and the risk at each, (N,) in [0, 1].

    Example:
        >>> coverages, risks = coverage_risk([0.9, 0.6, 0.8, 0.7], [True, False, True, True])
        >>> coverages.tolist(), risks.tolist()
        ([0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.0, 0.25])
    """
    confidence, right = np.asarray(confidence), np.asarray(right)
    _, members, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    errors = np.bincount(members, right == 0, len(sizes))
    each = np.repeat(errors / sizes, sizes)
    count = np.arange(1, len(confidence) + 1)
    return count / max(len(confidence), 1), each.cumsum() / count


def predictive_entropy(probs: ArrayLike) -> Floats:
    """Return −Σ p log p of a distribution over K classes, in nats.

    Args:
        probs: (…, K), each row sums to 1.

    Returns:
        (…) from 0, sure, to log K, all classes alike.
    """
    entropy: Floats = entr(np.asarray(probs, np.float64)).sum(-1)
    return entropy


def mutual_information(member_probs: ArrayLike) -> Floats:
    """Return an ensemble's disagreement: entropy of the mean − mean of the members' entropies.

    It is the uncertainty that more training data could take away, in nats (N. Houlsby et al.,
    "Bayesian active learning for classification and preference learning", 2011, where it is called
    BALD).

    Args:
        member_probs: (M, N, K) of M members, each row sums to 1.

    Returns:
        (N,) from 0, all members alike, to log(min(M, K)).
    """
    probs = np.asarray(member_probs, np.float64)
    return (predictive_entropy(probs.mean(0)) - predictive_entropy(probs).mean(0)).clip(min=0)
