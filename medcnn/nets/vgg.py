"""VGG: nothing but 3×3 convolutions and pooling."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from medcnn.nets.base import DenseHead, Net, Stem, choose_depth, choose_stem, he_init, layer

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
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int = 2,
    input_size: Sequence[int] | None = None,
    depth: int = 11,
    batch_norm: bool = True,
    stem: str = "auto",
    dropout: float = 0.5,
) -> Net:
    """VGG (K. Simonyan, A. Zisserman, "Very deep convolutional networks", 2015, table 1).

    Stages ``block1 … block5``; a block begins with the pooling that divides it from the one before,
    and the fifth pooling is part of the head, so that the map is 14×14 at 224 px. The small stem
    leaves out the first pooling and rounds sizes up: the map is 1/8 of the image, 4×4 at 28 px.

    The published head (a grid of 7×7, hidden layers of 4096) has 120 million weights. It comes with
    the imagenet stem in 2-D; otherwise the map is averaged as a whole and the hidden layers are of
    512.

    Args:
        in_channels: Channels of an image.
        num_classes: Number of logits.
        spatial_dims: 2 or 3.
        input_size: Spatial size of the images, for ``stem="auto"``.
        depth: 11, 13, 16 or 19 (configurations A, B, D, E).
        batch_norm: A batch norm after each convolution; not in the paper, but it then trains
            without care for the start.
        stem: auto, small or imagenet.
        dropout: Probability, after both hidden layers of the head.

    Raises:
        UserError: Unknown depth or stem.
    """
    counts = DEPTHS[choose_depth("vgg", depth, tuple(DEPTHS))]
    kind = choose_stem(stem, input_size, MIN_SIZE["imagenet"])
    stages = OrderedDict[str, nn.Module]()
    channels = in_channels
    for number, (width, count) in enumerate(zip(WIDTHS, counts, strict=True), start=1):
        block = OrderedDict[str, nn.Module]()
        if number > (2 if kind == "small" else 1):
            block["pool"] = layer("MaxPool", spatial_dims)(2, ceil_mode=kind == "small")
        for i in range(1, count + 1):
            block[f"conv{i}"] = layer("Conv", spatial_dims)(channels, width, 3, padding=1)
            if batch_norm:
                block[f"norm{i}"] = layer("BatchNorm", spatial_dims)(width)
            block[f"relu{i}"] = nn.ReLU()
            channels = width
        stages[f"block{number}"] = nn.Sequential(block)
    features = nn.Sequential(stages)
    he_init(features)
    return Net(
        f"vgg{depth}_bn" if batch_norm else f"vgg{depth}",
        features,
        make_head(num_classes, kind, dropout, spatial_dims),
        in_channels=in_channels,
        num_classes=num_classes,
        spatial_dims=spatial_dims,
        min_size=MIN_SIZE[kind],
        stem=kind,
        torchvision_names=torchvision_names(counts, batch_norm),
    )


def make_head(num_classes: int, kind: Stem, dropout: float, spatial_dims: int) -> DenseHead:
    """The head for one of the two stems."""
    published = kind == "imagenet" and spatial_dims == 2
    return DenseHead(
        WIDTHS[-1],
        num_classes,
        grid=7 if published else 1,
        hidden=4096 if published else 512,
        dropout=dropout,
        pool=layer("MaxPool", spatial_dims)(2) if kind == "imagenet" else None,
        spatial_dims=spatial_dims,
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
