"""Synthetic chest radiographs, made by the program: the data set that is always there.

Each film is a parallel X-ray through a body of ellipsoids (`medcnn.data.anatomy`): the line integral
of the attenuation, Beer-Lambert's law, Poisson noise at a stated dose, the logarithm, and a window.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from medcnn.data.anatomy import (
    Anatomy,
    Body,
    Draws,
    Lesion,
    Pose,
    build_body,
    draw_anatomy,
    draw_lesion,
    draw_pose,
)
from medcnn.data.projection import Array, Grid, chord_sum, covered, intervals
from medcnn.data.samples import SPLITS, Samples
from medcnn.errors import UserError

CLASSES = ("normal", "nodule", "effusion")

# Linear attenuation at 60 keV in 1/cm: mass attenuation × density of NIST's tables (Hubbell &
# Seltzer, NISTIR 5632) for ICRU-44 tissues; the lung inflated (0.26 g/cm³); bone half cortical
# bone (0.3148 cm²/g × 1.92 g/cm³) and half marrow; pleural fluid as water.
SOFT, LUNG, BONE, FLUID = 0.217, 0.053, 0.41, 0.206
LEAD = 57.0 * 0.1  # 1 mm of lead
FIELD = 32.0  # width of the film, cm
WINDOW = (0.6, 5.2)  # line integrals shown as black and white
MASK_FLUID = 0.5  # cm of fluid along the ray from which a pixel counts as effusion
BLOCK = 16  # films computed at a time, so that the arrays stay in the processor's cache


def phantom(
    *,
    size: int = 64,
    patients: int = 450,
    images_per_patient: int = 2,
    class_shares: Mapping[str, float] | None = None,
    split_shares: Mapping[str, float] | None = None,
    dose: float = 20_000.0,
    nodule_radius: Sequence[float] = (1.5, 2.4),
    nodule_contrast: Sequence[float] = (0.5, 1.0),
    effusion_depth: Sequence[float] = (3.0, 6.0),
    bits: int = 8,
    shortcut: float | None = None,
    seed: int = 0,
) -> Samples:
    """Makes the data set."""
    ranges = {"radius": nodule_radius, "contrast": nodule_contrast, "depth": effusion_depth}
    kind = apportion([1, 1, 1], patients)
    split = np.zeros(patients, dtype=np.int64)
    for label in range(len(CLASSES)):
        rows = np.flatnonzero(kind == label)
        split[rows] = apportion([0.66, 0.1, 0.24], len(rows))
    draws = Draws([generator(seed, 0, patient, 0) for patient in range(patients)])
    anatomy = draw_anatomy(draws)
    lesion = draw_lesion(draws, anatomy, kind, **ranges)
    owner = np.repeat(np.arange(patients), images_per_patient)
    nth = np.tile(np.arange(images_per_patient), patients)
    films = Draws([generator(seed, 1, p, i) for p, i in zip(owner, nth, strict=True)])
    pose = draw_pose(films)
    grid = Grid(size, FIELD)
    images = np.empty((len(owner), size, size), np.uint8 if bits == 8 else np.uint16)
    masks = np.empty(images.shape, bool)
    for start in range(0, len(owner), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(owner)))
        body = build_body(anatomy.take(owner[rows]), pose.take(rows), lesion.take(owner[rows]))
        path, masks[rows] = line_integrals(body, lesion.take(owner[rows]), grid)
        counts = expose(path, dose * pose.exposure[rows], films.generators[start : start + BLOCK])
        images[rows] = window(counts, dose, bits)
    table = pd.DataFrame(
        {
            "image": np.arange(len(owner)),
            "patient": [f"p{p:04d}" for p in owner],
            "split": np.array(SPLITS)[split[owner]],
            "label": kind[owner],
            "marker": 0,
        }
    )
    return Samples(
        name="phantom",
        table=table,
        images=torch.from_numpy(images)[:, None],
        task="multiclass",
        class_names=CLASSES,
        intensity_range=(0.0, float(2**bits - 1)),
        masks=torch.from_numpy(masks),
    )


def generator(seed: int, *key: int) -> np.random.Generator:
    """Random numbers that depend on the seed and the key alone."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def apportion(shares: Sequence[float], count: int) -> Array:
    """Groups (count,) in these shares, such that a longer list begins with the shorter one."""
    given = np.zeros(len(shares))
    target = np.asarray(shares, float) / np.sum(shares)
    groups = np.empty(count, np.int64)
    for item in range(count):
        groups[item] = np.argmax(target * (item + 1) - given)
        given[groups[item]] += 1
    return groups


def line_integrals(body: Body, lesion: Lesion, grid: Grid) -> tuple[Array, Array]:
    """The integral of the attenuation along each pixel's ray, and where the lesion is."""
    thorax, *shoulders = (intervals(body.trunk[:, i], grid) for i in range(3))
    soft = thorax.length
    for shoulder in shoulders:
        soft += shoulder.length - (shoulder & thorax).length
    organs = [intervals(body.organs[:, i], grid) for i in range(4)]
    air = np.zeros_like(soft)
    fluid = np.zeros_like(soft)
    for side, dome in enumerate(organs[2:]):
        lung = intervals(body.lungs[:, side], grid)
        around = [*organs[:2], dome]
        whole = lung.length - covered(lung, around)
        air += whole
        wet = np.flatnonzero((lesion.kind == 2) & (lesion.side == side))
        if len(wet):
            rest = lung[wet] & intervals(body.aerated[wet, side], grid)
            dry = rest.length - covered(rest, [organ[wet] for organ in around])
            air[wet] += dry - whole[wet]
            fluid[wet] = np.maximum(whole[wet] - dry, 0)
    path = SOFT * soft - (SOFT - LUNG) * air + (FLUID - SOFT) * fluid
    path = path + (BONE - SOFT) * sum(chord_sum(part, grid) for part in body.bones)
    path += (SOFT - LUNG) * sum(chord_sum(part, grid) for part in body.vessels)
    mask = fluid > MASK_FLUID
    dense = np.flatnonzero(lesion.kind == 1)
    if len(dense):
        chord = chord_sum(body.nodule[dense], grid)
        path[dense] += (SOFT - LUNG) * lesion.contrast[dense, None, None] * chord
        mask[dense] = chord > 0
    return path, mask


def expose(path: Array, dose: Array, generators: Sequence[np.random.Generator]) -> Array:
    """Photon counts (n, size, size): Poisson with mean dose · exp(-path) (Beer-Lambert)."""
    mean = dose[:, None, None] * np.exp(-path)
    return np.stack([g.poisson(m) for g, m in zip(generators, mean, strict=True)])


def window(counts: Array, dose: float, bits: int) -> Array:
    """The film: log(dose / counts) between the window's ends as 0 … 2**bits - 1; bone is bright."""
    shown = (np.log(dose / np.maximum(counts, 0.5)) - WINDOW[0]) / (WINDOW[1] - WINDOW[0])
    return np.rint(np.clip(shown, 0, 1) * (2**bits - 1))
