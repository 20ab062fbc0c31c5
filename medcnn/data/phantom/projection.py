"""Parallel X-rays through ellipsoids: the ends and lengths of each ray's way through them.

Coordinates are in cm: x to the image's right, y along the rays (the patient's front is positive),
z up. A point p lies in an ellipsoid of centre c and matrix A where (p-c)ᵀ A (p-c) ≤ 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from medcnn.data.image import Array


@dataclass
class Ellipsoids:
    """A batch of ellipsoids.

    Args:
        centre: (..., 3), cm.
        matrix: (..., 3, 3), 1/cm², symmetric and positive definite.
    """

    centre: Array
    matrix: Array

    def __getitem__(self, index: Any) -> "Ellipsoids":
        return Ellipsoids(self.centre[index], self.matrix[index])

    def moved(self, linear: Array, shift: Array) -> "Ellipsoids":
        """Return the bodies after p → M p + t, with M (..., 3, 3) and t (..., 3) in cm."""
        back = np.linalg.inv(linear)
        centre = np.einsum("...ij,...j->...i", linear, self.centre) + shift
        return Ellipsoids(centre, back.swapaxes(-1, -2) @ self.matrix @ back)

    def grown(self, margin: Array) -> "Ellipsoids":
        """Return the bodies with every semi-axis longer (or shorter) by margin (...), cm."""
        values, axes = np.linalg.eigh(self.matrix)
        values = (1 / np.sqrt(values) + np.asarray(margin)[..., None]) ** -2
        return Ellipsoids(self.centre, (axes * values[..., None, :]) @ axes.swapaxes(-1, -2))

    def flat(self) -> "Ellipsoids":
        """Return the bodies as one batch (N, k)."""
        n = len(self.centre)
        return Ellipsoids(self.centre.reshape(n, -1, 3), self.matrix.reshape(n, -1, 3, 3))

    def at(self, ball: Array) -> Array:
        """Return points c + L b (..., 3) for points b of the unit ball, with A⁻¹ = L Lᵀ."""
        root = np.linalg.cholesky(np.linalg.inv(self.matrix))
        return self.centre + np.einsum("...ij,...j->...i", root, ball)

    def level(self, points: Array) -> Array:
        """Return (p-c)ᵀ A (p-c) of points (..., 3): below 1 inside, above 1 outside."""
        offset = points - self.centre
        return np.einsum("...i,...ij,...j->...", offset, self.matrix, offset)


@dataclass
class Intervals:
    """Parts of rays inside convex bodies: cm along each ray, empty where high ≤ low."""

    low: Array
    high: Array

    def __and__(self, other: "Intervals") -> "Intervals":
        return Intervals(np.maximum(self.low, other.low), np.minimum(self.high, other.high))

    def __getitem__(self, index: Any) -> "Intervals":
        return Intervals(self.low[index], self.high[index])

    @property
    def length(self) -> Array:
        """Length inside, cm."""
        return np.maximum(self.high - self.low, 0)


class Grid(NamedTuple):
    """The detector: size × size square pixels over width × width cm, read at their centres."""

    size: int
    width: float

    @property
    def pixel(self) -> float:
        """Side of a pixel in cm."""
        return self.width / self.size

    @property
    def x(self) -> Array:
        """(size,) centres of the columns in cm, rising from left to right."""
        return (np.arange(self.size) + 0.5) * self.pixel - self.width / 2

    @property
    def z(self) -> Array:
        """(size,) centres of the rows in cm, falling from top to bottom."""
        return -self.x


def join(parts: Sequence[Ellipsoids]) -> Ellipsoids:
    """Join batches (N, a), (N, b), … to one batch (N, a + b + …)."""
    return Ellipsoids(
        np.concatenate([part.centre for part in parts], 1),
        np.concatenate([part.matrix for part in parts], 1),
    )


def ellipsoids(centre: Array, semi_axes: Array, rotation: Array | None = None) -> Ellipsoids:
    """Return ellipsoids of centre and semi-axes (..., 3) in cm, turned about their centres."""
    matrix = np.eye(3) / np.square(semi_axes)[..., None, :]
    if rotation is not None:
        matrix = rotation @ matrix @ rotation.swapaxes(-1, -2)
    return Ellipsoids(centre, matrix)


def spheroids(start: Array, end: Array, radius: Array, reach: float = 0.6) -> Ellipsoids:
    """Return ellipsoids along segments from start to end (..., 3), of radius (...) in cm.

    The half-length is `reach` times the segment. At 0.6, the chain along a smooth curve has a
    nearly even thickness: on its axis the chords add up to 0.75 … 1.1 of one diameter.
    """
    segment = end - start
    length = np.linalg.norm(segment, axis=-1)[..., None, None]
    along = segment[..., :, None] * segment[..., None, :] / length**2
    across = np.eye(3) - along
    matrix = across / np.square(radius)[..., None, None] + along / (reach * length) ** 2
    return Ellipsoids((start + end) / 2, matrix)


def turn(angle: Array, axis: int) -> Array:
    """Return rotations (..., 3, 3) by angles (...) in radians about axis 0, 1 or 2 (x, y, z)."""
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    matrix = np.zeros((*np.shape(angle), 3, 3))
    matrix[..., axis, axis] = 1
    matrix[..., i, i] = matrix[..., j, j] = np.cos(angle)
    matrix[..., j, i] = np.sin(angle)
    matrix[..., i, j] = -matrix[..., j, i]
    return matrix


def silhouette(body: Ellipsoids) -> tuple[Array, Array, Array]:
    """Return the ellipse sxx u² + 2 sxz u w + szz w² ≤ 1 of a shadow, (u, w) = (x, z)-c.

    It is the Schur complement of A with respect to y: the smallest level along each ray.
    """
    a = body.matrix
    ayy = a[..., 1, 1]
    sxx = a[..., 0, 0] - a[..., 0, 1] ** 2 / ayy
    sxz = a[..., 0, 2] - a[..., 0, 1] * a[..., 2, 1] / ayy
    szz = a[..., 2, 2] - a[..., 2, 1] ** 2 / ayy
    return sxx, sxz, szz


def intervals(body: Ellipsoids, grid: Grid) -> Intervals:
    """Return the part of every pixel's ray inside each of n ellipsoids.

    The ray at (x, z) meets the ellipsoid where Ayy v² + 2 (Axy u + Azy w) v + … = 1; with the
    silhouette's level s(u, w) the middle is v = -(Axy u + Azy w) / Ayy and the half chord
    √((1 - s) / Ayy).

    Returns:
        Intervals (n, size, size), float32.
    """
    a, (sxx, sxz, szz) = body.matrix, silhouette(body)
    ayy = a[:, 1, 1, None]
    u, w = grid.x - body.centre[:, :1], grid.z - body.centre[:, 2:]  # (n, size) each
    in_x = ((1 - sxx[:, None] * u**2) / ayy).astype(np.float32)
    in_z = (-szz[:, None] * w**2 / ayy).astype(np.float32)
    cross = (-2 * sxz[:, None] * u / ayy).astype(np.float32)
    half = cross[:, None, :] * w.astype(np.float32)[:, :, None]
    half += in_x[:, None, :]
    half += in_z[:, :, None]
    half = np.sqrt(np.maximum(half, 0, out=half), out=half)
    middle_x = (body.centre[:, 1:2] - a[:, 0, 1, None] * u / ayy).astype(np.float32)
    middle_z = (-a[:, 2, 1, None] * w / ayy).astype(np.float32)
    middle = middle_x[:, None, :] + middle_z[:, :, None]
    return Intervals(middle - half, middle + half)


def covered(rays: Intervals, bodies: Sequence[Intervals]) -> Array:
    """Return the cm of each ray's interval in the union of bodies (inclusion and exclusion)."""
    total = np.zeros_like(rays.low)
    for count in range(1, len(bodies) + 1):
        for group in combinations(bodies, count):
            common = rays
            for body in group:
                common = common & body
            total += common.length if count % 2 else -common.length
    return total


