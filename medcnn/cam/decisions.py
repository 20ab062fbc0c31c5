"""The decisions that are explained: of which net, cut where, on which images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from medcnn.cam.targets import Chosen, Targets
from medcnn.errors import UserError
from medcnn.nets.base import Net, parts_of
from medcnn.nets.chunks import in_chunks
from medcnn.nets.foreign.apart import apart
from medcnn.nets.studies import Context
from medcnn.objective import Objective

Function = Callable[[Tensor], Tensor]


class ClassifierNet(Protocol):
    """A classifier that is ``head(features(x))``."""

    @property
    def features(self) -> Function:
        """Images to activations (N, K, *spatial); named stages if it is an nn.Sequential."""

    @property
    def head(self) -> Function:
        """Activations to logits (N, outputs)."""


@dataclass(frozen=True)
class Decisions:
    """A net in pieces, and the images whose decisions are explained.

    The net is cut after each stage whose activations are asked for: from images to the first
    stage's output, …, from the last stage's output to logits.
    """

    images: Tensor  # (N, C, *spatial), as the net takes them
    pieces: tuple[Function, ...]
    stages: tuple[str, ...]  # names
    head: Function
    at_end: bool  # whether there is one stage, the last, so that its activations enter the head
    targets: Targets  # what of the logits is explained
    bag: Tensor | None = None  # (N,) of each image the study 0 … B-1 whose logits there are

    def net(self, images: Tensor) -> Tensor:
        """Return logits (M, outputs) of images (M, C, *spatial).

        Where there is a graph, each piece gets a copy, for it may work in place.
        """
        for piece in self.pieces:
            images = piece(images.clone() if images.requires_grad else images)
        return images

    def activations(self) -> Tensor:
        """Return the output (N, K, *spatial) of the first stage asked for, without a graph.

        Raises:
            UserError: It is no map over the image.
        """
        with torch.no_grad():
            activations = self.pieces[0](self.images)
        if activations.dim() != self.images.dim():
            raise UserError(
                f"stage={self.stages[0]}: its output has the shape {tuple(activations.shape)}, "
                f"which isn't (N, K, *spatial); choose an earlier stage"
            )
        return activations


def decisions_of(
    net: nn.Module | ClassifierNet,
    images: Tensor,
    targets: Chosen,
    stages: Sequence[str],
    objective: Objective | None,
    context: Context = None,
) -> Decisions:
    """Cut a net after some of its stages, in any order; the arguments are those of `explain`.

    Raises:
        UserError: Images that don't fit, a net without spatial activations, or no such stage.
    """
    bare: Any = unwrapped(net)
    name = type(bare).__name__
    if isinstance(bare, nn.Module) and images.dim() in (4, 5) and len(images):
        bare = apart(bare, images)
    if not getattr(bare, "spatial", True) or images.dim() not in (4, 5):
        raise UserError(
            f"{name} on images of shape {tuple(images.shape)} has no spatial "
            "activations, so there is no class activation map; use a convolutional model"
        )
    if isinstance(bare, Net):
        bare.check_input(images)
    names = list(parts_of(bare.features) or ())
    for stage in stages:
        if stage not in (*names, "last"):
            raise UserError(f"stage={stage}: choose one of {', '.join([*names, 'last'])}")
    what = Targets(targets, objective)
    head = bare.head if context is None else partial(bare.head, context=context)
    bag, chunk = (context or {}).get("bag"), getattr(bare, "chunk", None)
    if not names:
        return Decisions(images, (bare.features, head), ("last",), head, True, what, bag)
    ends = sorted({len(names) if s == "last" else names.index(s) + 1 for s in stages})
    inner = [bare.features[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    rest = bare.features[ends[-1] :]
    first = partial(in_chunks, inner[0], chunk=chunk)
    pieces = (first, *inner[1:], head if len(rest) == 0 else lambda x: head(rest(x)))
    at_end = ends == [len(names)]
    return Decisions(images, pieces, tuple(stages), head, at_end, what, bag)


def unwrapped(net: Any) -> Any:
    """Return the net itself, out of DistributedDataParallel and torch.compile."""
    while not isinstance(net, Net):
        if hasattr(net, "_orig_mod"):
            net = net._orig_mod
        elif isinstance(net, nn.parallel.DistributedDataParallel | nn.DataParallel):
            net = net.module
        else:
            break
    return net
