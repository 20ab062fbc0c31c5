"""Decisions without the lesion, without another place, and on the lesion alone."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.cam.scores.localisation import with_lesions
from medcnn.errors import UserError

BINS = 256  # of Otsu's histogram
MARGIN = 2  # px between a lesion and the place that its shape is moved to
LEAST_COVERAGE = 0.9  # of the moved shape, within the body
COVERAGE_TOLERANCE = 0.02  # below the best place's coverage
PIXELS_PER_RIM = 64  # lesions are grown by one pixel for so many of the image


class Reliance(NamedTuple):
    """Probabilities (N, K) of N images as they are and changed."""

    original: Tensor
    without_lesion: Tensor
    """The lesion filled in."""

    without_elsewhere: Tensor
    """The same shape filled in at another place; NaN where there is no such place."""

    lesion_alone: Tensor
    """All black but the lesion: unlike any image of the training, so weak evidence by itself."""

    found: Tensor
    """(N,) bool: True where there is another place for the lesion's shape."""


def lesion_reliance(
    images: Tensor,
    masks: Tensor,
    probs: Callable[[Tensor], Tensor],
    fill: Callable[[Tensor, Tensor], Tensor],
    rows: Tensor,
    *,
    seed: int = 0,
) -> Reliance:
    """Return a net's decisions without the lesion, without another place, on the lesion alone.

    A net that is right for the right reason loses its decision with the lesion, and keeps it
    without the other place. Filling in is a change of the image by itself: that is what the other
    place is for, and only the difference of the two says something; see `verdict`.

    The lesions are grown first, along each axis by one pixel for every 64 (at least one), for
    the rim of a lesion to go with it. A lesion as bright as what surrounds it (fluid beside soft
    tissue) may come back by filling in: then nothing is removed, and the difference is near zero
    whatever the net uses.

    Args:
        images: (N, C, *spatial) in 0 … 1.
        masks: (N, *spatial) bool, True on the lesion; every image needs one. A box is a mask too.
        probs: Images to probabilities (N, K), each image for itself (a net in eval mode).
        fill: Images (M, C, *spatial) and missing pixels (M, *spatial) bool to images without them;
            such as `medcnn.cam.scores.imputation.linear_imputation`.
        rows: (N,) int64, each image's row in the sample table: with the seed, what the other place
            depends on.
        seed: Of the draws of places.

    Raises:
        UserError: Shapes that don't fit, or an image without a lesion.
    """
    masks = _checked(masks, (len(images), *images.shape[2:]), rows)
    lesions = grow(masks, [max(1, round(size / PIXELS_PER_RIM)) for size in masks.shape[1:]])
    moved, found = elsewhere(lesions, body(images), rows, seed)
    original = probs(images)
    without_elsewhere = torch.full_like(original, torch.nan)
    if found.any():
        without_elsewhere[found] = probs(fill(images[found], moved[found]))
    return Reliance(
        original=original,
        without_lesion=probs(fill(images, lesions)),
        without_elsewhere=without_elsewhere,
        lesion_alone=probs(images * lesions[:, None]),
        found=found,
    )


def verdict(without_lesion: Tensor, without_elsewhere: Tensor) -> Tensor:
    """Return how much more an image loses with its lesion than with as much body elsewhere.

    (original − without lesion) − (original − without elsewhere): what is lost with the lesion less
    what is lost by filling in as such. The original cancels, as the comparison is within an image.
    The mean over images, with an interval over patients
    (`medcnn.evaluation.bootstrap_means`), is above zero where a net uses the lesion.

    Args:
        without_lesion: (N,) True where the decision is right, or the probability of the right
            class, with the lesion filled in.
        without_elsewhere: (N,) the same with the other place filled in; NaN where there was none.

    Returns:
        (N,) float32 in -1 … 1, NaN where there was no other place.

    Raises:
        UserError: Shapes differ.

    Example:
        >>> verdict(torch.tensor([False, True]), torch.tensor([True, True]))
        tensor([1., 0.])
    """
    if without_lesion.shape != without_elsewhere.shape:
        raise UserError(
            f"verdict: {tuple(without_lesion.shape)} scores without the lesion, "
            f"{tuple(without_elsewhere.shape)} without the other place"
        )
    return without_elsewhere.float() - without_lesion.float()


