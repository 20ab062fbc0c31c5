"""By what the best epoch of a training is chosen."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def score(figures: Mapping[str, Any], monitor: str, loss: float) -> float:
    """What an epoch is chosen by, the higher the better: ``val/score``.

    The monitored figure, AUROC or R². Where that is undefined because the validation split lacks a
    class, the mean over the classes (or targets) for which it is defined; where it is for none, the
    loss with its sign changed.

    Args:
        figures: Of `evaluate`.
        monitor: Name of the monitored figure.
        loss: Of the validation.
    """
    whole = figures[monitor]["value"]
    if whole is not None:
        return float(whole)
    values = [f["value"] for name, f in figures.items() if name.startswith(f"{monitor}/")]
    known_ones = [value for value in values if value is not None]
    return float(np.mean(known_ones)) if known_ones else -loss
