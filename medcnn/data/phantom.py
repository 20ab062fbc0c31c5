"""Synthetic chest radiographs, made by the program: the data set that is always there."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
import torch

from medcnn.data.anatomy import Draws, draw_anatomy, draw_pose
from medcnn.data.lesion import NORMAL, Lesion, draw_lesion
from medcnn.data.projection import Array, Grid
from medcnn.data.radiograph import (
    WIDTH,
    Body,
    Marker,
    build_body,
    develop,
    expose,
    lay_marker,
    line_integrals,
    marker_coverage,
)
from medcnn.data.samples import SPLITS, Samples
from medcnn.errors import UserError

CLASSES = ("normal", "nodule", "effusion")
MARKER_BOX = ("marker_top", "marker_left", "marker_bottom", "marker_right")
LIMITS = {"nodule_radius": 3.0, "nodule_contrast": 2.0, "effusion_depth": 10.0}
BLOCK = 16  # films made at a time: few enough for their arrays to stay in the processor's cache


def phantom(
    *,
    size: int = 64,
    patients: int = 450,
    images_per_patient: int = 2,
    class_shares: Mapping[str, float] | None = None,
    split_shares: Mapping[str, float] | None = None,
    dose: float = 20_000,
    nodule_radius: Sequence[float] = (1.7, 2.5),
    nodule_contrast: Sequence[float] = (0.9, 1.3),
    effusion_depth: Sequence[float] = (1.6, 4.0),
    bits: int = 8,
    shortcut: float | None = None,
    seed: int = 0,
) -> Samples:
    """Makes chest radiographs of three classes: normal, nodule and effusion.

    A body of ellipsoids, drawn anew for each patient and posed anew for each film, is X-rayed along
    parallel rays from back to front: exact chords, Beer-Lambert's law, Poisson noise, logarithm,
    window (`medcnn.data.radiograph`). A nodule is a solid ellipsoid within a lung; an effusion is
    fluid that fills the lower, outer and back end of one. All films of a patient have one class and
    lie in one split. The first patients stay the same when `patients` grows.

    Args:
        size: Pixels an edge; the film is always 31 cm wide.
        patients: How many.
        images_per_patient: Films of each.
        class_shares: Share of each class among the patients, by name, in any unit; None for equal.
        split_shares: Share of train, val and test, the same in each class; None for 64, 12, 24.
        dose: Photons that reach a pixel where there is no body; exposures vary by ±20 %.
        nodule_radius: Lowest and highest mean radius, cm (at most 3; a mass above 1.5, strictly).
        nodule_contrast: Lowest and highest; 1 attenuates like soft tissue, 0 like lung.
        effusion_depth: Lowest and highest, cm by which the fluid lifts the lung (at most 10).
        bits: 8 or 16 of a pixel.
        shortcut: Probability that a film marker (a lead L in a corner) is there on a film with a
            lesion, and isn't on one without; None for no marker on any film.
        seed: Of all that is random.

    Returns:
        Samples of task multiclass; images (N, 1, size, size) uint8 or uint16; masks of the pixels
        whose rays meet the nodule, or at least 2 cm of fluid. The table has a column ``marker`` (0
        or 1) and, with a shortcut, ``marker_top``, ``marker_left``, ``marker_bottom``,
        ``marker_right``: the pixels of its box, the last two exclusive; all 0 where there is none.

    Raises:
        UserError: An option has a wrong value; or there are too few patients for every split to
            hold every class.

    Example:
        >>> samples = phantom(size=32, patients=30)
        >>> tuple(samples.images.shape), samples.class_names
        ((60, 1, 32, 32), ('normal', 'nodule', 'effusion'))
    """
    _check_counts(size, patients, images_per_patient, bits, seed)
    _check_dose_and_shortcut(dose, shortcut)
    ranges = {
        "radius": _checked_range("nodule_radius", nodule_radius),
        "contrast": _checked_range("nodule_contrast", nodule_contrast),
        "depth": _checked_range("effusion_depth", effusion_depth),
    }
    kind = apportion(_checked_shares("class_shares", class_shares, CLASSES, (1, 1, 1)), patients)
    split = _split(kind, _checked_shares("split_shares", split_shares, SPLITS, (64, 12, 24)))
    films = _draw_films(kind, images_per_patient, ranges, shortcut, seed)
    grid = Grid(size, WIDTH)
    images, masks = _take_films(films, grid, float(dose), bits)
    owner = np.repeat(np.arange(patients), images_per_patient)
    table = pd.DataFrame(
        {
            "image": np.arange(len(owner)),
            "patient": [f"p{patient:04d}" for patient in owner],
            "split": np.array(SPLITS)[split[owner]],
            "label": kind[owner],
            "marker": films.marker.present.astype(np.int64),
        }
    )
    if shortcut is not None:
        table[list(MARKER_BOX)] = films.marker.boxes(grid)
    return Samples(
        name="phantom",
        table=table,
        images=torch.from_numpy(images)[:, None],
        task="multiclass",
        class_names=CLASSES,
        intensity_range=(0.0, float(2**bits - 1)),
        masks=torch.from_numpy(masks),
    )


def apportion(shares: Sequence[float], count: int) -> Array:
    """Puts items into groups so that every beginning of the list has nearly the shares asked for.

    Each item goes to the group that is furthest behind its share, so nothing changes for the first
    items when more follow.

    Returns:
        (count,) int64 group indices.
    """
    target = np.asarray(shares, dtype=np.float64) / np.sum(shares)
    given = np.zeros(len(target))
    groups = np.empty(count, dtype=np.int64)
    for item in range(count):
        groups[item] = np.argmax(np.round(target * (item + 1) - given, 9))  # ties: the first group
        given[groups[item]] += 1
    return groups


def _split(kind: Array, shares: Sequence[float]) -> Array:
    """(patients,) split indices, with the same shares in every class."""
    split = np.empty(len(kind), dtype=np.int64)
    for label, name in enumerate(CLASSES):
        rows = np.flatnonzero(kind == label)
        split[rows] = apportion(shares, len(rows))
        if len(np.unique(split[rows])) < len(SPLITS):
            raise UserError(
                f"dataset.patients={len(kind)}: {len(rows)} of class {name} are too few for one in "
                "each split; ask for more patients, or set dataset.class_shares, split_shares"
            )
    return split


def _generator(seed: int, *key: int) -> np.random.Generator:
    """Random numbers that depend on the seed and the key alone."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


