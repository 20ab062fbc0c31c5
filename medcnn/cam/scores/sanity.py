"""Maps of a net whose weights are made random: do they depend on the net at all?"""

import copy
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from medcnn.cam.scores.similarity import rank_correlation, ssim
from medcnn.errors import UserError
from medcnn.nets.base import stages_of

ORDERS = ("cascading", "independent")
DECIDING_STEP = 1  # of a cascade: the head and the last stage are random
LIMIT = 0.65
"""Mean rank correlation at the deciding step above which a method gives the same maps for a net
that knows nothing any more: the decision is then arbitrary, but the layers below still see what
they saw. A method that shows what the image looks like to those layers, rather than what the
decision rests on, is found out by this. Further down the cascade the early layers change too, and
with them the maps of every method.

The correlation has its sign: an inverted map is a changed one, and the absolute value is high by
chance in a map of few cells.

The limit is ours; the paper compares curves. Means at this step, for five nets trained on the
phantom (ResNet-18 with either stem, ResNet-34, VGG-11, VGG-16; 40 images, 6 seeds): guided
backpropagation 0.69 to 1.00, gradient times input 0.48 to 0.63, gradient 0.43 to 0.53, Grad-CAM
-0.08 to 0.14. In a net of two convolutions (LeNet) the step leaves one, and guided backpropagation
passes with 0.20: the rule is for deep nets.
"""


class Randomised(NamedTuple):
    """Likeness of the maps of a net and of its copy with random parts."""

    part: str
    """The part that was made random last: head, or a stage of features."""

    rank_correlation: Tensor
    """(N,) in -1 … 1; NaN where a map has one value only. See `similarity.rank_correlation`."""

    ssim: Tensor
    """(N,) in -1 … 1. See `similarity.ssim`."""


def randomised(
    net: nn.Module, order: str = "cascading", seed: int = 0
) -> Iterator[tuple[str, nn.Module]]:
    """Yield copies of a net with parts made random, from the head down to the first stage.

    The model parameter randomisation of J. Adebayo et al., "Sanity checks for saliency maps", 2018,
    sections 3.1 and 3.2. All parameters of a part are drawn anew by their layers'
    ``reset_parameters``; batch norms begin again with mean 0 and variance 1. Parameters that no
    such method changes are shuffled.

    Batch norms must begin again with the rest: with the trained mean and variance a random
    convolution is small beside the mean that is subtracted, and the activations lose the image.

    Args:
        net: A net with ``features``, best of named stages, and ``head``; it isn't changed. Parts
            without parameters are left out.
        order: cascading (all parts above are random too) or independent (one part at a time).
        seed: Of the draws; a part's depend on its position alone, not on the order.

    Yields:
        Name of the part, and the copy, in the net's mode and on its device. There is one copy in
        all: the next step changes it.

    Raises:
        UserError: Another order.
    """
    if order not in ORDERS:
        raise UserError(f"order={order}: choose one of {', '.join(ORDERS)}")
    twin = copy.deepcopy(net)
    for position, (name, part) in enumerate(_parts(twin)):
        if order == "independent":
            twin.load_state_dict(net.state_dict())
        _randomise(part, seed, position)
        yield name, twin


def randomisation(
    net: nn.Module,
    images: Tensor,
    explain: Callable[[nn.Module, Tensor], Tensor],
    *,
    order: str = "cascading",
    seed: int = 0,
) -> list[Randomised]:
    """Return how alike the maps of a net and of its `randomised` copies are, step by step.

    Args and errors: As in `randomised`; images (N, C, *spatial), and what makes of a net and images
    raw maps (N, *spatial). The classes should be fixed, those that the net itself decides on: a
    random net decides otherwise.
    """
    original = explain(net, images)
    steps = []
    for name, twin in randomised(net, order, seed):
        maps = explain(twin, images)
        steps.append(Randomised(name, rank_correlation(original, maps), ssim(original, maps)))
    return steps


def _parts(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the head and then the stages from the last to the first, if they have parameters."""
    parts = [("head", net.get_submodule("head")), *reversed(stages_of(net).items())]
    return [(name, part) for name, part in parts if any(True for _ in part.parameters())]


@torch.no_grad()
def _randomise(part: nn.Module, seed: int, position: int) -> None:
    """Draw a part's parameters anew; on the CPU, so that they don't depend on the device."""
    devices = {tensor.device for tensor in part.parameters()}
    with torch.random.fork_rng(devices=[]):
        state = np.random.SeedSequence((seed, position)).generate_state(1)
        torch.default_generator.manual_seed(int(state[0]))
        part.cpu()
        for module in part.modules():
            own = list(module.parameters(recurse=False))
            before = [parameter.clone() for parameter in own]
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            for parameter, old in zip(own, before, strict=True):
                if torch.equal(parameter, old):
                    mixed = old.flatten()[torch.randperm(old.numel())]
                    parameter.copy_(mixed.reshape(old.shape))
    part.to(devices.pop())
