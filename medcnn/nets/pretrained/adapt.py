"""Weights of a convolution for other inputs than those that it was trained on."""

import torch
from torch import Tensor


def adapt_channels(weight: Tensor, in_channels: int) -> Tensor:
    """Return the weights of a convolution for another number of input channels.

    An image whose channels are all alike gives the response that its copy in all of the old
    channels would: what the old channels contribute is added up where there are fewer new ones, and
    shared out where there are more.

    >>> adapt_channels(torch.tensor([[[[1.0]], [[2.0]], [[4.0]]]]), 1).flatten()
    tensor([7.])
    >>> adapt_channels(torch.tensor([[[[1.0]], [[2.0]], [[4.0]]]]), 4).flatten()
    tensor([0.5000, 2.0000, 4.0000, 0.5000])

    Args:
        weight: (out, old, *kernel).
        in_channels: New channels.

    Returns:
        (out, in_channels, *kernel).
    """
    old = weight.shape[1]
    places = torch.arange(max(old, in_channels))
    share = weight.new_zeros(in_channels, old)
    share.index_put_((places % in_channels, places % old), weight.new_ones(()), accumulate=True)
    return torch.einsum("no,ko...->kn...", share / share.sum(0), weight)


def inflate(weight: Tensor, depth: int) -> Tensor:
    """Return 2-D weights as 3-D ones: repeated along the depth, and divided by it.

    A volume that is the same in every slice gives, away from its ends, the response of that slice
    (J. Carreira, A. Zisserman, "Quo vadis, action recognition?", 2017, section 2.4).

    >>> inflate(torch.tensor([[[[6.0]]]]), 3).flatten()
    tensor([2., 2., 2.])

    Args:
        weight: (out, in, H, W).
        depth: Of the kernel, D.

    Returns:
        (out, in, D, H, W).
    """
    return weight[:, :, None].expand(-1, -1, depth, -1, -1) / depth
