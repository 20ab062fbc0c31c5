"""A CT scan as slices: few of them show the lesion."""

import numpy as np
import torch

from medcnn.data.phantom.anatomy import draw_anatomy, draw_pose
from medcnn.data.phantom.cases.patients import Patients
from medcnn.data.phantom.ct import CT_RANGE, scan
from medcnn.data.phantom.lesion import DENSE, NODULE, NORMAL, calcified, draw_lesion
from medcnn.data.phantom.patients import in_blocks
from medcnn.data.phantom.projection import Array
from medcnn.data.phantom.radiograph import AT_60_KEV, build_body
from medcnn.data.samples import Samples

CLASSES = ("normal", "nodule")
RADIUS = (1.9, 2.6)  # of a nodule within its slices, cm
HEIGHT = (0.6, 1.1)  # its semi-axis across them, cm
BLOCK = 4


def slices(patients: Patients) -> Samples:
    """Make one CT scan a patient, of 3/4 as many slices as pixels an edge, normal or with a nodule.

    A nodule is on one to three of 24 slices, at any height of the lungs. All slices together allow
    an AUROC of 1; the middle one alone, which showed 19 % of 1,000 nodules (four seeds), 0.59.

    Returns:
        Samples with a row a slice, from feet to head, columns ``study`` and ``slice`` (0, 1, …);
        images (n, 1, size, size) int16 Hounsfield units; masks of the pixels that the nodule fills
        at least by half. The label is that of the study.
    """
    label = patients.group
    of_patients, films = patients.draws(0), patients.draws(1)
    anatomy, pose = draw_anatomy(of_patients), draw_pose(films)
    kind = np.where(label == 1, NODULE, NORMAL)
    contrast = [calcified(AT_60_KEV, DENSE)] * 2
    lesion = draw_lesion(of_patients, anatomy, kind, radius=RADIUS, contrast=contrast, depth=(1, 1))
    lesion.semi_axes[:, 2] = patients.draws(2).uniform(*HEIGHT)
    body, size = build_body(anatomy, pose, lesion), patients.size
    first, count = size // 16, 3 * size // 4  # of the lungs' height: below and above is no lung
    images = np.empty((len(label), count, size, size), np.int16)
    masks = np.empty(images.shape, dtype=bool)

    def take(rows: Array) -> None:
        generators = [films.generators[row] for row in rows]
        dose = patients.dose * pose.exposure[rows]
        volumes = scan(body.take(rows), lesion.take(rows), patients.grid, dose, generators)
        for all_slices, volume in zip((images, masks), volumes, strict=True):
            all_slices[rows] = volume[:, first : first + count]

    in_blocks(len(label), BLOCK, take)
    owner = np.repeat(np.arange(len(label)), count)
    table = patients.table(owner, label)
    table["study"] = [f"s{patient:04d}" for patient in owner]
    table["slice"] = np.tile(np.arange(count), len(label))
    return Samples(
        name="phantom-slices",
        table=table,
        images=torch.from_numpy(images.reshape(-1, 1, size, size)),
        task="binary",
        class_names=CLASSES,
        positive=1,
        intensity_range=CT_RANGE,
        masks=torch.from_numpy(masks.reshape(-1, size, size)),
    )
