"""Networks that `torch.compile` makes into kernels of their own, while they train."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from medcnn.errors import UserError

BACKEND = "inductor"
CALL = "_compiled_call_impl"  # where `torch.nn.Module.compile` keeps what it has made


@contextmanager
def compiled(net: nn.Module, asked: bool) -> Iterator[None]:
    """Have features and head of a network compiled inside the block, if that is asked for.

    They are compiled in place, at their first call, so that no name in a checkpoint changes; and
    only for the block, as whatever looks at the network later (maps, figures of layers) calls it in
    forms that would each have to be compiled anew.
    """
    parts = _parts(net) if asked else []
    for part in parts:
        part.compile(backend=BACKEND)
    try:
        yield
    finally:
        for part in parts:
            setattr(part, CALL, None)


@contextmanager
def as_it_is(net: nn.Module) -> Iterator[None]:
    """Call a network without what was compiled of it inside the block."""
    kept = [(part, getattr(part, CALL)) for part in _parts(net)]
    for part, _ in kept:
        setattr(part, CALL, None)
    try:
        yield
    finally:
        for part, made in kept:
            setattr(part, CALL, made)


def is_compiled(net: nn.Module) -> bool:
    """Return whether calls of a network go to what was compiled of it; hooks are passed by then."""
    return any(getattr(part, CALL) is not None for part in _parts(net))


def check_compiler(device: torch.device) -> None:
    """Compile a line, once a process.

    Raises:
        UserError: It can't be done on this machine.
    """
    try:
        torch.compile(_line, backend=BACKEND)(torch.ones(8, device=device))
    except Exception as error:  # whatever a compiler may raise
        words = " ".join(str(error).split())[:200]
        raise UserError(
            f"trainer.compile=true: torch.compile doesn't work on this machine ({words}); install "
            "a C++ compiler, or set it to false"
        ) from error


def _line(values: torch.Tensor) -> torch.Tensor:
    return values.square() + 1


def _parts(net: nn.Module) -> list[nn.Module]:
    parts: list[Any] = [getattr(net, name, None) for name in ("features", "head")]
    return [part for part in parts if isinstance(part, nn.Module)]
