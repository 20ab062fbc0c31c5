"""The part of an image that is kept: its body, or the surroundings of its lesion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from medcnn.data.image import Array, Crop, Image, ImageSpec
from medcnn.data.prepared.geometry import turned
from medcnn.data.prepared.resample import block_means
from medcnn.errors import UserError

CROPS = ("none", "body", "mask", "box")
MARKED = ("mask", "box")  # what doesn't follow from the image alone
MARGINS = {"body": 0.02, "mask": 0.25, "box": 0.25}  # of the longest side, on each side of it
GRID = 128  # voxels an edge, at most, in which a body is sought: their means hide noise and text
AIR = -500.0  # HU that the air around a body stays below
HOUNSFIELD = -900.0  # values that reach below this are Hounsfield units, but of MR, CR, …
DYNAMIC = 30.0  # k of log(1 + k x), x in 0 … 1, by which dim tissue counts as body, too
THIN = 2  # voxels of the grid: half the width of what is no body, such as a table
PARTS = 0.1  # of the largest part: what a further one, such as the second leg, has at least
LEAST = 0.01  # of the image: what a body has at least


@dataclass(frozen=True)
class Marked:
    """Where the lesion of an image lies.

    Args:
        edges: Where it begins and ends along each axis of `medcnn.data.prepared.geometry.turned`.
        unit: ``pixel``, or ``fraction`` of the image's edge.
    """

    edges: tuple[tuple[float, float], ...]
    unit: str = "pixel"


def check_crop(spec: ImageSpec) -> None:
    """Raise UserError unless a spec's ``crop`` and ``crop_margin`` can be."""
    if spec.crop not in CROPS:
        raise UserError(f"dataset.crop={spec.crop}: choose one of {', '.join(CROPS)}")
    margin = spec.crop_margin
    if margin is None:
        return
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin < np.inf:
        raise UserError(
            f"dataset.crop_margin={margin}: give a share of the longest side, such as 0.25, or null"
        )
    if spec.crop == "none":
        raise UserError(f"dataset.crop_margin={margin} goes with dataset.crop=body, mask or box")


def crop_of(image: Image, spec: ImageSpec, marked: Marked | None = None) -> Crop | None:
    """Return the part of an image that `ImageSpec.crop` keeps.

    It is the box of the body (`body_box`) or of what is marked, with a margin of the same mm on
    each side, cut off at the edges of the image.

    Returns:
        None for the whole image: without a crop, where no body is found or nothing is marked in
        it, and where nothing would be cut off.

    Raises:
        UserError: As of `medcnn.data.prepared.geometry.prepare`.
    """
    if spec.crop == "none":
        return None
    values, _, spacing = turned(image, spec)
    edges = _edges(image, values, spec, marked)
    if edges is None:
        return None
    shape = np.array(values.shape[1:])
    voxel = np.array(spacing or np.ones(len(shape)))
    share = MARGINS[spec.crop] if spec.crop_margin is None else spec.crop_margin
    margin = np.round(share * (np.diff(edges)[:, 0] * voxel).max() / voxel)
    low = (edges[:, 0] - margin).clip(0)
    high = np.minimum(edges[:, 1] + margin, shape)
    beyond = (high <= low).any()
    if beyond and spec.crop == "box":
        raise UserError("has a box that lies outside of it")
    if beyond or ((low == 0) & (high == shape)).all():
        return None
    return tuple(zip(low.astype(int).tolist(), high.astype(int).tolist(), strict=True))


def _edges(image: Image, values: Array, spec: ImageSpec, marked: Marked | None) -> Array | None:
    """Return the edges (axes, 2) of what is kept, before the margin; None where nothing is found.

    The values are the image's, turned. They are whole voxels, one at least.
    """
    if spec.crop == "body":
        black, white = image.value_range or image.window or (0, 1)
        known = image.modality in (None, "CT") and values.min() < HOUNSFIELD
        return body_box(values, AIR if known else None, inverted=black > white)
    if marked is None:
        return None
    if len(marked.edges) != values.ndim - 1:
        if spec.crop == "box":
            raise UserError("is a volume, and boxes are for pictures: take dataset.crop=mask")
        return None  # the mask is that of another image, as its size tells
    shape = np.array(values.shape[1:])
    unit = shape[:, None] if marked.unit == "fraction" else 1
    edges: Array = np.round(np.array(marked.edges) * unit)
    edges[:, 1] = np.maximum(edges[:, 1], edges[:, 0] + 1)
    return edges


