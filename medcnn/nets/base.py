"""The contract of every net, and the few parts that several families share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from medcnn.errors import UserError

Stem = Literal["small", "medium", "imagenet"]
SMALL_IMAGE = 64  # px; up to here stem=auto takes the small stem
MEDIUM_IMAGE = 96  # px; up to here it takes the medium stem, in nets that have one
T = TypeVar("T")
LayerKind = Literal["Conv", "BatchNorm", "MaxPool", "AvgPool", "AdaptiveAvgPool"]


@dataclass(frozen=True)
class Problem:
    """What a net is built for: the form of the images, and the number of logits.

    Args:
        in_channels: Channels of an image.
        num_classes: Number of logits.
        spatial_dims: 2 for images, 3 for volumes.
        input_size: Spatial size of the images, (H, W) or (D, H, W), where it is known.
    """

    in_channels: int
    num_classes: int
    spatial_dims: int = 2
    input_size: tuple[int, ...] | None = None


class Net(nn.Module):
    """A classifier that is ``head(features(x))``.

    Everything that looks inside a net (class activation maps, transfer learning, pictures of
    features) uses this one seam. No operation on either side of it works in place, so a gradient
    with respect to ``features(x)`` can always be taken.

    Args:
        name: What messages call it, such as ``resnet18``.
        features: Named stages from images (N, in_channels, *spatial) to maps (N, K, *spatial);
            the last one ends after its non-linearity.
        head: From those maps to logits (N, num_classes).
        problem: What it is built for; its four values are attributes of the net, too.
        min_size: Smallest side of an image, in pixels.
        stem: Which of its two stems the net has; None where there is only one.
        published_names: The prefixes of parameter names in the weights that others published for
            this architecture, and ours for the same parameters; see `medcnn.nets.load_weights`.
        nonlinearity: What follows its layers, for the draw of weights: relu or tanh.
    """

    spatial = True
    """True where ``features(x)`` is a map over the image, which a class activation map needs."""

    chunk: int | None = None
    """Images that its user takes through the features at a time, see `medcnn.nets.chunks`."""

    loaded: object = None
    """Weights trained elsewhere that it took (`medcnn.nets.pretrained.weights.Loaded`), or None."""

    def __init__(
        self,
        name: str,
        features: nn.Sequential,
        head: nn.Module,
        problem: Problem,
        *,
        min_size: int = 1,
        stem: Stem | None = None,
        published_names: Mapping[str, str] | None = None,
        nonlinearity: Literal["relu", "tanh"] = "relu",
    ) -> None:
        super().__init__()
        self.name = name
        self.features = features
        self.head = head
        self.problem = problem
        self.in_channels, self.num_classes = problem.in_channels, problem.num_classes
        self.spatial_dims, self.input_size = problem.spatial_dims, problem.input_size
        self.min_size = min_size
        self.stem = stem
        self.published_names = dict(published_names or {})
        self.nonlinearity = nonlinearity

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, num_classes) of images (N, in_channels, *spatial).

        Raises:
            UserError: Wrong number of dimensions or channels, or images below `min_size`.
        """
        self.check_input(x)
        logits: Tensor = self.head(self.features(x))
        return logits

    def check_input(self, x: Tensor) -> None:
        """Raise UserError if a batch x doesn't fit the net; compares a few integers."""
        if x.ndim != self.spatial_dims + 2:
            raise UserError(
                f"{self.name} with spatial_dims={self.spatial_dims} needs batches of "
                f"{self.spatial_dims + 2} dimensions (batch, channel, space), got {x.ndim}: "
                "build it with the spatial_dims of the data"
            )
        if x.shape[1] != self.in_channels:
            raise UserError(
                f"{self.name} was built for {self.in_channels} channel(s), got images of "
                f"{x.shape[1]}: build it with in_channels={x.shape[1]} or convert the images"
            )
        self.check_size(x.shape[2:])

    def check_size(self, size: Sequence[int]) -> None:
        """Raise UserError if images of a spatial size, (H, W) or (D, H, W), are too small."""
        if min(size) >= self.min_size:
            return
        hint = " or model.stem=small" if self.stem == "imagenet" else ""
        stem = f" with the {self.stem} stem" if self.stem else ""
        raise UserError(
            f"{self.name}{stem} needs images of at least {self.min_size} px, got "
            f"{times(size)}; use larger images{hint}"
        )


def layer(kind: LayerKind, spatial_dims: int) -> Callable[..., nn.Module]:
    """Return the class of a layer for 2 or 3 dimensions: ``layer("Conv", 3)`` is `nn.Conv3d`."""
    found: Callable[..., nn.Module] = getattr(nn, f"{kind}{spatial_dims}d")
    return found


