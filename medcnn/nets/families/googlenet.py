"""GoogLeNet: each layer looks at several scales at once."""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.base import Net, Problem, Stem, choose_stem, layer, scaled
from medcnn.nets.heads import pooled_head

# name: channels of the 1×1, 3×3 (before, after), 5×5 (before, after) and pooling branches
INCEPTIONS: dict[str, tuple[int, ...]] = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
MIN_SIZE: dict[Stem, int] = {"small": 8, "medium": 16, "imagenet": 32}
TORCHVISION_NAMES = {
    **{f"conv{i}": f"features.stem.conv{i}" for i in (1, 2, 3)},
    **{f"inception{name}": f"features.inception{name[0]}.{name[1]}" for name in INCEPTIONS},
    "aux1": "aux.a",
    "aux2": "aux.d",
    "fc": "head.fc",
}


class ConvNormReLU(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int, spatial_dims: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv = layer("Conv", spatial_dims)(
            in_channels, channels, kernel, stride=stride, padding=kernel // 2, bias=False
        )
        self.bn = layer("BatchNorm", spatial_dims)(channels, eps=0.001)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, *spatial) to (N, channels, *spatial / stride)."""
        out: Tensor = self.relu(self.bn(self.conv(x)))
        return out


class Inception(nn.Module):
    """Four branches side by side (figure 2b of the paper).

    The branch that the paper calls 5×5 has a 3×3 kernel, as in all published weights since
    TensorFlow's.

    Args:
        in_channels: Channels of the input.
        channels: Of the 1×1, 3×3 (before, after), 5×5 (before, after) and pooling branches.
        spatial_dims: 2 or 3.
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...], spatial_dims: int) -> None:
        super().__init__()
        one, pre3, three, pre5, five, pool = channels
        conv = partial(ConvNormReLU, spatial_dims=spatial_dims)
        self.branch1 = conv(in_channels, one, 1)
        self.branch2 = nn.Sequential(conv(in_channels, pre3, 1), conv(pre3, three, 3))
        self.branch3 = nn.Sequential(conv(in_channels, pre5, 1), conv(pre5, five, 3))
        self.branch4 = nn.Sequential(
            layer("MaxPool", spatial_dims)(3, stride=1, padding=1), conv(in_channels, pool, 1)
        )
        self.out_channels = one + three + five + pool

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, *spatial) to (N, out_channels, *spatial)."""
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], 1)


class AuxiliaryHead(nn.Module):
    """A classifier half-way, which brings gradient to the lower layers while training."""

    def __init__(self, in_channels: int, num_classes: int, width: float, spatial_dims: int) -> None:
        super().__init__()
        channels, hidden = scaled(128, width), scaled(1024, width)
        self.pool = layer("AdaptiveAvgPool", spatial_dims)(4)
        self.conv = ConvNormReLU(in_channels, channels, 1, spatial_dims)
        self.fc1 = nn.Linear(channels * 4**spatial_dims, hidden)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of maps (N, in_channels, *spatial)."""
        x = self.conv(self.pool(x)).flatten(1)
        logits: Tensor = self.fc2(self.dropout(self.relu(self.fc1(x))))
        return logits


class GoogLeNet(Net):
    """The net that `googlenet` builds; `aux` is empty or holds the heads after 4a and 4d."""

    aux: nn.ModuleDict

    def forward_with_aux(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, num_classes) of the net and of its two auxiliary heads, for training.

        The paper adds the loss of each auxiliary head with weight 0.3.

        Raises:
            UserError: The net was built without auxiliary heads.
        """
        if not self.aux:
            raise UserError("googlenet was built without auxiliary heads: set model.aux=true")
        self.check_input(x)
        auxiliary = []
        for name, stage in self.features.named_children():
            if name != "inception4":
                x = stage(x)
                continue
            for part, module in stage.named_children():
                x = module(x)
                if part in self.aux:
                    auxiliary.append(self.aux[part](x))
        return self.head(x), auxiliary[0], auxiliary[1]


class ImageNetToUnit(nn.Module):
    """From ImageNet's normalisation to that of mean 0.5 and standard deviation 0.5.

    Torchvision's GoogLeNet was trained on images of the latter.
    """

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, *spatial), of the same shape."""
        shape = (1, 3, *[1] * (x.ndim - 2))
        scale = x.new_tensor([std / 0.5 for std in self.std]).view(shape)
        shift = x.new_tensor([(mean - 0.5) / 0.5 for mean in self.mean]).view(shape)
        return x * scale + shift


