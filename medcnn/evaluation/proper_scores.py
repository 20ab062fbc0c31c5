"""Terms that each sample adds to the log loss and the Brier score."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medcnn.errors import UserError
from medcnn.evaluation.ranking import Bools, Floats
from medcnn.objective import UNKNOWN, Task


def one_vs_rest(probs: ArrayLike, labels: ArrayLike) -> tuple[Floats, Bools, Bools]:
    """Return each class against the others, of probabilities (N, K) and their labels.

    Returns:
        (N, K) each: probabilities in floating point, True where a sample is of the class, and True
        where that is known.
    """
    p, y = np.asarray(probs), np.asarray(labels)
    p = p.astype(np.result_type(p, np.float32), copy=False)
    if y.ndim == 2:
        return p, y == 1, y != UNKNOWN
    return p, y[:, None] == np.arange(p.shape[1]), np.broadcast_to(y[:, None] != UNKNOWN, p.shape)


def check_labels(
    values: NDArray[Any],
    size: tuple[int, ...],
    task: Task,
    *,
    what: str = "evaluation: labels",
    least: int = UNKNOWN,
) -> None:
    """Raise UserError unless these are labels or decisions of N samples in K classes, the size.

    That is (N,) class indices, of several labels (N, K) of 0 and 1, `least` being the lowest value;
    `what` names them in the message.
    """
    shape, highest = (size, 1) if task == "multilabel" else (size[:1], size[1] - 1)
    if values.shape != shape or values.dtype.kind not in "biu":
        raise UserError(
            f"{what} are {values.dtype} of shape {values.shape}, a {task} task needs integers of "
            f"shape {shape}"
        )
    if values.size and (values.min() < least or values.max() > highest):
        raise UserError(f"{what} lie outside 0 … {highest}")


def log_loss_terms(
    probs: Floats, truth: Bools, known: Bools, *, several: bool
) -> NDArray[np.float64]:
    """Return −log p of the truth, in nats, with p at least the epsilon of its type.

    Of what `one_vs_rest` gives; `several` where the K are labels of their own, not classes of which
    one is true.

    Returns:
        (N, 1), of several labels (N, K); NaN where the label is unknown.
    """
    if several:
        p = np.where(truth, probs.astype(np.float64), 1 - probs.astype(np.float64))
    else:
        p = np.where(truth, probs, 0).sum(1, keepdims=True, dtype=np.float64)
        known = known[:, :1]
    return np.where(known, -np.log(np.clip(p, np.finfo(probs.dtype).eps, None)), np.nan)


def brier_terms(probs: Floats, truth: Bools, known: Bools, *, several: bool) -> NDArray[np.float64]:
    """Return the squared distance of the probabilities from the truth: the mean is the Brier score.

    Of K classes it is Σ_k (p_k − y_k)² (G. W. Brier, "Verification of forecasts expressed in terms
    of probability", Mon. Weather Rev. 1950), up to 2; of two classes half of that, which is
    (p − y)² of either class; of several labels (p − y)² of each.

    Args, returns: As `log_loss_terms`.
    """
    terms = np.where(known, np.square(probs.astype(np.float64) - truth), np.nan)
    if several:
        return terms
    return terms.sum(1, keepdims=True) / (2 if probs.shape[1] == 2 else 1)
