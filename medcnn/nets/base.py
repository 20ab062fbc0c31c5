"""What every net is, and the few parts that several families share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from medcnn.errors import UserError

Stem = Literal["small", "imagenet"]
SMALL_IMAGE = 64  # px; up to here stem=auto takes the small stem
LayerKind = Literal["Conv", "BatchNorm", "MaxPool", "AvgPool", "AdaptiveAvgPool"]


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
        in_channels: Channels of an image.
        num_classes: Number of logits.
        spatial_dims: 2 for images, 3 for volumes.
        min_size: Smallest side of an image, in pixels.
        stem: Which of its two stems the net has; None where there is only one.
        torchvision_names: The prefixes of torchvision's parameter names for this architecture,
            and ours for the same parameters; see `medcnn.nets.load_weights`.
    """

    spatial = True
    """Whether ``features(x)`` is a map over the image, which a class activation map needs."""

    def __init__(
        self,
        name: str,
        features: nn.Sequential,
        head: nn.Module,
        *,
        in_channels: int,
        num_classes: int,
        spatial_dims: int = 2,
        min_size: int = 1,
        stem: Stem | None = None,
        torchvision_names: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.features = features
        self.head = head
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.spatial_dims = spatial_dims
        self.min_size = min_size
        self.stem = stem
        self.torchvision_names = dict(torchvision_names or {})

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_channels, *spatial).

        Raises:
            UserError: Wrong number of dimensions or channels, or images below `min_size`.
        """
        self.check_input(x)
        logits: Tensor = self.head(self.features(x))
        return logits

    def check_input(self, x: Tensor) -> None:
        """Raises UserError if a batch x doesn't fit the net; compares a few integers."""
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
        """Raises UserError if images of a spatial size, (H, W) or (D, H, W), are too small."""
        if min(size) >= self.min_size:
            return
        hint = " or model.stem=small" if self.stem == "imagenet" else ""
        stem = f" with the {self.stem} stem" if self.stem else ""
        raise UserError(
            f"{self.name}{stem} needs images of at least {self.min_size} px, got "
            f"{times(size)}; use larger images{hint}"
        )


class LinearHead(nn.Module):
    """Global average pooling, dropout, one linear layer.

    The form for which a class activation map is exact (B. Zhou et al., "Learning deep features for
    discriminative localization", 2016).
    """

    def __init__(self, channels: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, maps: Tensor) -> Tensor:
        """Logits (N, num_classes) of maps (N, channels, *spatial)."""
        logits: Tensor = self.fc(self.dropout(maps.mean(dim=tuple(range(2, maps.ndim)))))
        return logits


class DenseHead(nn.Module):
    """Two hidden layers on a grid of pooled features: how classifiers ended from 2012 to 2014.

    Args:
        channels: Channels of the maps.
        num_classes: Number of logits.
        grid: The maps are averaged to this many cells along each side.
        hidden: Width of both hidden layers.
        dropout: Probability of dropping an output of a hidden layer.
        pool: Pooling before the grid.
        spatial_dims: 2 or 3.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        grid: int,
        hidden: int,
        dropout: float,
        pool: nn.Module | None = None,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__()
        self.pool = pool if pool is not None else nn.Identity()
        self.grid = layer("AdaptiveAvgPool", spatial_dims)(grid)
        self.fc1 = nn.Linear(channels * grid**spatial_dims, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, num_classes)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        he_init(self.fc1)
        he_init(self.fc2)

    def forward(self, maps: Tensor) -> Tensor:
        """Logits (N, num_classes) of maps (N, channels, *spatial)."""
        x = self.grid(self.pool(maps)).flatten(1)
        x = self.dropout(self.relu(self.fc1(x)))
        x = self.dropout(self.relu(self.fc2(x)))
        logits: Tensor = self.fc3(x)
        return logits


def layer(kind: LayerKind, spatial_dims: int) -> Callable[..., nn.Module]:
    """The class of a layer for 2 or 3 dimensions of space: ``layer("Conv", 3)`` is `nn.Conv3d`."""
    found: Callable[..., nn.Module] = getattr(nn, f"{kind}{spatial_dims}d")
    return found


def he_init(module: nn.Module, nonlinearity: Literal["relu", "tanh"] = "relu") -> None:
    """Draws the weights of all convolutions and linear layers so that variance is kept.

    Normal with standard deviation gain / √fan_in, biases zero (K. He et al., "Delving deep into
    rectifiers", 2015, eq. 10). The gain is √2 for ReLU and 5/3 for tanh.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity=nonlinearity)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def choose_stem(stem: str, input_size: Sequence[int] | None, imagenet_min: int) -> Stem:
    """Which stem a net gets.

    Args:
        stem: ``small``, ``imagenet`` or ``auto``. Auto is small for images of up to 64 px, and for
            those with a side that the imagenet stem can't take; otherwise, and where the size
            isn't known, imagenet.
        input_size: Spatial size of the images, or None.
        imagenet_min: Smallest side that the net takes with its imagenet stem.

    Raises:
        UserError: Another value of stem.
    """
    if stem == "small" or stem == "imagenet":
        return "small" if stem == "small" else "imagenet"
    if stem != "auto":
        raise UserError(f"model.stem={stem}: choose auto, small or imagenet")
    if input_size is None:
        return "imagenet"
    small = max(input_size) <= SMALL_IMAGE or min(input_size) < imagenet_min
    return "small" if small else "imagenet"


def choose_depth(family: str, depth: int, depths: Sequence[int]) -> int:
    """Gives depth back, or raises UserError if it is not one of the family's depths."""
    if depth not in depths:
        listed = ", ".join(map(str, depths))
        raise UserError(f"model.depth={depth}: {family} comes in depths {listed}")
    return depth


def times(size: Sequence[int]) -> str:
    """A size as people write it: (28, 28) is 28×28."""
    return "×".join(str(int(side)) for side in size)


@torch.inference_mode()
def stage_shapes(net: Net, input_size: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Shape (K, *spatial) of what each stage of ``net.features`` gives for one image.

    Args:
        net: Any net, in any mode; it is as it was afterwards.
        input_size: Spatial size of an image, (H, W) or (D, H, W).

    Raises:
        UserError: Images too small for the net.
    """
    x = next(net.parameters()).new_zeros(1, net.in_channels, *input_size)
    net.check_input(x)
    training = [part for part in net.modules() if part.training]
    net.eval()  # a blank image must not reach the statistics of batch norms
    shapes = {}
    try:
        for name, stage in net.features.named_children():
            x = stage(x)
            shapes[name] = tuple(x.shape[1:])
    finally:
        for part in training:
            part.training = True
    return shapes


def coarse_map_warning(net: Net, input_size: Sequence[int], coarsest: int = 4) -> str | None:
    """What to tell someone who explains decisions with a map that is too coarse.

    Args:
        net: Any net.
        input_size: Spatial size of an image, (H, W) or (D, H, W).
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
            return (
                f"{text}, too coarse to show where; use stage {name} ({times(shape[1:])}) instead"
            )
    return f"{text}, too coarse to show where, and so is every stage; use larger images"
