"""Synthetic chest radiographs and CT volumes: the data set that is always there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import pandas as pd
import torch

from medcnn.data.phantom import radiograph
from medcnn.data.phantom.anatomy import Draws, draw_anatomy, draw_pose
from medcnn.data.phantom.cases.choice import make_case
from medcnn.data.phantom.ct import CT_RANGE, scan
from medcnn.data.phantom.lesion import NORMAL, Lesion, draw_lesion
from medcnn.data.phantom.options import (
    check_counts,
    check_dose_and_shortcut,
    checked_range,
    checked_shares,
)
from medcnn.data.phantom.patients import apportion, generator_of, in_blocks, split_patients
from medcnn.data.phantom.projection import Array, Grid
from medcnn.data.phantom.radiograph import WIDTH, Body, Marker
from medcnn.data.samples import MARKER_COLUMNS, SPLITS, Samples
from medcnn.errors import UserError

CLASSES = ("normal", "nodule", "effusion")
SIZES = {2: 64, 3: 32}  # pixels or voxels of an edge unless asked for, by spatial_dims
BLOCKS = {2: 16, 3: 4}  # made at a time: few enough for their arrays to stay in the cache


def phantom(
    *,
    case: str = "single",
    spatial_dims: int = 2,
    size: int | None = None,
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
    """Make chest radiographs, or CT volumes, of three classes: normal, nodule and effusion.

    A body of ellipsoids, drawn anew for each patient and posed anew for each film, is X-rayed along
    parallel rays from back to front: exact chords, Beer-Lambert's law, Poisson noise, logarithm,
    window (`medcnn.data.phantom.radiograph`). A nodule is a solid ellipsoid within a lung; an
    effusion is fluid that fills the lower, outer and back end of one. All films of a patient have
    one class and lie in one split. The first patients stay the same when `patients` grows.

    With ``spatial_dims=3`` the same bodies, poses and lesions become small CT volumes in Hounsfield
    units, 31 cm along each edge (`medcnn.data.phantom.ct`); below, a film is then a volume.

    A `case` other than single makes patients of whom one picture doesn't tell, two classes in equal
    shares, a film or a study of each; what makes them hard is fixed, and what they allow at best is
    known (`medcnn.data.phantom.cases`).

    Args:
        case: single; energies, a film at two energies, of which only the difference tells; views,
            two films, one of which hides the nodule; slices, of which few show the nodule; or
            column, a film and a laboratory value. They take size, patients, split_shares, dose,
            bits and seed, and no other option.
        spatial_dims: 2 for films, 3 for volumes.
        size: Pixels or voxels an edge, up to 1024 or 128; None for 64 or 32. The edge is 31 cm.
        patients: Their number.
        images_per_patient: Films of each.
        class_shares: Share of each class among the patients, by name, in any unit; None for equal.
        split_shares: Share of train, val and test, the same in each class; None for 64, 12, 24.
        dose: Photons that reach a pixel where there is no body; exposures vary by ±20 %.
        nodule_radius: Lowest and highest mean radius, cm (at most 3; a mass above 1.5, strictly).
        nodule_contrast: Lowest and highest; 1 attenuates like soft tissue, 0 like lung.
        effusion_depth: Lowest and highest, cm by which the fluid lifts the lung (at most 10).
        bits: 8 or 16 of a film's pixel; a voxel is int16.
        shortcut: Probability that a film marker (a lead L in a corner) is there on a film with a
            lesion, and isn't on one without; None for no marker on any film (or volume).
        seed: Of all that is random.

    Returns:
        Samples of task multiclass; images (N, 1, size, size) uint8 or uint16; masks of the pixels
        whose rays meet the nodule, or at least 2 cm of fluid. The table has a column ``marker`` (0
        or 1) and, with a shortcut, ``marker_top``, ``marker_left``, ``marker_bottom``,
        ``marker_right``: the pixels of its box, the last two exclusive; all 0 where there is none.
        In 3-D images (N, 1, size, size, size) int16, slices from feet to head, rows from front to
        back, columns from the patient's right to the left; masks of the voxels that the lesion
        fills at least by half.

    Raises:
        UserError: An option has a wrong value; or there are too few patients for every split to
            hold every class.

    Example:
        >>> samples = phantom(size=32, patients=30)
        >>> tuple(samples.images.shape), samples.class_names
        ((60, 1, 32, 32), ('normal', 'nodule', 'effusion'))
    """
    if case != "single":
        even = class_shares is None or class_shares == dict.fromkeys(CLASSES, 1)
        _check_left_alone(
            case,
            spatial_dims=spatial_dims,
            images_per_patient=images_per_patient,
            class_shares=None if even else class_shares,
            nodule_radius=nodule_radius,
            nodule_contrast=nodule_contrast,
            effusion_depth=effusion_depth,
            shortcut=shortcut,
        )
        return make_case(
            case,
            size=size,
            patients=patients,
            split_shares=split_shares,
            dose=dose,
            bits=bits,
            seed=seed,
        )
    size = SIZES.get(spatial_dims, 64) if size is None else size
    check_counts(spatial_dims, size, patients, images_per_patient, bits, seed)
    check_dose_and_shortcut(spatial_dims, dose, shortcut)
    ranges = {
        "radius": checked_range("nodule_radius", nodule_radius),
        "contrast": checked_range("nodule_contrast", nodule_contrast),
        "depth": checked_range("effusion_depth", effusion_depth),
    }
    kind = apportion(checked_shares("class_shares", class_shares, CLASSES, (1, 1, 1)), patients)
    shares = checked_shares("split_shares", split_shares, SPLITS, (64, 12, 24))
    split = split_patients(kind, CLASSES, shares)
    films = _draw_films(kind, images_per_patient, ranges, shortcut, seed)
    grid = Grid(size, WIDTH)
    images, masks = _take(films, grid, float(dose), bits, spatial_dims)
    table = _table(films, kind, split)
    if shortcut is not None:
        table[list(MARKER_COLUMNS)] = films.marker.boxes(grid)
    return Samples(
        name="phantom",
        table=table,
        images=torch.from_numpy(images)[:, None],
        task="multiclass",
        class_names=CLASSES,
        intensity_range=CT_RANGE if spatial_dims == 3 else (0.0, float(2**bits - 1)),
        masks=torch.from_numpy(masks),
        orientation="SPL" if spatial_dims == 3 else None,
    )


def _check_left_alone(case: str, **options: Any) -> None:
    """Raise UserError unless these options, which a case doesn't take, have their defaults."""
    defaults = signature(phantom).parameters
    for key, value in options.items():
        usual = defaults[key].default
        if value != usual and not (isinstance(usual, tuple) and [*usual] == value):
            raise UserError(
                f"dataset.{key}={value}: dataset.case={case} doesn't take it; leave it out"
            )


