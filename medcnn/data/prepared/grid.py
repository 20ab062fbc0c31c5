"""Files of one image on one grid: that of the first one, which the others are resampled to."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from medcnn.data.formats.volume import distances, orient
from medcnn.data.image import Array, Crop, Image
from medcnn.data.prepared.crop import crop_in
from medcnn.data.prepared.geometry import as_type, background
from medcnn.data.prepared.resample import Points, interpolate
from medcnn.errors import UserError

SAME = 1e-4  # of a voxel: how far two grids that are one may differ in a step, and in the corner
LARGER = 1.01  # times the file's voxels: from where on those of the grid are means of several


@dataclass(frozen=True)
class Grid:
    """The grid of an image's first file.

    Args:
        shape: Voxels along each axis of the file.
        spacing: mm along each; None where the file doesn't say.
        affine: Of a volume the rows of the matrix of `medcnn.data.image.Image`; None without.
        crop: The part that the network sees; None for all of it.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None
    affine: tuple[tuple[float, ...], ...] | None
    crop: Crop | None

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Return the grid in the facts of a file, as `medcnn.data.prepared.one_file` has them."""
        spacing, affine = facts["spacing"], facts["affine"]
        return cls(
            shape=tuple(facts["shape"]),
            spacing=None if spacing is None else tuple(spacing),
            affine=None if affine is None else tuple(map(tuple, affine)),
            crop=crop_in(facts),
        )


def onto_grid(image: Image, grid: Grid, orientation: str) -> Image:
    """Return a file on the grid of another one.

    A volume is resampled by the two headers: linearly, and where the grid's voxels are the larger
    ones, from means (`medcnn.data.prepared.resample.interpolate`). What lies beyond the file gets
    its lowest value (the highest where white is lower than black), and counts as padding. A picture
    says nothing of its place, so it has to be as large as the other one, and stays as it is.

    Args:
        image: As decoded.
        grid: Of the other file.
        orientation: Of the network's input, see `medcnn.data.image.ImageSpec`; the axes of a volume
            that was resampled run so.

    Raises:
        UserError: The two have no place in common, or don't say it.
    """
    if image.spatial_dims != len(grid.shape):
        kinds = {2: "picture", 3: "volume"}
        own, other = kinds[image.spatial_dims], kinds[len(grid.shape)]
        raise UserError(f"is a {own}, and the image's first file is a {other}")
    if image.affine is None or grid.affine is None:
        return _as_large(image, grid)
    to_own = np.linalg.inv(image.affine)
    same = np.allclose(to_own @ grid.affine, np.eye(4), atol=SAME)
    if same and image.values.shape[1:] == grid.shape:
        return image
    voxels = np.broadcast_to(np.uint8(0), (1, *grid.shape))  # takes no memory
    turned, affine = orient(voxels, np.array(grid.affine), orientation)
    return _resampled(image, to_own @ affine, turned.shape[1:], affine, grid.crop)


def _as_large(image: Image, grid: Grid) -> Image:
    """Return an image whose pixels lie as those of another file, neither of which says where."""
    if image.affine is not None:
        raise UserError("says how it lies in the patient, but the image's first file doesn't")
    if grid.affine is not None:
        raise UserError("doesn't say how it lies in the patient, but the image's first file does")
    if image.values.shape[1:] != grid.shape:
        sizes = ["×".join(map(str, shape)) for shape in (image.values.shape[1:], grid.shape)]
        raise UserError(
            f"is {sizes[0]}, but the image's first file is {sizes[1]}, and without a place in the "
            "patient both have to be of one size"
        )
    return replace(image, spacing=grid.spacing)


def _resampled(
    image: Image, to_voxel: Array, shape: tuple[int, ...], affine: Array, crop: Crop | None
) -> Image:
    """Return a volume at the voxels of a grid of this shape and affine.

    `to_voxel` (4, 4) leads from the grid's indices to those of the volume; `crop` is of the grid.
    """
    inside = _at(np.ones(image.values.shape[1:], np.uint8), to_voxel, shape, beyond=0) > 0
    seen = inside if crop is None else inside[tuple(slice(*edges) for edges in crop)]
    if not seen.any():
        raise UserError("lies elsewhere in space than the image's first file: they don't overlap")
    padding = ~inside
    if image.padding is not None:
        padding |= _at(image.padding.astype(np.uint8), to_voxel, shape, beyond=1) > 0
    values, to_coarse = _coarser(image.values, to_voxel)
    values = np.stack([_at(one, to_coarse, shape) for one in values.astype(np.float32, copy=False)])
    values = as_type(values, image.values.dtype)
    values[:, ~inside] = background(image)
    return replace(
        image,
        values=values,
        affine=affine,
        spacing=distances(affine),
        padding=padding if padding.any() else None,
    )


def _coarser(values: Array, to_voxel: Array) -> tuple[Array, Array]:
    """Return values (C, I, J, K) as means along axes on which a grid's steps are longer.

    And the matrix from the grid's indices to theirs. Where the axes of both are parallel, the means
    lie at the grid's voxels.
    """
    to_coarse = to_voxel.copy()
    for axis, step in enumerate(np.abs(to_voxel[:3, :3]).max(1).tolist()):
        if step < LARGER:
            continue
        start, length = to_voxel[axis, 3], values.shape[axis + 1]
        first = start - step * np.floor((start + 0.5) / step)  # the grid's first one in the file
        count = max(1, int(np.floor((length - 0.5 - first) / step)) + 1)
        values = interpolate(values, axis + 1, Points(float(first), step, count))
        to_coarse[axis, 3] -= first
        to_coarse[axis] /= step
    return values, to_coarse


def _at(values: Array, to_voxel: Array, shape: tuple[int, ...], beyond: int | None = None) -> Array:
    """Return values (I, J, K) at the voxels of a grid: interpolated, and beyond them the edge's.

    With `beyond` the nearest ones, and beyond them that value.
    """
    from scipy import ndimage

    how = {"order": 1, "mode": "nearest"}
    if beyond is not None:
        how = {"order": 0, "mode": "grid-constant", "cval": beyond}
    found: Array = ndimage.affine_transform(
        values, to_voxel[:3, :3], to_voxel[:3, 3], shape, prefilter=False, **how
    )
    return found