def body_box(values: Array, air: float | None = None, *, inverted: bool = False) -> Array | None:
    """Return the edges (axes, 2) of the body in an image; None where none is found.

    The image is made coarser; what is brighter than a threshold is freed of all that is thin, and
    the body is the largest connected part with all that are nearly as large. So a CT table, wires
    and burned-in text are no body. The threshold is `air`, or that of N. Otsu ("A threshold
    selection method from gray-level histograms", 1979) on the logarithm of the values.

    Args:
        values: (C, *spatial).
        air: The values that air stays below; None where that isn't known.
        inverted: Whether the body is dark, in front of white.
    """
    from scipy import ndimage

    coarse, blocks = _coarser(values[0] if len(values) == 1 else values.mean(0, dtype=np.float32))
    coarse = -coarse if inverted else coarse
    threshold = air
    if air is None:
        low, high = np.percentile(coarse, [0.5, 99.5])
        if low == high:
            return None
        coarse = np.log1p((coarse.clip(low, high) - low) * (DYNAMIC / (high - low)))
        threshold = otsu(coarse)
    thick = ndimage.binary_erosion(coarse > threshold, iterations=THIN, border_value=1)
    parts, count = ndimage.label(ndimage.binary_dilation(thick, iterations=THIN))
    sizes = np.bincount(parts.ravel())[1:]
    if not count or sizes.max() < LEAST * parts.size:
        return None
    large = np.flatnonzero(sizes >= PARTS * sizes.max()) + 1
    (found,) = ndimage.find_objects(np.isin(parts, large).astype(np.uint8))
    edges = np.array([[part.start, part.stop] for part in found]) * np.array(blocks)[:, None]
    return np.minimum(edges, np.array(values.shape[1:])[:, None])


def extent(mask: Image, spec: ImageSpec) -> list[list[int]] | None:
    """Return the edges of a mask's lesion along each axis of `turned`; None of an empty mask."""
    found: Array = np.any(turned(mask, spec)[0] > 0, axis=0)
    edges = []
    for axis in range(found.ndim):
        at = np.flatnonzero(found.any(tuple(k for k in range(found.ndim) if k != axis)))
        if not len(at):
            return None
        edges.append([int(at[0]), int(at[-1]) + 1])
    return edges


def crop_in(facts: Mapping[str, Any]) -> Crop | None:
    """Return the crop in the facts of a file, see `medcnn.data.prepared.one_file.read_file`."""
    found = facts.get("crop")
    return found and tuple((start, end) for start, end in found)


def kept_share(facts: Mapping[str, Any]) -> float:
    """Return the share of a file's pixels that is within its crop; 1 of a whole one."""
    crop = crop_in(facts)
    if crop is None:
        return 1.0
    return float(np.prod([end - start for start, end in crop]) / np.prod(facts["shape"]))


def _coarser(values: Array) -> tuple[Array, list[int]]:
    """Return the means of blocks of an image (*spatial), and the edges of such a block."""
    blocks = [-(-length // GRID) for length in values.shape]
    for axis, block in enumerate(blocks):
        values = block_means(values, axis, block)
    return values, blocks


def otsu(values: Array) -> float:
    """Return the threshold that parts values into the two classes farthest from each other."""
    counts, edges = np.histogram(values, 256)
    sums = np.cumsum(counts * (edges[1:] + edges[:-1]) / 2)
    below, total = np.cumsum(counts)[:-1], counts.sum()
    between = (sums[:-1] * total - sums[-1] * below) ** 2 / np.maximum(below * (total - below), 1)
    return float(edges[between.argmax() + 1])
