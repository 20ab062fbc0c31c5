"""DenseNet: every layer sees the outputs of all layers before it in its block."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from medcnn.nets.base import Net, Problem, Stem, choose_stem, layer, of_depth, scaled
from medcnn.nets.families.resnet import make_stem
from medcnn.nets.heads import pooled_head

# depth: layers of each block
DEPTHS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
GROWTH = 32
BOTTLENECK = 4
MIN_SIZE: dict[Stem, int] = {"small": 8, "medium": 16, "imagenet": 32}
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

    def __init__(self, in_channels: int, growth: int, dropout: float, spatial_dims: int) -> None:
        super().__init__()
        conv, norm = layer("Conv", spatial_dims), layer("BatchNorm", spatial_dims)
        self.norm1 = norm(in_channels)
        self.conv1 = conv(in_channels, BOTTLENECK * growth, 1, bias=False)
        self.norm2 = norm(BOTTLENECK * growth)
        self.conv2 = conv(BOTTLENECK * growth, growth, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, *spatial) to (N, in_channels + growth, *spatial)."""
        new = self.conv1(self.relu(self.norm1(x)))
        new = self.conv2(self.relu(self.norm2(new)))
        return torch.cat([x, self.dropout(new)], 1)


def densenet(
    problem: Problem,
    *,
    depth: int = 121,
    stem: str = "auto",
    width: float = 1.0,
    head: str = "gap",
    dropout: float = 0.0,
) -> Net:
    """DenseNet-BC (G. Huang et al., "Densely connected convolutional networks", 2017, table 1).

    ============ ======================================= ============== ====================
    stage        layers                                  dense layers   at 224 px
    ============ ======================================= ============== ====================
    stem         7×7 of stride 2, 3×3 pooling, stride 2                 64 × 56×56
    denseblock1  dense layers                            6 / 6 / 6      256 × 56×56
    transition1  1×1 convolution, 2×2 mean                              128 × 28×28
    denseblock2  dense layers                            12 / 12 / 12   512 × 28×28
    transition2  1×1 convolution, 2×2 mean                              256 × 14×14
    denseblock3  dense layers                            24 / 32 / 48   1024 … 1792 × 14×14
    transition3  1×1 convolution, 2×2 mean                              512 … 896 × 7×7
    denseblock4  dense layers                            16 / 32 / 32   1024 … 1920 × 7×7
    final        batch norm, ReLU                                       the same
    head         mean, linear                                           classes
    ============ ======================================= ============== ====================

    Depth 121 / 169 / 201: 8.0 / 14.1 / 20.0 million parameters with 3 channels and 1,000 classes;
    each place of the map sees 2071 / 3351 / 3863 px.

    With the small stem (3×3, stride 1, no pooling) the map is 1/8 of the image, rounded up; with
    the imagenet stem 1/32. The medium stem is the imagenet stem without its pooling; transition3
    then keeps the size, so that the map is 1/8 of the image, too.

    Args:
        problem: What it is for.
        depth: 121, 169 or 201.
        stem: auto, small, medium or imagenet.
        width: The growth rate, 32, and with it all numbers of channels times this.
        head: gap as published, attention, lse or top.
        dropout: Probability, after the last convolution of each layer; the paper uses 0.2 on small
            data sets without augmentation.

    Raises:
        UserError: Unknown depth, stem or head.
    """
    counts = of_depth("densenet", depth, DEPTHS)
    kind, spatial_dims = choose_stem(stem, problem.input_size, MIN_SIZE), problem.spatial_dims
    growth = scaled(GROWTH, width)
    channels = 2 * growth
    stages = OrderedDict[str, nn.Module](stem=make_stem(kind, problem, channels))
    for number, count in enumerate(counts, start=1):
        block = OrderedDict[str, nn.Module]()
        for i in range(1, count + 1):
            block[f"denselayer{i}"] = DenseLayer(channels, growth, dropout, spatial_dims)
            channels += growth
        stages[f"denseblock{number}"] = nn.Sequential(block)
        if number < len(counts):
            halves = kind != "medium" or number < len(counts) - 1
            stages[f"transition{number}"] = transition(channels, kind, spatial_dims, halves=halves)
            channels //= 2
    final = OrderedDict(norm=layer("BatchNorm", spatial_dims)(channels), relu=nn.ReLU())
    stages["final"] = nn.Sequential(final)
    return Net(
        f"densenet{depth}",
        nn.Sequential(stages),
        pooled_head("densenet", head, channels, problem.num_classes, 0.0),
        problem,
        min_size=MIN_SIZE[kind],
        stem=kind,
        published_names=TORCHVISION_NAMES,
    )


def transition(channels: int, kind: Stem, spatial_dims: int, *, halves: bool) -> nn.Sequential:
    """Halve channels and, if asked to, size; odd sizes are rounded down with the imagenet stem."""
    parts = OrderedDict[str, nn.Module](
        norm=layer("BatchNorm", spatial_dims)(channels),
        relu=nn.ReLU(),
        conv=layer("Conv", spatial_dims)(channels, channels // 2, 1, bias=False),
    )
    if halves:
        parts["pool"] = layer("AvgPool", spatial_dims)(2, ceil_mode=kind != "imagenet")
    return nn.Sequential(parts)
