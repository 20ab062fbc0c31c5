"""The facts of a net that papers give in a table: parameters, operations, receptive field."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from medcnn.nets.base import Net, evaluating
from medcnn.nets.receptive_field import ReceptiveField, receptive_field
from medcnn.nets.registry import build
from medcnn.nets.variants import resolve

SMALL_FAMILIES = ("linear", "mlp", "lenet")  # which were made for digits of 28 px


class Facts(NamedTuple):
    """One line of the table of nets."""

    name: str
    parameters: int
    macs: int  # multiply-accumulates for one image of that shape
    shape: tuple[int, ...]  # channels, then space
    field: ReceptiveField | None  # of the map of features
    min_sizes: tuple[int, ...]  # px, with the small and the imagenet stem; none of one-size nets


def published_input(name: str) -> tuple[tuple[int, ...], int]:
    """Return the shape (C, H, W) of an image, and number of classes, for which a net was published.

    ImageNet's 3×224×224 and 1000, or MNIST's 1×28×28 and 10.
    """
    family, _ = resolve(name)
    return ((1, 28, 28), 10) if family in SMALL_FAMILIES else ((3, 224, 224), 1000)


def build_on_meta(name: str, shape: Sequence[int], num_classes: int, **options: Any) -> Net:
    """Return a net of `medcnn.nets.build` without weights, in eval mode, for images of a shape.

    That is (C, H, W) or (C, D, H, W). Shapes and counts of it cost no memory.
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
    """Return the facts of a net by its name, at its published input."""
    shape, num_classes = published_input(name)
    net = build_on_meta(name, shape, num_classes)
    smallest = (net.min_size,) if net.spatial else ()
    if net.stem:
        smallest = (build_on_meta(name, shape, num_classes, stem="small").min_size, *smallest)
    macs, field = count_macs(net, shape), receptive_field(net)
    return Facts(name, count_parameters(net), macs, shape, field, smallest)


def count_parameters(module: nn.Module) -> int:
    """Return how many numbers training can change, those of frozen layers included."""
    return sum(p.numel() for p in module.parameters())


def count_macs(net: Net, shape: Sequence[int]) -> int:
    """Return the multiply-accumulates of a net for one image of a shape (C, H, W) or (C, D, H, W).

    Those of convolutions and matrix products, half of the floating-point operations that PyTorch
    counts. Norms, biases, activations and poolings, about a hundredth of them, are left out, as
    they are in published numbers. The net, on any device, is as it was afterwards.
    """
    from torch.utils.flop_counter import FlopCounterMode

    x = torch.zeros(1, *shape, device=next(net.parameters()).device)
    with evaluating(net), torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(x)
    return int(counter.get_total_flops()) // 2


def count_memory(net: Net, shape: Sequence[int]) -> int:
    """Return the bytes that an image of a shape takes in a step of training, in 32 bits.

    They are those of the tensors that the forward pass keeps for the backward pass, weights left
    out: most of a step's memory, and within a quarter of what a step on one image more takes.

    Args:
        net: On the meta device; it is as it was afterwards.
        shape: (C, H, W) or (C, D, H, W).
    """
    weights = {one.untyped_storage()._cdata for one in [*net.parameters(), *net.buffers()]}
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    image = torch.zeros(1, *shape, device="meta")
    # Evaluation mode keeps as much, and batch norm takes a single image.
    with evaluating(net), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        net(image)
    return sum(storage.nbytes() for storage in kept.values())
