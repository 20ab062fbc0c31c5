"""The chest as ellipsoids, in cm: anatomy that varies between patients, pose between their films.

x runs to the image's right (the patient's left, as a chest film is hung), y to the patient's
front, z up. Of a pair, index 0 is the one at the image's left. The large organs (lungs, heart,
mediastinum, diaphragm) displace each other; bones, vessels and the nodule add their attenuation to
what is there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from medcnn.data.projection import (
    Array,
    Ellipsoids,
    ellipsoids,
    join,
    silhouette,
    spheroids,
    turn,
)

NORMAL, NODULE, EFFUSION = 0, 1, 2
SIDES = np.array([-1.0, 1.0])
APEX = 11.5  # height of the lungs' tops
RIBS, RIB_SEGMENTS, VERTEBRAE, BRANCHES, END_ON = 9, 7, 11, 14, 5
CANDIDATES = 40  # places tried for a nodule


class Draws:
    """Uniform random numbers of many independent generators, as arrays with one row each."""

    def __init__(self, generators: Sequence[np.random.Generator]) -> None:
        self.generators = generators

    def uniform(self, low: float, high: float, *shape: int) -> Array:
        """(N, *shape) between low and high."""
        return np.stack([g.uniform(low, high, shape) for g in self.generators])


@dataclass
class Rows:
    """Named arrays with one row an item, which can be picked together."""

    def take(self, rows: Array) -> Self:
        """The same arrays for these rows."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass
class Anatomy(Rows):
    """What differs between patients; lengths in cm, the first axis is the patient."""

    size: Array  # (N, 3) factors of width, depth, height
    lung_width: Array  # (N, 2) semi-axes
    lung_height: Array  # (N, 2)
    dome_top: Array  # (N, 2) height of the diaphragm's domes
    heart: Array  # (N,) factor of the heart's size
    heart_angle: Array  # (N,) radians
    mediastinum: Array  # (N,) half width
    rib_gap: Array  # (N,)
    rib_slope: Array  # (N,) fall of a rib from spine to side
    rib_radius: Array  # (N,)
    spine_bend: Array  # (N,) sideways
    branches: Array  # (N, 2, BRANCHES, 6) numbers in -1 … 1
    end_on: Array  # (N, 2, END_ON, 6)


@dataclass
class Pose(Rows):
    """What differs between a patient's films; the first axis is the film."""

    shift: Array  # (N, 3) cm
    roll: Array  # (N,) radians, in the image plane
    yaw: Array  # (N,) radians, about the patient's long axis
    breath: Array  # (N,) cm that the diaphragm is lower
    exposure: Array  # (N,) factor of the dose


@dataclass
class Lesion(Rows):
    """What lesion a patient has."""

    kind: Array  # (N,) NORMAL, NODULE or EFFUSION
    side: Array  # (N,) 0 or 1
    place: Array  # (N, 3) of the nodule, as a point of the unit ball that the lung is drawn from
    semi_axes: Array  # (N, 3) cm, of the nodule
    contrast: Array  # (N,) of the nodule; 1 is soft tissue, 0 is lung
    depth: Array  # (N,) cm that the fluid stands in the lung's lower end


@dataclass
class Body:
    """The ellipsoids of N films."""

    trunk: Ellipsoids  # (N, 3) thorax and two shoulders
    lungs: Ellipsoids  # (N, 2)
    aerated: Ellipsoids  # (N, 1) the air of a lung with an effusion is in lung ∩ aerated
    organs: Ellipsoids  # (N, 4) heart, mediastinum, two domes
    bones: tuple[Ellipsoids, ...]  # (N, k) each
    vessels: tuple[Ellipsoids, ...]  # (N, k) each
    nodule: Ellipsoids  # (N, 1), of a film with a nodule

    def changed(self, change: Callable[[Ellipsoids], Ellipsoids]) -> "Body":
        """The body after a change of every batch (N, k) of ellipsoids."""
        return Body(
            trunk=change(self.trunk),
            lungs=change(self.lungs),
            aerated=change(self.aerated),
            organs=change(self.organs),
            bones=tuple(map(change, self.bones)),
            vessels=tuple(map(change, self.vessels)),
            nodule=change(self.nodule),
        )

    def take(self, rows: Array) -> "Body":
        """The bodies of these films."""
        return self.changed(lambda parts: parts[rows])


