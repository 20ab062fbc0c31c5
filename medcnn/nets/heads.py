"""The heads of nets: from feature maps to logits."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.base import Problem, Stem, layer, scaled

LSE_SHARPNESS = 10.0
TOP_SHARE = 0.1


class LinearHead(nn.Module):
    """Global average pooling, dropout, one linear layer.

    The form for which a class activation map is exact (B. Zhou et al., "Learning deep features for
    discriminative localization", 2016, eq. 1). Their nets have one more convolution before it.

    Args:
        channels: Channels of the maps.
        num_classes: Number of logits.
        dropout: Probability of dropping an average.
    """

    def __init__(self, channels: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)

    def pool(self, maps: Tensor) -> Tensor:
        """Return (N, channels) of maps (N, channels, *spatial)."""
        return maps.mean(dim=tuple(range(2, maps.ndim)))

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits (N, num_classes) of maps (N, channels, *spatial)."""
        logits: Tensor = self.fc(self.dropout(self.pool(maps)))
        return logits


class LogSumExpHead(LinearHead):
    """As `LinearHead`, with a pooling between the mean and the maximum over the image.

    ``log(mean(exp(r·x))) / r`` of each channel: a small lesion counts for more than in the mean
    (P. Pinheiro, R. Collobert, "From image-level to pixel-level labeling with convolutional
    networks", 2015, eq. 1; r = 10 as X. Wang et al., "ChestX-ray8", 2017, section 4.1).
    """

    def pool(self, maps: Tensor) -> Tensor:
        """Return (N, channels) of maps (N, channels, *spatial)."""
        x = LSE_SHARPNESS * maps.flatten(2).float()
        pooled = (torch.logsumexp(x, 2) - torch.log(x.new_tensor(x.shape[2]))) / LSE_SHARPNESS
        return pooled.to(maps.dtype)


class AttentionHead(LinearHead):
    """As `LinearHead`, with a weighted mean whose weights the net learns to choose.

    The places of the map are the instances of a bag (M. Ilse et al., "Attention-based deep multiple
    instance learning", 2018, eqs. 7 and 8, without the gate). The weights come from a layer of
    `hidden` units (L of the paper).
    """

    def __init__(
        self, channels: int, num_classes: int, dropout: float = 0.0, hidden: int = 128
    ) -> None:
        super().__init__(channels, num_classes, dropout)
        self.v = nn.Linear(channels, hidden)
        self.w = nn.Linear(hidden, 1, bias=False)

    def weights(self, maps: Tensor) -> Tensor:
        """Return weights (N, *spatial) of maps (N, channels, *spatial); an image's add up to 1.

        They show where the evidence is taken from, but not for which class.
        """
        scores = self.w(torch.tanh(self.v(maps.flatten(2).transpose(1, 2))))
        return torch.softmax(scores[..., 0], 1).unflatten(1, maps.shape[2:])

    def pool(self, maps: Tensor) -> Tensor:
        """Return (N, channels) of maps (N, channels, *spatial)."""
        return (maps * self.weights(maps)[:, None]).flatten(2).sum(2)


class TopHead(LinearHead):
    """The linear layer at every place, then the mean of each class's highest tenth of the places.

    So a class is decided by where its evidence is strongest, as at a lesion, and what the rest of
    the image looks like doesn't count (T. Durand et al., "WILDCAT", 2017, section 3.2: k⁺ maxima,
    alpha = 0, one map a class). Grad-CAM is the positive part of what is pooled, but for the bias.
    Dropout drops a channel at a place.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits (N, num_classes) of maps (N, channels, *spatial)."""
        scores: Tensor = self.fc(self.dropout(maps.flatten(2).transpose(1, 2)))
        places = scores.shape[1]
        return scores.topk(max(1, round(TOP_SHARE * places)), dim=1).values.mean(1)


class DenseHead(nn.Module):
    """Two hidden layers on a grid of pooled features: how classifiers ended from 1998 to 2014.

    Args:
        channels: Channels of the maps.
        num_classes: Number of logits.
        grid: The maps are averaged to this many cells along each side.
        hidden: Widths of the two hidden layers.
        dropout: Probability of dropping an output of a hidden layer.
        pool: Pooling before the grid.
        activation: After both hidden layers.
        spatial_dims: 2 or 3.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        grid: int,
        hidden: tuple[int, int],
        dropout: float = 0.0,
        pool: nn.Module | None = None,
        activation: Callable[[], nn.Module] = nn.ReLU,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__()
        self.pool = pool if pool is not None else nn.Identity()
        self.grid = layer("AdaptiveAvgPool", spatial_dims)(grid)
        self.fc1 = nn.Linear(channels * grid**spatial_dims, hidden[0])
        self.fc2 = nn.Linear(hidden[0], hidden[1])
        self.fc3 = nn.Linear(hidden[1], num_classes)
        self.activation = activation()
        self.dropout = nn.Dropout(dropout)

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits (N, num_classes) of maps (N, channels, *spatial)."""
        x = self.grid(self.pool(maps)).flatten(1)
        x = self.dropout(self.activation(self.fc1(x)))
        x = self.dropout(self.activation(self.fc2(x)))
        logits: Tensor = self.fc3(x)
        return logits


POOLED: dict[str, type[LinearHead]] = {
    "gap": LinearHead,
    "attention": AttentionHead,
    "lse": LogSumExpHead,
    "top": TopHead,
}


def pooled_head(
    name: str, kind: str, channels: int, num_classes: int, dropout: float
) -> LinearHead:
    """Return a family's head of one linear layer, by what pools: gap, attention, lse or top."""
    return POOLED[choose_head(name, kind, tuple(POOLED))](channels, num_classes, dropout)


def choose_head(name: str, kind: str, kinds: Sequence[str] = ("fc", *POOLED)) -> str:
    """Return kind, or raise UserError if the family has no such head."""
    if kind not in kinds:
        raise UserError(f"model.head={kind}: {name} has {', '.join(kinds)}")
    return kind


def classic_head(
    name: str,
    kind: str,
    channels: int,
    problem: Problem,
    stem: Stem,
    *,
    grid: int,
    width: float,
    dropout: float,
    pool: nn.Module,
) -> nn.Module:
    """Return the head of AlexNet, ZFNet and VGG: fc, or one that `pooled_head` knows.

    With the imagenet stem there is the pooling before it, and in 2-D the published grid and 4096
    hidden units times width; else the mean of the map and 512.
    """
    if choose_head(name, kind) != "fc":
        return pooled_head(name, kind, channels, problem.num_classes, dropout)
    published = stem == "imagenet" and problem.spatial_dims == 2
    hidden = scaled(4096 if published else 512, width)
    return DenseHead(
        channels,
        problem.num_classes,
        grid=grid if published else 1,
        hidden=(hidden, hidden),
        dropout=dropout,
        pool=pool if stem == "imagenet" else None,
        spatial_dims=problem.spatial_dims,
    )
