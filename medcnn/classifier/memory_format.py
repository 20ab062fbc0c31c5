"""How a net's weights and images lie in memory."""

import torch
from torch import nn

# Inputs of a strided 1×1 convolution that fill a block of oneDNN; with fewer its gradients are
# written past their place (uxlfoundation/oneDNN, issue 6035). Seen below 8, the block with AVX2;
# 16, that with AVX-512, wasn't tried.
FEWEST = 16


def memory_format(net: nn.Module, dims: int, *, channels_last: bool) -> torch.memory_format:
    """Return the memory format of a net with images of so many dimensions.

    Channels come last where that is asked for, but not in 2-D nets with a 1×1 convolution of stride
    2 and very few inputs, such as the shortcuts of a ResNet of a tenth of its width: PyTorch 2.14
    with oneDNN 3.12 corrupts the memory in their backward pass, or ends the process.
    """
    if not channels_last or (dims == 2 and any(map(_is_corrupting, net.modules()))):
        return torch.contiguous_format
    return torch.channels_last if dims == 2 else torch.channels_last_3d


def _is_corrupting(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and set(module.kernel_size) == {1}
        and max(module.stride) > 1
        and module.in_channels // module.groups < FEWEST
    )
