"""Any classifier as ``head(features(x))``, for the time of a map."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.base import Net
from medcnn.nets.foreign_net import cut, device_for, images_of


class Halves(NamedTuple):
    """A net in two pieces: images → activations (N, K, *spatial) → logits."""

    features: nn.Module
    head: nn.Module
    spatial: bool


@torch.no_grad()
def apart(net: nn.Module, images: Tensor) -> nn.Module | Halves:
    """Return a net itself if it is ``head(features(x))``, else two halves that share its tensors.

    The halves are made as those of ``model.library=timm``; see `medcnn.nets.foreign_net`.

    Args:
        net: On the device of the images. It stays as it is.
        images: (N, C, *spatial), at least one.

    Raises:
        UserError: The net can't be taken apart.
    """
    if isinstance(net, Net) or _is_seam(net, images[:1]):
        return net
    tensors = (*net.parameters(), *net.buffers())
    model = copy.deepcopy(net, {id(tensor): tensor for tensor in tensors})
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    name, channels, size = type(net).__name__, images.shape[1], images.shape[2:]
    try:
        device = device_for(model, name, channels, size)
        return Halves(*cut(model, name, images_of(channels, size, device), ()))
    except UserError as error:
        raise UserError(
            f"{error}; give it a property `features`, from images to maps (N, K, *spatial), and "
            "`head`, from those to logits, or make it with medcnn.nets.build"
        ) from error


def _is_seam(net: nn.Module, image: Tensor) -> bool:
    """Whether a net has features and head, and they are the whole of it."""
    if not hasattr(net, "features") or not hasattr(net, "head"):
        return False
    if net.training or type(net).forward is nn.Module.forward:
        return True  # a pass would change its statistics, or it has none
    try:
        whole = net(image)
    except Exception:  # a net that doesn't run at all: whoever runs its parts says why
        return True
    try:
        logits = net.head(net.features(image))  # type: ignore[operator]
    except (RuntimeError, TypeError, ValueError):
        return False
    return logits.shape == whole.shape and torch.allclose(logits, whole, 1e-3, 1e-3, True)