def draw_anatomy(draws: Draws) -> Anatomy:
    """One anatomy for each generator."""
    u = draws.uniform
    return Anatomy(
        size=u(0.92, 1.08, 3),
        lung_width=u(5.1, 6.1, 2),
        lung_height=u(11.0, 12.6, 2),
        dome_top=np.array([-4.5, -5.7]) + u(-1.6, 1.6, 1) + u(-0.7, 0.7, 2),
        heart=u(0.82, 1.22),
        heart_angle=u(0.35, 0.8),
        mediastinum=u(2.3, 3.3),
        rib_gap=u(2.1, 2.6),
        rib_slope=u(1.5, 4.0),
        rib_radius=u(0.38, 0.5),
        spine_bend=u(-0.9, 0.9),
        branches=u(-1, 1, 2, BRANCHES, 6),
        end_on=u(-1, 1, 2, END_ON, 6),
    )


def draw_pose(draws: Draws) -> Pose:
    """One pose for each generator."""
    u = draws.uniform
    return Pose(
        shift=u(-1, 1, 3) * [1.3, 0, 1.3] - [0, 0, 1.5],
        roll=u(-0.09, 0.09),
        yaw=u(-0.1, 0.1),
        breath=u(-1.0, 1.0),
        exposure=np.exp(u(-0.2, 0.2)),
    )


def draw_lesion(
    draws: Draws,
    anatomy: Anatomy,
    kind: Array,
    *,
    radius: Sequence[float],
    contrast: Sequence[float],
    depth: Sequence[float],
) -> Lesion:
    """One lesion for each generator and anatomy, of kind (N,); the ranges are (low, high)."""
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


def build_body(anatomy: Anatomy, pose: Pose, lesion: Lesion) -> Body:
    """The ellipsoids of N films in their poses."""
    lungs, organs = _lungs(anatomy, pose.breath), _organs(anatomy, pose.breath)
    body = Body(
        trunk=_trunk(anatomy),
        lungs=lungs,
        aerated=_aerated(lungs, lesion),
        organs=organs,
        bones=(_ribs(anatomy), _clavicles(anatomy), _vertebrae(anatomy)),
        vessels=(_branches(anatomy, lungs), _end_on(anatomy, lungs)),
        nodule=_nodule(lungs, lesion),
    )
    rotation = (turn(pose.roll, 1) @ turn(pose.yaw, 2))[:, None]
    return body.changed(lambda parts: parts.moved(rotation, pose.shift[:, None]))


def _points(*coordinates: Array | float) -> Array:
    """Coordinates that broadcast to (...), as points (..., 3)."""
    return np.stack(np.broadcast_arrays(*coordinates), -1)


def _scaled(parts: Ellipsoids, anatomy: Anatomy) -> Ellipsoids:
    """Parts (N, k) of a standard chest, in each patient's width, depth and height."""
    return parts.moved((anatomy.size[:, None] * np.eye(3))[:, None], np.zeros(3))


def _trunk(anatomy: Anatomy) -> Ellipsoids:
    zero = np.zeros((len(anatomy.heart), 1))
    thorax = ellipsoids(_points(zero, 0.0, -6.0), _points(zero + 15.0, 10.8, 45.0))
    shoulders = ellipsoids(
        _points(zero + SIDES * 14.5, -1.0, 12.5), _points(zero + 6.5 * SIDES**2, 5.5, 7.0)
    )
    return _scaled(join([thorax, shoulders]), anatomy)


def _lungs(anatomy: Anatomy, breath: Array) -> Ellipsoids:
    """Long ellipsoids that lean inwards at the top; breathing in lengthens them downwards."""
    height = anatomy.lung_height + breath[:, None] / 2
    centre = _points(SIDES * 7.0, 0.0, APEX - height)
    lean = turn(-SIDES * 0.12, 1)
    return _scaled(ellipsoids(centre, _points(anatomy.lung_width, 7.8, height), lean), anatomy)


