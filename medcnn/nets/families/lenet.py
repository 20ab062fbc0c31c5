"""LeNet-5, the net that read cheques in the 1990s."""

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

from medcnn.errors import UserError
from medcnn.nets.base import Net, Problem, layer, scaled
from medcnn.nets.heads import DenseHead, choose_head, pooled_head

GRID = 5  # cells along each side of S4, the last pooled map
MIN_SIZE = 14  # px; below, that map would repeat itself


def lenet(
    problem: Problem,
    *,
    version: int | str = 1998,
    width: float = 1.0,
    head: str = "fc",
    dropout: float = 0.0,
) -> Net:
    """LeNet-5 (Y. LeCun et al., "Gradient-based learning applied to document recognition", 1998).

    ======== ================================= ==========
    stage    layers (figure 2 of the paper)    at 28 px
    ======== ================================= ==========
    c1       5×5 convolution, padding 2        6 × 28×28
    c3       2×2 pooling, 5×5 convolution      16 × 10×10
    head     pooling to 5×5 (S4), 120, 84      classes
    ======== ================================= ==========

    61,706 parameters with 1 channel and 10 classes; each place of the map sees 14 px.

    The version of 1998 has tanh and average pooling. Simpler than in the paper: poolings have no
    weights, C3 sees all six maps of S2, the output is linear. Images of 28 px are padded by two, as
    the paper does; larger ones are averaged to the same 5×5 before C5. The modern version has ReLU
    and maximum pooling in the same places.

    Args:
        problem: What it is for.
        version: 1998 or modern.
        width: All numbers of channels and hidden units times this.
        head: fc as above, or one linear layer after gap, attention, lse or top pooling.
        dropout: Probability, after both hidden layers of the head (gap and so on: before the last).

    Raises:
        UserError: Unknown version or head.
    """
    if str(version) not in ("1998", "modern"):
        raise UserError(f"model.version={version}: lenet comes as 1998 and modern")
    old = str(version) == "1998"
    activation: Callable[[], nn.Module] = nn.Tanh if old else nn.ReLU
    conv = layer("Conv", problem.spatial_dims)
    pool = layer("AvgPool" if old else "MaxPool", problem.spatial_dims)
    six, sixteen = scaled(6, width), scaled(16, width)
    c1 = OrderedDict(conv=conv(problem.in_channels, six, 5, padding=2), act=activation())
    c3 = OrderedDict(pool=pool(2), conv=conv(six, sixteen, 5), act=activation())
    if choose_head("lenet", head) == "fc":
        last: nn.Module = DenseHead(
            sixteen,
            problem.num_classes,
            grid=GRID,
            hidden=(scaled(120, width), scaled(84, width)),
            dropout=dropout,
            pool=None if old else pool(2),
            activation=activation,
            spatial_dims=problem.spatial_dims,
        )
    else:
        last = pooled_head("lenet", head, sixteen, problem.num_classes, dropout)
    return Net(
        "lenet" if old else "lenet_modern",
        nn.Sequential(OrderedDict(c1=nn.Sequential(c1), c3=nn.Sequential(c3))),
        last,
        problem,
        min_size=MIN_SIZE,
        nonlinearity="tanh" if old else "relu",
    )
