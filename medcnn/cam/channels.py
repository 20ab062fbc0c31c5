"""How important each channel of an image is: by removing it, and by its gradient.

Channels that mean one thing, such as three of a colour, or a sequence and the mask that says that
it is there, are a group, and removed together. Images are as the net takes them: in these 0 is,
for the usual normalisation, the mean of the training images.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Groups = Sequence[Sequence[int]]
Score = Callable[[Tensor], Tensor]
"""From images (n, C, *spatial) to the scores (B,) that are explained."""


@torch.no_grad()
def removing(images: Tensor, groups: Groups, score: Score, missing: Tensor | None = None) -> Tensor:
    """Return by how much the score falls without the channels of a group.

    Of a study they are removed from all of its images. Of two channels that say the same neither is
    missed, and both effects are small.

    Args:
        images: (n, C, *spatial).
        groups: G lists of channels.
        score: Of a net in evaluation mode.
        missing: What stands in place of a channel, (n, C, *spatial); None for 0.

    Returns:
        (B, G) float32; above zero where the channel speaks for the class.
    """
    whole, effects = score(images).float(), []
    for group in groups:
        changed = images.clone()
        changed[:, list(group)] = 0 if missing is None else missing[:, list(group)]
        effects.append(whole - score(changed).float())
    return torch.stack(effects, 1)


def gradient_times_input(images: Tensor, groups: Groups, score: Score) -> Tensor:
    """Return the mean of abs(∂y/∂I · I) over the pixels of each group of channels.

    A. Shrikumar et al., "Not just a black box: learning important features through propagating
    activation differences", 2016, section 3.2: gradient × input.

    Args: As in `removing`.

    Returns:
        (n, G) float32, an image each, from 0.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = images.detach().clone().requires_grad_()
        (gradients,) = torch.autograd.grad(score(x).sum(), x)
    products = (gradients * x.detach()).abs().flatten(2).mean(2).float()
    return torch.stack([products[:, list(group)].mean(1) for group in groups], 1)
