"""Maps averaged over changed copies of the image."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LARGEST_SHIFT = 32  # a side is shifted by at most one of so many parts


def smoothed(
    explain: Callable[[Tensor], Tensor], images: Tensor, copies: int, flip: Sequence[int]
) -> Tensor:
    """Return the mean of the maps of shifted and mirrored copies, each brought back to its place.

    Args:
        explain: From images (N, C, *spatial) to maps (N, …, *spatial).
        images: (N, C, *spatial).
        copies: How many; the first is the image itself. The shifts are the same whatever the
            batch.
        flip: Axes to mirror, from the end; one copy after the other goes through their
            combinations.
    """
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros((), device=images.device)
    for copy in range(copies):
        shifts = [0] * (images.dim() - 2)
        for axis, side in enumerate(images.shape[2:] if copy else ()):
            most = max(1, side // LARGEST_SHIFT)
            shifts[axis] = int(torch.randint(-most, most + 1, (1,), generator=generator))
        axes = [axis for bit, axis in enumerate(flip) if copy >> bit & 1]
        maps = explain(shifted(images, shifts).flip(axes)).flip(axes)
        total = total + shifted(maps, [-shift for shift in shifts])
    return total / copies


def shifted(values: Tensor, shifts: list[int]) -> Tensor:
    """Return values (…, *spatial) moved along the spatial axes; the border is repeated.

    >>> shifted(torch.tensor([[1, 2, 3]]), [1])
    tensor([[1, 1, 2]])
    """
    for axis, shift in enumerate(shifts, start=-len(shifts)):
        if shift:
            length = values.shape[axis]
            index = (torch.arange(length, device=values.device) - shift).clamp(0, length - 1)
            values = values.index_select(axis % values.dim(), index)
    return values
