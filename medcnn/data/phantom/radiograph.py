"""A chest film of a body of ellipsoids: attenuation, photons, film marker, grey levels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from medcnn.data.phantom.anatomy import (
    Anatomy,
    Pose,
    make_branches,
    make_clavicles,
    make_end_on,
    make_lungs,
    make_organs,
    make_ribs,
    make_trunk,
    make_vertebrae,
)
from medcnn.data.phantom.attenuation import LEAD, TISSUES, Tissues
from medcnn.data.phantom.lesion import EFFUSION, NODULE, Lesion, make_aerated, make_nodule
from medcnn.data.phantom.projection import (
    Array,
    Ellipsoids,
    Grid,
    chord_sum,
    covered,
    intervals,
    turn,
)

AT_60_KEV = TISSUES[60]  # of films and volumes, unless another energy is asked for
SOFT, LUNG, FLUID, BONE = AT_60_KEV.soft, AT_60_KEV.lung, AT_60_KEV.fluid, AT_60_KEV.bone

WIDTH = 31.0  # of the film, cm
WINDOW = (0.6, 5.2)  # line integrals that are shown black and white
FLUID_SEEN = 2.0  # cm of fluid along its ray from which a pixel belongs to an effusion's mask
# The letter L of 1 mm lead in the film's upper right corner: left, right, bottom, top in cm.
STROKES = ((11.2, 12.1, 10.6, 13.8), (12.1, 13.6, 10.6, 11.5))
LEAD_THICKNESS = 0.1


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
        """Return the body after a change of every batch (N, k) of ellipsoids."""
        parts = [getattr(self, field.name) for field in fields(self)]
        changed: list[Any] = [
            tuple(map(change, part)) if isinstance(part, tuple) else change(part) for part in parts
        ]
        return Body(*changed)

    def take(self, rows: Array) -> "Body":
        """Return the bodies of these films."""
        return self.changed(lambda parts: parts[rows])


def build_body(anatomy: Anatomy, pose: Pose, lesion: Lesion) -> Body:
    """Return the ellipsoids of N films in their poses."""
    lungs = make_lungs(anatomy, pose.breath)
    body = Body(
        trunk=make_trunk(anatomy),
        lungs=lungs,
        aerated=make_aerated(lungs, lesion),
        organs=make_organs(anatomy, pose.breath),
        bones=(make_ribs(anatomy), make_clavicles(anatomy), make_vertebrae(anatomy)),
        vessels=(make_branches(anatomy, lungs), make_end_on(anatomy, lungs)),
        nodule=make_nodule(lungs, lesion),
    )
    rotation = (turn(pose.roll, 1) @ turn(pose.yaw, 2))[:, None]
    return body.changed(lambda parts: parts.moved(rotation, pose.shift[:, None]))


@dataclass
class Marker:
    """The lead letter on each of N films."""

    present: Array  # (N,) bool
    shift: Array  # (N, 2) cm to the right and up, from where `STROKES` puts it

    def boxes(self, grid: Grid) -> Array:
        """Return (N, 4) int64 top, left, bottom, right in pixels, end exclusive; 0 if absent."""
        boxes = np.zeros((len(self.present), 4), dtype=np.int64)
        for row in np.flatnonzero(self.present):
            rows, columns = np.nonzero(marker_coverage(self.shift[row], grid))
            boxes[row] = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        return boxes


def line_integrals(
    body: Body, lesion: Lesion, grid: Grid, at: Tissues = AT_60_KEV
) -> tuple[Array, Array]:
    """Return integrals of the attenuation along the rays of n films, and masks of their lesions.

    Soft tissue fills the trunk; air replaces it where a lung is and neither heart, mediastinum,
    diaphragm nor fluid; bones, vessels and the nodule add their difference to what surrounds them.
    All attenuate as tissues do `at` the energy of the photons.

    Returns:
        (n, size, size) float64 without unit, and (n, size, size) bool: True where the ray
        meets the nodule, or at least `FLUID_SEEN` cm of fluid.
    """
    thorax, *shoulders = (intervals(body.trunk[:, i], grid) for i in range(3))
    soft = thorax.length
    for shoulder in shoulders:
        soft += shoulder.length - (shoulder & thorax).length
    air, fluid = _air_and_fluid(body, lesion, grid)
    path = (
        at.soft * soft.astype(np.float64) - (at.soft - at.lung) * air + (at.fluid - at.soft) * fluid
    )
    for bones in body.bones:
        path += (at.bone - at.soft) * chord_sum(bones, grid)
    for vessels in body.vessels:
        path += (at.soft - at.lung) * chord_sum(vessels, grid)
    mask = fluid >= FLUID_SEEN
    rows = np.flatnonzero(lesion.kind == NODULE)
    if len(rows):
        chord = chord_sum(body.nodule[rows], grid)
        path[rows] += (at.soft - at.lung) * lesion.contrast[rows, None, None] * chord
        mask[rows] = chord > 0
    return path, mask


def _air_and_fluid(body: Body, lesion: Lesion, grid: Grid) -> tuple[Array, Array]:
    """Return the length of aerated lung and of fluid on each ray, (n, size, size) cm each."""
    heart, mediastinum, *domes = (intervals(body.organs[:, i], grid) for i in range(4))
    air = np.zeros_like(heart.low)
    fluid = np.zeros_like(air)
    for side, dome in enumerate(domes):
        lung = intervals(body.lungs[:, side], grid)
        organs = [heart, mediastinum, dome]
        chest = lung.length - covered(lung, organs)
        air += chest
        rows = np.flatnonzero((lesion.kind == EFFUSION) & (lesion.side == side))
        if len(rows):
            dry = lung[rows] & intervals(body.aerated[rows, 0], grid)
            fluid[rows] = chest[rows] - dry.length + covered(dry, [o[rows] for o in organs])
    fluid = np.maximum(fluid, 0)  # of rounding
    return air - fluid, fluid


def expose(path: Array, dose: Array, generators: Sequence[np.random.Generator]) -> Array:
    """Draw the photons (n, size, size) int64 by Poisson, mean dose · exp(-path) (Beer-Lambert).

    Dose (n,) are the photons that reach a pixel without a body; each film has its own generator.
    """
    mean = dose[:, None, None] * np.exp(-path)
    return np.stack([g.poisson(m) for g, m in zip(generators, mean, strict=True)])


def marker_coverage(shift: Array, grid: Grid) -> Array:
    """Return the share (size, size) of each pixel under the lead letter, moved by shift (2,) cm."""
    total = np.zeros((grid.size, grid.size))
    for left, right, bottom, top in STROKES:
        columns = _overlap(grid.x, grid.pixel, left + shift[0], right + shift[0])
        rows = _overlap(grid.z, grid.pixel, bottom + shift[1], top + shift[1])
        total += rows[:, None] * columns
    return total


def _overlap(centres: Array, pixel: float, low: float, high: float) -> Array:
    """Return the share of each pixel, along one axis, between low and high."""
    inside = np.minimum(centres + pixel / 2, high) - np.maximum(centres - pixel / 2, low)
    return np.clip(inside / pixel, 0, 1)


def lay_marker(counts: Array, coverage: Array, generator: np.random.Generator) -> None:
    """Let a binomial share of the photons (size, size) pass the marker, in place.

    The result is Poisson distributed as if the marker had been there from the start, and pixels
    beside the marker keep their count.
    """
    under = coverage > 0
    passing = 1 - coverage[under] * (1 - np.exp(-LEAD * LEAD_THICKNESS))
    counts[under] = generator.binomial(counts[under], passing)


def develop(counts: Array, dose: float, bits: int) -> Array:
    """Return grey levels 0 … 2**bits - 1 of photon counts: air is dark, bone is bright.

    log(dose / counts) estimates the line integral; it is shown linearly between the ends of
    `WINDOW`. A pixel without a photon counts as half a photon.
    """
    shown = (np.log(dose / np.maximum(counts, 0.5)) - WINDOW[0]) / (WINDOW[1] - WINDOW[0])
    grey = np.rint(np.clip(shown, 0, 1) * (2**bits - 1))
    return grey.astype(np.uint8 if bits == 8 else np.uint16)
