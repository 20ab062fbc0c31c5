"""Scores of maps as detectors of lesions: by boxes, and by points."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medcnn.cam.scores.localisation import checked_masks, marks
from medcnn.errors import UserError

NEIGHBOURHOOD = 9  # a candidate is the highest value within a window of an image's side over this


def box_iou(maps: Tensor, masks: Tensor, threshold: float) -> Tensor:
    """Return the IoU of the box round the largest part that a map marks with the best of lesions'.

    The box is tight round the largest connected part (diagonals connect) of where the map reaches
    `threshold` of its maximum; each connected part of the mask is a lesion with its tight box. The
    share of images with an IoU of at least δ is the box accuracy at δ (J. Choe et al., "Evaluating
    weakly supervised object localization methods right", CVPR 2020; their MaxBoxAcc
    takes the threshold that is best on the very images, here it is chosen on others and fixed).

    Args and errors: As in `medcnn.cam.scores.localisation.overlap`.

    Returns:
        (N,) float64 in 0 … 1; 0 for an empty map.
    """
    from scipy import ndimage

    masks = checked_masks("box IoU", maps, masks)
    found = []
    for marked, mask in zip(marks(maps, threshold).cpu().numpy(), masks.cpu().numpy(), strict=True):
        labels, count = _parts(marked)
        if count == 0:
            found.append(0.0)
            continue
        largest = np.bincount(labels.ravel())[1:].argmax()
        box = ndimage.find_objects(labels)[largest]
        lesions = ndimage.find_objects(_parts(mask)[0])
        found.append(max(_iou(box, lesion) for lesion in lesions))
    return torch.tensor(found, dtype=torch.float64)


class Candidates(NamedTuple):
    """The P places that a map marks, and the lesions that are there."""

    scores: NDArray[np.float64]
    """(P,) above 0, the map's raw values at the places."""

    lesions: NDArray[np.int64]
    """(P,) the lesion that each place lies on, from 0; -1 for none."""

    number: int
    """Lesions of the image."""


def candidates(maps: Tensor, masks: Tensor) -> list[Candidates]:
    """Return the local maxima of each map, and the lesion that each lies on.

    A place is a candidate if no value within a window round it (a ninth of each side) is higher,
    and its own is above zero; neighbours with the same value are one place, which lies on a lesion
    if all of them do. Its score is its raw value: how strong evidence is compares between the
    images, unlike its share of the image's maximum.

    Args:
        maps: (N, *spatial), raw.
        masks: (N, *spatial) bool; an image may have none.

    Raises:
        UserError: Shapes differ.
    """
    from scipy import ndimage

    if maps.shape != masks.shape:
        raise UserError(
            f"candidates: maps of shape {tuple(maps.shape)}, masks of shape {tuple(masks.shape)}"
        )
    pool = F.max_pool2d if maps.dim() == 3 else F.max_pool3d
    radius = [max(1, round(side / NEIGHBOURHOOD / 2)) for side in maps.shape[1:]]
    window = [2 * r + 1 for r in radius]
    highest = pool(maps[:, None], window, stride=1, padding=radius)[:, 0]
    tops = ((maps == highest) & (maps > 0)).cpu().numpy()
    found = []
    for top, values, mask in zip(tops, maps.cpu().numpy(), masks.cpu().numpy(), strict=True):
        labels, count = _parts(mask)
        plateaus, number = _parts(top)
        places = np.arange(1, number + 1)
        scores = np.asarray(ndimage.maximum(values, plateaus, places), float).reshape(-1)
        on = np.asarray(ndimage.minimum(labels, plateaus, places), int).reshape(-1) - 1
        found.append(Candidates(scores, on, count))
    return found


class Froc:
    """The free-response operating characteristic of candidates, which are sorted once.

    At a threshold on the scores, a lesion is found if a candidate that lies on it reaches the
    threshold; the candidates on none that reach it are false positives (P. C. Bunch et al., "A free
    response approach to the measurement and characterization of radiographic observer performance",
    1977).

    Args:
        found: Of each image.
    """

    def __init__(self, found: Sequence[Candidates]) -> None:
        self.lesions = np.array([one.number for one in found])
        rows, scores, hits = [], [], []
        for row, one in enumerate(found):
            false = one.scores[one.lesions < 0]
            best = [one.scores[one.lesions == k].max() for k in np.unique(one.lesions) if k >= 0]
            rows += [row] * (len(false) + len(best))
            scores += [*false, *best]
            hits += [False] * len(false) + [True] * len(best)
        order = np.argsort(-np.array(scores, float), kind="stable")
        self.scores = np.array(scores, float)[order]
        self.rows, self.hits = np.array(rows, int)[order], np.array(hits, bool)[order]
        changes = np.append(self.scores[1:] != self.scores[:-1], True) if len(order) else order
        self.ends = np.flatnonzero(changes)  # the last of those that share a score

    def recall(
        self, rates: Sequence[float], weights: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return the share of lesions found, at given mean numbers of false positives an image.

        The lowest threshold counts at which there are no more of these than `rates` an image.

        Args:
            rates: Mean numbers of false positives, ascending.
            weights: (N,) how often each image counts, as in a bootstrap; None for once.

        Returns:
            (len(rates),) in 0 … 1; NaN without a lesion.
        """
        weights = np.ones(len(self.lesions)) if weights is None else weights
        total = float((weights * self.lesions).sum())
        if total == 0:
            return np.full(len(rates), np.nan)
        count = weights[self.rows]
        hits = (count * self.hits).cumsum()[self.ends]
        false = (count * ~self.hits).cumsum()[self.ends] / weights.sum()
        allowed = np.searchsorted(false, np.asarray(rates) + 1e-9, side="right")
        return np.concatenate([[0.0], hits])[allowed] / total


def _parts(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
    """Return the connected parts of a mask, from 1, and their number; diagonals connect."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones([3] * mask.ndim))
    return labels, int(count)


def _iou(first: tuple[slice, ...], second: tuple[slice, ...]) -> float:
    """Return the IoU of two boxes."""
    sides = [
        max(0, min(a.stop, b.stop) - max(a.start, b.start))
        for a, b in zip(first, second, strict=True)
    ]
    both = float(np.prod(sides))
    areas = [float(np.prod([s.stop - s.start for s in box])) for box in (first, second)]
    return both / (sum(areas) - both)
