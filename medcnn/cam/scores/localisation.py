"""Scores of maps against the lesion, pixel by pixel.

Everywhere here maps are raw, (N, *spatial), high for important, and masks (N, *spatial) bool, True
on the lesion. UserError is raised where shapes differ or an image has no lesion.
"""

import torch
from torch import Tensor

from medcnn.cam.maps import is_empty, normalise
from medcnn.errors import UserError

THRESHOLDS = tuple(k / 20 for k in range(1, 20))
"""Shares of a map's maximum, 0.05 … 0.95, among which a threshold is chosen."""


def pointing_hits(maps: Tensor, masks: Tensor) -> Tensor:
    """Return the hits of the pointing game: a map's maximum lies on the lesion.

    J. Zhang et al., "Top-down neural attention by excitation backprop", IJCV 2018;
    the share of hits is its pointing accuracy. Where several pixels share the maximum, all of
    them must lie on the lesion, so that a flat map doesn't hit by the order of its pixels. A map
    without a value above zero never hits.

    Returns:
        (N,) bool.

    Example:
        >>> pointing_hits(torch.tensor([[[0.0, 3.0], [1.0, 2.0]]]), torch.eye(2).bool()[None])
        tensor([False])
    """
    target = checked_masks("pointing game", maps, masks).flatten(1)
    values = maps.flatten(1)
    peaks = values.amax(1, keepdim=True)
    return (peaks[:, 0] > 0) & (target | (values != peaks)).all(1)


def energy_inside(maps: Tensor, masks: Tensor) -> Tensor:
    """Return the share of a map's positive part that lies on the lesion.

    The energy-based pointing game,

    Σ_{x in lesion} ReLU(M(x)) / Σ_x ReLU(M(x))

    H. Wang et al., "Score-CAM: score-weighted visual explanations for convolutional neural
    networks", CVPR workshop 2020. A flat map has the lesion's share of the image.

    Returns:
        (N,) float64 in 0 … 1; 0 for an empty map.
    """
    masks = checked_masks("energy inside", maps, masks)
    positive = torch.where(is_empty(maps)[:, None], 0.0, maps.flatten(1).relu()).double()
    total = positive.sum(1)
    inside = (positive * masks.flatten(1)).sum(1)
    return inside / torch.where(total > 0, total, 1.0)


def overlap(maps: Tensor, masks: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the overlap of the lesion and the part that a map marks.

    A map marks P, where it reaches `threshold` of its maximum; the lesion is L.
    IoU |P ∩ L| / |P ∪ L|; Dice 2 |P ∩ L| / (|P| + |L|); IoBB |P ∩ L| / |P|, the share of what is
    marked that is lesion (X. Wang et al., "ChestX-ray8", CVPR 2017, there of boxes:
    intersection over the detected one).

    Args:
        maps: (N, *spatial).
        masks: (N, *spatial).
        threshold: Share of the maximum, above 0 and up to 1; chosen on other images (see
            `iou_at_thresholds`).

    Returns:
        IoU, Dice and IoBB, (N,) float64 each; 0 for an empty map.
    """
    masks = checked_masks("overlap", maps, masks).flatten(1)
    marked = marks(maps, threshold).flatten(1)
    both = (marked & masks).sum(1).double()
    area, lesion = marked.sum(1).double(), masks.sum(1).double()
    return both / (area + lesion - both), 2 * both / (area + lesion), both / area.clamp(min=1)


def iou_at_thresholds(
    maps: Tensor, masks: Tensor, thresholds: tuple[float, ...] = THRESHOLDS
) -> Tensor:
    """Return the IoU (N, T) at T thresholds, to choose one by its mean over validation images.

    Args: As in `overlap`.
    """
    return torch.stack([overlap(maps, masks, threshold)[0] for threshold in thresholds], 1)


def pixel_average_precision(maps: Tensor, masks: Tensor) -> Tensor:
    """Return the average precision of each map's pixels, as a detector of the lesion's pixels.

    Σ_n (R_n − R_{n−1}) P_n over the distinct values of the map, from the highest down: the area
    under the curve of precision P against recall R, without interpolation, as scikit-learn's
    ``average_precision_score``. A flat map, and one with NaN, has the lesion's share of the image.

    Returns:
        (N,) float64 in 0 … 1.
    """
    masks = checked_masks("pixel average precision", maps, masks)
    broken = maps.flatten(1).isnan().any(1).reshape(-1, *[1] * (maps.dim() - 1))
    maps = torch.where(broken, 0.0, maps)  # as good as flat
    values, order = maps.flatten(1).sort(1, descending=True)
    truth = masks.flatten(1).gather(1, order).double()
    found = truth.cumsum(1)
    precision = found / torch.arange(1, values.shape[1] + 1, device=maps.device)
    # Every pixel counts with the precision at the last one of its value.
    ends = values.shape[1] - 1 - torch.searchsorted(values.flip(1), values)
    return (truth * precision.gather(1, ends)).sum(1) / truth.sum(1)


def marks(maps: Tensor, threshold: float) -> Tensor:
    """Return (N, *spatial) bool: at or above a share of the map's maximum; nowhere if empty."""
    if not 0 < threshold <= 1:
        raise UserError(f"threshold={threshold}: a share of the map's maximum, above 0 and up to 1")
    return normalise(maps) >= threshold


def checked_masks(what: str, maps: Tensor, masks: Tensor) -> Tensor:
    """Return the masks as bool; raise UserError where shapes differ or an image has no lesion."""
    if maps.shape != masks.shape:
        raise UserError(
            f"{what}: maps of shape {tuple(maps.shape)}, masks of shape {tuple(masks.shape)}"
        )
    return with_lesions(what, masks)


def with_lesions(what: str, masks: Tensor) -> Tensor:
    """Return the masks as bool; raise UserError where an image has no lesion."""
    masks = masks.bool()
    without = ~masks.flatten(1).any(1)
    if without.any():
        raise UserError(
            f"{what}: {int(without.sum())} of {len(masks)} images have no lesion "
            f"(the first at {int(without.nonzero()[0])}); leave them out"
        )
    return masks
