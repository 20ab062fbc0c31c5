"""A frontal and a lateral film: each hides every second lesion, and one may be missing."""

from dataclasses import dataclass, replace

import numpy as np

from medcnn.data.phantom.anatomy import (
    Anatomy,
    Draws,
    Pose,
    Rows,
    draw_anatomy,
    draw_pose,
    make_lungs,
)
from medcnn.data.phantom.attenuation import LEAD
from medcnn.data.phantom.cases.patients import Patients
from medcnn.data.phantom.lesion import DENSE, NODULE, NORMAL, Lesion, calcified, free_places
from medcnn.data.phantom.patients import in_blocks
from medcnn.data.phantom.projection import Array, Ellipsoids, chord_sum, ellipsoids, turn
from medcnn.data.phantom.radiograph import (
    AT_60_KEV,
    Body,
    build_body,
    develop,
    expose,
    line_integrals,
)
from medcnn.data.samples import Samples
from medcnn.errors import UserError

CLASSES = ("normal", "nodule")
VIEWS = ("frontal", "lateral")
MISSING = 0.3  # share of the studies that lack one view
RADIUS = (1.5, 2.1)  # of a nodule, cm; its semi-axes differ by ±15 %
DISC = (2.5, 0.2)  # radius and half thickness of the lead disc, cm: it covers any nodule
APART = 5.5  # cm between the nodule and the disc that doesn't hide it, on either film
RAISED = 12.0  # cm by which the shoulders are higher on the lateral film
PLACES, TIMES = 60, 20  # tried for each of the two at a time; as often until a pair fits
BLOCK = 16


@dataclass
class Study(Rows):
    """What differs between P studies."""

    nodule: Lesion  # a place for it in normal studies, too
    other: Lesion  # the place where a disc hides nothing
    hiding: Array  # (P,) the view whose disc lies on the nodule
    missing: Array  # (P,) the view that there isn't, or -1


def views(patients: Patients) -> Samples:
    """Make a study of two films a patient, normal or with a calcified nodule.

    Each film has a disc of lead beside the body. On one film, at random, it lies on the nodule, on
    the other one elsewhere in the lungs; without a nodule there are the same two places. As these
    are drawn alike, a film that hides the nodule can't be told from one of a normal patient.
    `MISSING` of the studies lack one film, at random.

    To one who sees each nodule that a film shows, one view tells half of the nodules: an AUROC of
    0.75 among the studies that have it. All films of a study allow 0.9775: 15 % of the nodules are
    only on a film that is missing, and as doubtful as a normal study with one film (`auroc`).

    Returns:
        Samples with a row a film, columns ``study`` and ``view``; masks are empty under the disc.
    """
    anatomy = draw_anatomy(patients.draws(0))
    study = draw_study(patients.draws(2), anatomy, patients.group)
    parts = [_films(patients, anatomy, study, view) for view in range(len(VIEWS))]
    owner = np.tile(np.arange(len(patients)), len(VIEWS))
    view = np.repeat(np.arange(len(VIEWS)), len(patients))
    order = np.lexsort((view, owner))
    order = order[study.missing[owner[order]] != view[order]]
    images, masks = (np.concatenate(made)[order] for made in zip(*parts, strict=True))
    table = patients.table(owner[order], patients.group)
    table["study"] = [f"s{patient:04d}" for patient in owner[order]]
    table["view"] = np.array(VIEWS)[view[order]]
    return patients.films("views", CLASSES, table, images[:, None], masks)


def draw_study(draws: Draws, anatomy: Anatomy, label: Array) -> Study:
    """Draw one study for each generator, anatomy and label (P,)."""
    u = draws.uniform
    first = (u(0, 1) < 0.5).astype(np.int64)
    side = np.stack([first, 1 - first], 1)  # one in each lung: the two are then seldom too near
    mean, places = _two_places(draws, anatomy, side)
    nodule = Lesion(
        kind=np.where(label == 1, NODULE, NORMAL),
        side=side[:, 0],
        place=places[:, 0],
        semi_axes=mean[:, None] * u(0.85, 1.15, 3),
        contrast=np.full(len(mean), calcified(AT_60_KEV, DENSE)),
        depth=np.zeros(len(mean)),
    )
    return Study(
        nodule=nodule,
        other=replace(nodule, side=side[:, 1], place=places[:, 1]),
        hiding=(u(0, 1) < 0.5).astype(np.int64),
        missing=np.where(u(0, 1) < MISSING, (u(0, 1) < 0.5).astype(np.int64), -1),
    )


