"""Multilayer perceptron: the baseline that knows nothing of neighbouring pixels."""

from collections import OrderedDict
from collections.abc import Sequence
from math import prod

from torch import nn

from medcnn.errors import UserError
from medcnn.nets.base import Net, Problem, scaled, times


class FlatNet(Net):
    """A net of linear layers on all pixels. It has no map over the image: `spatial` is False."""

    spatial = False

    def check_size(self, size: Sequence[int]) -> None:
        """Raises UserError unless images have the one size (H, W) or (D, H, W) of the net."""
        assert self.input_size is not None
        if tuple(size) != self.input_size:
            raise UserError(
                f"{self.name} was built for images of {times(self.input_size)} px, got "
                f"{times(size)}; it takes one size only: resize the images or build it for theirs"
            )


def mlp(
    problem: Problem,
    *,
    hidden: Sequence[int] = (512, 256),
    width: float = 1.0,
    dropout: float = 0.5,
) -> FlatNet:
    """Multilayer perceptron with ReLU and dropout.

    D. Rumelhart et al., "Learning representations by back-propagating errors", 1986; dropout of
    hidden units as in N. Srivastava et al., "Dropout", 2014.

    535,818 parameters with 28×28 pixels and 10 classes.

    Stages ``flatten hidden1 hidden2 …``; features are (N, last hidden size), not a map.

    Args:
        problem: What it is for; the input_size is needed.
        hidden: Units of each hidden layer.
        width: All numbers of units times this.
        dropout: Probability, after each hidden layer.

    Raises:
        UserError: No input_size, or no hidden layer or one without units.
    """
    size = known_size("mlp", problem)
    if not isinstance(hidden, Sequence) or not hidden or not all(map(is_count, hidden)):
        raise UserError(f"model.hidden={hidden}: give a list of sizes, such as [512, 256]")
    stages = OrderedDict[str, nn.Module](flatten=nn.Flatten())
    units = problem.in_channels * prod(size)
    for number, full in enumerate(hidden, start=1):
        wide = scaled(full, width)
        parts = OrderedDict(fc=nn.Linear(units, wide), relu=nn.ReLU(), dropout=nn.Dropout(dropout))
        stages[f"hidden{number}"] = nn.Sequential(parts)
        units = wide
    last = nn.Linear(units, problem.num_classes)
    return FlatNet("mlp", nn.Sequential(stages), last, problem, min_size=min(size))


def known_size(name: str, problem: Problem) -> tuple[int, ...]:
    """The spatial size that a net of linear layers is built for; raises UserError without."""
    if problem.input_size is None:
        raise UserError(
            f"{name} needs to know the size of the images: give input_size, such as (28, 28)"
        )
    return problem.input_size


def is_count(value: object) -> bool:
    """Return True for a value that is a whole number of at least 1."""
    return isinstance(value, int) and value >= 1
