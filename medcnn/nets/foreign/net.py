"""Models of other libraries as nets of this package, with the models' own modules."""

import copy
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.base import Net, times
from medcnn.nets.foreign.seam import Seam, as_chain, as_halves, same_tensors


def foreign_net(
    model: nn.Module,
    name: str,
    *,
    in_channels: int,
    num_classes: int,
    usual_size: Sequence[int],
    input_size: Sequence[int] | None,
    dropout: float,
    classifiers: Sequence[nn.Module],
) -> Net:
    """A model of another library as ``head(features(x))``.

    Stages are the model's own children, and the parts of a child that changes the resolution more
    than once; norms, activations and pooling belong to the stage of the convolution before them.
    The last stage is the last one that gives more than one cell, (N, K, *spatial). A model that
    isn't such a chain has one stage, ``body``; a transformer of tokens gives (N, tokens, K) there
    and ``net.spatial`` is False. Nothing works in place any more.

    Args:
        model: Takes (N, in_channels, *spatial), gives (N, num_classes). Its modules become the
            net's, so it can't be used on.
        name: What messages call it.
        in_channels: Channels of an image.
        num_classes: Number of logits.
        usual_size: A spatial size that the model takes, at which its last map has several cells.
        input_size: Spatial size of the images, where it is known.
        dropout: Probability in front of the classifiers, in the place of the head's own dropout.
        classifiers: The last layers of the model, before which dropout goes.

    Returns:
        The net; its `min_size` is the smallest side that runs, found by trying.

    Raises:
        UserError: The model isn't of this form, or doesn't take images of input_size.
    """
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    tensors = model.state_dict(keep_vars=True)
    device = device_for(model, name, in_channels, usual_size)
    features, head, spatial = cut(
        model, name, images_of(in_channels, usual_size, device), classifiers
    )
    set_dropout(head, classifiers, dropout)
    net = Net(
        name,
        features,
        head,
        in_channels=in_channels,
        num_classes=num_classes,
        spatial_dims=len(usual_size),
        published_names=same_tensors(tensors, features, head),
    )
    net.spatial = spatial
    trial = partial(run, twin_of(net, device), in_channels, device)
    check_logits(net, trial, usual_size)
    net.min_size = smallest(trial, usual_size)
    if input_size is not None:
        net.check_size(input_size)
        failure = why_not(trial, input_size)
        if failure:
            raise UserError(
                f"{name} doesn't take images of {times(input_size)} px, but does "
                f"{times(usual_size)}: {failure}"
            )
    return net


def check_logits(net: Net, trial: Callable[[Sequence[int]], Any], size: Sequence[int]) -> None:
    """Raises UserError unless a net runs and gives a logit for each class."""
    failure = why_not(trial, size)
    if failure:
        raise UserError(f"{net.name} can't be taken apart as features and head: {failure}")
    shape = trial(size).shape
    if shape != (2, net.num_classes):
        raise UserError(
            f"{net.name} gives {times(shape[1:])} numbers in place of {net.num_classes} logits"
        )


def twin_of(module: nn.Module, device: str) -> nn.Module:
    """A copy to try things with; on the device ``meta`` its tensors have no data."""
    twins: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        twin = torch.empty_like(tensor, device=device).copy_(tensor.detach())
        twins[id(tensor)] = nn.Parameter(twin) if isinstance(tensor, nn.Parameter) else twin
    return copy.deepcopy(module, twins)


def images_of(channels: int, size: Sequence[int], device: str) -> Tensor:
    """Two images (2, channels, *size)."""
    return torch.zeros(2, channels, *size, device=device)


@torch.no_grad()
def run(module: nn.Module, channels: int, device: str, size: Sequence[int]) -> Any:
    """What a module, in training mode, gives for two images of a size."""
    return module.train()(images_of(channels, size, device))


def device_for(model: nn.Module, name: str, channels: int, size: Sequence[int]) -> str:
    """Where a model can be tried: ``meta``, which computes shapes only, else ``cpu``."""
    failure = ""
    for device in ("meta", "cpu"):
        failure = why_not(partial(run, twin_of(model, device), channels, device), size)
        if not failure:
            return device
    raise UserError(f"{name} doesn't run on {channels}×{times(size)} px: {failure}")


def why_not(run: Callable[[Sequence[int]], Any], size: Sequence[int]) -> str:
    """The first line of the error that running on images of a size gives; empty if none."""
    try:
        run(size)
    except Exception as error:  # whatever a library raises
        return first_line(error)
    return ""


def first_line(error: BaseException) -> str:
    """What an error of another library says, cut to a line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def smallest(run: Callable[[Sequence[int]], Any], size: Sequence[int]) -> int:
    """The smallest side of a square or cube that runs, given a size that does."""
    below, side = 0, 1
    while side < min(size) and why_not(run, [side] * len(size)):
        below, side = side, 2 * side
    side = min(side, min(size))
    while side - below > 1:
        middle = (below + side) // 2
        if why_not(run, [middle] * len(size)):
            below = middle
        else:
            side = middle
    return side


@torch.no_grad()
def cut(model: nn.Module, name: str, images: Tensor, classifiers: Sequence[nn.Module]) -> Seam:
    """Features and head that hold all of the model's tensors, each once; classifiers in the head.

    Raises:
        UserError: There is no such seam.
    """
    tensors, reason = model.state_dict(keep_vars=True), ""
    for method in (as_chain, as_halves):
        try:
            seam = method(model, twin_of(model, str(images.device)), images)
        except UserError as error:
            reason = str(error)
            break
        if seam is None:
            continue
        reason = "its classifier isn't in the head, or weights aren't in one place"
        in_head = {id(module) for module in seam[1].modules()}
        if same_tensors(tensors, *seam[:2]) and all(id(c) in in_head for c in classifiers):
            return seam
    raise UserError(f"{name} can't be taken apart as features and head: {reason}")


def set_dropout(head: nn.Module, classifiers: Sequence[nn.Module], dropout: float) -> None:
    """Puts dropout in front of the classifiers in a head, in the place of its own."""
    for module in list(head.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, child in list(module.named_children()):
            if dropout > 0 and any(child is classifier for classifier in classifiers):
                parts = OrderedDict(dropout=nn.Dropout(dropout), linear=child)
                setattr(module, name, nn.Sequential(parts))


def make(
    name: str,
    factory: Callable[..., Any],
    options: Mapping[str, Any],
    optional: Sequence[str] = (),
) -> tuple[Any, Mapping[str, Any]]:
    """A model of another library, and the options that it took.

    Args:
        name: What messages call it.
        factory: Makes the model, from the options.
        options: Names and values.
        optional: Those of the options that are left out where the library doesn't know them.

    Raises:
        UserError: An unknown option, or values that the library refuses.
    """
    try:
        return factory(**options), options
    except Exception as error:  # whatever a library raises
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None or unknown[1] not in options:
            raise UserError(f"{name} can't be made: {first_line(error)}") from error
        if unknown[1] not in optional:
            raise UserError(f"model.{unknown[1]}: {name} has no such option") from error
        rest = {key: value for key, value in options.items() if key != unknown[1]}
    return make(name, factory, rest, optional)
