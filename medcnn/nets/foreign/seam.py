"""Where to cut a model of another library into features and head.

That is seen, not guessed: a copy of the model runs once, and which module was given which other
module's output is noted. A model whose modules follow one another becomes a chain of named stages.
Of the others, those with timm's methods ``forward_features`` and ``forward_head`` are cut between
the two, and their features are one stage called ``body``.
"""

import copy
from collections import Counter, OrderedDict
from collections.abc import Container, Mapping, Sequence

from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.foreign.calls import Call, follow, methods_recorded, recorded

Seam = tuple[nn.Sequential, nn.Module, bool]
"""Features, head, and whether the features are spatial."""
TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # (N, H, W, K) to (N, K, H, W), and back


class Permute(nn.Module):
    """Reorders the dimensions of a tensor."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor x with its dimensions in the order of `dims`."""
        return x.permute(self.dims)


class Half(nn.Module):
    """One method of a model, with the children which that method runs.

    Args:
        model: Its children are shared with the half, not copied.
        method: Name of the method, from one tensor to one tensor.
        children: Names of the children that the half keeps; of the others it keeps those that
            neither learn nor drop anything, for the method may ask what they are.
        own: Whether it keeps the parameters and buffers that are the model's own.
    """

    def __init__(self, model: nn.Module, method: str, children: set[str], own: bool) -> None:
        super().__init__()
        part = copy.copy(model)
        part._modules = {
            name: nn.Identity() if name not in children and matters(child) else child
            for name, child in model._modules.items()
        }
        part._parameters = {k: v for k, v in model._parameters.items() if own or v is None}
        part._buffers = {k: v for k, v in model._buffers.items() if own or v is None}
        self.part = part
        self.method = method

    def forward(self, x: Tensor) -> Tensor:
        """What the method gives for x."""
        result: Tensor = getattr(self.part, self.method)(x)
        return result


def as_chain(model: nn.Module, twin: nn.Module, images: Tensor) -> Seam | None:
    """Cuts a model whose modules follow one another; None if they don't.

    The head begins after the last module whose output has more than one cell.

    Args:
        model: Gives its modules to the features and the head.
        twin: A copy of the model, which runs.
        images: (2, C, *spatial), large enough for a last map of several cells.
    """
    with recorded(model, twin) as calls:
        logits = twin(images)
    chain = follow(calls, images, logits)
    if chain is None:
        return None
    size = images.shape[2:]
    chain = [part for call in chain for part in expand(call, size)]
    several = [i for i, call in enumerate(chain, start=1) if cells(call.gave, size) > 1]
    features, rest = (chain[: several[-1]], chain[several[-1] :]) if several else ([], chain)
    stages = stages_of(features, size)
    if stages is None or not rest or any(is_tokens(call.gave, size) for call in rest):
        return None
    return stages, after(features[-1].gave, size, in_order(rest)), True


def as_halves(model: nn.Module, twin: nn.Module, images: Tensor) -> Seam:
    """Cuts a model between its methods ``forward_features`` and ``forward_head``.

    Features are stages where `forward_features` is a chain of modules, else one stage ``body``.
    They are spatial if they end in a map and not in tokens (N, tokens, K).

    Args:
        model: Gives its modules to the features and the head.
        twin: A copy of the model, which runs.
        images: (2, C, *spatial).

    Raises:
        UserError: No such methods, or they aren't the whole of the model.
    """
    if not hasattr(model, "forward_features") or not hasattr(model, "forward_head"):
        raise UserError("its modules don't follow one another")
    with recorded(model, twin) as calls, methods_recorded(twin) as (body, rest, children):
        logits = twin(images)
    whole = body.given is images and body.gave is not None and rest.given is body.gave
    if not whole or rest.gave is not logits:
        raise UserError("its features aren't one tensor between forward_features and forward_head")
    shared = {n for n in children[0] & children[1] if learns(model.get_submodule(n))}
    if shared:
        raise UserError(f"features and head share {', '.join(sorted(shared))}")
    size = images.shape[2:]
    head = after(body.gave, size, Half(model, "forward_head", children[1], own=False))
    spatial = layout(body.gave, size) is not None
    last = next((i for i, call in enumerate(calls, start=1) if call.gave is body.gave), 0)
    chain = follow(calls[:last], images, body.gave) or []
    stages = stages_of([part for call in chain for part in expand(call, size)], size)
    if stages is not None and same_tensors(model.state_dict(keep_vars=True), stages, head):
        return stages, head, spatial
    left = set(model._modules) - children[1]
    stage: nn.Module = Half(model, "forward_features", left, own=True)
    if layout(body.gave, size) == "last":
        stage = nn.Sequential(OrderedDict(model=stage, channels_first=Permute(TO_FIRST)))
    return nn.Sequential(OrderedDict(body=stage)), head, spatial


def same_tensors(
    tensors: Mapping[str, Tensor], features: nn.Module, head: nn.Module
) -> dict[str, str]:
    """Names of a model's tensors and their names in a net; empty if the tensors differ."""
    both = nn.ModuleDict({"features": features, "head": head})
    ours: dict[int, list[str]] = {}
    for name, tensor in both.state_dict(keep_vars=True).items():
        ours.setdefault(id(tensor), []).append(name)
    counts = Counter(id(tensor) for tensor in tensors.values())
    if counts != {key: len(names) for key, names in ours.items()}:
        return {}
    return {name: ours[id(tensor)].pop(0) for name, tensor in tensors.items()}


