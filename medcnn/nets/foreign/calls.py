"""What runs inside a model: which module was given which tensor, and what it gave."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
METHODS = ("forward_features", "forward_head")


@dataclass
class Call:
    """One run of a module; given and gave are None where they aren't one tensor."""

    name: str
    module: nn.Module
    given: Tensor | None
    gave: Tensor | None = None
    version: int = 0  # of gave when it was given; a later one means that it was written into
    parts: list["Call"] = field(default_factory=list)


@contextmanager
def recorded(model: nn.Module, twin: nn.Module) -> Iterator[list[Call]]:
    """Notes in a list, in order, the runs of the twin's children and of the parts of containers.

    The calls have the model's modules, those of the same names.
    """
    roots: list[Call] = []
    open_lists = [roots]
    names = dict(reversed([(module, name) for name, module in units(twin)]))

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = one_tensor(args) if not kwargs else None
        call = Call(names[module], model.get_submodule(names[module]), given)
        open_lists[-1].append(call)
        open_lists.append(call.parts)

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        open_lists.pop()
        call = open_lists[-1][-1]
        call.gave = one_tensor((output,))
        call.version = 0 if call.gave is None else call.gave._version

    hooks = [m.register_forward_pre_hook(before, with_kwargs=True) for m in names]
    hooks += [m.register_forward_hook(after) for m in names]
    try:
        yield roots
    finally:
        for hook in hooks:
            hook.remove()


def units(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Names and modules of a model's children and, where a child is a container, of its parts."""
    for name, child in model.named_children():
        yield prefix + name, child
        if type(child) in CONTAINERS:
            yield from units(child, f"{prefix}{name}.")


@contextmanager
def methods_recorded(model: nn.Module) -> Iterator[tuple[Call, Call, tuple[set[str], set[str]]]]:
    """Notes the two methods' runs, and the names of the children that run in each."""
    calls = Call("body", model, None), Call("head", model, None)
    children: tuple[set[str], set[str]] = set(), set()
    active: list[int] = []

    def watched(which: int, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(x: Any, *args: Any, **kwargs: Any) -> Any:
            active.append(which)
            result = method(x, *args, **kwargs)
            active.pop()
            calls[which].given, calls[which].gave = one_tensor((x,)), one_tensor((result,))
            return result

        return call

    def ran(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            if active:
                children[active[-1]].add(name)

        return hook

    hooks = [
        part.register_forward_pre_hook(ran(name))
        for name, child in model.named_children()
        for part in child.modules()
    ]
    for which, method in enumerate(METHODS):
        setattr(model, method, watched(which, getattr(model, method)))
    try:
        yield *calls, children
    finally:
        for method in METHODS:
            delattr(model, method)
        for hook in hooks:
            hook.remove()


def follow(calls: Sequence[Call], images: Tensor, logits: Any) -> list[Call] | None:
    """The calls as a chain from images to logits, with flattening between them; else None.

    Each must be given the very tensor that the one before it gave, unchanged since, or that
    tensor flattened.
    """
    chain: list[Call] = []
    current = images
    for call in [*calls, Call("logits", nn.Identity(), logits, logits)]:
        if call.given is None or call.gave is None:
            return None
        if call.given is not current:
            if not is_flat(call.given, current):
                return None
            chain.append(Call("flatten", nn.Flatten(), current, call.given, call.given._version))
        if not isinstance(call.module, nn.Identity):
            chain.append(call)
        current = call.gave
    untouched = all(call.gave is not None and call.gave._version == call.version for call in chain)
    return chain if untouched else None


def one_tensor(values: Sequence[Any]) -> Tensor | None:
    """The tensor, if there is nothing else."""
    return values[0] if len(values) == 1 and isinstance(values[0], Tensor) else None


def is_flat(flat: Tensor, x: Tensor) -> bool:
    """Whether a tensor is a view of x, (N, …), flattened to (N, everything)."""
    same_memory = flat._base is not None and (flat._base is x or flat._base is x._base)
    return same_memory and flat.numel() == x.numel() and flat.shape == x.flatten(1).shape
