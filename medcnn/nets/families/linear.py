"""The linear model: logistic regression on pixels, the least that a net has to beat."""

from collections import OrderedDict
from collections.abc import Sequence
from math import prod

from torch import nn

from medcnn.nets.families.mlp import FlatNet, known_size


def linear(
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int = 2,
    input_size: Sequence[int] | None = None,
) -> FlatNet:
    """One linear layer on all pixels (D. Cox, "The regression analysis of binary sequences", 1958).

    One stage, ``flatten``; features are (N, pixels), not a map. 7,850 parameters with 28×28 pixels
    and 10 classes.

    Args:
        in_channels: Channels of an image.
        num_classes: Number of logits.
        spatial_dims: 2 or 3.
        input_size: Spatial size of every image; needed.

    Raises:
        UserError: No input_size.
    """
    size = known_size("linear", input_size)
    net = FlatNet(
        "linear",
        nn.Sequential(OrderedDict(flatten=nn.Flatten())),
        nn.Linear(in_channels * prod(size), num_classes),
        in_channels=in_channels,
        num_classes=num_classes,
        spatial_dims=spatial_dims,
        min_size=min(size),
    )
    net.input_size = size
    return net
