"""How important each image of a study is: by attention, and by leaving it out.

A net is ``head(features(x))``; here its head takes the maps A (n, K, *spatial) of all images of B
studies, with a context whose ``bag`` (n,) is the study of each, 0 … B-1, ascending.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from medcnn.nets.aggregators.bags import places

OF_STUDIES = ("features",)  # of a context, what has a value for each study; the rest for each image
Head = Callable[[Tensor, Mapping[str, Tensor]], Tensor]
"""From maps (n, K, *spatial) and their context to logits (B, outputs)."""
Score = Callable[[Tensor], Tensor]
"""From logits (B, outputs) to the scores (B,) that are explained."""


@torch.no_grad()
def attention(head: Any, maps: Tensor, context: Mapping[str, Tensor]) -> Tensor | None:
    """Return the weight (n,) that a head gives each image; None if it has no weights.

    The weights of a study's images add up to 1. They say what the head looks at, not for which
    class, nor what the decision would be without it: see `leaving_out`.
    """
    weights = getattr(head, "weights", None)
    found: Tensor | None = None if weights is None else weights(maps, context)
    return None if found is None else found.float()


@torch.no_grad()
def leaving_out(head: Head, maps: Tensor, context: Mapping[str, Tensor], score: Score) -> Tensor:
    """Return by how much the score falls without each image of its study.

    e_k = y^c(all images) − y^c(all but k)

    Above zero the image speaks for the class. Of a study with two images that say the same, neither
    is missed: both effects are small though the decision rests on them.

    Args:
        head: In evaluation mode.
        maps: (n, K, *spatial).
        context: See the module.
        score: The class that is explained may differ from study to study.

    Returns:
        (n,) float32; NaN of an image that is the only one.
    """
    bag = context["bag"]
    counts, place = torch.bincount(bag), places(bag)
    maps = means_if_enough(head, maps, context)
    whole = score(head(maps, context)).float()
    effects = torch.full((len(bag),), torch.nan, device=maps.device)
    for k in range(int(counts.max())):
        gone = (place == k) & (counts[bag] > 1)
        if gone.any():
            lost = whole - score(without(head, maps, context, gone)).float()
            effects[gone] = lost[bag[gone]]
    return effects


@torch.no_grad()
def means_if_enough(head: Head, maps: Tensor, context: Mapping[str, Tensor]) -> Tensor:
    """Return the means of maps, (n, K, 1, …), where a head gives the same for them; else the maps.

    Thousands of tiles are then left out one by one without copying their maps each time.
    """
    means = maps.float().mean(tuple(range(2, maps.ndim)), keepdim=True)
    try:
        same = torch.allclose(head(maps, context), head(means, context), rtol=1e-4, atol=1e-5)
    except RuntimeError:  # a head that takes maps of one size only
        return maps
    return means if same else maps


def without(head: Head, maps: Tensor, context: Mapping[str, Tensor], gone: Tensor) -> Tensor:
    """Return the logits (B, outputs) without some images (n,) bool; each study keeps one."""
    kept = {key: value if key in OF_STUDIES else value[~gone] for key, value in context.items()}
    return head(maps[~gone], kept)


def of_each_study(bag: Tensor, *values: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the values (n, …) of each study's images."""
    sizes = torch.bincount(bag).tolist()
    yield from zip(*(value.split(sizes) for value in values), strict=True)
