"""AlexNet, the net that won ImageNet in 2012."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from medcnn.nets.base import DenseHead, Net, Stem, choose_stem, he_init

MIN_SIZE: dict[Stem, int] = {"small": 7, "imagenet": 63}
TORCHVISION_NAMES = {
    "features.0": "features.conv1.conv",
    "features.3": "features.conv2.conv",
    "features.6": "features.conv3.conv",
    "features.8": "features.conv4.conv",
    "features.10": "features.conv5.conv",
    "classifier.1": "head.fc1",
    "classifier.4": "head.fc2",
    "classifier.6": "head.fc3",
}


def alexnet(
    *,
    in_channels: int,
    num_classes: int,
    input_size: Sequence[int] | None = None,
    stem: str = "auto",
    dropout: float = 0.5,
) -> Net:
    """AlexNet in the one-column form that torchvision has, without response normalisation.

    A. Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012;
    widths of his "One weird trick for parallelizing convolutional neural networks", 2014.

    Stages ``conv1 … conv5``; a pooling is at the start of the stage after it, the last one in the
    head, so that the map is 13×13 at 224 px. The small stem is a 5×5 convolution of stride 1
    instead of 11×11 of stride 4, and leads to a map of 6×6 at 28 px, which a smaller head (hidden
    layers of 512 instead of 4096) takes the mean of.

    Args:
        in_channels: Channels of an image.
        num_classes: Number of logits.
        input_size: Spatial size of the images, for ``stem="auto"``.
        stem: auto, small or imagenet.
        dropout: Probability, after both hidden layers of the head.

    Raises:
        UserError: Unknown stem.
    """
    kind = choose_stem(stem, input_size, MIN_SIZE["imagenet"])
    if kind == "small":
        first = nn.Conv2d(in_channels, 64, 5, padding=2)
    else:
        first = nn.Conv2d(in_channels, 64, 11, stride=4, padding=2)
    stages = OrderedDict[str, nn.Module](
        conv1=stage(first),
        conv2=stage(nn.Conv2d(64, 192, 5, padding=2), pool=nn.MaxPool2d(3, stride=2)),
        conv3=stage(nn.Conv2d(192, 384, 3, padding=1), pool=nn.MaxPool2d(3, stride=2)),
        conv4=stage(nn.Conv2d(384, 256, 3, padding=1)),
        conv5=stage(nn.Conv2d(256, 256, 3, padding=1)),
    )
    features = nn.Sequential(stages)
    he_init(features)
    pool = nn.MaxPool2d(3, stride=2)
    return Net(
        "alexnet",
        features,
        make_head(256, num_classes, kind, dropout, pool),
        in_channels=in_channels,
        num_classes=num_classes,
        min_size=MIN_SIZE[kind],
        stem=kind,
        torchvision_names=TORCHVISION_NAMES,
    )


def stage(conv: nn.Module, *, pool: nn.Module | None = None) -> nn.Sequential:
    """An optional pooling, a convolution, a ReLU."""
    parts = OrderedDict[str, nn.Module]()
    if pool is not None:
        parts["pool"] = pool
    parts["conv"] = conv
    parts["relu"] = nn.ReLU()
    return nn.Sequential(parts)


def make_head(
    channels: int, num_classes: int, kind: Stem, dropout: float, pool: nn.Module
) -> DenseHead:
    """The head for one of the two stems of AlexNet and ZFNet."""
    if kind == "small":
        return DenseHead(channels, num_classes, grid=1, hidden=512, dropout=dropout)
    return DenseHead(channels, num_classes, grid=6, hidden=4096, dropout=dropout, pool=pool)