def _organs(anatomy: Anatomy, breath: Array) -> Ellipsoids:
    """Heart, mediastinum and the two domes of the diaphragm."""
    zero = np.zeros_like(breath)
    heart = ellipsoids(
        _points(zero + 2.0, 3.5, -3.6 - breath / 2)[:, None],
        anatomy.heart[:, None, None] * np.array([5.6, 4.6, 4.3]),
        turn(anatomy.heart_angle, 1)[:, None],
    )
    mediastinum = ellipsoids(
        _points(zero, -0.5, 2.0)[:, None], _points(anatomy.mediastinum, 6.0, 15.0)[:, None]
    )
    dome_top = anatomy.dome_top - breath[:, None]
    domes = ellipsoids(
        _points(SIDES * 6.2, 0.5, dome_top - 9.0), _points(zero[:, None] + 7.2 * SIDES**2, 9.0, 9.0)
    )
    return _scaled(join([heart, mediastinum, domes]), anatomy)


def _ribs(anatomy: Anatomy) -> Ellipsoids:
    """Arcs from the spine round the side to the front, falling on the way."""
    n = len(anatomy.heart)
    angle = np.linspace(0.2, 2.3, RIB_SEGMENTS + 1)
    level = np.arange(RIBS)[:, None]
    top = APEX + 0.5 - anatomy.rib_gap[:, None, None] * level  # (n, ribs, 1)
    slope = anatomy.rib_slope[:, None, None] * (0.4 + 0.1 * level)
    width = 13.8 * np.sqrt(1 - (np.maximum(top, 0) / 16) ** 2)
    z = top - slope * (1 - np.cos(angle))
    arcs = [_points(s * width * np.sin(angle), -9.0 * np.cos(angle), z) for s in SIDES]
    points = np.stack(arcs, 1)  # (n, 2, ribs, segments + 1, 3)
    radius = np.broadcast_to(anatomy.rib_radius[:, None, None, None], (n, 2, RIBS, RIB_SEGMENTS))
    parts = spheroids(points[..., :-1, :], points[..., 1:, :], radius)
    flat = Ellipsoids(parts.centre.reshape(n, -1, 3), parts.matrix.reshape(n, -1, 3, 3))
    return _scaled(flat, anatomy)


def _clavicles(anatomy: Anatomy) -> Ellipsoids:
    zero = np.zeros((len(anatomy.heart), 2))
    inner = _points(zero + SIDES * 1.5, 6.0, 9.3)
    middle = _points(zero + SIDES * 6.5, 6.5, 10.2)
    outer = _points(zero + SIDES * 12.0, 2.0, 12.5)
    radius = zero + 0.55
    return _scaled(
        join([spheroids(inner, middle, radius), spheroids(middle, outer, radius)]), anatomy
    )


def _vertebrae(anatomy: Anatomy) -> Ellipsoids:
    z = 14.0 - 2.9 * np.arange(VERTEBRAE)
    x = anatomy.spine_bend[:, None] * np.sin(z / 9)
    return _scaled(ellipsoids(_points(x, -6.0, z), _points(x * 0 + 1.7, 1.5, 1.35)), anatomy)


def _tree(anatomy: Anatomy, lungs: Ellipsoids, numbers: Array) -> tuple[Array, Array]:
    """Hila and the ends of branches, (N, 2, k, 3): the ends lie at 0.8 of the way to the pleura."""
    root = np.linalg.cholesky(np.linalg.inv(lungs.matrix))[:, :, None]
    hilum = _points(-SIDES * 0.55, 0.0, 0.05)[None, :, None]
    outward = numbers * [0.7, 0.6, 1.0] + _points(SIDES * 0.35, 0.0, 0.0)[None, :, None]
    ends = 0.8 * outward / np.linalg.norm(outward, axis=-1, keepdims=True)

    def place(points: Array) -> Array:
        return lungs.centre[:, :, None] + np.einsum("...ij,...j->...i", root, points)

    return place(np.broadcast_to(hilum, ends.shape)), place(ends)


