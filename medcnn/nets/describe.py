"""The facts of a net that papers give in a table: parameters, operations, receptive field."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from medcnn.nets.base import Net, evaluating
from medcnn.nets.receptive_field import ReceptiveField, receptive_field
from medcnn.nets.registry import build
from medcnn.nets.variants import resolve

SMALL_FAMILIES = ("linear", "mlp", "lenet")  # which were made for digits of 28 px


@dataclass(frozen=True)
class Facts:
    """One line of the table of nets.

    Args:
        name: Of the net.
        parameters: Numbers that training changes.
        macs: Multiply-accumulates for one image of shape ``shape``.
        shape: Of that image: channels, then space.
        field: Receptive field of the map of features; None where there is no map.
        min_sizes: Smallest side of an image in px, with the small and the imagenet stem where the
            net has both; empty where it is built for one size.
    """

    name: str
    parameters: int
    macs: int
    shape: tuple[int, ...]
    field: ReceptiveField | None
    min_sizes: tuple[int, ...]


def published_input(name: str) -> tuple[tuple[int, ...], int]:
    """Return the shape (C, H, W) of an image, and number of classes, for which a net was published.

    ImageNet's 3×224×224 and 1000, or MNIST's 1×28×28 and 10.
    """
    family, _ = resolve(name)
    return ((1, 28, 28), 10) if family in SMALL_FAMILIES else ((3, 224, 224), 1000)


def build_on_meta(name: str, shape: Sequence[int], num_classes: int, **options: Any) -> Net:
    """Return a net without weights, in eval mode: shapes and counts of it cost no memory.

    Args:
        name: Of a family, or a published name.
        shape: Of an image: (C, H, W), or (C, D, H, W) for a net of volumes.
        num_classes: Number of logits.
        **options: Of the family.

    Raises:
        UserError: As `medcnn.nets.build`.
    """
    with torch.device("meta"):
        return build(
            name,
            in_channels=shape[0],
            num_classes=num_classes,
            spatial_dims=len(shape) - 1,
            input_size=tuple(shape[1:]),
            **options,
        ).eval()


def facts(name: str) -> Facts:
    """Return the facts of a net by its name, at its published input.

    Raises:
        UserError: No such net.
    """
    shape, num_classes = published_input(name)
    net = build_on_meta(name, shape, num_classes)
    smallest = [net.min_size] if net.spatial else []
    if net.stem:
        other = build_on_meta(name, shape, num_classes, stem="small")
        smallest.insert(0, other.min_size)
    return Facts(
        name,
        count_parameters(net),
        count_macs(net, shape),
        shape,
        receptive_field(net),
        tuple(smallest),
    )


def count_parameters(module: nn.Module) -> int:
    """Return how many numbers training can change, those of frozen layers included."""
    return sum(p.numel() for p in module.parameters())


def count_macs(net: Net, shape: Sequence[int]) -> int:
    """Return the multiply-accumulates of the convolutions and matrix products for one image.

    Half of the floating-point operations that PyTorch counts. Norms, biases, activations and
    poolings, about a hundredth of them, are left out, as they are in published numbers.

    Args:
        net: Any net, on any device; it is as it was afterwards.
        shape: Of the image: (C, H, W) or (C, D, H, W).

    Raises:
        UserError: Images that the net can't take.
    """
    from torch.utils.flop_counter import FlopCounterMode

    x = torch.zeros(1, *shape, device=next(net.parameters()).device)
    with evaluating(net), torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(x)
    return int(counter.get_total_flops()) // 2
