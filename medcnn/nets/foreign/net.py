"""Models of other libraries as nets of this package, with the models' own modules."""

import copy
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.base import Net, Problem, times
from medcnn.nets.foreign.calls import run
from medcnn.nets.foreign.seam import Halves, as_chain, as_methods, same_tensors


def foreign_net(
    model: nn.Module,
    name: str,
    problem: Problem,
    *,
    usual_size: Sequence[int],
    dropout: float,
    classifiers: Sequence[nn.Module],
) -> Net:
    """Return a model of another library as ``head(features(x))``.

    Stages are the model's own children, and the parts of a child that changes the resolution more
    than once; norms, activations and pooling belong to the stage of the convolution before them.
    The last stage is the last one that gives more than one cell, (N, K, *spatial). A model that
    isn't such a chain has one stage, ``body``; a transformer of tokens gives (N, tokens, K) there
    and ``net.spatial`` is False. Nothing works in place any more. `min_size` is the smallest side
    that runs, found by trying. The modules become the net's, so the model can't be used on.

    Args:
        model: Takes (N, in_channels, *spatial), gives (N, num_classes).
        name: What messages call it.
        problem: What it is for.
        usual_size: A spatial size that the model takes, at which its last map has several cells.
        dropout: Probability in front of the classifiers, in the place of the head's own dropout.
        classifiers: The last layers of the model.

    Raises:
        UserError: The model isn't of this form, or doesn't take images of input_size.
    """
    not_in_place(model)
    tensors = model.state_dict(keep_vars=True)
    images = blank(model, name, problem.in_channels, usual_size)
    features, head, spatial = cut(model, name, images, classifiers)
    set_dropout(head, classifiers, dropout)
    names = same_tensors(tensors, features, head)
    net = Net(name, features, head, problem, published_names=names)
    net.spatial = spatial
    twin = twin_of(net, images.device)

    def trial(size: Sequence[int]) -> Any:
        return attempt(twin, images.new_zeros(2, problem.in_channels, *size))

    logits = trial(usual_size)
    if isinstance(logits, str):
        raise UserError(f"{name} can't be taken apart as features and head: {logits}")
    if logits.shape != (2, net.num_classes):
        given = times(logits.shape[1:])
        raise UserError(f"{name} gives {given} numbers in place of {net.num_classes} logits")
    net.min_size = smallest(lambda size: not isinstance(trial(size), str), usual_size)
    if problem.input_size is not None:
        net.check_size(problem.input_size)
        failure = trial(problem.input_size)
        if isinstance(failure, str):
            raise UserError(
                f"{name} doesn't take images of {times(problem.input_size)} px, but does "
                f"{times(usual_size)}: {failure}"
            )
    return net


def twin_of(model: nn.Module, device: torch.device | str) -> nn.Module:
    """Return a copy to try things with, not in place; on ``meta`` its tensors have no data."""
    twins: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        twin = torch.empty_like(tensor, device=device).copy_(tensor.detach())
        twins[id(tensor)] = nn.Parameter(twin) if isinstance(tensor, nn.Parameter) else twin
    return not_in_place(copy.deepcopy(model, twins))


def not_in_place(model: nn.Module) -> nn.Module:
    """Return a model none of whose modules works in place any more."""
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return model


def blank(model: nn.Module, name: str, channels: int, size: Sequence[int]) -> Tensor:
    """Return two images that a model takes, on a device where it can be tried.

    That is ``meta``, which computes shapes only, else ``cpu``.
    """
    for device in ("meta", "cpu"):
        images = torch.zeros(2, channels, *size, device=device)
        result = attempt(twin_of(model, device), images)
        if not isinstance(result, str):
            return images
    raise UserError(f"{name} doesn't run on {channels}×{times(size)} px: {result}")


@torch.no_grad()
def attempt(twin: nn.Module, images: Tensor) -> Any:
    """Return what a copy of a model, in training mode, gives; or its error's first line."""
    try:
        return twin.train()(images)
    except Exception as error:  # whatever a library raises
        return first_line(error)


def first_line(error: BaseException) -> str:
    """Return what an error of another library says, cut to a line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def smallest(runs: Callable[[Sequence[int]], bool], size: Sequence[int]) -> int:
    """Return the smallest side of a square or cube that runs, given a size that does."""
    below, side = 0, 1
    while side < min(size) and not runs([side] * len(size)):
        below, side = side, 2 * side
    side = min(side, min(size))
    while side - below > 1:
        middle = (below + side) // 2
        if runs([middle] * len(size)):
            side = middle
        else:
            below = middle
    return side


@torch.no_grad()
def cut(model: nn.Module, name: str, images: Tensor, classifiers: Sequence[nn.Module]) -> Halves:
    """Return halves that hold all of a model's tensors, each once; classifiers in the head.

    They have the model's own modules; `images` are of `blank`. Raise UserError if there is no seam.
    """
    tensors = model.state_dict(keep_vars=True)
    whole = run(model, twin_of(model, images.device), images)
    for halves in (as_chain(whole), as_methods(whole)):
        if isinstance(halves, str):
            reason = halves
            continue
        reason = "its classifier isn't in the head, or weights aren't in one place"
        in_head = set(halves.head.modules())
        if same_tensors(tensors, halves.features, halves.head) and in_head >= set(classifiers):
            return halves
    raise UserError(f"{name} can't be taken apart as features and head: {reason}")


def set_dropout(head: nn.Module, classifiers: Sequence[nn.Module], dropout: float) -> None:
    """Put dropout in front of the classifiers in a head, in the place of its own."""
    for module in list(head.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, child in list(module.named_children()):
            if dropout > 0 and any(child is classifier for classifier in classifiers):
                parts = OrderedDict(dropout=nn.Dropout(dropout), linear=child)
                setattr(module, name, nn.Sequential(parts))


def make(
    name: str, factory: Callable[..., Any], options: dict[str, Any], optional: Sequence[str] = ()
) -> tuple[Any, dict[str, Any]]:
    """Return a model that another library's factory makes, and the options that it took.

    Those that are `optional` are left out where the library doesn't know them.

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