def stages_of(calls: Sequence[Call], size: Sequence[int]) -> nn.Sequential | None:
    """Named stages from images to the map that the last call gives; None if one gives no map."""
    if not calls or not all(layout(call.gave, size) for call in calls):
        return None
    stages: dict[str, nn.Module] = {}
    for group in grouped(calls):
        name = "stem" if len(group) > 1 and not stages else main(group).name
        stages[unused(name, stages)] = stage_of(group, size)
    return nn.Sequential(OrderedDict(stages))


def after(maps: Tensor | None, size: Sequence[int], head: nn.Module) -> nn.Module:
    """A head for maps (N, K, *spatial), where the model has such as these."""
    if layout(maps, size) != "last":
        return head
    return nn.Sequential(OrderedDict(channels_last=Permute(TO_LAST), model=head))


def expand(call: Call, size: Sequence[int]) -> list[Call]:
    """A call of a plain Sequential as those of its parts, if others than its first change size."""
    shapes = [extents(part.gave, size) for part in call.parts]
    if type(call.module) is not nn.Sequential or len(set(shapes)) < 2:
        return [call]
    parts = [part for part in call.parts if not isinstance(part.module, nn.Identity)]
    return [piece for part in parts for piece in expand(part, size)]


def grouped(calls: Sequence[Call]) -> list[list[Call]]:
    """Calls in groups, each with one that has weights (of a convolution, not only of a norm)."""
    groups: list[list[Call]] = []
    for call in calls:
        begins = has_weights(call.module) or "Pad" in type(call.module).__name__
        if not groups or (begins and any(has_weights(c.module) for c in groups[-1])):
            groups.append([])
        groups[-1].append(call)
    return groups


def stage_of(group: Sequence[Call], size: Sequence[int]) -> nn.Module:
    """One module for a group of calls, from and to (N, K, *spatial)."""
    parts = OrderedDict[str, nn.Module]()
    if layout(group[0].given, size) == "last":
        parts["channels_last"] = Permute(TO_LAST)
    parts["block"] = in_order(group)
    if layout(group[-1].gave, size) == "last":
        parts["channels_first"] = Permute(TO_FIRST)
    return nn.Sequential(parts) if len(parts) > 1 else parts["block"]


def in_order(calls: Sequence[Call]) -> nn.Module:
    """The modules of the calls one after the other; just the module where it is one."""
    if len(calls) == 1:
        return calls[0].module
    parts: dict[str, nn.Module] = {}
    for call in calls:
        parts[unused(call.name, parts)] = call.module
    return nn.Sequential(OrderedDict(parts))


def main(group: Sequence[Call]) -> Call:
    """The call after which a group is named: the first that has weights."""
    return next((call for call in group if has_weights(call.module)), group[0])


def unused(name: str, taken: Container[str]) -> str:
    """A short name for a module: ``features.denseblock1`` is denseblock1, ``blocks.0`` blocks0."""
    parts = name.split(".")
    start = next((i for i in reversed(range(len(parts))) if not parts[i].isdigit()), 0)
    short = (parts[start] + "_".join(parts[start + 1 :])).strip("_")
    number = 2
    while short in taken:
        short = f"{short.rsplit('_', 1)[0] if number > 2 else short}_{number}"
        number += 1
    return short


def layout(x: Tensor | None, size: Sequence[int]) -> str | None:
    """Where a map of images of a spatial size has its channels: first or last; None if no map."""
    if x is None or x.ndim != len(size) + 2:
        return None
    return "last" if not alike(x.shape[2:], size) and alike(x.shape[1:-1], size) else "first"


def alike(shape: Sequence[int], size: Sequence[int]) -> bool:
    """Whether a shape has the proportions of a size; to one cell where sides differ."""
    slack = max(size) if len(set(size)) > 1 else 0
    return all(abs(a * size[0] - shape[0] * b) <= slack for a, b in zip(shape, size, strict=True))


def extents(x: Tensor | None, size: Sequence[int]) -> tuple[int, ...]:
    """Spatial shape of a map, or () for something else."""
    form = layout(x, size)
    if x is None or form is None:
        return ()
    return tuple(x.shape[1:-1] if form == "last" else x.shape[2:])


def cells(x: Tensor | None, size: Sequence[int]) -> int:
    """Cells along the longest side of a map; 0 for something else."""
    return max(extents(x, size), default=0)


def is_tokens(x: Tensor | None, size: Sequence[int]) -> bool:
    """Whether x is neither a map nor a vector for each image."""
    return x is None or x.ndim not in (2, len(size) + 2)


def has_weights(module: nn.Module) -> bool:
    """Whether there are weights of convolutions or linear layers, not only of norms."""
    return any(parameter.ndim > 1 for parameter in module.parameters())


def learns(module: nn.Module) -> bool:
    """Whether a module has parameters."""
    return any(True for _ in module.parameters())


def matters(module: nn.Module | None) -> bool:
    """Whether a module has parameters or is dropout."""
    return module is not None and (learns(module) or isinstance(module, nn.Dropout))
