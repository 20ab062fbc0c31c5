"""Heads of nets that take columns of a table beside the images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.base import Net, stage_shapes
from medcnn.nets.studies import Context, StudyHead
from medcnn.objective import Task
from medcnn.objective.mean import mean_logits

HIDDEN = 32  # units of the layer between columns and net


class FusedHead(nn.Module):
    """A head that also takes columns.

    Args:
        head: From maps to logits, as it is without columns.
        unknown: (F,) the columns of a patient of whom nothing is known.
    """

    unknown: Tensor

    def __init__(self, head: nn.Module, unknown: Sequence[float]) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("unknown", torch.tensor(unknown), persistent=False)

    def of_images(self, maps: Tensor, context: Context) -> Tensor:
        """Return logits (B, num_classes) of the images alone."""
        given = (context,) if isinstance(self.head, StudyHead) else ()
        logits: Tensor = self.head(maps, *given)
        return logits

    def modulated(self, maps: Tensor, context: Context) -> Tensor:
        """Return the maps (n, K, *spatial) as `head` gets them."""
        return maps

    def weights(self, maps: Tensor, context: Context = None) -> Tensor:
        """Return the weight (n,) of each image in its study, of a head of studies that has them."""
        found: Tensor = self.head.weights(self.modulated(maps, context), context)  # type: ignore[operator]
        return found

    def columns(self, maps: Tensor, context: Context) -> Tensor:
        """Return the columns (B, F) of each study, or image; unknown ones without a context."""
        context = context or {}
        if "features" in context:
            return context["features"].to(self.unknown.dtype)
        bag = context.get("bag")
        count = len(maps) if bag is None else int(bag[-1]) + 1
        return self.unknown.expand(count, -1)


class LateHead(FusedHead):
    """Late fusion: the mean of the probabilities of images and of a linear model of the columns.

    p = (p(images) + p(W x + b)) / 2 with the columns x; see `mean_logits` for the logits of that.
    """

    def __init__(
        self, head: nn.Module, unknown: Sequence[float], num_classes: int, task: Task
    ) -> None:
        super().__init__(head, unknown)
        self.linear = nn.Linear(len(unknown), num_classes)
        self.task: Task = task

    def forward(self, maps: Tensor, context: Context = None) -> Tensor:
        """Return logits (B, num_classes) of maps (n, K, *spatial); see `StudyHead`."""
        of_images, of_columns = (
            logits.to(torch.promote_types(logits.dtype, torch.float32))
            for logits in (self.of_images(maps, context), self.linear(self.columns(maps, context)))
        )
        return mean_logits(of_images, of_columns, self.task)


class ConcatHead(FusedHead):
    """Middle fusion: the columns, through a small layer, beside the features of the images.

    logits = W [z; ReLU(V x + c)] + b with the features z of the images and the columns x. W has two
    parts, of which the first is that of the head: W z + b + U ReLU(V x + c).
    """

    def __init__(self, head: nn.Module, unknown: Sequence[float], num_classes: int) -> None:
        super().__init__(head, unknown)
        self.embed = nn.Sequential(nn.Linear(len(unknown), HIDDEN), nn.ReLU())
        self.fc = nn.Linear(HIDDEN, num_classes, bias=False)

    def forward(self, maps: Tensor, context: Context = None) -> Tensor:
        """Return logits (B, num_classes) of maps (n, K, *spatial); see `StudyHead`."""
        beside: Tensor = self.fc(self.embed(self.columns(maps, context)))
        return self.of_images(maps, context) + beside


class FilmHead(FusedHead):
    """Feature-wise linear modulation: the columns scale and shift each channel of the last maps.

    A'_k = (1 + γ_k) A_k + β_k with (γ, β) = U ReLU(V x + c) + d of the columns x (E. Perez et al.,
    "FiLM: visual reasoning with a general conditioning layer", AAAI 2018, eqs. 1-2 and section 7.2:
    the scale is learnt as its difference from 1). U and d begin at zero, so that A' is A.
    """

    def __init__(self, head: nn.Module, unknown: Sequence[float], channels: int) -> None:
        super().__init__(head, unknown)
        last = nn.Linear(HIDDEN, 2 * channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.film = nn.Sequential(nn.Linear(len(unknown), HIDDEN), nn.ReLU(), last)

    def modulated(self, maps: Tensor, context: Context) -> Tensor:
        """Return A' (n, K, *spatial)."""
        both = self.film(self.columns(maps, context))
        bag = (context or {}).get("bag")
        both = both if bag is None else both[bag]  # each image has the columns of its study
        scale, shift = both.reshape(len(maps), 2, -1, *[1] * (maps.ndim - 2)).unbind(1)
        return (1 + scale) * maps + shift

    def forward(self, maps: Tensor, context: Context = None) -> Tensor:
        """Return logits (B, num_classes) of maps (n, K, *spatial); see `StudyHead`."""
        return self.of_images(self.modulated(maps, context), context)


FUSIONS = ("late", "concat", "film")


def takes_studies(head: object) -> bool:
    """Return whether a head takes the images of a study together, with columns or without."""
    return isinstance(head.head if isinstance(head, FusedHead) else head, StudyHead)


def fused_head(net: Net, fusion: str, unknown: Sequence[float], task: Task | None) -> FusedHead:
    """Return the head with columns that takes over from a net's.

    Args:
        net: With the head of its images, or of studies.
        fusion: One of `FUSIONS`.
        unknown: Of `FusedHead`.
        task: What the logits mean; for ``late``.

    Raises:
        UserError: There is no such fusion, no column, or the net has nothing to fuse these with.
    """
    if fusion not in FUSIONS:
        raise UserError(f"model.fusion={fusion}: choose one of {', '.join(FUSIONS)}, or null")
    if len(unknown) == 0:
        raise UserError(f"model.fusion={fusion} takes columns, and there are none: give columns")
    if fusion == "concat":
        return ConcatHead(net.head, unknown, net.num_classes)
    if fusion == "film":
        if not net.spatial:
            raise UserError(f"model.fusion=film scales feature maps, and {net.name} has none")
        size = net.input_size or (max(net.min_size, 32),) * net.spatial_dims
        channels = list(stage_shapes(net, size).values())[-1][0]
        return FilmHead(net.head, unknown, channels)
    if task is None:
        raise UserError("model.fusion=late averages probabilities: give the task of the logits")
    return LateHead(net.head, unknown, net.num_classes, task)
