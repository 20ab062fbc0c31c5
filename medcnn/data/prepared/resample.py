"""Values at evenly spaced points along one axis of an image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medcnn.data.image import Array, Crop

NEARLY = 1e-5  # of a voxel: what counts as the same place
CHUNK = 2**18  # values that are made at a time, so that they stay in the CPU's cache


def block_means(values: Array, axis: int, block: int) -> Array:
    """Return the means of blocks along an axis, float32; the last one may be shorter."""
    starts = np.arange(0, values.shape[axis], block)
    counts = np.diff(np.append(starts, values.shape[axis])).astype(np.float32)
    sums = np.add.reduceat(values, starts, axis, dtype=np.float32)
    means: Array = sums / counts.reshape(-1, *[1] * (values.ndim - axis - 1))
    return means


@dataclass(frozen=True)
class Points:
    """Evenly spaced points along an axis, in units of its voxels (0: the first one's centre)."""

    first: float  # place of the first point
    step: float  # from point to point
    count: int

    def places(self) -> Array:
        """Return the places of the points, (count,)."""
        return self.first + self.step * np.arange(self.count)

    def outside(self, length: int) -> Array:
        """Return a mask (count,) of points beyond the outer edges of the voxels of an axis."""
        places = self.places()
        return (places < -0.5 - NEARLY) | (places > length - 0.5 + NEARLY)

    def are_voxels(self, length: int) -> bool:
        """Return whether they are all voxels of an axis, as they are."""
        return self.on_voxels and self.first == 0 and self.count == length

    @property
    def on_voxels(self) -> bool:
        """True where each voxel is taken as it is."""
        return self.step == 1 and float(self.first).is_integer()


def interpolate(values: Array, axis: int, points: Points) -> Array:
    """Return values at points, by linear interpolation with antialiasing.

    The mean of the voxels around a point, weighted by a triangle whose half width is a voxel, or
    the distance of points where that is more. Near an edge the weights of the voxels that there are
    add up to 1. A point beyond the outer edges gets the value on the edge.

    Returns:
        `values`, of any shape, with another length along `axis`; float32, or the type of `values`
        where voxels are taken as they are.
    """
    reach = max(points.step, 1.0)
    taps = int(np.ceil(2 * reach))  # voxels that are nearer to a point than that, at most

    def mean(source: Array, places: Array) -> Array:
        index = np.floor(places - reach).astype(int)[:, None] + 1 + np.arange(taps)
        weights = (1 - np.abs(index - places[:, None]) / reach).clip(0)
        weights[(index < 0) | (index >= len(source))] = 0
        weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
        index = index.clip(0, len(source) - 1)
        total = np.zeros((len(places), *source.shape[1:]), np.float32)
        shape = (-1, *[1] * (source.ndim - 1))
        for tap in range(taps):
            total += source[index[:, tap]] * weights[:, tap].reshape(shape)
        return total

    return _each(values, axis, points, mean)


def nearest(values: Array, axis: int, points: Points) -> Array:
    """Return the voxels of `values`, of any shape, nearest to points along an axis.

    Of two as near, the higher one; beyond the outer edges, the last one.
    """

    def closest(source: Array, places: Array) -> Array:
        voxels: Array = source[np.floor(places + 0.5).astype(int).clip(max=len(source) - 1)]
        return voxels

    return _each(values, axis, points, closest)


def to_own_grid(
    map_: Array, points: Sequence[Points], shape: Sequence[int], crop: Crop | None = None
) -> Array:
    """Take a map from the grid of a network's input back to the file's own grid.

    Linear, with antialiasing where the voxels of the file are the larger ones. Zero beyond the
    network's input, and around the crop.

    Args:
        map_: One axis for each of `points`.
        points: That the input was made of, as of `medcnn.data.prepared.geometry.own_grid`.
        shape: Of the own grid, along the same axes.
        crop: The part of it that the input was made of; None for all. Its last axes count.

    Returns:
        float32 of that shape.
    """
    back = np.array(map_, np.float32)
    for axis, (taken, length) in enumerate(zip(points, shape, strict=True)):
        wanted = Points(-taken.first / taken.step, 1 / taken.step, length)
        beyond = wanted.outside(back.shape[axis])
        back = np.array(interpolate(back, axis, wanted), np.float32)
        np.moveaxis(back, axis, 0)[beyond] = 0
    if crop is None:
        return back
    kept, part = np.zeros_like(back), tuple(slice(*edges) for edges in crop[-back.ndim :])
    kept[part] = back[part]
    return kept


def _each(values: Array, axis: int, points: Points, take: Callable[[Array, Array], Array]) -> Array:
    """Apply `take` to an axis that is put first, and to places on it, some at a time."""
    length, places = values.shape[axis], points.places()
    if points.are_voxels(length):
        return values
    if points.on_voxels:
        return values.take(places.clip(0, length - 1).astype(int), axis)
    source = np.moveaxis(values, axis, 0)
    inside = places.clip(-0.5, length - 0.5)
    step = max(1, CHUNK * length // values.size)
    taken = [take(source, inside[k : k + step]) for k in range(0, len(inside), step)]
    return np.moveaxis(np.concatenate(taken), 0, axis)
