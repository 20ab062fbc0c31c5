"""The score by which the best epoch of a training is chosen."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np


def score(
    figures: Mapping[str, Any], monitor: str, loss: float, few: Collection[str] = ()
) -> float:
    """Return the score by which an epoch is chosen, the higher the better: ``val/score``.

    It is the monitored figure, AUROC or R². Where the validation split lacks a class, or has few
    images of it, the mean over the classes (or targets) for which that isn't so; where it is so for
    all, the loss with its sign changed, for which each image counts: the AUROC of one positive
    image is high as soon as that one happens to be in front.

    Args:
        figures: Of `evaluate`.
        monitor: Name of the monitored figure.
        loss: Of the validation.
        few: Names of the classes (or targets) that have too few images to be ranked.
    """
    whole = figures[monitor]["value"]
    if whole is not None and not few:
        return float(whole)
    left_out = {f"{monitor}/{name}" for name in few}
    values = [
        figure["value"]
        for name, figure in figures.items()
        if name.startswith(f"{monitor}/") and name not in left_out
    ]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else -loss
