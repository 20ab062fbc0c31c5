"""A CT volume of a body of ellipsoids: the tissue of each voxel, Hounsfield units, noise."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from medcnn.data.phantom.lesion import EFFUSION, NODULE, Lesion
from medcnn.data.phantom.projection import Array, Ellipsoids, Grid, intervals, patch_of, silhouette
from medcnn.data.phantom.radiograph import BONE, FLUID, LUNG, SOFT, Body

WATER = FLUID  # 1/cm
HU_LIMITS = (-1024, 3071)  # what 12 bits of a scanner hold
CT_RANGE = (-1000.0, 500.0)  # HU that are shown black and white
POINTS = 2  # along each edge of a voxel; the value of a voxel is the mean over its points
THICKNESS = 20.0  # cm of water between source and detector, on average
BEYOND = 1e3  # cm, outside of every ellipsoid


def hounsfield(attenuation: Array | float) -> Array:
    """Return 1000 (µ - µ_water) / µ_water of an attenuation µ in 1/cm."""
    return np.asarray(1000 * (attenuation / WATER - 1))


def noise_level(dose: Array, grid: Grid) -> Array:
    """Return the standard deviation in HU of a voxel's noise, (n,).

    Filtered back projection of m views at the pitch a turns the variance 1/N of a line integral of
    N photons into π² / (12 m a²) / N: the squares of Ramachandran and Lakshminarayanan's filter
    (1971) add up to 1 / (12 a⁴). Here a is a voxel's edge, m is π/2 times the voxels of an edge,
    which just resolves them, and the rays have crossed `THICKNESS` cm of water. The dose (n,) are
    the photons that reach a detector element without a body.
    """
    photons = np.asarray(dose) * np.exp(-WATER * THICKNESS)
    views = np.pi / 2 * grid.size
    return 1000 / WATER * np.pi / (grid.pixel * np.sqrt(12 * views * photons))


def scan(
    body: Body, lesion: Lesion, grid: Grid, dose: Array, generators: Sequence[np.random.Generator]
) -> tuple[Array, Array]:
    """Return volumes with noise, in a cube with the detector's edge, and masks of the lesions.

    The axes are SPL, as a radiologist sees a stack of slices: slices from feet to head, rows from
    front to back, columns from the patient's right to the left. For the dose (n,) see
    `noise_level`; each volume has its own generator.

    Returns:
        (n, size, size, size) int16 Hounsfield units, and the same shape bool: voxels that the
        nodule, or the fluid, fills at least by half.
    """
    fine = Grid(POINTS * grid.size, grid.width)
    tissue, inside = tissues(body, lesion, fine)
    means = _mean_of_points(tissue)
    for volume, sd, generator in zip(means, noise_level(dose, grid), generators, strict=True):
        volume += np.float32(sd) * generator.standard_normal(volume.shape, dtype=np.float32)
    volumes = np.clip(np.rint(means), *HU_LIMITS).astype(np.int16)
    masks = _mean_of_points(inside.view(np.uint8)) >= 0.5
    return volumes[:, :, ::-1], masks[:, :, ::-1]


def tissues(body: Body, lesion: Lesion, grid: Grid) -> tuple[Array, Array]:
    """Return the tissue at each point of a lattice of size³ points, of axes z, y, x.

    Each point holds one tissue: soft tissue fills the trunk, air the lungs, and fluid what an
    effusion takes from one of them; heart, mediastinum and diaphragm displace those, vessels and
    the nodule replace what surrounds them, and bone replaces all.

    Returns:
        (n, size, size, size) int16 Hounsfield units, and bool: whether the point is in the lesion.
    """
    soft, lung, fluid, bone, air = (
        int(np.rint(hounsfield(mu))) for mu in (SOFT, LUNG, FLUID, BONE, 0.0)
    )
    values = np.full((len(lesion.kind), *[grid.size] * 3), air, dtype=np.int16)
    in_fluid = _fluid(body, lesion, grid)
    for parts, value in ((body.trunk, soft), (body.lungs, lung)):
        for part in range(parts.centre.shape[1]):
            np.copyto(values, np.int16(value), where=_inside(parts[:, part], grid))
    np.copyto(values, np.int16(fluid), where=in_fluid)
    for part in range(body.organs.centre.shape[1]):
        organ = _inside(body.organs[:, part], grid)
        np.copyto(values, np.int16(soft), where=organ)
        in_fluid &= ~organ
    for vessels in body.vessels:
        _fill(values, vessels, soft, grid)
    mask = in_fluid
    for row in np.flatnonzero(lesion.kind == NODULE):
        mask[row] = _inside(body.nodule[row], grid)[0]
        nodule = hounsfield(LUNG + lesion.contrast[row] * (SOFT - LUNG))
        values[row][mask[row]] = np.rint(nodule)
    for bones in body.bones:
        _fill(values, bones, bone, grid)
    mask &= values != bone
    return values, mask


def _fluid(body: Body, lesion: Lesion, grid: Grid) -> Array:
    """Return the points (n, z, y, x) bool of a lung with an effusion that its air has left."""
    fluid = np.zeros((len(lesion.kind), *[grid.size] * 3), dtype=bool)
    rows = np.flatnonzero(lesion.kind == EFFUSION)
    if len(rows):
        lung = _inside(body.lungs[rows, lesion.side[rows]], grid)
        fluid[rows] = lung & ~_inside(body.aerated[rows, 0], grid)
    return fluid


def _inside(parts: Ellipsoids, grid: Grid) -> Array:
    """Return points (n, z, y, x) bool inside of n large ellipsoids, along the rays of a film."""
    rays = intervals(parts, grid)
    low, high = (ends[:, ::-1, None] for ends in (rays.low, rays.high))  # the film's top is last
    y = grid.x.astype(np.float32)[:, None]
    return (low < y) & (y < high)


def _fill(values: Array, parts: Ellipsoids, value: int, grid: Grid) -> None:
    """Write a value at the points (n, z, y, x) inside any of k small ellipsoids (n, k).

    Each ellipsoid is sought on a patch that just holds the largest one.
    """
    reach = np.sqrt(np.linalg.inv(parts.matrix).diagonal(axis1=-2, axis2=-1))
    (columns, u), (depths, v), (rows, w) = (
        _patch(parts.centre[..., axis], reach[..., axis], grid) for axis in range(3)
    )
    a, (sxx, sxz, szz) = parts.matrix.astype(np.float32), silhouette(parts)
    ayy = a[..., 1, 1, None, None]
    u, w = u[..., None, :], w[..., None]
    level = sxx[..., None, None] * u**2 + 2 * sxz[..., None, None] * u * w
    half = (1 - level - szz[..., None, None] * w**2).astype(np.float32) / ayy  # half chord, squared
    middle = -(a[..., 0, 1, None, None] * u + a[..., 2, 1, None, None] * w) / ayy
    off = v[..., None, :, None] - middle[..., None, :]  # (n, k, z, y, x)
    off *= off
    n, k, z, y, x = np.nonzero(off < half[..., None, :])
    values[n, rows[n, k, z], depths[n, k, y], columns[n, k, x]] = value


def _patch(centre: Array, reach: Array, grid: Grid) -> tuple[Array, Array]:
    """Return indices (n, k, patch) of points in [centre ± reach], and their offsets, float32.

    Points outside of the lattice are `BEYOND`.
    """
    index, offset = patch_of(centre, reach, grid.x, grid.pixel)
    there = (index >= 0) & (index < grid.size)
    return index, np.where(there, offset, BEYOND).astype(np.float32)


def _mean_of_points(values: Array) -> Array:
    """Return means (n, size, size, size) float32 over the POINTS³ points of each voxel."""
    means: Array = F.avg_pool3d(torch.from_numpy(values).float(), POINTS).numpy()
    return means
