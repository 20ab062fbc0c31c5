"""Scores of how much the decision depends on the map: pixels are changed in its order.

In all of these `score` gives, for images (N, C, *spatial) in the batch's order, the probability
(N,) of the class that each one's map explains, from a net in eval mode. It is called with one
changed copy of the batch at a time, without gradients.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from medcnn.cam.maps import normalise
from medcnn.cam.scores.imputation import check_sizes, linear_imputation
from medcnn.errors import UserError, check_whole_number

Score = Callable[[Tensor], Tensor]
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class DeletionInsertion(NamedTuple):
    """Scores as pixels are deleted and inserted, the most important first; (N, …) float64."""

    deletion: Tensor
    """(N, steps + 1), from the image to the fill."""

    insertion: Tensor
    """(N, steps + 1), from the fill to the image."""

    deletion_area: Tensor
    """(N,) area under the deletion curve, in the range of the score; low is faithful."""

    insertion_area: Tensor
    """(N,) area under the insertion curve; high is faithful."""


class Road(NamedTuple):
    """Scores as pixels are removed and imputed; (N, …) float64."""

    morf: Tensor
    """(N, shares), the most relevant pixels first."""

    lerf: Tensor
    """(N, shares), the least relevant pixels first."""

    combined: Tensor
    """(N,) mean over the shares of (LeRF − MoRF) / 2; high is faithful, 0 is a random order."""


@torch.no_grad()
def deletion_insertion(
    images: Tensor, maps: Tensor, score: Score, *, fill: Tensor, steps: int = 20, seed: int = 0
) -> DeletionInsertion:
    """Return the score as the most important pixels go (deletion), and as they come (insertion).

    Deletion puts `fill` in place of the image's pixels, the most important first; insertion starts
    from `fill` and brings the image's pixels in the same order. The area is taken by the trapezoid
    rule over the share of pixels (V. Petsiuk et al., "RISE: randomized input sampling for
    explanation of black-box models", BMVC 2018).

    Args:
        images: (N, C, *spatial) in 0 … 1, 2-D or 3-D.
        maps: (N, *spatial), raw; high means important. Pixels of equal value come in a random
            order, the same for all images of a size; so do all pixels of a map with NaN.
        score: See the module.
        fill: (N, C, *spatial), what is there without the image: its mean, a blurred copy, black.
        steps: Of equal numbers of pixels, at least 1.
        seed: Of the order of pixels of equal value.

    Raises:
        UserError: Shapes don't fit, or steps isn't a whole number from 1.

    Example:
        The score is one pixel's brightness, and the map knows it: gone at the first of four steps.

        >>> image = torch.ones(1, 1, 2, 2)
        >>> map_ = torch.tensor([[[9.0, 0.0], [0.0, 0.0]]])
        >>> found = deletion_insertion(
        ...     image, map_, lambda x: x[:, 0, 0, 0], fill=torch.zeros(1, 1, 2, 2), steps=4
        ... )
        >>> found.deletion.tolist(), found.deletion_area.tolist(), found.insertion_area.tolist()
        ([[1.0, 0.0, 0.0, 0.0, 0.0]], [0.125], [0.875])
    """
    check_sizes(images, maps)
    if fill.shape != images.shape:
        raise UserError(
            f"fill of shape {tuple(fill.shape)}, images of shape {tuple(images.shape)}: need a "
            "value for each pixel"
        )
    fill = fill.to(images.dtype)
    check_whole_number("steps", steps, least=1)
    place = _places(maps, seed)
    pixels = maps[0].numel()
    counts = [round(step * pixels / steps) for step in range(steps + 1)]
    whole, empty = _scored(score, images), _scored(score, fill)
    deletion, insertion = [whole], [empty]
    for count in counts[1:-1]:
        first = place < count
        deletion.append(_scored(score, torch.where(first, fill, images)))
        insertion.append(_scored(score, torch.where(first, images, fill)))
    curves = torch.stack([*deletion, empty], 1), torch.stack([*insertion, whole], 1)
    share = torch.tensor(counts, dtype=torch.float64, device=whole.device) / pixels
    return DeletionInsertion(*curves, *(torch.trapezoid(curve, share) for curve in curves))


@torch.no_grad()
def road(
    images: Tensor,
    maps: Tensor,
    score: Score,
    *,
    shares: Sequence[float] = SHARES,
    noise: float = 0.01,
    seed: int = 0,
) -> Road:
    """Return the score as pixels are removed so that the gaps don't show: remove and debias.

    Removed pixels are filled in by `linear_imputation` with noise. A faithful map's most relevant
    pixels take the score down when they go first (MoRF), its least relevant leave it up (LeRF)
    (Y. Rong et al., "A consistent and efficient evaluation strategy for attribution methods", ICML
    2022). The combined score, half of the difference, is that of J. Gildenblat's "pytorch-grad-cam"
    (2021, ``ROADCombined``).

    Args:
        images: (N, C, *spatial) in 0 … 1, 2-D or 3-D.
        maps: (N, *spatial), raw; high means important. Ties as in `deletion_insertion`.
        score: See the module.
        shares: S shares of pixels to remove, each within 0 … 1.
        noise: Standard deviation of the noise on imputed pixels; the paper's is 0.01.
        seed: Of the noise, and of the order of pixels of equal value.

    Raises:
        UserError: Shapes don't fit, no shares or shares out of range, or noise below zero.
    """
    check_sizes(images, maps)
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise UserError(f"shares={list(shares)}: give some shares of the pixels, 0 … 1")
    place = _places(maps, seed)[:, 0]
    pixels = maps[0].numel()
    counts = [round(share * pixels) for share in shares]

    def scores_without(missing: Tensor) -> Tensor:
        return _scored(score, linear_imputation(images, missing, noise=noise, seed=seed))

    morf = torch.stack([scores_without(place < count) for count in counts], 1)
    lerf = torch.stack([scores_without(place >= pixels - count) for count in counts], 1)
    return Road(morf, lerf, (lerf - morf).mean(1) / 2)


@torch.no_grad()
def average_drop_increase(images: Tensor, maps: Tensor, score: Score) -> tuple[Tensor, Tensor]:
    """Return the drop and increase in confidence where only the map's highlights are left.

    The image is multiplied by its map, scaled to 0 … 1 (`normalise`). With the score y of the
    image and o of that product, the drop is max(0, y − o) / y, and the increase is o > y
    (A. Chattopadhay et al., "Grad-CAM++: generalized gradient-based visual explanations for deep
    convolutional networks", WACV 2018; there averaged, in percent).

    Args and errors: As in `deletion_insertion`; the score is nowhere below zero.

    Returns:
        Drop (N,) float64 in 0 … 1, low is faithful (0 where y is 0: there is nothing to lose); and
        increase (N,) bool. An empty map leaves nothing of the image.
    """
    check_sizes(images, maps)
    shown = images * normalise(maps)[:, None].to(images.dtype)
    y, o = _scored(score, images), _scored(score, shown)
    drop = torch.where(y > 0, (y - o).clamp(min=0) / y, 0.0)
    return drop, o > y


def _places(maps: Tensor, seed: int) -> Tensor:
    """Return each pixel's place (N, 1, *spatial) in its map's order, 0 for the most important."""
    pixels = maps[0].numel()
    shuffled = torch.randperm(pixels, generator=torch.Generator().manual_seed(seed)).to(maps.device)
    values = maps.flatten(1)
    values = torch.where(values.isnan().any(1, keepdim=True), 0.0, values)
    order = shuffled[values[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    place = torch.arange(pixels, device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, place).reshape(maps.shape)[:, None]


def _scored(score: Score, images: Tensor) -> Tensor:
    """Return the scores (N,) float64 of images."""
    found = score(images)
    if found.shape != images.shape[:1]:
        raise UserError(
            f"score: gave the shape {tuple(found.shape)} for {len(images)} images; need one "
            "probability for each"
        )
    return found.double()
