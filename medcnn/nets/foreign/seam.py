"""The place to cut a model of another library into features and head.

That is seen, not guessed: a copy of the model runs once, and which module was given which other
module's output is noted. A model whose modules follow one another becomes a chain of named stages.
Of the others, those with timm's methods ``forward_features`` and ``forward_head`` are cut between
the two, and their features are one stage called ``body``.
"""

import copy
from collections import OrderedDict
from collections.abc import Container, Mapping, Sequence
from itertools import count
from typing import NamedTuple

from torch import Tensor, nn

from medcnn.nets.foreign.calls import METHODS, Call, follow

TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # (N, H, W, K) to (N, K, H, W), and back


class Halves(NamedTuple):
    """A net in two pieces: images → activations (N, K, *spatial) → logits."""

    features: nn.Sequential
    head: nn.Module
    spatial: bool


class Permute(nn.Module):
    """A layer that reorders the dimensions of a tensor."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, x: Tensor) -> Tensor:
        """Return x with its dimensions in the order of `dims`."""
        return x.permute(self.dims)


class Half(nn.Module):
    """One method of a model, from one tensor to one tensor, with the children which that runs.

    They are shared with the model, not copied. Of its other children the half keeps those that
    neither learn nor drop anything, for the method may ask what they are; with `own` it has the
    parameters and buffers that are the model's own.
    """

    def __init__(self, model: nn.Module, method: str, children: set[str], own: bool) -> None:
        super().__init__()
        part = copy.copy(model)
        part._modules = dict(model._modules)
        for name, child in model._modules.items():
            matters = child is not None and (learns(child) or isinstance(child, nn.Dropout))
            if matters and name not in children:
                part._modules[name] = nn.Identity()
        part._parameters = {k: v for k, v in model._parameters.items() if own or v is None}
        part._buffers = {k: v for k, v in model._buffers.items() if own or v is None}
        self.part = part
        self.method = method

    def forward(self, x: Tensor) -> Tensor:
        """Return what the method gives for x."""
        result: Tensor = getattr(self.part, self.method)(x)
        return result


def as_chain(whole: Call) -> Halves | str:
    """Return a model cut after the last of its modules whose output has more than one cell.

    Or why it can't be: its modules don't follow one another. The images of its run are to be large
    enough for a last map of several cells.
    """
    assert whole.given is not None
    size = whole.given.shape[2:]
    chain = [part for call in follow(whole) or [] for part in expand(call, size)]
    end = max((i for i, c in enumerate(chain, 1) if max(extents(c.gave, size)) > 1), default=0)
    stages, rest = stages_of(chain[:end], size), chain[end:]
    dims = {-1 if call.gave is None else call.gave.ndim for call in rest}
    if stages is None or not rest or not dims <= {2, len(size) + 2}:  # tokens, say
        return "its modules don't follow one another"
    return Halves(stages, turned("model", in_order(rest), chain[end - 1].gave, None, size), True)


def as_methods(whole: Call) -> Halves | str:
    """Return a model cut between its methods ``forward_features`` and ``forward_head``.

    Or why it can't be: no such methods, or they aren't the whole of the model. Features are stages
    where `forward_features` is a chain of modules, else one stage ``body``; they are spatial if
    they end in a map and not in tokens (N, tokens, K).
    """
    model, images = whole.module, whole.given
    if not all(hasattr(model, method) for method in METHODS):
        return "its modules don't follow one another"
    runs = {part.name: part for part in whole.parts}
    body, rest = (runs.get(method, Call(method, model, None)) for method in METHODS)
    maps = body.gave
    ends = body.given is images and rest.given is maps and rest.gave is whole.gave
    if images is None or maps is None or not ends:
        return "its features aren't one tensor between forward_features and forward_head"
    ran, head_ran = ({call.name.split(".")[0] for call in half.parts} for half in (body, rest))
    shared = {name for name in ran & head_ran if learns(model.get_submodule(name))}
    if shared:
        return f"features and head share {', '.join(sorted(shared))}"
    size = images.shape[2:]
    head = turned("model", Half(model, rest.name, head_ran, own=False), maps, None, size)
    chain = [part for call in follow(body) or [] for part in expand(call, size)]
    stages = stages_of(chain, size)
    if stages is None or not same_tensors(model.state_dict(keep_vars=True), stages, head):
        stage = Half(model, body.name, set(model._modules) - head_ran, own=True)
        stages = nn.Sequential(OrderedDict(body=turned("model", stage, None, maps, size)))
    return Halves(stages, head, layout(maps, size) is not None)


def same_tensors(
    tensors: Mapping[str, Tensor], features: nn.Module, head: nn.Module
) -> dict[str, str]:
    """Return the names of a model's tensors and theirs in a net; nothing if the tensors differ."""
    both = nn.ModuleDict({"features": features, "head": head}).state_dict(keep_vars=True)
    theirs, ours = (sorted(s.items(), key=lambda item: id(item[1])) for s in (tensors, both))
    if [id(tensor) for _, tensor in theirs] != [id(tensor) for _, tensor in ours]:
        return {}
    return {name: other for (name, _), (other, _) in zip(theirs, ours, strict=True)}