@dataclass
class _Films:
    """What is on each of N films, and the generators of its noise."""

    body: Body
    lesion: Lesion
    exposure: Array
    marker: Marker
    generators: Sequence[np.random.Generator]


def _draw_films(
    kind: Array,
    images_per_patient: int,
    ranges: Mapping[str, Sequence[float]],
    shortcut: float | None,
    seed: int,
) -> _Films:
    """Draws the patients, of kind (patients,), and then their films."""
    owner = np.repeat(np.arange(len(kind)), images_per_patient)
    nth = np.tile(np.arange(images_per_patient), len(kind))
    of_patients = Draws([_generator(seed, 0, patient, 0) for patient in range(len(kind))])
    keys = np.stack([owner, nth], 1).tolist()
    of_films = Draws([_generator(seed, 1, patient, film) for patient, film in keys])
    anatomy = draw_anatomy(of_patients)
    lesion = draw_lesion(of_patients, anatomy, kind, **ranges).take(owner)
    pose = draw_pose(of_films)
    return _Films(
        body=build_body(anatomy.take(owner), pose, lesion),
        lesion=lesion,
        exposure=pose.exposure,
        marker=_draw_marker(of_films, lesion.kind != NORMAL, shortcut),
        generators=of_films.generators,
    )


def _draw_marker(draws: Draws, ill: Array, shortcut: float | None) -> Marker:
    """The marker of each film; the draws don't depend on shortcut, so the film doesn't either."""
    chance, shift = draws.uniform(0, 1), draws.uniform(-0.5, 0.5, 2)
    if shortcut is None:
        return Marker(np.zeros_like(ill), shift)
    return Marker((chance < shortcut) == ill, shift)


