"""Features of many images in little memory: some at a time, and computed again for gradients."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def in_chunks(features: Callable[[Tensor], Tensor], images: Tensor, chunk: int | None) -> Tensor:
    """Return the maps (n, K, *spatial) of images (n, C, *spatial), computed `chunk` at a time.

    Where gradients are taken only the images and the maps are kept, and what lies between is
    computed again, chunk by chunk, in the backward pass (T. Chen et al., "Training deep nets with
    sublinear memory cost", 2016, section 4): one forward pass more, and the memory of one chunk.
    What drops at random drops the same again. The maps and gradients are those of all images at
    once, but for batch norms in training, whose mean and deviation are those of a chunk.

    Args:
        features: The trunk of a net, from images to maps.
        images: At least one.
        chunk: Images at a time; None for all of them, with all kept.
    """
    if chunk is None:
        return features(images)
    again = partial(_contexts, features)
    parts = []
    for part in images.split(_even(len(images), chunk)):
        if torch.is_grad_enabled():
            parts.append(checkpoint(features, part, use_reentrant=False, context_fn=again))
        else:
            parts.append(features(part))
    return torch.cat(parts)


def _even(count: int, chunk: int) -> list[int]:
    """Return the sizes of the chunks, which differ by one at most, so that none is much smaller.

    >>> _even(9, 4), _even(8, 4)
    ([3, 3, 3], [4, 4])
    """
    number = -(-count // chunk)
    return [count // number + (k < count % number) for k in range(number)]


def _contexts(
    features: Callable[[Tensor], Tensor],
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of the first pass, and of the one in which all is computed again."""
    return nullcontext(), uncounted(features)


@contextmanager
def uncounted(net: object) -> Iterator[None]:
    """Keep a pass in training mode from counting in the statistics of batch norms.

    It goes on to save the same tensors for the backward pass, as where they do count. The batches
    are counted in a copy, without which a synchronised batch norm refuses to work.
    """
    parts = net.modules() if isinstance(net, nn.Module) else ()
    norms = [one for one in parts if isinstance(one, _BatchNorm)]
    norms = [norm for norm in norms if norm.training and norm.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, counted) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counted
