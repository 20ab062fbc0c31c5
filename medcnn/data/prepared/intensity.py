"""Stored values that become black and white: windows, percentiles, and those of a header."""

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medcnn.data.image import Range
from medcnn.errors import UserError

# Level and width in Hounsfield units, as radiologists set them (Radiopaedia, "Windowing (CT)").
WINDOWS: dict[str, Range] = {
    "abdomen": (50, 400),
    "angio": (300, 600),
    "bone": (400, 1800),
    "brain": (40, 80),
    "liver": (30, 150),
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "soft_tissue": (50, 400),
    "spine": (50, 250),
    "stroke": (40, 40),
    "subdural": (75, 215),
    "temporal_bone": (600, 2800),
}
FROM_FILE = ("auto", "header", "type", "percentile")
TRAINING = "training_percentile"
OF_RANGE = ("modality", "window", "value_range", "percentiles")  # facts that ranges follow from
PERCENTILES = (0.5, 99.5)  # what nnU-Net clips CT to (Isensee et al. 2021)


def check_intensity(intensity: Any) -> None:
    """Raise UserError unless this is one of the choices of `file_range`."""
    if isinstance(intensity, str):
        if intensity not in (*FROM_FILE, TRAINING, *WINDOWS):
            names = ", ".join((*FROM_FILE, TRAINING, *WINDOWS))
            raise UserError(f"dataset.intensity={intensity}: choose [low, high] or one of {names}")
        return
    pair = list(intensity) if isinstance(intensity, Sequence) else []
    if len(pair) != 2 or not all(isinstance(v, int | float) for v in pair) or pair[0] == pair[1]:
        raise UserError(f"dataset.intensity={intensity}: give [low, high], two different numbers")


def file_range(facts: Mapping[str, Any], intensity: str | Range) -> Range:
    """Return the values of one file that become 0 and 1.

    | choice               | 0 and 1 are                                                      |
    |----------------------|------------------------------------------------------------------|
    | [low, high]          | these values                                                     |
    | lung, bone, brain, … | a window for CT, in Hounsfield units                             |
    | header               | the file's own window (DICOM VOI)                                |
    | type                 | black and white of the data type: 0 and 255 of 8 bits            |
    | percentile           | the image's percentiles 0.5 and 99.5                             |
    | training_percentile  | those of the training split, all images together                 |
    | auto                 | the file's window, else its type's, else the image's percentiles |

    Args:
        facts: ``value_range``, ``window``, ``percentiles`` (pairs or None) and ``modality``.
        intensity: The choice; training_percentile, which no file knows, gives the file's extremes.

    Raises:
        UserError: The file has no such values.
    """
    if not isinstance(intensity, str):
        return float(intensity[0]), float(intensity[1])
    if intensity in WINDOWS:
        if facts["modality"] not in (None, "CT"):
            raise UserError(f"is {facts['modality']}, and the window {intensity} is one for CT")
        level, width = WINDOWS[intensity]
        return level - width / 2, level + width / 2
    known = {
        "header": facts["window"],
        "type": facts["value_range"],
        "percentile": facts["percentiles"],
        TRAINING: facts["percentiles"],
        "auto": facts["window"] or facts["value_range"] or facts["percentiles"],
    }[intensity]
    if known is None:
        header = intensity == "header"
        lack = "no window in its header" if header else "a type without black and white"
        raise UserError(f"has {lack}: choose another dataset.intensity")
    low, high = known
    return float(low), float(high)


def percentiles(values: np.ndarray) -> Range:
    """Return the percentiles 0.5 and 99.5 of finite values; the extremes where those are one.

    Those of `numpy.percentile`, which takes three times as long for a small image.
    """
    places = [share / 100 * (values.size - 1) for share in PERCENTILES]
    ends = [(floor(place), ceil(place)) for place in places]
    ordered = np.partition(values, [index for pair in ends for index in pair], axis=None)
    low, high = (
        np.interp(place, pair, ordered[[*pair]]) for place, pair in zip(places, ends, strict=True)
    )
    if low == high:
        low, high = values.min(), values.max()
    return float(low), float(high)


def training_percentiles(images: Any, rows: Tensor, per_image: int = 4096) -> Range:
    """Return the percentiles 0.5 and 99.5 of training images, over evenly spaced values of each.

    Args:
        images: Gives (B, C, *spatial) for rows (B,).
        rows: (n,) int64 of the training split.
        per_image: Values taken of each image, at most.
    """
    taken = []
    for row in rows.split(1):
        values = images[row].flatten()
        step = max(1, len(values) // per_image)
        taken.append(values[::step].float())
    return percentiles(torch.cat(taken).numpy())
