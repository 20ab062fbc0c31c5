"""From a file's own grid to a network's: orientation, slices, spacing, size and channels."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medcnn.data.formats.volume import distances, orient
from medcnn.data.image import Array, Crop, Image, ImageSpec
from medcnn.data.prepared.resample import Points, interpolate, nearest
from medcnn.errors import UserError, check_whole_number
from medcnn.nets.classic_kernels import LUMA

SAME = 1e-5  # relative difference up to which two spacings are one
ANYWAY = "dataset.allow_missing_geometry=true takes it as it is"


def check_spec(spec: ImageSpec) -> None:
    """Check an `ImageSpec` that a user wrote, its intensity aside.

    Raises:
        UserError: A key of `dataset` is wrong.
    """
    if len(spec.size) not in (2, 3):
        raise UserError(f"dataset.size={list(spec.size)}: give 2 or 3 whole numbers")
    for length in spec.size:
        check_whole_number("dataset.size", length, least=1)
    if spec.channels not in (None, 1, 3):
        raise UserError(f"dataset.channels={spec.channels}: give 1 (grey), 3 (colour) or null")
    if spec.spacing is not None:
        given = spec.spacing if isinstance(spec.spacing, tuple) else ()
        positive = [isinstance(s, int | float) and 0 < s < np.inf for s in given]
        if len(positive) != len(spec.size) or not all(positive):
            raise UserError(
                f"dataset.spacing={list(given) or spec.spacing}: give {len(spec.size)} numbers of "
                "mm above 0, one for each axis of dataset.size"
            )
    if sorted(str(spec.orientation).translate(str.maketrans("LPI", "RAS"))) != ["A", "R", "S"]:
        raise UserError(
            f"dataset.orientation={spec.orientation}: give one letter of each pair R L, A P, S I, "
            "such as SPL"
        )
    if not isinstance(spec.allow_missing_geometry, bool):
        anyway = spec.allow_missing_geometry
        raise UserError(f"dataset.allow_missing_geometry={anyway}: choose true or false")
    frame = spec.frame
    if frame not in (None, "centre") and not (type(frame) is int and frame >= 0):
        raise UserError(f"dataset.frame={frame}: give a number from 0, centre or null")
    if spec.slices is not None:
        slice_numbers(1, spec.slices)
        if len(spec.size) == 3:
            raise UserError(f"dataset.slices={spec.slices}: a network of volumes takes no slices")


def slice_numbers(depth: int, slices: str) -> range:
    """Return the numbers of the slices that are taken of a volume, evenly about its middle.

    Args:
        depth: Number of slices.
        slices: ``centre`` (of an even number the lower of the two in the middle), ``all``, or
            ``every:k``, as many as there can be k apart.

    Raises:
        UserError: `slices` is none of those.

    >>> list(slice_numbers(10, "centre")), list(slice_numbers(10, "every:4"))
    ([4], [0, 4, 8])
    """
    match = re.fullmatch(r"centre|all|every:([1-9][0-9]{0,8})", str(slices))
    if match is None:
        raise UserError(f"dataset.slices={slices}: choose centre, all or every:k, with k 1 or more")
    step = depth if slices == "centre" else int(match[1] or 1)
    return range((depth - 1) % step // 2, depth, step)


def prepare(image: Image, spec: ImageSpec, crop: Crop | None = None) -> Array:
    """Make network inputs of an image.

    A volume is turned by quarter turns and mirrored, so that its axes run as nearly as they can
    as `ImageSpec.orientation` says: an oblique one stays oblique, a sheared one sheared. Then every
    axis is resampled.

    * Without `spacing` the whole image is stretched; the outer edges of its first and last voxels
      become those of the result (PyTorch's ``align_corners=False``).
    * With `spacing` the points lie exactly so far apart, and the middle of the grid is the middle
      of the image. Voxels of a file with that spacing are copied; then the middle is half a voxel
      off if of both sizes one is even and one is odd. Points beyond the outer
      edges get the image's lowest value (the highest where white is lower than black).

    With `crop` all that is done with the part of the image within it alone.

    Between voxels, values are interpolated linearly with antialiasing, along depth too, see
    `medcnn.data.prepared.resample.interpolate`; where voxels are only copied they stay the same
    bits.

    Returns:
        (S, C, *spec.size) of the type of `image.values`, integers rounded to the nearest; S is the
        number of slices, 1 unless `spec.slices`. C is `spec.channels`; where that is None, that of
        the image, but 1 if its three are equal.

    Raises:
        UserError: The image has other dimensions than the network, or no geometry.
    """
    values, points = _cut(image, spec, crop)
    values = _channels(values, spec.channels_of(0))
    shape = values.shape[1:]
    if all(along.are_voxels(length) for along, length in zip(points, shape, strict=True)):
        return _finish(as_type(values, image.values.dtype), spec)
    prepared = values
    for axis in np.argsort([p.count / length for p, length in zip(points, shape, strict=True)]):
        prepared = interpolate(prepared, int(axis) + 1, points[axis])
    prepared = as_type(prepared, image.values.dtype)
    return _finish(_fill(prepared, points, shape, background(image)), spec)


def own_size(image: Image, spec: ImageSpec, crop: Crop | None = None) -> tuple[int, ...]:
    """Return the size at which `prepare` keeps an image's own pixels, or all of it at `spacing`."""
    values, points = _cut(image, spec, crop)
    sides = values.shape[-spec.spatial_dims :]
    if spec.spacing is None:
        return tuple(sides)
    steps = [along.step for along in points[-spec.spatial_dims :]]
    return tuple(max(1, round(side / step)) for side, step in zip(sides, steps, strict=True))


def prepare_mask(mask: Image, spec: ImageSpec, crop: Crop | None = None) -> Array:
    """Make the mask of a network input: the nearest voxel at each of `prepare`'s points.

    Values above 0, in any channel, are the lesion. The mask has the geometry of its image, whose
    spec and crop these are.

    Returns:
        (S, *spec.size) bool; False beyond the image.

    Raises:
        UserError: As of `prepare`.
    """
    values, points = _cut(mask, spec, crop)
    shape = values.shape[1:]
    found: Array = np.any(values > 0, axis=0, keepdims=True)
    for axis, along in enumerate(points):
        found = nearest(found, axis + 1, along)
    return _finish(_fill(found, points, shape, 0), spec)[:, 0]


def own_grid(
    image: Image, spec: ImageSpec, crop: Crop | None = None
) -> tuple[Array, list[Points], Array | None]:
    """Return an image in its own voxels, turned like the result of `prepare`, and its points.

    Returns:
        Values (C, D, H, W), of a picture with D = 1, of slices only those that are taken; the
        points that `prepare` takes along D, H and W, which lie about the middle of `crop`; and the
        affine of the values, None where they don't say how they lie.

    Raises:
        UserError: As of `prepare`.
    """
    values, affine, spacing = turned(image, spec)
    edges = crop or tuple((0, length) for length in values.shape[1:])
    lengths = [end - start for start, end in edges]
    if spec.slices is not None and image.spatial_dims == 3:
        numbers = taken_slices(values.shape[1], spec.slices, crop)
        values = values[:, numbers.start : numbers.stop : numbers.step]
        lengths[0] = len(numbers)
        if affine is not None:
            affine[:3, 3] += numbers.start * affine[:3, 0]
            affine[:3, 0] *= numbers.step
    points = _points(lengths, spacing, spec)
    for k in range(-spec.spatial_dims, 0):
        points[k] = replace(points[k], first=points[k].first + edges[k][0])
    return values if values.ndim == 4 else values[:, None], points, affine


def turned(image: Image, spec: ImageSpec) -> tuple[Array, Array | None, tuple[float, ...] | None]:
    """Return a whole image along the axes of `ImageSpec.orientation`; a picture as it is.

    Returns:
        Values (C, D, H, W) or (C, H, W), and of these the affine and the spacing in mm, None where
        the file doesn't say.

    Raises:
        UserError: As of `prepare`.
    """
    if image.spatial_dims == 2:
        if spec.spatial_dims == 3:
            raise UserError("is a picture, and the network takes volumes")
        return image.values, None, image.spacing
    if spec.spatial_dims == 2 and spec.slices is None:
        raise UserError(
            "is a volume, and the network takes pictures: dataset.slices=centre, all or every:k "
            "takes slices of it, dataset.frame=0, 1, … or centre one picture of a film"
        )
    if image.affine is not None:
        values, affine = orient(image.values, image.affine, spec.orientation)
        return values, affine, distances(affine)
    if not spec.allow_missing_geometry:
        raise UserError(f"doesn't say how it lies in the patient: {ANYWAY}")
    return image.values, None, image.spacing


def taken_slices(depth: int, slices: str, crop: Crop | None) -> range:
    """Return `slice_numbers` of a volume of so many slices, of those within a crop."""
    start, end = (0, depth) if crop is None else crop[0]
    numbers = slice_numbers(end - start, slices)
    return range(numbers.start + start, numbers.stop + start, numbers.step)


def _cut(image: Image, spec: ImageSpec, crop: Crop | None) -> tuple[Array, list[Points]]:
    """Return the values within a crop, as those of `own_grid`, and their points from its corner."""
    values, points, _ = own_grid(image, spec, crop)
    if crop is None:
        return values, points
    for axis, (start, end) in enumerate(crop[-spec.spatial_dims :], 4 - spec.spatial_dims):
        values = values[(*[slice(None)] * axis, slice(start, end))]
        points[axis - 1] = replace(points[axis - 1], first=points[axis - 1].first - start)
    return values, points


def _points(shape: Sequence[int], spacing: Sequence[float] | None, spec: ImageSpec) -> list[Points]:
    """Return the points along three axes; for a network of two, all along the first."""
    size, dims = spec.size, spec.spatial_dims
    if spec.spacing is None:
        steps = [have / want for have, want in zip(shape[-dims:], size, strict=True)]
    elif spacing is not None:
        steps = [want / have for have, want in zip(spacing[-dims:], spec.spacing, strict=True)]
    elif spec.allow_missing_geometry:
        steps = [1.0] * dims
    else:
        raise UserError(f"doesn't say the spacing that dataset.spacing asks for: {ANYWAY}")
    points = []
    for have, want, ratio in zip(shape[-dims:], size, steps, strict=True):
        step = 1.0 if abs(ratio - 1) < SAME else float(ratio)
        first = ((have - 1) - (want - 1) * step) / 2
        points.append(Points(float(np.floor(first)) if step == 1 else first, step, want))
    if dims == 3:
        return points
    return [Points(0.0, 1.0, shape[0] if len(shape) == 3 else 1), *points]


def _fill(values: Array, points: list[Points], shape: Sequence[int], value: float) -> Array:
    """Set a value where points lie beyond the outer edges of an image of this shape."""
    beyond = [along.outside(length) for along, length in zip(points, shape, strict=True)]
    if any(outside.any() for outside in beyond):
        values = values.copy()
        for axis, outside in enumerate(beyond, 1):
            np.moveaxis(values, axis, 0)[outside] = value
    return values


def background(image: Image) -> float:
    """Return the lowest value; the highest where white is lower than black."""
    black, white = image.value_range or image.window or (0, 1)
    return image.values.min() if black <= white else image.values.max()


def _channels(values: Array, channels: int | None) -> Array:
    """Turn grey to colour by repeating, colour to grey by its luma."""
    if len(values) == 1 or channels == 3:
        return np.repeat(values, 3, 0) if channels == 3 and len(values) == 1 else values
    if all(np.array_equal(values[0], other) for other in values[1:]):
        return values[:1]
    if channels is None:
        return values
    red, green, blue = (np.float32(w) * v for w, v in zip(LUMA, values, strict=True))
    return (red + green + blue)[None]


def as_type(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return values as a type, of integers rounded to the nearest that it has."""
    if values.dtype != dtype and dtype.kind in "ui":
        limits = np.iinfo(dtype)
        values = np.rint(values).clip(limits.min, limits.max)
    return values.astype(dtype, copy=False)


def _finish(values: Array, spec: ImageSpec) -> Array:
    """Return values (C, D, H, W) as (S, C, *size), in memory of their own."""
    return np.array(values[None] if spec.spatial_dims == 3 else np.moveaxis(values, 1, 0))
