"""VGG: nothing but 3×3 convolutions and pooling."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from medcnn.nets.base import Net, Problem, Stem, choose_stem, layer, of_depth, scaled
from medcnn.nets.heads import classic_head

# depth: convolutions of each block
DEPTHS: dict[int, tuple[int, ...]] = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
WIDTHS = (64, 128, 256, 512, 512)
MIN_SIZE: dict[Stem, int] = {"small": 8, "imagenet": 32}


def vgg(
    problem: Problem,
    *,
    depth: int = 11,
    batch_norm: bool = True,
    stem: str = "auto",
    width: float = 1.0,
    head: str = "fc",
    dropout: float = 0.5,
) -> Net:
    """VGG (K. Simonyan, A. Zisserman, "Very deep convolutional networks", 2015, table 1).

    ======== =========================================== =============== =============
    stage    layers                                      convolutions    at 224 px
    ======== =========================================== =============== =============
    block1   3×3 convolutions                            1 / 2 / 2 / 2   64 × 224×224
    block2   2×2 pooling, 3×3 convolutions               1 / 2 / 2 / 2   128 × 112×112
    block3   2×2 pooling, 3×3 convolutions               2 / 2 / 3 / 4   256 × 56×56
    block4   2×2 pooling, 3×3 convolutions               2 / 2 / 3 / 4   512 × 28×28
    block5   2×2 pooling, 3×3 convolutions               2 / 2 / 3 / 4   512 × 14×14
    head     2×2 pooling, 4096, 4096                                     classes
    ======== =========================================== =============== =============

    Depth 11 / 13 / 16 / 19: 132.9 / 133.0 / 138.4 / 143.7 million parameters with 3 channels and
    1,000 classes; each place of the map sees 134 / 140 / 196 / 252 px.

    A block begins with the pooling that divides it from the one before, and the fifth pooling is
    part of the head, so that the map is 14×14. The small stem leaves out the first pooling and
    rounds sizes up: the map is 1/8 of the image, 4×4 at 28 px.

    The published head (a grid of 7×7, hidden layers of 4096) has 120 million weights. It comes with
    the imagenet stem in 2-D; otherwise the map is averaged as a whole and the hidden layers are of
    512.

    Args:
        problem: What it is for.
        depth: 11, 13, 16 or 19 (configurations A, B, D, E).
        batch_norm: A batch norm after each convolution; not in the paper, but it then trains
            without care for the start.
        stem: auto, small or imagenet.
        width: All numbers of channels and hidden units times this.
        head: fc as above, or one linear layer after gap (VGG-GAP of Zhou et al. 2016), attention
            lse or top pooling.
        dropout: Probability, after both hidden layers of the head (gap and so on: before the last).

    Raises:
        UserError: Unknown depth, stem or head.
    """
    counts = of_depth("vgg", depth, DEPTHS)
    kind = choose_stem(stem, problem.input_size, MIN_SIZE)
    conv, norm = layer("Conv", problem.spatial_dims), layer("BatchNorm", problem.spatial_dims)
    pool = layer("MaxPool", problem.spatial_dims)
    stages = OrderedDict[str, nn.Module]()
    channels = problem.in_channels
    for number, (full, count) in enumerate(zip(WIDTHS, counts, strict=True), start=1):
        block = OrderedDict[str, nn.Module]()
        if number > (2 if kind == "small" else 1):
            block["pool"] = pool(2, ceil_mode=kind == "small")
        for i in range(1, count + 1):
            block[f"conv{i}"] = conv(channels, scaled(full, width), 3, padding=1)
            channels = scaled(full, width)
            if batch_norm:
                block[f"norm{i}"] = norm(channels)
            block[f"relu{i}"] = nn.ReLU()
        stages[f"block{number}"] = nn.Sequential(block)
    return Net(
        f"vgg{depth}_bn" if batch_norm else f"vgg{depth}",
        nn.Sequential(stages),
        classic_head(
            "vgg", head, channels, problem, kind, grid=7, width=width, dropout=dropout, pool=pool(2)
        ),
        problem,
        min_size=MIN_SIZE[kind],
        stem=kind,
        published_names=torchvision_names(counts, batch_norm),
    )


def torchvision_names(counts: Sequence[int], batch_norm: bool) -> dict[str, str]:
    """Torchvision numbers its layers through; here they are named by block."""
    names = {"classifier.0": "head.fc1", "classifier.3": "head.fc2", "classifier.6": "head.fc3"}
    position = 0
    for block, count in enumerate(counts, start=1):
        for i in range(1, count + 1):
            names[f"features.{position}"] = f"features.block{block}.conv{i}"
            if batch_norm:
                names[f"features.{position + 1}"] = f"features.block{block}.norm{i}"
            position += 3 if batch_norm else 2
        position += 1  # the pooling
    return names
