"""Bags: the images of several studies in one tensor, study after study.

``values`` (n, K) has a row an image, and ``bag`` (n,) int64 the number 0 … B-1 of each one's study,
ascending; every study has an image at least.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

Context = Mapping[str, Tensor]


class Aggregator(nn.Module):
    """From the features of all images of studies to those of each study.

    Args:
        features: K, of an image.
        channels: Of a study; None for as many.
    """

    def __init__(self, features: int, channels: int | None = None) -> None:
        super().__init__()
        self.channels = features if channels is None else channels

    def forward(self, values: Tensor, bag: Tensor, context: Context) -> Tensor:
        """Return (B, channels) of images (n, K), whose study is bag (n,) in 0 … B-1, ascending.

        Args:
            values: Of all images.
            bag: Their studies.
            context: What else is known of them, such as ``order`` (n,), the place of an image in
                its study from 0, where they are in an order that means something.
        """
        raise NotImplementedError

    def weights(self, values: Tensor, bag: Tensor, context: Context) -> Tensor:
        """Return what each image (n,) has of its study's vector, 0 … 1; a study's add up to 1.

        That is where the vector comes from, not what a decision rests on.
        """
        raise NotImplementedError


class Padded(NamedTuple):
    """Bags as a rectangle.

    Args:
        values: (B, L, K), L the images of the largest study; 0 behind those of smaller ones.
        there: (B, L) bool, True where there is an image.
        place: (n,) int64, where in its study each image is.
    """

    values: Tensor
    there: Tensor
    place: Tensor


def sizes(bag: Tensor) -> Tensor:
    """Return the number of images (B,) int64 of each study.

    On the meta device, where nobody knows it, each image is a study.
    """
    return torch.ones_like(bag) if bag.is_meta else torch.bincount(bag)


def places(bag: Tensor) -> Tensor:
    """Return the place (n,) of each image in its study, from 0.

    >>> places(torch.tensor([0, 0, 1, 2, 2]))
    tensor([0, 1, 0, 0, 1])
    """
    counts = sizes(bag)
    return torch.arange(len(bag), device=bag.device) - (counts.cumsum(0) - counts)[bag]


def padded(values: Tensor, bag: Tensor) -> Padded:
    """Return bags as a rectangle; ``padded(...).values[bag, place]`` are the values again."""
    counts, place = sizes(bag), places(bag)
    longest = 1 if bag.is_meta else int(counts.max())
    rectangle = values.new_zeros(len(counts), longest, values.shape[1])
    rectangle[bag, place] = values
    there = torch.arange(longest, device=bag.device) < counts[:, None]
    return Padded(rectangle, there, place)


def sum_of(values: Tensor, bag: Tensor) -> Tensor:
    """Return the sum (B, K) over each study's images."""
    zeros = values.new_zeros(len(sizes(bag)), values.shape[1])
    return zeros.index_add(0, bag, values)


def max_of(values: Tensor, bag: Tensor) -> Tensor:
    """Return the highest value (B, K) among each study's images."""
    lowest = values.new_full((len(sizes(bag)), values.shape[1]), -torch.inf)
    return lowest.scatter_reduce(0, bag[:, None].expand_as(values), values, "amax")


def softmax_of(scores: Tensor, bag: Tensor) -> Tensor:
    """Return weights (n,) from scores (n,), which add up to 1 in each study."""
    highest = max_of(scores.detach()[:, None], bag)[bag, 0]
    shares = (scores - highest).exp()
    return shares / sum_of(shares[:, None], bag)[bag, 0]


def share_of_maximum(values: Tensor, bag: Tensor) -> Tensor:
    """Return the share (n,) of the K features that are highest in an image of its study.

    Images that have the highest value together have equal parts of it.
    """
    highest = (values == max_of(values, bag)[bag]).to(values.dtype)
    return (highest / sum_of(highest, bag)[bag]).mean(1)
