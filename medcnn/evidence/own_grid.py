"""Images and maps as pictures show them: on the grid of the file, not on that of the network."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from medcnn.data.image import Array, Crop, Image, ImageSpec, Range
from medcnn.data.prepared.geometry import own_grid
from medcnn.data.prepared.resample import to_own_grid
from medcnn.data.samples import Samples
from medcnn.errors import UserError


def item_of_row(
    samples: Samples, row: int, image: Tensor, map_: Tensor, mask: Tensor | None
) -> dict[str, Any]:
    """Return what `on_own_grid` does of a row of a data set, from its file where that can be read.

    Else of what the network received: image (C, *spatial) in 0 … 1, raw map (*spatial), and mask
    (*spatial) bool of the lesion, None where it isn't known.
    """
    raw, lesion = map_.cpu().numpy(), None if mask is None else mask.cpu().numpy()
    if samples.originals is not None:
        crop = samples.originals.crop(row)
        spec, at = samples.originals.shown(row)
        ranges = samples.ranges(torch.tensor([row]))[0]
        low, high = ranges if ranges.ndim == 1 else ranges[samples.originals.first[row]]
        pair = float(low), float(high)
        try:
            file, masks = samples.originals.read(row)
            return on_own_grid(file, spec, pair, raw, crop=crop, mask=masks or lesion, number=at)
        except (UserError, OSError, MemoryError):  # gone, or too large beside all else
            pass
    layout = samples.layout
    seen = image if layout is None else image[layout.files[0]]
    shown = seen.movedim(0, -1).squeeze(-1).cpu().numpy()
    lies = samples.orientation if raw.ndim == 3 else None
    return {"image": shown, "map": raw, "mask": lesion, "orientation": lies}


def on_own_grid(
    image: Image,
    spec: ImageSpec,
    pair: Range,
    map_: Array,
    *,
    crop: Crop | None = None,
    mask: list[Image] | Array | None = None,
    number: int = 0,
) -> dict[str, Any]:
    """Return the pictures of a file's `GalleryItem`: its own pixels, and the map on them.

    Args:
        image: As decoded.
        spec: How it was prepared for the network.
        pair: The values that are shown black and white.
        map_: (*spatial) of the network's input, raw.
        crop: The part of the file that the network saw; the map is 0 around it.
        mask: Of the lesion: those of files, or (*spatial) bool at the network's input.
        number: Which of the slices that were taken, for a network of pictures.

    Returns:
        ``image``, ``map``, ``mask``, ``spacing`` and ``orientation``.
    """
    values, points, affine = own_grid(image, spec, crop)
    spacing = image.spacing
    if affine is not None:
        spacing = tuple(float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))
    dims = spec.spatial_dims
    shape, taken = values.shape[-dims:], points[-dims:]
    return {
        "image": _shown(values if dims == 3 else values[:, number], pair),
        "map": to_own_grid(map_, taken, shape, crop),
        "mask": _lesion(mask, spec, crop, taken, shape, number),
        "spacing": None if spacing is None else tuple(spacing[-dims:]),
        "orientation": None if affine is None or dims == 2 else spec.orientation,
    }


def _shown(values: Array, pair: Range) -> Array:
    """Return (C, *spatial) in the units of a file as (*spatial) or (*spatial, 3) in 0 … 1."""
    if len(values) == 3 and all(np.array_equal(values[0], other) for other in values[1:]):
        values = values[:1]
    low, high = pair
    width = (high - low) or 1.0
    unit = values.astype(np.float32)
    unit -= low  # in place, for a volume may be large
    unit /= width
    unit.clip(0, 1, out=unit)
    return unit[0] if len(unit) == 1 else np.moveaxis(unit, 0, -1)


def _lesion(
    mask: list[Image] | Array | None,
    spec: ImageSpec,
    crop: Crop | None,
    taken: Any,
    shape: Any,
    number: int,
) -> Array | None:
    """Return (*spatial) bool on the grid of the file."""
    if mask is None:
        return None
    if isinstance(mask, list):
        several = [(own_grid(one, spec, crop)[0] > 0).any(0) for one in mask]
        found: Array = np.any(several, axis=0)
        return found if spec.spatial_dims == 3 else found[number]
    return to_own_grid(mask.astype(np.float32), taken, shape, crop) >= 0.5