def _branches(anatomy: Anatomy, lungs: Ellipsoids) -> Ellipsoids:
    """Vessels that leave the hilum, each thinner towards its end."""
    numbers = anatomy.branches
    hilum, ends = _tree(anatomy, lungs, numbers[..., :3])
    n = len(numbers)
    bend = hilum + 0.5 * (ends - hilum) + 0.6 * numbers[..., 3:6]
    radius = 0.36 + 0.1 * numbers[..., 3]
    near, far = spheroids(hilum, bend, radius), spheroids(bend, ends, 0.7 * radius)
    both = [
        Ellipsoids(p.centre.reshape(n, -1, 3), p.matrix.reshape(n, -1, 3, 3)) for p in (near, far)
    ]
    return join(both)


def _end_on(anatomy: Anatomy, lungs: Ellipsoids) -> Ellipsoids:
    """Vessels seen along their axis: round and dense like a nodule, but smaller."""
    numbers = anatomy.end_on
    hilum, ends = _tree(anatomy, lungs, numbers[..., :3])
    middle = hilum + (0.45 + 0.3 * numbers[..., 3:4]) * (ends - hilum)
    half = np.concatenate([0.3 * numbers[..., 4:5], np.ones_like(middle[..., :1])], -1)
    half = np.concatenate([half, 0.3 * numbers[..., 5:6]], -1)
    parts = spheroids(middle - half, middle + half, 0.5 + 0.15 * numbers[..., 5])
    n = len(numbers)
    return Ellipsoids(parts.centre.reshape(n, -1, 3), parts.matrix.reshape(n, -1, 3, 3))


def _aerated(lungs: Ellipsoids, lesion: Lesion) -> Ellipsoids:
    """The lung with the lesion, moved up, in and forwards.

    What the lung loses by that is a crescent at its lower, outer and back end: the fluid.
    """
    lung = lungs[np.arange(len(lesion.side)), lesion.side]
    lift = lesion.depth
    shift = _points(-0.3 * SIDES[lesion.side] * lift, 0.2 * lift, lift)
    return lung.moved(np.eye(3), shift)[:, None]


def _nodule(lungs: Ellipsoids, lesion: Lesion) -> Ellipsoids:
    lung = lungs[np.arange(len(lesion.side)), lesion.side]
    root = np.linalg.cholesky(np.linalg.inv(lung.matrix))
    centre = lung.centre + np.einsum("...ij,...j->...i", root, lesion.place)
    return ellipsoids(centre, lesion.semi_axes)[:, None]


def _free_place(anatomy: Anatomy, side: Array, radius: Array, places: Array) -> Array:
    """The first of the places (N, k, 3) where a nodule is in the lung, clear of organs.

    Clear of the heart and the mediastinum, and not in the shadow of the diaphragm. If none is, a
    place high in the lung, towards its side.
    """
    still = np.zeros(len(side))
    lungs, organs = _lungs(anatomy, still), _organs(anatomy, still)
    lung = lungs[np.arange(len(side)), side]
    root = np.linalg.cholesky(np.linalg.inv(lung.matrix))[:, None]
    points = lung.centre[:, None] + np.einsum("...ij,...j->...i", root, places)
    margin = 1.2 * radius
    free = np.less(lung.grown(-margin)[:, None].level(points), 1)
    swollen = organs.grown(margin[:, None])
    free &= (swollen[:, :2, None].level(points[:, None]) > 1).all(1)
    sxx, sxz, szz = (s[:, 2:, None] for s in silhouette(organs))
    u, _, w = np.moveaxis(points[:, None] - organs.centre[:, 2:, None], -1, 0)
    free &= (sxx * u**2 + 2 * sxz * u * w + szz * w**2 > 1).all(1)
    high = _points(SIDES[side] * 0.2, 0.0, 0.4)
    first = places[np.arange(len(side)), free.argmax(1)]
    return np.where(free.any(1)[:, None], first, high)
