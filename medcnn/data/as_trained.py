"""Samples as a classifier takes them: scaled and encoded by its own training images."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from medcnn.data.columns.encoding import Code
from medcnn.data.columns.of_samples import own_columns
from medcnn.data.prepared.intensity import TRAINING, training_percentiles
from medcnn.data.prepared.stacked import StackedImages
from medcnn.data.samples import Samples


def by_training(samples: Samples) -> bool:
    """Return whether 0 and 1 are percentiles of the training split."""
    return samples.spec is not None and samples.spec["intensity"] == TRAINING


def training_range(samples: Samples) -> tuple[float, float] | Tensor:
    """Return the values that become 0 and 1 by the training split, as `Samples` has them."""
    images, rows = samples.images, samples.rows("train")
    if isinstance(images, StackedImages):
        return images.ranges_of_rows(images.training_ranges(rows))
    return training_percentiles(images, rows)


def own_range(samples: Samples, card: Mapping[str, Any]) -> None:
    """Scale images by the range that followed from a classifier's own training images, if any."""
    if by_training(samples) and card["intensity_range"] is not None:
        if isinstance(samples.images, StackedImages):
            known = torch.tensor(card["intensity_range"])  # (C, 2)
            samples.intensity_range = samples.images.ranges_of_rows(known)
        else:
            low, high = card["intensity_range"]
            samples.intensity_range = (low, high)


def as_trained(samples: Samples, card: Mapping[str, Any]) -> list[Code]:
    """Prepare samples as a classifier's own, see `own_range` and `own_columns`.

    Returns:
        How the columns are encoded that it takes.

    Raises:
        UserError: A column is missing, or can't be used.
    """
    own_range(samples, card)
    codes: list[Code] = card.get("features") or []
    own_columns(samples, codes)
    return codes
