"""Multilayer perceptron: the baseline that knows nothing of neighbouring pixels."""

from collections import OrderedDict
from collections.abc import Sequence
from math import prod

from torch import nn

from medcnn.errors import UserError
from medcnn.nets.base import Net, he_init, times


class MLP(Net):
    """The net that `mlp` builds. It has no map over the image: `spatial` is False."""

    spatial = False
    input_size: tuple[int, ...]

    def check_size(self, size: Sequence[int]) -> None:
        """Raises UserError unless images have the one size (H, W) or (D, H, W) of the net."""
        if tuple(size) != self.input_size:
            raise UserError(
                f"mlp was built for images of {times(self.input_size)} px, got {times(size)}; "
                "it takes one size only: resize the images or build it for theirs"
            )


def mlp(
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int = 2,
    input_size: Sequence[int] | None = None,
    hidden: Sequence[int] = (512, 256),
    dropout: float = 0.5,
) -> MLP:
    """Multilayer perceptron with ReLU and dropout.

    D. Rumelhart et al., "Learning representations by back-propagating errors", 1986; dropout of
    hidden units as in N. Srivastava et al., "Dropout", 2014.

    Stages ``flatten hidden1 hidden2 …``; features are (N, last hidden size), not a map.

    Args:
        in_channels: Channels of an image.
        num_classes: Number of logits.
        spatial_dims: 2 or 3.
        input_size: Spatial size of every image; needed.
        hidden: Units of each hidden layer.
        dropout: Probability, after each hidden layer.

    Raises:
        UserError: No input_size, or no hidden layer or one without units.
    """
    if input_size is None:
        raise UserError(
            "mlp needs to know the size of the images: give input_size, such as (28, 28)"
        )
    if not isinstance(hidden, Sequence) or not hidden or not all(map(is_count, hidden)):
        raise UserError(f"model.hidden={hidden}: give a list of sizes, such as [512, 256]")
    stages = OrderedDict[str, nn.Module](flatten=nn.Flatten())
    units = in_channels * prod(input_size)
    for number, width in enumerate(hidden, start=1):
        parts = OrderedDict(fc=nn.Linear(units, width), relu=nn.ReLU(), dropout=nn.Dropout(dropout))
        stages[f"hidden{number}"] = nn.Sequential(parts)
        units = width
    features = nn.Sequential(stages)
    he_init(features)
    net = MLP(
        "mlp",
        features,
        nn.Linear(units, num_classes),
        in_channels=in_channels,
        num_classes=num_classes,
        spatial_dims=spatial_dims,
        min_size=min(input_size),
    )
    net.input_size = tuple(int(side) for side in input_size)
    return net


def is_count(value: object) -> bool:
    """Whether a value is a whole number of at least 1."""
    return isinstance(value, int) and value >= 1
