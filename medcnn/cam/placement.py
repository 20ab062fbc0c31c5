"""Where in the image the cells of a map lie.

A convolution of stride s with padding centres its cell i on pixel s · i, not on the middle of the
i-th of equal parts of the image. Maps that are stretched over the image lie (s − 1) / 2 pixels too
far from its first corner then: 15.5 pixels at a stride of 32.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from medcnn.nets.receptive_field import ReceptiveField


def placed(maps: Tensor, size: Sequence[int], field: ReceptiveField | None) -> Tensor:
    """Maps interpolated to the size of the images: linear between the centres of the cells.

    Beyond the outermost centres the map is that of the outermost cells.

    Args:
        maps: (N, *spatial) float32, a value each cell.
        size: Spatial size of the images.
        field: What the cells see of the image, the same along all axes; None where that isn't
            known, for cells that divide the image evenly.

    Returns:
        (N, *size).
    """
    with torch.autocast(maps.device.type, enabled=False):
        for pixels, cells in zip(size, maps.shape[1:], strict=True):
            weights = shares(pixels, cells, field).to(maps.device)
            maps = torch.tensordot(maps, weights, dims=([1], [1]))  # the new axis is the last
    return maps


def gathered(images: Tensor, size: Sequence[int], field: ReceptiveField | None) -> Tensor:
    """What each cell would hold of an image: the mean of the pixels that it is drawn over.

    Each pixel weighs as much as the cell counts for it in `placed`.

    Args:
        images: (N, *spatial) float32.
        size: Spatial size of the map.
        field: As in `placed`.

    Returns:
        (N, *size).
    """
    for pixels, cells in zip(images.shape[1:], size, strict=True):
        weights = shares(pixels, cells, field).to(images.device)
        total = weights.sum(0).clamp(min=torch.finfo(weights.dtype).tiny)
        images = torch.tensordot(images, weights / total, dims=([1], [0]))
    return images


def shares(pixels: int, cells: int, field: ReceptiveField | None) -> Tensor:
    """How much each cell counts for each pixel along one axis: (pixels, cells), rows of sum 1.

    Example:
        >>> shares(4, 2, ReceptiveField(size=3, stride=2, start=-1))  # centred on pixels 0 and 2
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000],
                [0.0000, 1.0000],
                [0.0000, 1.0000]])
    """
    if field is None:
        first, stride = (pixels / cells - 1) / 2, pixels / cells
    else:
        first, stride = field.start + (field.size - 1) / 2, field.stride
    position = ((torch.arange(pixels) - first) / stride).clamp(0, cells - 1)
    return (1 - (position[:, None] - torch.arange(cells)).abs()).clamp(min=0)
