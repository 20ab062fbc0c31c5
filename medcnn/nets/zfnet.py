"""ZFNet: AlexNet with a finer first layer, found by looking at what the layers see."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from medcnn.nets.alexnet import make_head, stage
from medcnn.nets.base import Net, Stem, choose_stem, he_init

MIN_SIZE: dict[Stem, int] = {"small": 7, "imagenet": 47}


def zfnet(
    *,
    in_channels: int,
    num_classes: int,
    input_size: Sequence[int] | None = None,
    stem: str = "auto",
    dropout: float = 0.5,
) -> Net:
    """ZFNet (M. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", 2014).

    The net of figure 3, without its contrast normalisation. Stages ``conv1 … conv5``; a pooling is
    at the start of the stage after it, the last one in the head, so that the map is 13×13 at
    224 px. The small stem is a 3×3 convolution of stride 1 instead of 7×7 of stride 2, and the
    second convolution has stride 1 too: a map of 7×7 at 28 px, which a smaller head (hidden layers
    of 512 instead of 4096) takes the mean of.

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
        first, second = nn.Conv2d(in_channels, 96, 3, padding=1), nn.Conv2d(96, 256, 5, padding=2)
    else:
        first, second = nn.Conv2d(in_channels, 96, 7, stride=2, padding=1), nn.Conv2d(96, 256, 5, 2)
    stages = OrderedDict[str, nn.Module](
        conv1=stage(first),
        conv2=stage(second, pool=nn.MaxPool2d(3, stride=2, ceil_mode=True)),
        conv3=stage(
            nn.Conv2d(256, 384, 3, padding=1), pool=nn.MaxPool2d(3, stride=2, ceil_mode=True)
        ),
        conv4=stage(nn.Conv2d(384, 384, 3, padding=1)),
        conv5=stage(nn.Conv2d(384, 256, 3, padding=1)),
    )
    features = nn.Sequential(stages)
    he_init(features)
    pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    return Net(
        "zfnet",
        features,
        make_head(256, num_classes, kind, dropout, pool),
        in_channels=in_channels,
        num_classes=num_classes,
        min_size=MIN_SIZE[kind],
        stem=kind,
    )
