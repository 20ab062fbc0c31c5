"""The chest as ellipsoids, in cm: anatomy that varies between patients, pose between their films.

x runs to the image's right (the patient's left, as a chest film is hung), y to the patient's
front, z up. Of a pair, index 0 is the one at the image's left. The large organs (lungs, heart,
mediastinum, diaphragm) displace each other; bones, vessels and the nodule add their attenuation to
what is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from medcnn.data.phantom.projection import Array, Ellipsoids, ellipsoids, join, spheroids, turn

SIDES = np.array([-1.0, 1.0])
APEX = 11.5  # height of the lungs' tops
RIBS, RIB_SEGMENTS, VERTEBRAE, BRANCHES, END_ON = 9, 7, 11, 14, 5


class Draws:
    """Uniform random numbers of many independent generators, as arrays with one row each."""

    def __init__(self, generators: Sequence[np.random.Generator]) -> None:
        self.generators = generators

    def uniform(self, low: float, high: float, *shape: int) -> Array:
        """Return numbers (N, *shape) between low and high."""
        return np.stack([g.uniform(low, high, shape) for g in self.generators])


@dataclass
class Rows:
    """Named arrays with one row an item, which can be picked together."""

    def take(self, rows: Array) -> Self:
        """Return the same arrays for these rows."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass
class Anatomy(Rows):
    """Differences of patients; lengths in cm, the first axis is the patient."""

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
    """Differences of a patient's films; the first axis is the film."""

    shift: Array  # (N, 3) cm
    roll: Array  # (N,) radians, in the image plane
    yaw: Array  # (N,) radians, about the patient's long axis
    breath: Array  # (N,) cm that the diaphragm is lower
    exposure: Array  # (N,) factor of the dose


def draw_anatomy(draws: Draws) -> Anatomy:
    """Draw one anatomy for each generator."""
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
    """Draw one pose for each generator."""
    u = draws.uniform
    return Pose(
        shift=u(-1, 1, 3) * [1.3, 0, 1.3] - [0, 0, 1.5],
        roll=u(-0.09, 0.09),
        yaw=u(-0.1, 0.1),
        breath=u(-1.0, 1.0),
        exposure=np.exp(u(-0.2, 0.2)),
    )


def xyz(*coordinates: Array | float) -> Array:
    """Return coordinates that broadcast to (...) as points (..., 3)."""
    return np.stack(np.broadcast_arrays(*coordinates), -1)


def _scaled(parts: Ellipsoids, anatomy: Anatomy) -> Ellipsoids:
    """Return parts (N, k) of a standard chest in each patient's width, depth and height."""
    return parts.moved((anatomy.size[:, None] * np.eye(3))[:, None], np.zeros(3))


def make_trunk(anatomy: Anatomy) -> Ellipsoids:
    """Return the thorax and two shoulders, (N, 3), full of soft tissue."""
    zero = np.zeros((len(anatomy.heart), 1))
    thorax = ellipsoids(xyz(zero, 0.0, -6.0), xyz(zero + 15.0, 10.8, 45.0))
    shoulders = ellipsoids(
        xyz(zero + SIDES * 14.5, -1.0, 12.5), xyz(zero + 6.5 * SIDES**2, 5.5, 7.0)
    )
    return _scaled(join([thorax, shoulders]), anatomy)


def make_lungs(anatomy: Anatomy, breath: Array) -> Ellipsoids:
    """Return two long ellipsoids, (N, 2), that lean inwards, and grow with breath (N,) cm."""
    height = anatomy.lung_height + breath[:, None] / 2
    centre = xyz(SIDES * 7.0, 0.0, APEX - height)
    lean = turn(-SIDES * 0.12, 1)
    return _scaled(ellipsoids(centre, xyz(anatomy.lung_width, 7.8, height), lean), anatomy)


def make_organs(anatomy: Anatomy, breath: Array) -> Ellipsoids:
    """Return heart, mediastinum and the two domes of the diaphragm, (N, 4), at breath (N,) cm."""
    zero = np.zeros_like(breath)
    heart = ellipsoids(
        xyz(zero + 2.0, 3.5, -3.6 - breath / 2)[:, None],
        anatomy.heart[:, None, None] * np.array([5.6, 4.6, 4.3]),
        turn(anatomy.heart_angle, 1)[:, None],
    )
    mediastinum = ellipsoids(
        xyz(zero, -0.5, 2.0)[:, None], xyz(anatomy.mediastinum, 6.0, 15.0)[:, None]
    )
    dome_top = anatomy.dome_top - breath[:, None]
    domes = ellipsoids(
        xyz(SIDES * 6.2, 0.5, dome_top - 9.0), xyz(zero[:, None] + 7.2 * SIDES**2, 9.0, 9.0)
    )
    return _scaled(join([heart, mediastinum, domes]), anatomy)