def body(images: Tensor) -> Tensor:
    """Return the foreground: the largest bright part of each image, its holes filled.

    Bright is above Otsu's threshold of the channels' mean (N. Otsu, "A threshold selection method
    from gray-level histograms", 1979, eq. 18), in a histogram of 256 bins from the image's lowest
    to its highest value. Holes, such as the lungs, are filled slice by slice, for in a volume that
    shows a part of the body they may be open above or below. The background must be dark.

    Args:
        images: (N, C, *spatial), 2-D or 3-D; volumes with the slices along the first axis.

    Returns:
        (N, *spatial) bool on the images' device; an image of one value only has no body.
    """
    from scipy import ndimage

    bodies = []
    for image in images.float().mean(1).cpu().numpy():
        bright = image >= _otsu(image)
        within_slice = ndimage.generate_binary_structure(2, 1)
        structure = within_slice if image.ndim == 2 else within_slice[None]
        labels, count = ndimage.label(ndimage.binary_fill_holes(bright, structure))
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        bodies.append(labels == 1 + sizes.argmax() if count else bright)
    return torch.from_numpy(np.stack(bodies)).to(images.device)


def elsewhere(masks: Tensor, body: Tensor, rows: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the lesion's shape moved to another place of the body, drawn at random.

    All shifts that keep the shape within the image are scored at once, by cross-correlation. A
    place must leave two pixels or more between itself and the lesion, diagonals included, and hold
    90 % of the shape within the body and no less than the best such place by more than 2 %. One of
    these places is drawn.

    Args:
        masks: (N, *spatial) bool, True on the lesion; every image needs one.
        body: (N, *spatial) bool, where the shape may go.
        rows: (N,) int64, each image's row in the sample table, 0 or more.
        seed: Of the draws, with the row: the batch doesn't matter.

    Returns:
        Moved masks (N, *spatial) bool, and found (N,) bool: False where there is no place, and the
        moved mask empty.

    Raises:
        UserError: Shapes that don't fit, a row below zero, or an image without a lesion.
    """
    masks = _checked(masks, body.shape, rows)
    moved, found = torch.zeros_like(masks), []
    forbidden = grow(masks, [MARGIN] * (masks.dim() - 1)).cpu().numpy()
    for index, row in enumerate(rows.tolist()):
        box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in masks[index].nonzero().T)
        shape = masks[index][box]
        places = _places(shape.cpu().numpy(), body[index].cpu().numpy(), forbidden[index])
        found.append(len(places) > 0)
        if found[-1]:
            place = places[np.random.default_rng((seed, row)).integers(len(places))]
            target = tuple(slice(p, p + n) for p, n in zip(place, shape.shape, strict=True))
            moved[index][target] = shape
    return moved, torch.tensor(found, device=masks.device)


def grow(masks: Tensor, radius: Sequence[int]) -> Tensor:
    """Return masks (N, *spatial) grown by so many pixels along each axis, diagonals included."""
    pool = F.max_pool2d if masks.dim() == 3 else F.max_pool3d
    window, padding = [2 * r + 1 for r in radius], list(radius)
    return pool(masks[:, None].float(), window, stride=1, padding=padding)[:, 0] > 0.5


def _places(shape: np.ndarray, body: np.ndarray, forbidden: np.ndarray) -> np.ndarray:
    """Return the places of the first corner of a shape's bounding box: (places, dimensions)."""
    from scipy.signal import correlate

    pattern = shape.astype(float)
    within, overlap = (
        correlate(area.astype(float), pattern, mode="valid", method="fft").round()
        for area in (body, forbidden)
    )
    coverage = np.where(overlap == 0, within / pattern.sum(), 0.0)
    least = max(LEAST_COVERAGE, coverage.max() - COVERAGE_TOLERANCE)
    return np.argwhere(coverage >= least)


def _otsu(image: np.ndarray) -> float:
    """Return the threshold that maximises the variance between what is above and what isn't."""
    counts, edges = np.histogram(image, BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below, total = counts.cumsum(), counts.sum()
    sums = (counts * centres).cumsum()
    above = total - below
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = sums / below - (sums[-1] - sums) / above
        between = below * above * distance**2
    best = int(np.nan_to_num(between).argmax())
    return float(edges[best + 1]) if image.max() > image.min() else float("inf")


def _checked(masks: Tensor, shape: Sequence[int], rows: Tensor) -> Tensor:
    """Return the masks as bool; raise UserError where they or the rows don't fit the images."""
    if tuple(masks.shape) != tuple(shape) or rows.shape != masks.shape[:1]:
        raise UserError(
            f"lesion reliance: images of size {tuple(shape)} (N, *spatial), masks of "
            f"{tuple(masks.shape)}, {len(rows)} rows; need a mask and a row for each image"
        )
    if (rows < 0).any():
        raise UserError(f"lesion reliance: rows {rows.tolist()}; need 0 or more")
    return with_lesions("lesion reliance", masks)
