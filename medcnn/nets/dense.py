"""The fully convolutional form of a net: a score for every place of a large image."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.base import Net, layer, stage_shapes, times
from medcnn.nets.heads import DenseHead, LinearHead


class WindowHead(nn.Module):
    """A head applied to every window of the map, for heads that are no convolution.

    Args:
        head: From maps (N, K, *window) to logits.
        window: Size of the window, in cells of the map.
    """

    def __init__(self, head: nn.Module, window: Sequence[int]) -> None:
        super().__init__()
        self.head = head
        self.window = tuple(window)

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits (N, num_classes, *grid) of maps (N, K, *spatial)."""
        dims = len(self.window)
        windows = maps
        for axis, side in enumerate(self.window, start=2):
            windows = windows.unfold(axis, side, 1)
        grid = windows.shape[2 : 2 + dims]
        each = windows.movedim(1, 1 + dims).flatten(0, dims)
        return self.head(each).unflatten(0, (len(maps), *grid)).movedim(-1, 1)


class FullyConvolutional(Net):
    """The net that `convolutionalise` gives; its `input_size` is that of one cell of the grid."""

    def check_size(self, size: Sequence[int]) -> None:
        """Raise UserError if images of a spatial size have a side below that of `input_size`."""
        assert self.input_size is not None
        if any(side < least for side, least in zip(size, self.input_size, strict=True)):
            raise UserError(
                f"{self.name}, was built for images of {times(self.input_size)} px or larger, got "
                f"{times(size)}"
            )


def convolutionalise(net: Net, input_size: Sequence[int] | None = None) -> Net:
    """Return a net whose logits are a grid: one for each place of an image of any larger size.

    Fully connected layers become convolutions with the same weights (P. Sermanet et al.,
    "OverFeat", 2014, section 3.5; J. Long et al., "Fully convolutional networks for semantic
    segmentation", 2015, section 3.1). At its own size the grid has one cell, which holds the
    logits of the net; at every cell of a larger image it is the net's head on that window of the
    large feature map. Cut out, that part of the image would give other values near its borders,
    which the net would pad.

    >>> from medcnn.nets import build
    >>> net = build("resnet18", in_channels=1, num_classes=2, input_size=(224, 224), width=0.1)
    >>> convolutionalise(net)(torch.zeros(1, 1, 384, 384)).shape
    torch.Size([1, 2, 6, 6])

    Args:
        net: Any net with a map, in the mode that it is to be used in. Its parts are used, not
            copied, and its weights shared.
        input_size: Spatial size of the images that it was trained on; None for the size that it
            was built for.

    Returns:
        A net from images (N, C, *spatial) to logits (N, num_classes, *grid).

    Raises:
        UserError: A net without a map, or of unknown size.
    """
    size = input_size or net.input_size
    if not net.spatial:
        raise UserError(f"{net.name} has no feature maps, so there is no map of its scores")
    if size is None:
        raise UserError(f"convolutionalise({net.name}): give the input_size that it was trained on")
    *_, (_, *window) = stage_shapes(net, size).values()
    made = FullyConvolutional(
        f"{net.name}, fully convolutional",
        net.features,
        convolutional_head(net.head, window),
        replace(net.problem, input_size=tuple(size)),
        min_size=min(size),
        stem=net.stem,
    )
    made.training = net.training
    made.head.train(net.head.training)
    return made


def convolutional_head(head: nn.Module, window: Sequence[int]) -> nn.Module:
    """Return the form of a head that gives logits (N, num_classes, *grid), one for each window."""
    dims = len(window)
    if isinstance(head, DenseHead):
        return dense_head(head, window)
    if type(head) is LinearHead:
        pool = layer("AvgPool", dims)(tuple(window), stride=1)
        fc = as_convolution(head.fc, dims)
        return nn.Sequential(OrderedDict(pool=pool, dropout=head.dropout, fc=fc))
    return WindowHead(head, window)


def dense_head(head: DenseHead, window: Sequence[int]) -> nn.Module:
    """Return the convolutional form of two hidden layers on a grid."""
    dims, fc1 = len(window), head.fc1
    channels = fc1.in_features // grid_cells(head)
    pooled = head.pool(fc1.weight.new_zeros(1, channels, *window)).shape[2:]
    parts = OrderedDict[str, nn.Module](pool=head.pool)
    if grid_cells(head) == 1:  # the mean of the window
        parts["grid"] = layer("AvgPool", dims)(tuple(pooled), stride=1)
        parts["fc1"] = as_convolution(head.fc1, dims)
    else:
        parts["fc1"] = grid_convolution(head, pooled)
    parts["activation1"], parts["dropout1"] = head.activation, head.dropout
    parts["fc2"] = as_convolution(head.fc2, dims)
    parts["activation2"], parts["dropout2"] = head.activation, head.dropout
    parts["fc3"] = as_convolution(head.fc3, dims)
    return nn.Sequential(parts)


def grid_cells(head: DenseHead) -> int:
    """Return the number of cells of the grid that the maps are averaged to."""
    side = head.grid.output_size
    assert isinstance(side, int)
    return side ** (3 if isinstance(head.grid, nn.AdaptiveAvgPool3d) else 2)


def grid_convolution(head: DenseHead, size: Sequence[int]) -> nn.Module:
    """Return the first hidden layer, on the grid of a map, as one convolution of the map's size.

    Where the map has the size of the grid, these are the same weights in another shape;
    elsewhere each cell's weight is shared out to the places that its average is taken over.
    """
    fc, places = head.fc1, torch.Size(size).numel()
    weight = fc.weight.detach().unflatten(1, (-1, grid_cells(head)))  # (out, K, cells)
    if tuple(size) != (head.grid.output_size,) * len(size):
        basis = torch.eye(places, dtype=weight.dtype, device=weight.device)
        shares = head.grid(basis.view(places, 1, *size)).flatten(1)  # (places, cells)
        weight = torch.einsum("oks,ps->okp", weight, shares)
    return convolution(weight.unflatten(2, tuple(size)), fc.bias)


def as_convolution(fc: nn.Linear, dims: int) -> nn.Module:
    """Return a linear layer as a convolution of 1×1, sharing its weights."""
    return convolution(fc.weight.detach()[(...,) + (None,) * dims], fc.bias)


def convolution(weight: Tensor, bias: Tensor) -> nn.Module:
    """Return a convolution without padding, of stride 1, with given weights (out, in, *kernel)."""
    make = layer("Conv", weight.ndim - 2)
    with torch.device("meta"):
        made = make(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]))
    made.weight, made.bias = nn.Parameter(weight), nn.Parameter(bias.detach())
    return made
