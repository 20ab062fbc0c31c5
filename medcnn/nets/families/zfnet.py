"""ZFNet: AlexNet with a finer first layer, found by looking at what the layers see."""

from collections import OrderedDict
from functools import partial

from torch import nn

from medcnn.nets.base import Net, Problem, Stem, choose_stem, layer, scaled
from medcnn.nets.families.alexnet import stage
from medcnn.nets.heads import classic_head

WIDTHS = (96, 256, 384, 384, 256)
MIN_SIZE: dict[Stem, int] = {"small": 7, "imagenet": 47}


def zfnet(
    problem: Problem,
    *,
    stem: str = "auto",
    width: float = 1.0,
    head: str = "fc",
    dropout: float = 0.5,
) -> Net:
    """ZFNet (M. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", 2014).

    ======== ============================================== ==============
    stage    layers (figure 3 of the paper)                 at 224 px
    ======== ============================================== ==============
    conv1    7×7 convolution of stride 2                    96 × 110×110
    conv2    3×3 pooling of stride 2, 5×5 of stride 2       256 × 26×26
    conv3    3×3 pooling of stride 2, 3×3                   384 × 13×13
    conv4    3×3                                            384 × 13×13
    conv5    3×3                                            256 × 13×13
    head     3×3 pooling of stride 2, 4096, 4096            classes
    ======== ============================================== ==============

    62,357,608 parameters with 3 channels and 1,000 classes; each place of the map sees 139 px. The
    contrast normalisation of the paper is left out.

    A pooling is at the start of the stage after it, the last one in the head, so that the map is
    13×13. The small stem is a 3×3 convolution of stride 1, and the second convolution has stride 1
    too: a map of 7×7 at 28 px. With it, and in 3-D, the head takes the mean of the map and its
    hidden layers are of 512.

    Args:
        problem: What it is for.
        stem: auto, small or imagenet.
        width: All numbers of channels and hidden units times this.
        head: fc as above, or one linear layer after gap, attention, lse or top pooling.
        dropout: Probability, after both hidden layers of the head (gap and so on: before the last).

    Raises:
        UserError: Unknown stem or head.
    """
    kind = choose_stem(stem, problem.input_size, MIN_SIZE)
    conv = layer("Conv", problem.spatial_dims)
    pool = partial(layer("MaxPool", problem.spatial_dims), 3, stride=2, ceil_mode=True)
    w1, w2, w3, w4, w5 = (scaled(channels, width) for channels in WIDTHS)
    if kind == "small":
        first = conv(problem.in_channels, w1, 3, padding=1)
        second = conv(w1, w2, 5, padding=2)
    else:
        first = conv(problem.in_channels, w1, 7, stride=2, padding=1)
        second = conv(w1, w2, 5, stride=2)
    stages = OrderedDict[str, nn.Module](
        conv1=stage(first),
        conv2=stage(second, pool=pool()),
        conv3=stage(conv(w2, w3, 3, padding=1), pool=pool()),
        conv4=stage(conv(w3, w4, 3, padding=1)),
        conv5=stage(conv(w4, w5, 3, padding=1)),
    )
    return Net(
        "zfnet",
        nn.Sequential(stages),
        classic_head(
            "zfnet", head, w5, problem, kind, grid=6, width=width, dropout=dropout, pool=pool()
        ),
        problem,
        min_size=MIN_SIZE[kind],
        stem=kind,
    )
