"""Scores of how important the images of a study are said to be.

Importances are (n,) of the images of B studies, high for important, and bag (n,) is the study of
each, 0 … B-1, ascending.
"""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from medcnn.cam.scores.localisation import pointing_hits
from medcnn.cam.scores.similarity import rank_correlation
from medcnn.cam.studies import Head, Score, means_if_enough, of_each_study, without
from medcnn.nets.aggregators.bags import places

STEPS, ORDERS = 10, 10  # of `image_deletion`


def image_pointing_hits(importance: Tensor, lesion: Tensor, bag: Tensor) -> Tensor:
    """Return whether each study's most important image shows the lesion.

    The pointing game (`medcnn.cam.scores.pointing_hits`) with images for pixels: of several that
    are the most important all must show it, and nothing above zero never hits.

    Args:
        importance: (n,); NaN, of a study with one image, never hits.
        lesion: (n,) bool, at least one of each study.
        bag: (n,).

    Returns:
        (B,) bool.

    Example:
        >>> bag, lesion = torch.tensor([0, 0, 1, 1]), torch.tensor([True, False, True, False])
        >>> image_pointing_hits(torch.tensor([0.9, 0.1, 0.2, 0.8]), lesion, bag)
        tensor([ True, False])
    """
    parts = of_each_study(bag, importance, lesion)
    return torch.cat([pointing_hits(one[None], there[None]) for one, there in parts])


def middle_image(bag: Tensor) -> Tensor:
    """Return the importance (n,) that points at the middle of each study: 1 there, else 0.

    Of an even number of images that is the second of the two.

    >>> middle_image(torch.tensor([0, 0, 0, 1, 1]))
    tensor([0., 1., 0., 0., 1.])
    """
    counts = torch.bincount(bag)
    chosen = torch.zeros(len(bag), device=bag.device)
    chosen[counts.cumsum(0) - counts + counts // 2] = 1
    return chosen


def image_agreement(first: Tensor, second: Tensor, bag: Tensor) -> Tensor:
    """Return Spearman's rank correlation of two importances, in each study.

    Returns:
        (B,) float32 in -1 … 1; NaN where one is the same for all images, or there is one image.
    """
    pairs = of_each_study(bag, first, second)
    return torch.cat([rank_correlation(a[None], b[None]) for a, b in pairs])


@torch.no_grad()
def image_deletion(
    head: Head,
    maps: Tensor,
    context: Mapping[str, Tensor],
    score: Score,
    importance: Tensor,
    *,
    seed: int = 0,
) -> Tensor:
    """Return how much lower the score is if a study's important images go first, than any.

    Images are removed until one is left, in up to `STEPS` steps. What is returned is the area under
    the score's curve of random orders (the mean of `ORDERS`) less that of the most important first:
    `medcnn.cam.scores.deletion_insertion` with images for pixels.

    Args:
        head: See `medcnn.cam.studies`; in evaluation mode.
        maps: (n, K, *spatial).
        context: With ``bag``.
        score: From logits (B, outputs) to the probability (B,) of the class that is explained.
        importance: (n,); images of equal importance go in a random order.
        seed: Of the random orders, which are the same for all studies of a size.

    Returns:
        (B,) float64 in the range of the score; above zero is faithful, 0 a random order; NaN of a
        study with one image.
    """
    bag = context["bag"]
    maps = means_if_enough(head, maps, context)

    def area(values: Tensor, draw: int) -> Tensor:
        return _area(head, maps, context, score, _ranks(values, bag, seed + draw))

    found, same = area(importance.nan_to_num(), 0), torch.zeros_like(importance)
    chance = torch.stack([area(same, draw + 1) for draw in range(ORDERS)]).mean(0)
    return torch.where(torch.bincount(bag) > 1, chance - found, torch.nan)


def _ranks(values: Tensor, bag: Tensor, seed: int) -> Tensor:
    """Return the place (n,) of each image in its study by value, 0 for the highest.

    Images of equal value come in a random order, the same for all studies of a size.
    """
    sizes, start = torch.bincount(bag).tolist(), torch.Generator()
    orders = [torch.randperm(size, generator=start.manual_seed(seed)) for size in sizes]
    order = torch.cat(orders).to(bag.device).argsort()
    order = order[values[order].argsort(descending=True, stable=True)]
    order = order[bag[order].argsort(stable=True)]
    return torch.empty_like(order).scatter_(0, order, places(bag))


def _area(
    head: Head, maps: Tensor, context: Mapping[str, Tensor], score: Score, ranks: Tensor
) -> Tensor:
    """Return the mean height (B,) of the score on the way to one image, as images go by rank."""
    bag = context["bag"]
    most = torch.bincount(bag) - 1
    steps = most.clamp(1, STEPS)
    curve = []
    for step in range(int(steps.max()) + 1):
        count = torch.round(most * (step / steps).clamp(max=1))
        curve.append(score(without(head, maps, context, ranks < count[bag])).double())
    heights = torch.stack([(a + b) / 2 for a, b in pairwise(curve)], 1)
    own = torch.arange(heights.shape[1], device=bag.device) < steps[:, None]
    return (heights * own).sum(1) / steps