def googlenet(
    problem: Problem,
    *,
    stem: str = "auto",
    width: float = 1.0,
    head: str = "gap",
    dropout: float = 0.4,
    aux: bool = False,
    transform_input: bool = False,
) -> GoogLeNet:
    """GoogLeNet (C. Szegedy et al., "Going deeper with convolutions", 2015, table 1).

    ========== ================================================ ==============
    stage      layers                                           at 224 px
    ========== ================================================ ==============
    stem       7×7 of stride 2, 3×3 pooling of stride 2,        192 × 56×56
               1×1, 3×3
    inception3 3×3 pooling of stride 2, inceptions a b          480 × 28×28
    inception4 3×3 pooling of stride 2, inceptions a b c d e    832 × 14×14
    inception5 2×2 pooling of stride 2, inceptions a b          1024 × 7×7
    head       mean, linear                                     classes
    ========== ================================================ ==============

    6,624,904 parameters with 3 channels and 1,000 classes, 13,004,888 with auxiliary heads; each
    place of the map sees 379 px.

    With batch norm instead of response normalisation, as in torchvision. The small stem (3×3,
    stride 1, no pooling after it) leads to a map of 1/8 of the image, the imagenet stem to 1/32,
    both rounded up. The medium stem is the imagenet stem without its pooling; inception5 then has
    none either, so that the map is 1/8 of the image, too.

    Args:
        problem: What it is for.
        stem: auto, small, medium or imagenet.
        width: All numbers of channels and hidden units times this.
        head: gap as published, attention, lse or top.
        dropout: Probability, before the last layer.
        aux: Build the two auxiliary heads, which `GoogLeNet.forward_with_aux` uses.
        transform_input: As in torchvision, which published weights for that: 3-channel images
            normalised by ImageNet's statistics become what these weights expect.

    Raises:
        UserError: Unknown stem or head, or transform_input with other than 3 channels.
    """
    if transform_input and problem.in_channels != 3:
        raise UserError(f"model.transform_input=true is for 3 channels, not {problem.in_channels}")
    kind, spatial_dims = choose_stem(stem, problem.input_size, MIN_SIZE), problem.spatial_dims
    pool = layer("MaxPool", spatial_dims)
    stages = OrderedDict[str, nn.Module](stem=make_stem(kind, problem, width, transform_input))
    channels = scaled(192, width)
    for group, kernel in (("3", 3), ("4", 3), ("5", 2)):
        parts = OrderedDict[str, nn.Module]()
        if kind != "medium" or group != "5":
            parts["pool"] = pool(kernel, stride=2, ceil_mode=True)
        for name, full in INCEPTIONS.items():
            if name.startswith(group):
                branches = tuple(scaled(number, width) for number in full)
                parts[name[1]] = made = Inception(channels, branches, spatial_dims)
                channels = made.out_channels
        stages[f"inception{group}"] = nn.Sequential(parts)
    net = GoogLeNet(
        "googlenet",
        nn.Sequential(stages),
        pooled_head("googlenet", head, channels, problem.num_classes, dropout),
        problem,
        min_size=MIN_SIZE[kind],
        stem=kind,
        published_names=TORCHVISION_NAMES,
    )
    net.aux = nn.ModuleDict()
    for part in "ad" if aux else "":
        after = net.features.get_submodule(f"inception4.{part}")
        assert isinstance(after, Inception)
        net.aux[part] = AuxiliaryHead(after.out_channels, problem.num_classes, width, spatial_dims)
    return net


def make_stem(kind: Stem, problem: Problem, width: float, transform_input: bool) -> nn.Sequential:
    """Three convolutions to 192 channels; with the imagenet stem to 1/4 of the size."""
    conv = partial(ConvNormReLU, spatial_dims=problem.spatial_dims)
    narrow = scaled(64, width)
    parts = OrderedDict[str, nn.Module]()
    if transform_input:
        parts["transform"] = ImageNetToUnit()
    kernel, stride = (3, 1) if kind == "small" else (7, 2)
    parts["conv1"] = conv(problem.in_channels, narrow, kernel, stride=stride)
    if kind == "imagenet":
        parts["pool1"] = layer("MaxPool", problem.spatial_dims)(3, stride=2, ceil_mode=True)
    parts["conv2"] = conv(narrow, narrow, 1)
    parts["conv3"] = conv(narrow, scaled(192, width), 3)
    return nn.Sequential(parts)