def scaled(channels: int, width: float, multiple: int = 1) -> int:
    """Return channels times `width`, rounded to a multiple (of groups), at least one of it.

    >>> scaled(64, 0.25), scaled(6, 0.1), scaled(96, 0.51, multiple=2)
    (16, 1, 48)
    """
    return multiple * max(1, round(channels * width / multiple))


def choose_stem(stem: str, input_size: Sequence[int] | None, min_size: Mapping[Stem, int]) -> Stem:
    """Return the stem that a net gets; raise UserError for a value of ``stem`` that it hasn't.

    ``auto`` is small for images of up to 64 px and, in nets that have it, medium up to 96 px (of
    volumes it would take eight times the imagenet stem's time). It is small, too, for images with a
    side that the larger stems can't take; otherwise, and where the size isn't known, imagenet.

    Args:
        stem: One of the net's stems, or ``auto``.
        input_size: Spatial size of the images, or None.
        min_size: The net's stems, and the smallest side that each takes.
    """
    for kind in min_size:
        if stem == kind:
            return kind
    if stem != "auto":
        raise UserError(f"model.stem={stem}: choose auto, {', '.join(min_size)}")
    if input_size is None:
        return "imagenet"
    large: Stem = "imagenet"
    if "medium" in min_size and len(input_size) == 2 and max(input_size) <= MEDIUM_IMAGE:
        large = "medium"
    small = max(input_size) <= SMALL_IMAGE or min(input_size) < min_size[large]
    return "small" if small else large


def of_depth(family: str, depth: int, depths: Mapping[int, T]) -> T:
    """Return what a family has at a depth, or raise UserError if it doesn't come in that."""
    if depth not in [*depths]:
        listed = ", ".join(map(str, depths))
        raise UserError(f"model.depth={depth}: {family} comes in depths {listed}")
    return depths[depth]


def times(size: Sequence[int]) -> str:
    """Return a size as people write it: (28, 28) is 28×28."""
    return "×".join(str(int(side)) for side in size)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Hold a module in eval mode for a while; each of its parts is then in its own mode again."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def stages_of(net: nn.Module) -> dict[str, nn.Module]:
    """Return the stages of ``net.features`` by name, in order; features in one piece are one."""
    features = net.features
    assert isinstance(features, nn.Module)
    return parts_of(features) or {"features": features}


def parts_of(chain: object) -> dict[str, nn.Module] | None:
    """Return what a Sequential applies, by name, in order; None of a module in one piece.

    A part that is used twice is there twice; a subclass that does something else isn't a chain.
    """
    if not isinstance(chain, nn.Sequential) or type(chain).forward is not nn.Sequential.forward:
        return None
    return {name: part for name, part in chain._modules.items() if part is not None}


@torch.inference_mode()
def stage_shapes(net: Net, input_size: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the shape (K, *spatial) of what each stage of ``net.features`` gives for one image.

    Args:
        net: Any net, in any mode; it is as it was afterwards.
        input_size: Spatial size of an image, (H, W) or (D, H, W).

    Raises:
        UserError: Images too small for the net.
    """
    x = next(net.parameters()).new_zeros(1, net.in_channels, *input_size)
    net.check_input(x)
    shapes = {}
    with evaluating(net):  # a blank image must not reach the statistics of batch norms
        for name, stage in stages_of(net).items():
            x = stage(x)
            shapes[name] = tuple(x.shape[1:])
    return shapes


def coarse_map_warning(net: Net, input_size: Sequence[int], coarsest: int = 4) -> str | None:
    """Return a warning for maps that are too coarse to explain decisions with.

    Args:
        net: Any net.
        input_size: As in `stage_shapes`.
        coarsest: Fewest cells along a side that still show where something is.

    Returns:
        A sentence that names the deepest stage with a fine enough map, or None where the map of
        the last stage is fine enough (or, in an MLP, doesn't exist).
    """
    if not net.spatial:
        return None
    shapes = stage_shapes(net, input_size)
    *_, last = shapes.values()
    if min(last[1:]) >= coarsest:
        return None
    text = f"{net.name} sees images of {times(input_size)} px as a map of {times(last[1:])}"
    for name, shape in reversed(shapes.items()):
        if min(shape[1:]) >= coarsest:
            finer = f"use stage {name} ({times(shape[1:])}) instead"
            return f"{text}, too coarse to show where; {finer}"
    return f"{text}, too coarse to show where, and so is every stage; use larger images"
