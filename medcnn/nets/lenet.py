"""LeNet-5, the net that read cheques in the 1990s."""

from collections import OrderedDict

from torch import Tensor, nn

from medcnn.nets.base import Net, he_init, layer

GRID = 5  # cells along each side of S4, the last pooled map
MIN_SIZE = 14  # px; below, that map would repeat itself


class LeNetHead(nn.Module):
    """Pooling to 5×5 (S4), then layers of 120 (C5) and 84 (F6) units and the output."""

    def __init__(self, channels: int, num_classes: int, spatial_dims: int) -> None:
        super().__init__()
        self.pool = layer("AdaptiveAvgPool", spatial_dims)(GRID)
        self.fc1 = nn.Linear(channels * GRID**spatial_dims, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)
        self.tanh = nn.Tanh()

    def forward(self, maps: Tensor) -> Tensor:
        """Logits (N, num_classes) of maps (N, channels, *spatial)."""
        x = self.pool(maps).flatten(1)
        x = self.tanh(self.fc1(x))
        x = self.tanh(self.fc2(x))
        logits: Tensor = self.fc3(x)
        return logits


def lenet(*, in_channels: int, num_classes: int, spatial_dims: int = 2) -> Net:
    """LeNet-5 (Y. LeCun et al., "Gradient-based learning applied to document recognition", 1998).

    Tanh and average pooling as in figure 2 of the paper. Simpler than there: poolings have no
    weights, C3 sees all six maps of S2, the output is linear. Images of 28 px are padded by two, as
    the paper does; larger ones are averaged to the same 5×5 before C5.

    Stages ``c1 c3``: the map is 10×10 at 28 px.

    Args:
        in_channels: Channels of an image.
        num_classes: Number of logits.
        spatial_dims: 2 or 3.
    """
    conv, pool = layer("Conv", spatial_dims), layer("AvgPool", spatial_dims)
    c1 = OrderedDict(conv=conv(in_channels, 6, 5, padding=2), tanh=nn.Tanh())
    c3 = OrderedDict(pool=pool(2), conv=conv(6, 16, 5), tanh=nn.Tanh())
    features = nn.Sequential(OrderedDict(c1=nn.Sequential(c1), c3=nn.Sequential(c3)))
    head = LeNetHead(16, num_classes, spatial_dims)
    he_init(features, "tanh")
    he_init(head.fc1, "tanh")
    he_init(head.fc2, "tanh")
    return Net(
        "lenet",
        features,
        head,
        in_channels=in_channels,
        num_classes=num_classes,
        spatial_dims=spatial_dims,
        min_size=MIN_SIZE,
    )
