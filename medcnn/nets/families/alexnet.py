"""AlexNet, the net that won ImageNet in 2012."""

from collections import OrderedDict
from functools import partial

from torch import nn

from medcnn.errors import UserError
from medcnn.nets.base import Net, Problem, Stem, choose_stem, layer, scaled
from medcnn.nets.heads import classic_head

WIDTHS: dict[str, tuple[int, ...]] = {  # of conv1 … conv5
    "2012": (96, 256, 384, 384, 256),
    "2014": (64, 192, 384, 256, 256),
}
MIN_SIZE: dict[Stem, int] = {"small": 7, "imagenet": 63}
TORCHVISION_NAMES = {
    **{f"features.{k}": f"features.conv{i}.conv" for i, k in enumerate((0, 3, 6, 8, 10), start=1)},
    **{f"classifier.{k}": f"head.fc{i}" for i, k in enumerate((1, 4, 6), start=1)},
}


def alexnet(
    problem: Problem,
    *,
    version: int | str = 2014,
    response_norm: bool = False,
    groups: int = 1,
    stem: str = "auto",
    width: float = 1.0,
    head: str = "fc",
    dropout: float = 0.5,
) -> Net:
    """AlexNet.

    A. Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012;
    the version of 2014, which torchvision has, is the one column of his "One weird trick for
    parallelizing convolutional neural networks".

    ======== ===================================== ================ ================
    stage    layers                                2014, at 224 px  2012, at 224 px
    ======== ===================================== ================ ================
    conv1    11×11 convolution of stride 4         64 × 55×55       96 × 55×55
    conv2    3×3 pooling of stride 2, 5×5          192 × 27×27      256 × 27×27
    conv3    3×3 pooling of stride 2, 3×3          384 × 13×13      384 × 13×13
    conv4    3×3                                   256 × 13×13      384 × 13×13
    conv5    3×3                                   256 × 13×13      256 × 13×13
    head     3×3 pooling of stride 2, 4096, 4096   classes          classes
    ======== ===================================== ================ ================

    61,100,840 parameters with 3 channels and 1,000 classes; each place of the map sees 163 px. The
    net of the paper is ``version=2012 response_norm=true groups=2``: 60,965,224.

    A pooling is at the start of the stage after it, the last one in the head, so that the map is
    13×13. The small stem is a 5×5 convolution of stride 1, and leads to a map of 6×6 at 28 px. With
    it, and in 3-D, the head takes the mean of the map and its hidden layers are of 512.

    Args:
        problem: What it is for.
        version: 2014 or 2012.
        response_norm: Local response normalisation after conv1 and conv2 (section 3.3 of the
            paper: k = 2, n = 5, α = 10⁻⁴, β = 0.75).
        groups: 2: conv2, conv4 and conv5 see one half of the channels each (section 3.5).
        stem: auto, small or imagenet.
        width: All numbers of channels and hidden units times this.
        head: fc as above, or one linear layer after gap (AlexNet-GAP of Zhou et al. 2016),
            attention, lse or top pooling.
        dropout: Probability, after both hidden layers of the head (gap and so on: before the last).

    Raises:
        UserError: Unknown version, stem or head, or groups that aren't 1 or 2.
    """
    if str(version) not in WIDTHS:
        raise UserError(f"model.version={version}: alexnet comes as 2012 and 2014")
    if groups not in (1, 2):
        raise UserError(f"model.groups={groups}: alexnet has 1 or 2")
    kind = choose_stem(stem, problem.input_size, MIN_SIZE)
    conv = layer("Conv", problem.spatial_dims)
    pool = partial(layer("MaxPool", problem.spatial_dims), 3, stride=2)
    w1, w2, w3, w4, w5 = (scaled(channels, width, groups) for channels in WIDTHS[str(version)])
    if kind == "small":
        first = conv(problem.in_channels, w1, 5, padding=2)
    else:
        first = conv(problem.in_channels, w1, 11, stride=4, padding=2)
    second = conv(w1, w2, 5, padding=2, groups=groups)
    stages = OrderedDict[str, nn.Module](
        conv1=stage(first, response_norm=response_norm),
        conv2=stage(second, pool=pool(), response_norm=response_norm),
        conv3=stage(conv(w2, w3, 3, padding=1), pool=pool()),
        conv4=stage(conv(w3, w4, 3, padding=1, groups=groups)),
        conv5=stage(conv(w4, w5, 3, padding=1, groups=groups)),
    )
    return Net(
        "alexnet" if str(version) == "2014" else "alexnet_2012",
        nn.Sequential(stages),
        classic_head(
            "alexnet", head, w5, problem, kind, grid=6, width=width, dropout=dropout, pool=pool()
        ),
        problem,
        min_size=MIN_SIZE[kind],
        stem=kind,
        published_names=TORCHVISION_NAMES,
    )


def stage(
    conv: nn.Module, *, pool: nn.Module | None = None, response_norm: bool = False
) -> nn.Sequential:
    """Return an optional pooling, a convolution, a ReLU, an optional response normalisation."""
    parts = OrderedDict[str, nn.Module]()
    if pool is not None:
        parts["pool"] = pool
    parts["conv"] = conv
    parts["relu"] = nn.ReLU()
    if response_norm:  # PyTorch divides alpha by the number of channels summed over
        parts["norm"] = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    return nn.Sequential(parts)