def chord_sum(parts: Ellipsoids, grid: Grid) -> Array:
    """Return the sum of the chords of many small ellipsoids (n, k) in each of n images.

    Each part is computed on a patch that just holds the largest part's shadow. Where parts
    overlap, their chords add up.

    Returns:
        (n, size, size) float64, cm.
    """
    sxx, sxz, szz = silhouette(parts)
    determinant = sxx * szz - sxz**2
    reach_x, reach_z = np.sqrt(szz / determinant), np.sqrt(sxx / determinant)
    columns, x = patch_of(parts.centre[..., 0], reach_x, grid.x, grid.pixel)
    rows, z = patch_of(-parts.centre[..., 2], reach_z, grid.x, grid.pixel)
    u, w = x.astype(np.float32), -z.astype(np.float32)  # (n, k, patch) each
    scale = (4 / parts.matrix[..., 1, 1]).astype(np.float32)[..., None]  # chord² = 4 (1 - s) / Ayy
    square = (-2 * sxz[..., None] * scale * u).astype(np.float32)[..., None, :] * w[..., :, None]
    square += (scale * (1 - sxx[..., None] * u**2)).astype(np.float32)[..., None, :]
    square -= (scale * szz[..., None] * w**2).astype(np.float32)[..., :, None]
    chords = np.sqrt(np.maximum(square, 0, out=square), out=square)
    return _scatter(chords, rows, columns, grid.size)


def patch_of(centre: Array, reach: Array, axis: Array, pixel: float) -> tuple[Array, Array]:
    """Return pixel indices (n, k, patch) that hold [centre ± reach], and their offsets."""
    size = int(np.ceil(2 * reach.max() / pixel)) + 1
    first = np.ceil((centre - reach - axis[0]) / pixel).astype(np.int64)
    first = np.clip(first, -size, len(axis))  # parts outside of the image stay outside
    index = first[..., None] + np.arange(size)
    return index, axis[0] + index * pixel - centre[..., None]


def _scatter(values: Array, rows: Array, columns: Array, size: int) -> Array:
    """Add patches (n, k, h, w) into images (n, size, size), but for parts outside."""
    n, _, height, width = values.shape
    tall, wide = size + 2 * height, size + 2 * width  # a margin for patches beyond the edge
    rows = rows + height + tall * np.arange(n)[:, None, None]
    index = rows[..., :, None] * wide + (columns + width)[..., None, :]
    canvas = np.bincount(index.ravel(), values.ravel(), n * tall * wide).reshape(n, tall, wide)
    return canvas[:, height : height + size, width : width + size]
