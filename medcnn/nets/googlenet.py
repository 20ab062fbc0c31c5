"""GoogLeNet: each layer looks at several scales at once."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.base import LinearHead, Net, Stem, choose_stem, he_init

# name: channels in; out of the 1×1, 3×3 (before, after), 5×5 (before, after) and pooling branches
INCEPTIONS: dict[str, tuple[int, ...]] = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}
MIN_SIZE: dict[Stem, int] = {"small": 8, "imagenet": 32}
TORCHVISION_NAMES = {
    **{f"conv{i}": f"features.stem.conv{i}" for i in (1, 2, 3)},
    **{f"inception{name}": f"features.inception{name[0]}.{name[1]}" for name in INCEPTIONS},
    "aux1": "aux.a",
    "aux2": "aux.d",
    "fc": "head.fc",
}


class ConvNormReLU(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, channels, kernel, stride=stride, padding=kernel // 2, bias=False
        )
        self.bn = nn.BatchNorm2d(channels, eps=0.001)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        out: Tensor = self.relu(self.bn(self.conv(x)))
        return out


class Inception(nn.Module):
    """Four branches side by side (figure 2b of the paper).

    The branch that the paper calls 5×5 has a 3×3 kernel, as in all published weights since
    TensorFlow's.
    """

    def __init__(
        self, in_channels: int, one: int, pre3: int, three: int, pre5: int, five: int, pool: int
    ) -> None:
        super().__init__()
        self.branch1 = ConvNormReLU(in_channels, one, 1)
        self.branch2 = nn.Sequential(
            ConvNormReLU(in_channels, pre3, 1), ConvNormReLU(pre3, three, 3)
        )
        self.branch3 = nn.Sequential(
            ConvNormReLU(in_channels, pre5, 1), ConvNormReLU(pre5, five, 3)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), ConvNormReLU(in_channels, pool, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, one + three + five + pool, H, W)."""
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], 1)


class AuxiliaryHead(nn.Module):
    """A classifier half-way, which brings gradient to the lower layers while training."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.conv = ConvNormReLU(in_channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)
        he_init(self.conv)
        he_init(self.fc1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of maps (N, in_channels, H, W)."""
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


def googlenet(
    *,
    in_channels: int,
    num_classes: int,
    input_size: Sequence[int] | None = None,
    stem: str = "auto",
    aux: bool = False,
    dropout: float = 0.4,
) -> GoogLeNet:
    """GoogLeNet (C. Szegedy et al., "Going deeper with convolutions", 2015, table 1).

    With batch norm instead of response normalisation, as in torchvision. Stages ``stem inception3
    inception4 inception5``. The small stem (3×3, stride 1, no pooling after it) leads to a map of
    1/8 of the image, the imagenet stem to 1/32, both rounded up.

    Args:
        in_channels: Channels of an image.
        num_classes: Number of logits.
        input_size: Spatial size of the images, for ``stem="auto"``.
        stem: auto, small or imagenet.
        aux: Build the two auxiliary heads, which `GoogLeNet.forward_with_aux` uses.
        dropout: Probability, before the last layer.

    Raises:
        UserError: Unknown stem.
    """
    kind = choose_stem(stem, input_size, MIN_SIZE["imagenet"])
    features = nn.Sequential(
        OrderedDict(
            stem=make_stem(kind, in_channels),
            inception3=inceptions("3", nn.MaxPool2d(3, stride=2, ceil_mode=True)),
            inception4=inceptions("4", nn.MaxPool2d(3, stride=2, ceil_mode=True)),
            inception5=inceptions("5", nn.MaxPool2d(2, stride=2, ceil_mode=True)),
        )
    )
    he_init(features)
    net = GoogLeNet(
        "googlenet",
        features,
        LinearHead(1024, num_classes, dropout),
        in_channels=in_channels,
        num_classes=num_classes,
        min_size=MIN_SIZE[kind],
        stem=kind,
        torchvision_names=TORCHVISION_NAMES,
    )
    net.aux = nn.ModuleDict()
    if aux:
        net.aux["a"] = AuxiliaryHead(512, num_classes)
        net.aux["d"] = AuxiliaryHead(528, num_classes)
    return net


def make_stem(kind: Stem, in_channels: int) -> nn.Sequential:
    """Three convolutions to 192 channels; for large images 1/4 of the size."""
    parts = OrderedDict[str, nn.Module]()
    if kind == "small":
        parts["conv1"] = ConvNormReLU(in_channels, 64, 3)
    else:
        parts["conv1"] = ConvNormReLU(in_channels, 64, 7, stride=2)
        parts["pool1"] = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    parts["conv2"] = ConvNormReLU(64, 64, 1)
    parts["conv3"] = ConvNormReLU(64, 192, 3)
    return nn.Sequential(parts)


def inceptions(group: str, pool: nn.Module) -> nn.Sequential:
    """A pooling and the inception modules of one group: 3, 4 or 5."""
    parts = OrderedDict(pool=pool)
    for name, channels in INCEPTIONS.items():
        if name.startswith(group):
            parts[name[1]] = Inception(*channels)
    return nn.Sequential(parts)
