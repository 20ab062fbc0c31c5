"""A film and a laboratory value: each alone tells half."""

import numpy as np

from medcnn.data.phantom.anatomy import Draws, draw_anatomy, draw_pose
from medcnn.data.phantom.cases.patients import Patients
from medcnn.data.phantom.lesion import DENSE, NODULE, NORMAL, calcified, draw_lesion
from medcnn.data.phantom.patients import in_blocks
from medcnn.data.phantom.projection import Array
from medcnn.data.phantom.radiograph import AT_60_KEV, build_body, develop, expose, line_integrals
from medcnn.data.samples import Samples

CLASSES = ("benign", "malignant")
BOTH, NODULE_ALONE, MARKER_ALONE = range(3)  # the groups
RADIUS = (1.7, 2.5)  # of a nodule, cm
CEA = (2.0, 9.0)  # medians in ng/mL, usual and raised
SPREAD = 0.4  # of the marker's natural logarithm, standard deviation
WARDS = ("A", "B", "C")
BLOCK = 16


def column(patients: Patients) -> Samples:
    """Make one film a patient, and a tumour marker in the blood: both together are malignant.

    All patients have a calcified nodule, a raised marker, or both. Both is the class sought, half
    of the patients; a quarter each has one alone. To one who sees each nodule the film allows an
    AUROC of 0.75, and so does the marker, but for the overlap of raised with usual values: 0.748;
    both together allow 0.998 (`auroc`).

    Returns:
        Samples with columns ``cea`` (carcinoembryonic antigen, ng/mL) and ``ward``, which carries
        nothing.
    """
    group, of_patients, films = patients.group, patients.draws(0), patients.draws(1)
    anatomy, pose = draw_anatomy(of_patients), draw_pose(films)
    kind = np.where(group == MARKER_ALONE, NORMAL, NODULE)
    contrast = [calcified(AT_60_KEV, DENSE)] * 2
    lesion = draw_lesion(of_patients, anatomy, kind, radius=RADIUS, contrast=contrast, depth=(1, 1))
    body, grid = build_body(anatomy, pose, lesion), patients.grid
    images = np.empty((len(patients), grid.size, grid.size), patients.pixel)
    masks = np.empty(images.shape, dtype=bool)

    def take(rows: Array) -> None:
        path, masks[rows] = line_integrals(body.take(rows), lesion.take(rows), grid)
        generators = [films.generators[row] for row in rows]
        counts = expose(path, patients.dose * pose.exposure[rows], generators)
        images[rows] = develop(counts, patients.dose, patients.bits)

    in_blocks(len(patients), BLOCK, take)
    table = patients.table(np.arange(len(patients)), (group == BOTH).astype(np.int64))
    of_case = patients.draws(2)
    table["cea"] = draw_cea(of_case, group)
    table["ward"] = np.array(WARDS)[of_case.uniform(0, len(WARDS)).astype(np.int64)]
    return patients.films("column", CLASSES, table, images[:, None], masks)


def draw_cea(draws: Draws, group: Array) -> Array:
    """Draw the marker of each generator, (P,) ng/mL, log-normal about the median of its group."""
    median = np.where(group == NODULE_ALONE, *CEA)
    spread = np.array([one.standard_normal() for one in draws.generators])
    return np.round(median * np.exp(SPREAD * spread), 1)


def auroc() -> dict[str, float]:
    """Return the best AUROC of the film, of the marker and of both, if each nodule is seen."""
    from scipy.stats import norm

    told = float(norm.cdf(np.log(CEA[1] / CEA[0]) / SPREAD / np.sqrt(2)))  # raised from usual
    return {"film": 0.75, "cea": (told + 0.5) / 2, "both": (1 + told) / 2}