def stages_of(calls: Sequence[Call], size: Sequence[int]) -> nn.Sequential | None:
    """Return named stages from images to the map that the last call gives; None if one has none."""
    if not calls or not all(layout(call.gave, size) for call in calls):
        return None
    stages: dict[str, nn.Module] = {}
    for group in grouped(calls):
        first = next((call for call in group if has_weights(call.module)), group[0])
        name = "stem" if len(group) > 1 and not stages else first.name
        stage = turned("block", in_order(group), group[0].given, group[-1].gave, size)
        stages[unused(name, stages)] = stage
    return nn.Sequential(OrderedDict(stages))


def expand(call: Call, size: Sequence[int]) -> list[Call]:
    """Return the parts of a plain Sequential that changes size within; else the call itself."""
    shapes = {extents(part.gave, size) for part in call.parts}
    if type(call.module) is not nn.Sequential or len(shapes) < 2:
        return [call]
    parts = [part for part in call.parts if not isinstance(part.module, nn.Identity)]
    return [piece for part in parts for piece in expand(part, size)]


def grouped(calls: Sequence[Call]) -> list[list[Call]]:
    """Return calls in groups, each with one that has weights (of a layer, not only of a norm)."""
    groups: list[list[Call]] = []
    for call in calls:
        begins = has_weights(call.module) or "Pad" in type(call.module).__name__
        if not groups or (begins and any(has_weights(c.module) for c in groups[-1])):
            groups.append([])
        groups[-1].append(call)
    return groups


def turned(
    name: str, module: nn.Module, given: Tensor | None, gave: Tensor | None, size: Sequence[int]
) -> nn.Module:
    """Return a module from and to (N, K, *spatial), whose own maps may have their channels last."""
    parts = OrderedDict[str, nn.Module]()
    if layout(given, size) == "last":
        parts["channels_last"] = Permute(TO_LAST)
    parts[name] = module
    if layout(gave, size) == "last":
        parts["channels_first"] = Permute(TO_FIRST)
    return nn.Sequential(parts) if len(parts) > 1 else module


def in_order(calls: Sequence[Call]) -> nn.Module:
    """Return the modules of the calls one after the other; just the module where it is one."""
    if len(calls) == 1:
        return calls[0].module
    parts: dict[str, nn.Module] = {}
    for call in calls:
        parts[unused(call.name, parts)] = call.module
    return nn.Sequential(OrderedDict(parts))


def unused(name: str, taken: Container[str]) -> str:
    """Return a short name: of ``features.denseblock1`` denseblock1, of ``blocks.0`` blocks0."""
    parts = name.split(".")
    start = next((i for i in reversed(range(len(parts))) if not parts[i].isdigit()), 0)
    short = (parts[start] + "_".join(parts[start + 1 :])).strip("_")
    if short not in taken:
        return short
    return next(f"{short}_{i}" for i in count(2) if f"{short}_{i}" not in taken)


def layout(x: Tensor | None, size: Sequence[int]) -> str | None:
    """Return where a map of images of a size has its channels: first or last; None if no map."""
    if x is None or x.ndim != len(size) + 2:
        return None
    return "last" if not alike(x.shape[2:], size) and alike(x.shape[1:-1], size) else "first"


def alike(shape: Sequence[int], size: Sequence[int]) -> bool:
    """Return whether a shape has the proportions of a size; to one cell where sides differ."""
    slack = max(size) if len(set(size)) > 1 else 0
    return all(abs(a * size[0] - shape[0] * b) <= slack for a, b in zip(shape, size, strict=True))


def extents(x: Tensor | None, size: Sequence[int]) -> tuple[int, ...]:
    """Return the spatial shape of a map, or (0,) for something else."""
    form = layout(x, size)
    if x is None or form is None:
        return (0,)
    return tuple(x.shape[1:-1] if form == "last" else x.shape[2:])


def has_weights(module: nn.Module) -> bool:
    """Return whether there are weights of convolutions or linear layers, not only of norms."""
    return any(parameter.ndim > 1 for parameter in module.parameters())


def learns(module: nn.Module) -> bool:
    """Return whether a module has parameters."""
    return any(True for _ in module.parameters())
