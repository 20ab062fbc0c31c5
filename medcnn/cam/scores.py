"""Scores of maps: does the evidence lie on the lesion?"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.errors import UserError


def pointing_hits(maps: Tensor, masks: Tensor, tolerance: int = 0) -> Tensor:
    """The pointing game: whether a map's maximum lies on the lesion.

    J. Zhang et al., "Top-down neural attention by excitation backprop", IJCV 2018, section 4.1;
    the share of hits is its pointing accuracy. Where several pixels share the maximum, all of
    them must lie on the lesion, so that a flat map doesn't hit by the order of its pixels. A map
    without a value above zero never hits.

    Args:
        maps: (N, *spatial), raw or normalised, at the masks' resolution.
        masks: (N, *spatial) bool, True on the lesion; every image needs one.
        tolerance: A maximum within this distance (Euclidean, pixels) of the lesion is a hit too.

    Returns:
        (N,) bool.

    Raises:
        UserError: Shapes differ, an image has no lesion, or the tolerance is below zero.

    Example:
        >>> pointing_hits(torch.tensor([[[0.0, 3.0], [1.0, 2.0]]]), torch.eye(2).bool()[None])
        tensor([False])
    """
    if maps.shape != masks.shape:
        raise UserError(
            f"pointing game: maps of shape {tuple(maps.shape)}, masks of shape {tuple(masks.shape)}"
        )
    if tolerance < 0:
        raise UserError(f"pointing game: tolerance={tolerance} is below zero")
    masks = masks.bool()
    without = ~masks.flatten(1).any(1)
    if without.any():
        raise UserError(
            f"pointing game: {int(without.sum())} of {len(masks)} images have no lesion "
            f"(the first at {int(without.nonzero()[0])}); leave them out"
        )
    target = _dilate(masks, tolerance).flatten(1)
    values = maps.flatten(1)
    peaks = values.amax(1, keepdim=True)
    return (peaks[:, 0] > 0) & (target | (values != peaks)).all(1)


def centre_map(shape: Sequence[int]) -> Tensor:
    """The baseline of the pointing game: a Gaussian blob in the middle of the image.

    Args:
        shape: Spatial size of the image, (H, W) or (D, H, W).

    Returns:
        (*shape) float32 in (0, 1], its maximum at index size // 2 of each axis, its standard
        deviation a quarter of the axis.
    """
    blob = torch.ones(())
    for size in shape:
        offset = (torch.arange(size) - size // 2) / (size / 4)
        blob = blob[..., None] * torch.exp(-(offset**2) / 2)
    return blob


def _dilate(masks: Tensor, radius: int) -> Tensor:
    """Masks (N, *spatial) grown by a disc or ball of the radius, in pixels."""
    if radius == 0:
        return masks
    dims = masks.dim() - 1
    offset = torch.arange(-radius, radius + 1)
    squares = torch.stack(torch.meshgrid(*[offset] * dims, indexing="ij")).square().sum(0)
    ball = (squares <= radius**2).float().to(masks.device)
    convolve = F.conv2d if dims == 2 else F.conv3d
    return convolve(masks[:, None].float(), ball[None, None], padding=radius)[:, 0] > 0.5
