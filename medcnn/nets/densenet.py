"""DenseNet: every layer sees the outputs of all layers before it in its block."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medcnn.nets.base import LinearHead, Net, Stem, choose_depth, choose_stem, he_init, layer
from medcnn.nets.resnet import make_stem

# depth: layers of each block
DEPTHS: dict[int, tuple[int, ...]] = {
    121: (6, 12, 24, 16),
    169: (6, 12, 32, 32),
    201: (6, 12, 48, 32),
}
GROWTH = 32
BOTTLENECK = 4
MIN_SIZE: dict[Stem, int] = {"small": 8, "imagenet": 32}
TORCHVISION_NAMES = {
    "features.conv0": "features.stem.conv",
    "features.norm0": "features.stem.norm",
    **{f"features.denseblock{i}": f"features.denseblock{i}" for i in range(1, 5)},
    **{f"features.transition{i}": f"features.transition{i}" for i in range(1, 4)},
    "features.norm5": "features.final.norm",
    "classifier": "head.fc",
}


class DenseLayer(nn.Module):
    """1×1 and 3×3 convolution, each after its norm and ReLU; the result is appended."""

    def __init__(self, in_channels: int, dropout: float, spatial_dims: int) -> None:
        super().__init__()
        conv, norm = layer("Conv", spatial_dims), layer("BatchNorm", spatial_dims)
        self.norm1 = norm(in_channels)
        self.conv1 = conv(in_channels, BOTTLENECK * GROWTH, 1, bias=False)
        self.norm2 = norm(BOTTLENECK * GROWTH)
        self.conv2 = conv(BOTTLENECK * GROWTH, GROWTH, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, *spatial) to (N, in_channels + 32, *spatial)."""
        new = self.conv1(self.relu(self.norm1(x)))
        new = self.conv2(self.relu(self.norm2(new)))
        return torch.cat([x, self.dropout(new)], 1)


def densenet(
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int = 2,
    input_size: Sequence[int] | None = None,
    depth: int = 121,
    stem: str = "auto",
    dropout: float = 0.0,
) -> Net:
    """DenseNet-BC (G. Huang et al., "Densely connected convolutional networks", 2017, table 1).

    Stages ``stem denseblock1 transition1 … denseblock4 final``; the last one is the norm and the
    ReLU after the last block. With the small stem (3×3, stride 1, no pooling) the map is 1/8 of the
    image, rounded up; with the imagenet stem 1/32.

    Args:
        in_channels: Channels of an image.
        num_classes: Number of logits.
        spatial_dims: 2 or 3.
        input_size: Spatial size of the images, for ``stem="auto"``.
        depth: 121, 169 or 201.
        stem: auto, small or imagenet.
        dropout: Probability, after the last convolution of each layer; the paper uses 0.2 on small
            data sets without augmentation.

    Raises:
        UserError: Unknown depth or stem.
    """
    counts = DEPTHS[choose_depth("densenet", depth, tuple(DEPTHS))]
    kind = choose_stem(stem, input_size, MIN_SIZE["imagenet"])
    channels = 2 * GROWTH
    stages = OrderedDict[str, nn.Module](stem=make_stem(kind, in_channels, channels, spatial_dims))
    for number, count in enumerate(counts, start=1):
        block = OrderedDict[str, nn.Module]()
        for i in range(1, count + 1):
            block[f"denselayer{i}"] = DenseLayer(channels, dropout, spatial_dims)
            channels += GROWTH
        stages[f"denseblock{number}"] = nn.Sequential(block)
        if number < len(counts):
            stages[f"transition{number}"] = transition(channels, kind, spatial_dims)
            channels //= 2
    final = OrderedDict(norm=layer("BatchNorm", spatial_dims)(channels), relu=nn.ReLU())
    stages["final"] = nn.Sequential(final)
    features = nn.Sequential(stages)
    he_init(features)
    return Net(
        f"densenet{depth}",
        features,
        LinearHead(channels, num_classes),
        in_channels=in_channels,
        num_classes=num_classes,
        spatial_dims=spatial_dims,
        min_size=MIN_SIZE[kind],
        stem=kind,
        torchvision_names=TORCHVISION_NAMES,
    )


def transition(channels: int, kind: Stem, spatial_dims: int) -> nn.Sequential:
    """Halves channels and size; an odd size is rounded up in small images, else down."""
    parts = OrderedDict(
        norm=layer("BatchNorm", spatial_dims)(channels),
        relu=nn.ReLU(),
        conv=layer("Conv", spatial_dims)(channels, channels // 2, 1, bias=False),
        pool=layer("AvgPool", spatial_dims)(2, ceil_mode=kind == "small"),
    )
    return nn.Sequential(parts)