def _two_places(draws: Draws, anatomy: Anatomy, side: Array) -> tuple[Array, Array]:
    """Draw radii (P,) of nodules, and for each two places (P, 2, 3), on the sides (P, 2).

    They are free, above the domes and `APART`. Where no pair fits, another radius and others are
    drawn. The first of the two is distributed as the second.

    Raises:
        UserError: A body has no room, which was never seen.
    """
    radius, found = np.empty(len(side)), np.empty((len(side), 2, 3))
    rows = np.arange(len(side))
    for _ in range(TIMES):
        own = Draws([draws.generators[row] for row in rows.tolist()])
        radius[rows] = own.uniform(*RADIUS)
        places = own.uniform(-1, 1, 2, PLACES, 3)
        order = own.uniform(0, 1, PLACES, PLACES)
        fits = _fits(anatomy.take(rows), side[rows], radius[rows], places)
        best = np.where(fits, order, 2).reshape(len(rows), -1).argmin(1)
        chosen = np.stack(np.unravel_index(best, order.shape[1:]), 1)
        found[rows] = places[np.arange(len(rows))[:, None], np.arange(2), chosen]
        rows = rows[~fits.reshape(len(rows), -1).any(1)]
        if not len(rows):
            return radius, found
    raise UserError(
        f"dataset.case=views: {len(rows)} bodies have no room for a nodule and a disc; take "
        "another dataset.seed"
    )


def _fits(anatomy: Anatomy, side: Array, radius: Array, places: Array) -> Array:
    """Return which pairs (P, k, k) of two lists of places (P, 2, k, 3) can be taken."""
    lungs, rows = make_lungs(anatomy, np.zeros(len(side))), np.arange(len(side))
    both = range(2)
    points = [lungs[rows, side[:, i]][:, None].at(places[:, i]) for i in both]
    dome = anatomy.size[:, 2] * anatomy.dome_top.max(1) + radius
    free = [
        free_places(anatomy, side[:, i], radius, places[:, i]) & (points[i][..., 2] > dome[:, None])
        for i in both
    ]
    between = points[0][:, :, None] - points[1][:, None]
    x, y, z = np.moveaxis(between, -1, 0)
    apart = np.minimum(np.hypot(x, z), np.hypot(y, z)) >= APART
    fits: Array = free[0][:, :, None] & free[1][:, None] & apart
    return fits


def _films(patients: Patients, anatomy: Anatomy, study: Study, view: int) -> tuple[Array, Array]:
    """Make one view of all patients: images (P, size, size) and masks of the nodules, bool."""
    films, grid = patients.draws(1, view), patients.grid
    pose = draw_pose(films)
    body, disc = _body_and_disc(anatomy, pose, study, view)
    images = np.empty((len(patients), grid.size, grid.size), patients.pixel)
    masks = np.empty(images.shape, dtype=bool)

    def take(rows: Array) -> None:
        path, masks[rows] = line_integrals(body.take(rows), study.nodule.take(rows), grid)
        lead = chord_sum(disc[rows], grid)
        masks[rows] &= lead == 0
        generators = [films.generators[row] for row in rows]
        counts = expose(path + LEAD * lead, patients.dose * pose.exposure[rows], generators)
        images[rows] = develop(counts, patients.dose, patients.bits)

    in_blocks(len(patients), BLOCK, take)
    return images, masks


def _body_and_disc(
    anatomy: Anatomy, pose: Pose, study: Study, view: int
) -> tuple[Body, Ellipsoids]:
    """Return the bodies as a view's rays meet them, and the disc (P, 1) on each of its films.

    For the lateral film the patient turns by a right angle, and raises the arms out of the way.
    """
    body = build_body(anatomy, pose, study.nodule)
    other = build_body(anatomy, pose, study.other).nodule
    if VIEWS[view] == "lateral":
        quarter, still = turn(np.array(np.pi / 2), 2), np.zeros(3)
        body = body.changed(lambda parts: parts.moved(quarter, still))
        other = other.moved(quarter, still)
        body.trunk.centre[:, 1:, 2] += RAISED
    hides = (study.hiding == view)[:, None, None]
    centre = np.where(hides, body.nodule.centre, other.centre)
    radius, half = DISC
    return body, ellipsoids(centre, np.broadcast_to([radius, half, radius], centre.shape))


def auroc() -> float:
    """Return the best AUROC of studies to one who sees each nodule that a film shows.

    Such a nodule is certain. The others are those of studies with one film, which hides them, half
    of `MISSING`; they rank above the normal studies with two films, and beside those with one.
    """
    unseen = MISSING / 2
    return 1 - unseen * MISSING / 2


def auroc_of_one_view() -> float:
    """Return the same for one view alone, of all studies; one that lacks it has no score but ½.

    Of a nodule that is hidden, as of a normal film, the chance is ⅓: below ½.
    """
    there, lacking = 1 - MISSING / 2, MISSING / 2
    seen = hidden = there / 2
    return seen + lacking * (there + lacking / 2) + hidden * there / 2
