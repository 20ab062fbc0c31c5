"""Films at two energies as two channels: only their difference tells what a nodule is made of."""

from dataclasses import replace

import numpy as np

from medcnn.data.phantom.anatomy import draw_anatomy, draw_pose
from medcnn.data.phantom.attenuation import TISSUES
from medcnn.data.phantom.cases.patients import Patients
from medcnn.data.phantom.lesion import NODULE, calcified, draw_lesion
from medcnn.data.phantom.patients import in_blocks
from medcnn.data.phantom.projection import Array
from medcnn.data.phantom.radiograph import build_body, develop, expose, line_integrals
from medcnn.data.samples import Samples

CLASSES = ("calcified", "soft")
ENERGIES = (40, 100)  # keV, of the two channels
RADIUS = (2.2, 3.0)  # of a nodule's shadow, cm
DEPTH = (0.7, 4.9)  # semi-axis of a soft nodule along the rays, cm
BLOCK = 16


def energies(patients: Patients) -> Samples:
    """Make a pair of films a patient, of a calcified or (the class sought) a soft nodule.

    In lung a nodule of soft tissue weakens photons of 40 keV 1.59 times as much as those of
    100 keV, a calcified one 2.72 times, by which dual-energy subtraction tells them apart
    (R. Alvarez and A. Macovski, 1976). One channel shows a shadow, whose depth is attenuation times
    thickness. The thickness is drawn evenly on a logarithmic scale, and that of a calcified nodule
    is less by the factor `thinner`: its shadow is deeper at 40 keV by just the factor by which it
    is fainter at 100 keV. Without noise one channel allows an AUROC of 0.629
    (`auroc_of_one_channel`), both together 1.

    Returns:
        Samples with images (P, 2, size, size): 40 and 100 keV.
    """
    label = patients.group
    of_patients = patients.draws(0)
    anatomy, films = draw_anatomy(of_patients), patients.draws(1)
    every = np.full_like(label, NODULE)
    lesion = draw_lesion(of_patients, anatomy, every, radius=RADIUS, contrast=(1, 1), depth=(1, 1))
    lesion.semi_axes[:, 1] = depths(label, patients.draws(2).uniform(0, 1))
    pose = draw_pose(films)
    body, grid = build_body(anatomy, pose, lesion), patients.grid
    shape = (len(label), len(ENERGIES), grid.size, grid.size)
    images = np.empty(shape, patients.pixel)
    masks = np.empty((len(label), grid.size, grid.size), dtype=bool)

    def take(rows: Array) -> None:
        part, dose = body.take(rows), patients.dose * pose.exposure[rows]
        generators = [films.generators[row] for row in rows]
        for channel, energy in enumerate(ENERGIES):
            tissues = TISSUES[energy]
            contrast = np.where(label[rows] == 0, calcified(tissues), 1.0)
            seen = replace(lesion.take(rows), contrast=contrast)
            path, masks[rows] = line_integrals(part, seen, grid, tissues)
            counts = expose(path, dose, generators)
            images[rows, channel] = develop(counts, patients.dose, patients.bits)

    in_blocks(len(label), BLOCK, take)
    table = patients.table(np.arange(len(label)), label)
    return patients.films("energies", CLASSES, table, images, masks)


def thinner() -> float:
    """Return the factor of a calcified nodule's thickness that is fair to both channels."""
    low, high = (calcified(TISSUES[energy]) for energy in ENERGIES)
    return 1 / float(np.sqrt(low * high))


def depths(label: Array, uniform: Array) -> Array:
    """Return semi-axes (N,) cm along the rays, of labels (N,) and numbers (N,) in 0 … 1."""
    soft = DEPTH[0] * (DEPTH[1] / DEPTH[0]) ** uniform
    return np.where(label == 0, soft * thinner(), soft)


def auroc_of_one_channel() -> float:
    """Return the best AUROC that a channel alone allows, were there no noise.

    The logarithm of a shadow's depth is uniform, with the width w of the logarithm of `DEPTH`, and
    shifted by s between the classes: 1 - (1 - s/w)² / 2.
    """
    low, high = (calcified(TISSUES[energy]) for energy in ENERGIES)
    shift = np.log(low / high) / 2 / np.log(DEPTH[1] / DEPTH[0])
    return float(1 - (1 - shift) ** 2 / 2)
