"""Values at evenly spaced points along one axis of an image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medcnn.data.image import Array

NEARLY = 1e-5  # of a voxel: what counts as the same place


@dataclass(frozen=True)
class Points:
    """Evenly spaced points along an axis, in units of its voxels (0: the first one's centre).

    Args:
        first: Where the first point lies.
        step: From point to point.
        count: How many.
    """

    first: float
    step: float
    count: int

    def places(self) -> Array:
        """Where the points lie, (count,)."""
        return self.first + self.step * np.arange(self.count)

    def outside(self, length: int) -> Array:
        """Which points lie beyond the outer edges of the voxels of an axis, (count,) bool."""
        places = self.places()
        return (places < -0.5 - NEARLY) | (places > length - 0.5 + NEARLY)

    @property
    def on_voxels(self) -> bool:
        """Whether each voxel is taken as it is."""
        return self.step == 1 and float(self.first).is_integer()


def interpolate(values: Array, axis: int, points: Points) -> Array:
    """Values at points, by linear interpolation with antialiasing.

    The mean of the voxels around a point, weighted by a triangle whose half width is a voxel, or
    the distance of points where that is more. Near an edge the weights of the voxels that there are
    add up to 1. A point beyond the outer edges gets the value on the edge.

    Args:
        values: Any shape.
        axis: Which axis is resampled.
        points: Where.

    Returns:
        `values` with another length along `axis`; float32, or the type of `values` where voxels are
        taken as they are.
    """
    reach = max(points.step, 1.0)

    def mean(source: Array, place: float) -> Array:
        low = max(int(np.floor(place - reach)) + 1, 0)
        high = min(int(np.ceil(place + reach)), len(source))
        weights = 1 - np.abs(np.arange(low, high) - place) / reach
        weights /= weights.sum()
        block = source[low:high].astype(np.float32)
        flat = weights.astype(np.float32) @ block.reshape(len(block), -1)
        return np.reshape(flat, block.shape[1:])

    return _each(values, axis, points, mean)


def nearest(values: Array, axis: int, points: Points) -> Array:
    """The values of the voxels nearest to points, of two as near the higher one's.

    Args:
        values: Any shape.
        axis: Which axis is resampled.
        points: Where; beyond the outer edges it is the last voxel.

    Returns:
        `values` with another length along `axis`.
    """

    def closest(source: Array, place: float) -> Array:
        voxel: Array = source[min(int(np.floor(place + 0.5)), len(source) - 1)]
        return voxel

    return _each(values, axis, points, closest)


def _each(
    values: Array, axis: int, points: Points, value: Callable[[Array, float], Array]
) -> Array:
    """One value, of all lines along the axis at once, a point."""
    length, places = values.shape[axis], points.places()
    if points.on_voxels:
        if np.array_equal(places, np.arange(length)):
            return values
        return values.take(places.clip(0, length - 1).astype(int), axis)
    source = np.moveaxis(values, axis, 0)
    inside = places.clip(-0.5, length - 0.5)
    return np.moveaxis(np.stack([value(source, float(place)) for place in inside]), 0, axis)
