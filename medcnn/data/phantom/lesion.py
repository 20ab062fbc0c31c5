"""Lesions of the chest: place, size, and the ellipsoids that they are made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medcnn.data.phantom.anatomy import SIDES, Anatomy, Draws, Rows, make_lungs, make_organs, xyz
from medcnn.data.phantom.attenuation import Tissues
from medcnn.data.phantom.projection import Array, Ellipsoids, ellipsoids, silhouette

NORMAL, NODULE, EFFUSION = 0, 1, 2
CANDIDATES = 40  # places tried for a nodule
CALCIUM, DENSE = 0.3, 0.6  # share of a nodule's volume that is cortical bone: calcified, densely so


@dataclass
class Lesion(Rows):
    """The lesions of N patients."""

    kind: Array  # (N,) NORMAL, NODULE or EFFUSION
    side: Array  # (N,) 0 or 1
    place: Array  # (N, 3) of the nodule, as a point of the unit ball that the lung is drawn from
    semi_axes: Array  # (N, 3) cm, of the nodule
    contrast: Array  # (N,) of the nodule; 1 is soft tissue, 0 is lung
    depth: Array  # (N,) cm that the fluid stands in the lung's lower end


def draw_lesion(
    draws: Draws,
    anatomy: Anatomy,
    kind: Array,
    *,
    radius: Sequence[float],
    contrast: Sequence[float],
    depth: Sequence[float],
) -> Lesion:
    """Draw one lesion for each generator and anatomy, of kind (N,); the ranges are (low, high)."""
    u = draws.uniform
    side = (u(0, 1) < 0.5).astype(np.int64)
    mean = u(radius[0], radius[1])
    return Lesion(
        kind=kind,
        side=side,
        place=_free_place(anatomy, side, mean, u(-1, 1, CANDIDATES, 3)),
        semi_axes=mean[:, None] * u(0.85, 1.15, 3),
        contrast=u(contrast[0], contrast[1]),
        depth=u(depth[0], depth[1]),
    )


def calcified(tissues: Tissues, share: float = CALCIUM) -> float:
    """Return the contrast of a nodule of which a share is cortical bone; 1 is soft tissue."""
    return (tissues.mixed(share) - tissues.lung) / (tissues.soft - tissues.lung)


def make_aerated(lungs: Ellipsoids, lesion: Lesion) -> Ellipsoids:
    """Return the lung with the lesion, (N, 1), moved up, in and forwards.

    It leaves a crescent at its lower, outer and back end: the fluid.
    """
    lung = lungs[np.arange(len(lesion.side)), lesion.side]
    lift = lesion.depth
    shift = xyz(-0.3 * SIDES[lesion.side] * lift, 0.2 * lift, lift)
    return Ellipsoids(lung.centre + shift, lung.matrix)[:, None]


def make_nodule(lungs: Ellipsoids, lesion: Lesion) -> Ellipsoids:
    """Return the nodule, (N, 1), at its place in the lung, which moves with the breath."""
    lung = lungs[np.arange(len(lesion.side)), lesion.side]
    return ellipsoids(lung.at(lesion.place), lesion.semi_axes)[:, None]


def free_places(anatomy: Anatomy, side: Array, radius: Array, places: Array) -> Array:
    """Return whether a nodule at each place (N, k, 3) is in the lung and clear of organs: (N, k).

    Clear of the heart and the mediastinum, and on a film not in the shadow of the diaphragm.
    """
    still = np.zeros(len(side))
    lungs, organs = make_lungs(anatomy, still), make_organs(anatomy, still)
    lung = lungs[np.arange(len(side)), side][:, None]
    points = lung.at(places)
    margin = 1.2 * radius[:, None]
    inside = np.less(lung.grown(-margin).level(points), 1)
    solid = organs.grown(margin)[:, :2, None]
    outside = np.greater(solid.level(points[:, None]), 1).all(1)
    domes = organs[:, 2:, None]
    u, _, w = np.moveaxis(points[:, None] - domes.centre, -1, 0)
    sxx, sxz, szz = silhouette(domes)
    beside = np.greater(sxx * u**2 + 2 * sxz * u * w + szz * w**2, 1).all(1)
    free: Array = inside & outside & beside
    return free


def _free_place(anatomy: Anatomy, side: Array, radius: Array, places: Array) -> Array:
    """Return the first of the places (N, k, 3) that is free; high in the lung if none is."""
    free = free_places(anatomy, side, radius, places)
    high = xyz(SIDES[side] * 0.2, 0.0, 0.4)
    first = places[np.arange(len(side)), free.argmax(1)]
    there: Array = np.any(free, axis=1)
    return np.where(there[:, None], first, high)
