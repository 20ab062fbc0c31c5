"""The linear model: logistic regression on pixels, the least that a net has to beat."""

from collections import OrderedDict
from math import prod

from torch import nn

from medcnn.nets.base import Problem
from medcnn.nets.families.mlp import FlatNet, known_size


def linear(problem: Problem) -> FlatNet:
    """One linear layer on all pixels (D. Cox, "The regression analysis of binary sequences", 1958).

    One stage, ``flatten``; features are (N, pixels), not a map. 7,850 parameters with 28×28 pixels
    and 10 classes.

    Args:
        problem: What it is for; the input_size is needed.

    Raises:
        UserError: No input_size.
    """
    size = known_size("linear", problem)
    flatten = nn.Sequential(OrderedDict(flatten=nn.Flatten()))
    last = nn.Linear(problem.in_channels * prod(size), problem.num_classes)
    return FlatNet("linear", flatten, last, problem, min_size=min(size))