def make_ribs(anatomy: Anatomy) -> Ellipsoids:
    """Return arcs from the spine round the side to the front, falling on the way, (N, k)."""
    n = len(anatomy.heart)
    angle = np.linspace(0.2, 2.3, RIB_SEGMENTS + 1)
    level = np.arange(RIBS)[:, None]
    top = APEX + 0.5 - anatomy.rib_gap[:, None, None] * level  # (n, ribs, 1)
    slope = anatomy.rib_slope[:, None, None] * (0.4 + 0.1 * level)
    width = 13.8 * np.sqrt(1 - (np.maximum(top, 0) / 16) ** 2)
    z = top - slope * (1 - np.cos(angle))
    arcs = [xyz(s * width * np.sin(angle), -9.0 * np.cos(angle), z) for s in SIDES]
    points = np.stack(arcs, 1)  # (n, 2, ribs, segments + 1, 3)
    radius = np.broadcast_to(anatomy.rib_radius[:, None, None, None], (n, 2, RIBS, RIB_SEGMENTS))
    return _scaled(spheroids(points[..., :-1, :], points[..., 1:, :], radius).flat(), anatomy)


def make_clavicles(anatomy: Anatomy) -> Ellipsoids:
    """Return two pieces a side, (N, 4)."""
    zero = np.zeros((len(anatomy.heart), 2))
    inner = xyz(zero + SIDES * 1.5, 6.0, 9.3)
    middle = xyz(zero + SIDES * 6.5, 6.5, 10.2)
    outer = xyz(zero + SIDES * 12.0, 2.0, 12.5)
    radius = zero + 0.55
    return _scaled(
        join([spheroids(inner, middle, radius), spheroids(middle, outer, radius)]), anatomy
    )


def make_vertebrae(anatomy: Anatomy) -> Ellipsoids:
    """Return the bodies of the vertebrae, (N, k), along a spine that bends sideways a little."""
    z = 14.0 - 2.9 * np.arange(VERTEBRAE)
    x = anatomy.spine_bend[:, None] * np.sin(z / 9)
    return _scaled(ellipsoids(xyz(x, -6.0, z), xyz(x * 0 + 1.7, 1.5, 1.35)), anatomy)


def _tree(lungs: Ellipsoids, numbers: Array) -> tuple[Array, Array]:
    """Return hila and ends of branches, (N, 2, k, 3): the ends are 0.8 of the way to the pleura."""
    outward = numbers * [0.7, 0.6, 1.0] + xyz(SIDES * 0.35, 0.0, 0.0)[:, None]
    ends = 0.8 * outward / np.linalg.norm(outward, axis=-1, keepdims=True)
    hilum = xyz(-SIDES * 0.55, 0.0, 0.05)[:, None]
    around = lungs[:, :, None]
    return around.at(np.broadcast_to(hilum, ends.shape)), around.at(ends)


def make_branches(anatomy: Anatomy, lungs: Ellipsoids) -> Ellipsoids:
    """Return vessels from the hilum outwards, (N, k), each in two pieces, the outer one thinner."""
    numbers = anatomy.branches
    hilum, ends = _tree(lungs, numbers[..., :3])
    bend = (hilum + ends) / 2 + 0.6 * numbers[..., 3:]
    radius = 0.36 + 0.1 * numbers[..., 3]
    near, far = spheroids(hilum, bend, radius), spheroids(bend, ends, 0.7 * radius)
    return join([near.flat(), far.flat()])


def make_end_on(anatomy: Anatomy, lungs: Ellipsoids) -> Ellipsoids:
    """Return vessels seen along their axis, (N, k): round and dense like a nodule, but smaller."""
    numbers = anatomy.end_on
    hilum, ends = _tree(lungs, numbers[..., :3])
    middle = hilum + (0.45 + 0.3 * numbers[..., 3:4]) * (ends - hilum)
    half = xyz(0.3 * numbers[..., 4], 1.0, 0.3 * numbers[..., 5])
    return spheroids(middle - half, middle + half, 0.5 + 0.15 * numbers[..., 5]).flat()
