"""The runs inside a model: which module was given which tensor, and what it gave."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from torch import Tensor, nn

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
METHODS = ("forward_features", "forward_head")  # of timm's models


@dataclass
class Call:
    """One run of a module, or of a method; given and gave are None where they aren't one tensor."""

    name: str
    module: nn.Module
    given: Tensor | None
    gave: Tensor | None = None
    version: int = 0  # of gave when it was given; a later one means that it was written into
    parts: list["Call"] = field(default_factory=list)


def run(model: nn.Module, twin: nn.Module, images: Tensor) -> Call:
    """Run a copy of a model, and return that as a call with all that runs within it.

    The modules of the calls are the model's own; the copy is good for nothing else afterwards. A
    module that is neither a child of the model nor a part of its containers counts as given
    nothing, so that it is no link of a chain.
    """
    whole = Call("model", model, images)
    links, names, under_way = dict(units(twin)), dict[nn.Module, str](), [whole]
    for name, module in (*links.items(), *twin.named_modules()):
        names.setdefault(module, name)

    def begin(name: str, module: nn.Module, given: Tensor | None) -> None:
        call = Call(name, module, given)
        under_way[-1].parts.append(call)
        under_way.append(call)

    def end(output: Any) -> Any:
        call = under_way.pop()
        call.gave = one_tensor((output,))
        call.version = 0 if call.gave is None else call.gave._version
        return output

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = one_tensor(args) if names[module] in links and not kwargs else None
        begin(names[module], model.get_submodule(names[module]), given)

    def noted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(x: Any, *args: Any, **kwargs: Any) -> Any:
            begin(name, model, one_tensor((x,)))
            return end(method(x, *args, **kwargs))

        return call

    for module in names.keys() - {twin}:
        module.register_forward_pre_hook(before, with_kwargs=True)
        module.register_forward_hook(lambda module, args, output: end(output))
    for name in METHODS:
        if hasattr(twin, name):
            setattr(twin, name, noted(name, getattr(twin, name)))
    end(twin(images))
    return whole


def units(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield names and modules: a model's children and, where a child is a container, its parts."""
    for name, child in model.named_children():
        yield prefix + name, child
        if type(child) in CONTAINERS:
            yield from units(child, f"{prefix}{name}.")


def follow(whole: Call) -> list[Call] | None:
    """Return the parts of a call as a chain, with flattening between them; None if they are none.

    Each must be given the very tensor that the one before it gave, unchanged since, or that
    tensor flattened.
    """
    found: list[Call] = []
    current = whole.given
    parts = [part.parts if part.name in METHODS else [part] for part in whole.parts]
    for call in [*chain.from_iterable(parts), Call("end", nn.Identity(), whole.gave, whole.gave)]:
        if current is None or call.given is None or call.gave is None:
            return None
        if call.given is not current:
            if not is_flat(call.given, current):
                return None
            found.append(Call("flatten", nn.Flatten(), current, call.given, call.given._version))
        if not isinstance(call.module, nn.Identity):
            found.append(call)
        current = call.gave
    untouched = all(call.gave is not None and call.gave._version == call.version for call in found)
    return found if untouched else None


def one_tensor(values: Sequence[Any]) -> Tensor | None:
    """Return the tensor, if there is nothing else."""
    return values[0] if len(values) == 1 and isinstance(values[0], Tensor) else None


def is_flat(flat: Tensor, x: Tensor) -> bool:
    """Return whether a tensor is a view of x, (N, …), flattened to (N, everything)."""
    same_memory = flat._base is not None and (flat._base is x or flat._base is x._base)
    return same_memory and flat.numel() == x.numel() and flat.shape == x.flatten(1).shape