@dataclass
class _Films:
    """Content of N films, and the generators of their noise."""

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
    """Draw the patients, of kind (patients,), and then their films."""
    owner = np.repeat(np.arange(len(kind)), images_per_patient)
    nth = np.tile(np.arange(images_per_patient), len(kind))
    of_patients = Draws([generator_of(seed, 0, patient, 0) for patient in range(len(kind))])
    keys = np.stack([owner, nth], 1).tolist()
    of_films = Draws([generator_of(seed, 1, patient, film) for patient, film in keys])
    anatomy = draw_anatomy(of_patients)
    lesion = draw_lesion(of_patients, anatomy, kind, **ranges).take(owner)
    pose = draw_pose(of_films)
    chance, shift = of_films.uniform(0, 1), of_films.uniform(-0.5, 0.5, 2)  # with any shortcut
    ill = lesion.kind != NORMAL
    present = np.zeros_like(ill) if shortcut is None else (chance < shortcut) == ill
    return _Films(
        body=radiograph.build_body(anatomy.take(owner), pose, lesion),
        lesion=lesion,
        exposure=pose.exposure,
        marker=Marker(present, shift),
        generators=of_films.generators,
    )


def _table(films: _Films, kind: Array, split: Array) -> pd.DataFrame:
    """Return the sample table of films, of patients of kind and split (patients,)."""
    owner = np.repeat(np.arange(len(kind)), len(films.generators) // len(kind))
    columns = {
        "image": np.arange(len(owner)),
        "patient": [f"p{patient:04d}" for patient in owner],
        "split": np.array(SPLITS)[split[owner]],
        "label": kind[owner],
        "marker": films.marker.present.astype(np.int64),
    }
    return pd.DataFrame(columns)


def _take(
    films: _Films, grid: Grid, dose: float, bits: int, spatial_dims: int
) -> tuple[Array, Array]:
    """Make the images of films or volumes (N, size, …), and their lesion masks, bool.

    Some at a time, in any order: each has its own generator.
    """
    count = len(films.generators)
    kind = np.int16 if spatial_dims == 3 else np.uint8 if bits == 8 else np.uint16
    images = np.empty((count, *[grid.size] * spatial_dims), kind)
    masks = np.empty(images.shape, dtype=bool)

    def take(rows: Array) -> None:
        body, lesion = films.body.take(rows), films.lesion.take(rows)
        generators, doses = [films.generators[row] for row in rows], dose * films.exposure[rows]
        if spatial_dims == 3:
            images[rows], masks[rows] = scan(body, lesion, grid, doses, generators)
            return
        path, masks[rows] = radiograph.line_integrals(body, lesion, grid)
        counts = radiograph.expose(path, doses, generators)
        for row, photons, generator in zip(rows, counts, generators, strict=True):
            if films.marker.present[row]:
                coverage = radiograph.marker_coverage(films.marker.shift[row], grid)
                radiograph.lay_marker(photons, coverage, generator)
        images[rows] = radiograph.develop(counts, dose, bits)

    in_blocks(count, BLOCKS[spatial_dims], take)
    return images, masks
