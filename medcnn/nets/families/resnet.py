"""ResNet: blocks that add to what they are given."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.base import Net, Problem, Stem, choose_stem, layer, of_depth, scaled
from medcnn.nets.heads import pooled_head


class StochasticDepth(nn.Module):
    """A layer that leaves out, in training, the residual of some images of a batch.

    What is kept is divided by the probability of being kept, so that nothing changes in
    evaluation (G. Huang et al., "Deep networks with stochastic depth", 2016, eqs. 2 and 5; there
    for whole batches, and multiplied in evaluation).

    Args:
        drop: Probability of being left out, 0 … below 1.
    """

    def __init__(self, drop: float) -> None:
        super().__init__()
        self.drop = drop

    def forward(self, residual: Tensor) -> Tensor:
        """(N, C, *spatial), of the same shape."""
        if not self.training or self.drop == 0:
            return residual
        keep = residual.new_empty(len(residual), *[1] * (residual.ndim - 1))
        keep.bernoulli_(1 - self.drop).div_(1 - self.drop)
        return residual * keep


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and the shortcut; ResNet-18 and -34."""

    expansion, last_norm = 1, "bn2"

    def __init__(
        self, in_channels: int, channels: int, stride: int, spatial_dims: int, drop: float = 0.0
    ) -> None:
        super().__init__()
        conv, norm = layer("Conv", spatial_dims), layer("BatchNorm", spatial_dims)
        self.conv1 = conv(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = norm(channels)
        self.conv2 = conv(channels, channels, 3, padding=1, bias=False)
        self.bn2 = norm(channels)
        self.relu = nn.ReLU()
        self.downsample = shortcut(in_channels, channels, stride, spatial_dims)
        self.depth = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, *spatial) to (N, channels, *spatial / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        result: Tensor = self.relu(self.depth(out) + self.downsample(x))
        return result


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions and the shortcut; ResNet-50 and deeper.

    The stride is in the 3×3 convolution ("v1.5"), not in the first 1×1 as in the paper.
    """

    expansion, last_norm = 4, "bn3"

    def __init__(
        self, in_channels: int, channels: int, stride: int, spatial_dims: int, drop: float = 0.0
    ) -> None:
        super().__init__()
        conv, norm = layer("Conv", spatial_dims), layer("BatchNorm", spatial_dims)
        out_channels = channels * self.expansion
        self.conv1 = conv(in_channels, channels, 1, bias=False)
        self.bn1 = norm(channels)
        self.conv2 = conv(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = norm(channels)
        self.conv3 = conv(channels, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        self.relu = nn.ReLU()
        self.downsample = shortcut(in_channels, out_channels, stride, spatial_dims)
        self.depth = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, *spatial) to (N, 4 · channels, *spatial / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        result: Tensor = self.relu(self.depth(out) + self.downsample(x))
        return result


# depth: block, blocks of each stage (table 1 of the paper)
DEPTHS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
WIDTHS = (64, 128, 256, 512)
STRIDES = (1, 2, 2, 2)
FINER = (1, 2, 2, 1)  # with the medium stem: the map is 1/8 of the image, as with the small one
MIN_SIZE: dict[Stem, int] = {"small": 8, "medium": 16, "imagenet": 32}
TORCHVISION_NAMES = {
    "conv1": "features.stem.conv",
    "bn1": "features.stem.norm",
    **{f"layer{i}": f"features.layer{i}" for i in range(1, 5)},
    "fc": "head.fc",
}


def resnet(
    problem: Problem,
    *,
    depth: int = 18,
    stem: str = "auto",
    width: float = 1.0,
    strides: Sequence[int] | None = None,
    head: str = "gap",
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    zero_init_residual: bool = False,
) -> Net:
    """ResNet (K. He et al., "Deep residual learning for image recognition", 2016, table 1).

    ======== ======================= ============================ ==================
    stage    layers                  blocks                       at 224 px
    ======== ======================= ============================ ==================
    stem     7×7 of stride 2, 3×3                                 64 × 56×56
             pooling of stride 2
    layer1   blocks                  2 / 3 / 3 / 3 / 3            64 (256) × 56×56
    layer2   blocks, the first of    2 / 4 / 4 / 4 / 8            128 (512) × 28×28
             stride 2
    layer3   the same                2 / 6 / 6 / 23 / 36          256 (1024) × 14×14
    layer4   the same                2 / 3 / 3 / 3 / 3            512 (2048) × 7×7
    head     mean, linear                                         classes
    ======== ======================= ============================ ==================

    Depth 18 / 34 / 50 / 101 / 152: 11.7 / 21.8 / 25.6 / 44.5 / 60.2 million parameters with 3
    channels and 1,000 classes; each place of the map sees 435 / 899 / 427 / 971 / 1451 px. Depth 18
    and 34 have `BasicBlock`, the deeper ones `Bottleneck` and the channels in brackets.

    The small stem is a 3×3 convolution of stride 1 and no pooling, as the paper uses for CIFAR-10
    and MedMNIST for 28 px: the map is 1/8 of the image, with the imagenet stem 1/32. The medium
    stem is the imagenet stem without its pooling; layer4 then has stride 1, so that the map is 1/8
    of the image, too, for half of the small stem's time.

    Args:
        problem: What it is for.
        depth: 18, 34, 50, 101 or 152.
        stem: auto, small, medium or imagenet.
        width: All numbers of channels times this.
        strides: Of the first block of each stage, 1 or 2; None for (1, 2, 2, 2) as published, and
            with the medium stem (1, 2, 2, 1). 1 in the last makes the map twice as fine, for that
            stage's time fourfold (as for maps in B. Zhou et al., "Learning deep features for
            discriminative localization", 2016, section 3).
        head: gap as published, attention, lse or top.
        dropout: Probability, before the last layer.
        stochastic_depth: Probability of leaving out the last block for an image in training; it
            grows linearly from 0 before the first (G. Huang et al., "Deep networks with stochastic
            depth", 2016, eq. 4).
        zero_init_residual: Start every block as the identity: the scale of its last batch norm is
            zero (P. Goyal et al., "Accurate, large minibatch SGD", 2017, section 5.1).

    Raises:
        UserError: Unknown depth, stem or head, or strides that aren't four of 1 and 2.
    """
    block, counts = of_depth("resnet", depth, DEPTHS)
    kind = choose_stem(stem, problem.input_size, MIN_SIZE)
    if strides is None:
        strides = FINER if kind == "medium" else STRIDES
    if not isinstance(strides, Sequence) or [s in (1, 2) for s in strides] != [True] * 4:
        raise UserError(f"model.strides={strides}: give four numbers, each 1 or 2")
    channels = scaled(WIDTHS[0], width)
    stages = OrderedDict[str, nn.Module](stem=make_stem(kind, problem, channels))
    done = 0
    for number, (full, count) in enumerate(zip(WIDTHS, counts, strict=True), start=1):
        blocks, wide = nn.Sequential(), scaled(full, width)
        for i in range(count):
            done += 1
            stride = strides[number - 1] if i == 0 else 1
            drop = stochastic_depth * done / sum(counts)
            blocks.append(block(channels, wide, stride, problem.spatial_dims, drop))
            channels = wide * block.expansion
            if zero_init_residual:
                nn.init.zeros_(blocks[i].get_parameter(f"{block.last_norm}.weight"))
        stages[f"layer{number}"] = blocks
    return Net(
        f"resnet{depth}",
        nn.Sequential(stages),
        pooled_head("resnet", head, channels, problem.num_classes, dropout),
        problem,
        min_size=MIN_SIZE[kind],
        stem=kind,
        published_names=TORCHVISION_NAMES,
    )


def make_stem(kind: Stem, problem: Problem, channels: int) -> nn.Sequential:
    """The start of a ResNet or DenseNet: one convolution and, in the imagenet stem, a pooling."""
    dims = problem.spatial_dims
    kernel, stride = (3, 1) if kind == "small" else (7, 2)
    parts = OrderedDict[str, nn.Module](
        conv=layer("Conv", dims)(
            problem.in_channels, channels, kernel, stride=stride, padding=kernel // 2, bias=False
        ),
        norm=layer("BatchNorm", dims)(channels),
        relu=nn.ReLU(),
    )
    if kind == "imagenet":
        parts["pool"] = layer("MaxPool", dims)(3, stride=2, padding=1)
    return nn.Sequential(parts)


def shortcut(in_channels: int, out_channels: int, stride: int, spatial_dims: int) -> nn.Module:
    """The identity, or a 1×1 convolution where size or channels change ("option B")."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        layer("Conv", spatial_dims)(in_channels, out_channels, 1, stride=stride, bias=False),
        layer("BatchNorm", spatial_dims)(out_channels),
    )