def _take_films(films: _Films, grid: Grid, dose: float, bits: int) -> tuple[Array, Array]:
    """Films (N, size, size) uint8 or uint16, and their lesion masks (N, size, size) bool."""
    count = len(films.generators)
    images = np.empty((count, grid.size, grid.size), np.uint8 if bits == 8 else np.uint16)
    masks = np.empty(images.shape, dtype=bool)

    def take(start: int) -> None:
        rows = np.arange(start, min(start + BLOCK, count))
        generators = films.generators[start : start + BLOCK]
        path, masks[rows] = line_integrals(films.body.take(rows), films.lesion.take(rows), grid)
        counts = expose(path, dose * films.exposure[rows], generators)
        for row, photons, generator in zip(rows, counts, generators, strict=True):
            if films.marker.present[row]:
                coverage = marker_coverage(films.marker.shift[row], grid)
                lay_marker(photons, coverage, generator)
        images[rows] = develop(counts, dose, bits)

    with ThreadPoolExecutor(2) as pool:  # in any order: each film has its own generator
        list(pool.map(take, range(0, count, BLOCK)))
    return images, masks


def _check_counts(size: int, patients: int, images_per_patient: int, bits: int, seed: int) -> None:
    """Checks the whole numbers.

    Raises:
        UserError: One isn't a whole number in its range.
    """
    given = {
        "size": (size, 16, 1024),
        "patients": (patients, 1, 1_000_000),
        "images_per_patient": (images_per_patient, 1, 1_000),
        "seed": (seed, 0, 2**63),
    }
    for key, (value, low, high) in given.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or not low <= value <= high:
            raise UserError(f"dataset.{key}={value}: give a whole number {low} … {high}")
    if bits not in (8, 16):
        raise UserError(f"dataset.bits={bits}: choose 8 or 16")


def _check_dose_and_shortcut(dose: float, shortcut: float | None) -> None:
    """Checks the two.

    Raises:
        UserError: One isn't a number in its range.
    """
    if not _is_number(dose) or not 0 < dose <= 1e12:
        raise UserError(f"dataset.dose={dose}: give photons per pixel, more than 0, up to 1e12")
    if shortcut is not None and (not _is_number(shortcut) or not 0 <= shortcut <= 1):
        raise UserError(f"dataset.shortcut={shortcut}: give a probability 0 … 1, or null")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def _checked_range(key: str, value: Sequence[float]) -> tuple[float, float]:
    """The two numbers of a range.

    Raises:
        UserError: They aren't two rising numbers above 0 and within `LIMITS`.
    """
    pair = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if (
        len(pair) != 2
        or not all(_is_number(number) for number in pair)
        or not 0 < pair[0] <= pair[1] <= LIMITS[key]
    ):
        raise UserError(
            f"dataset.{key}={value}: give [lowest, highest], above 0 and up to {LIMITS[key]:g}"
        )
    return float(pair[0]), float(pair[1])


def _checked_shares(
    key: str, value: Mapping[str, float] | None, names: Sequence[str], default: Sequence[float]
) -> list[float]:
    """The shares in the order of names.

    Raises:
        UserError: A name is missing or unknown, or a share isn't a number above 0.
    """
    if value is None:
        return list(default)
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise UserError(f"dataset.{key}={value}: give a share for each of {', '.join(names)}")
    for name in names:
        if not _is_number(value[name]) or value[name] <= 0:
            raise UserError(f"dataset.{key}.{name}={value[name]}: give a number above 0")
    return [float(value[name]) for name in names]
