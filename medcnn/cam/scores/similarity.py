"""Likeness of two maps of the same image."""

import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.errors import UserError

WINDOW_RADIUS, WINDOW_SD = 5, 1.5  # px: 11×11, section III-C of the paper
C1, C2 = 0.01**2, 0.03**2  # for values in 0 … 1


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return Spearman's rank correlation of each pair of maps.

    Pearson's correlation of the pixels' ranks; equal pixels share the mean of their ranks
    (C. Spearman, "The proof and measurement of association between two things", 1904). Only the
    order of the pixels counts: any increasing function of a map has the same correlations.

    Args:
        a: (N, *spatial), raw.
        b: (N, *spatial), the maps to compare with, pair by pair.

    Returns:
        (N,) float32 in -1 … 1; NaN where a map has one value only, and so no order (an empty
        Grad-CAM), or holds NaN.

    Raises:
        UserError: Shapes differ.

    Example:
        >>> a = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
        >>> rank_correlation(a, a.exp()), rank_correlation(a, -a)
        (tensor([1.]), tensor([-1.]))
    """
    _check("rank correlation", a, b)
    x, y = _centred_ranks(a), _centred_ranks(b)
    spread = (x.square().sum(1) * y.square().sum(1)).sqrt()
    correlation = ((x * y).sum(1) / spread).clamp(-1, 1)
    undefined = a.isnan().flatten(1).any(1) | b.isnan().flatten(1).any(1)
    return torch.where(undefined, torch.nan, correlation)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean structural similarity of each pair of maps, scaled to 0 … 1 before.

    (2 μ_a μ_b + C₁)(2 σ_ab + C₂) / ((μ_a² + μ_b² + C₁)(σ_a² + σ_b² + C₂))

    in a Gaussian window of 11 px and standard deviation 1.5 px, averaged over all places where the
    window lies within the image (Z. Wang et al., "Image quality assessment: from error visibility
    to structural similarity", 2004, eqs. 13 to 17). Along an axis of less than 11 px the window is
    the largest odd number that fits.

    Maps have no unit, so each is scaled: its lowest value to 0, its highest to 1 (a map with one
    value only is 0). Large flat regions in both maps bring the score close to 1 by themselves.

    Args and errors: As in `rank_correlation`; maps must be 2-D or 3-D.

    Returns:
        (N,) float32 in -1 … 1, 1 for maps that are equal after scaling.
    """
    _check("ssim", a, b)
    if a.dim() not in (3, 4):
        raise UserError(f"ssim: maps of shape {tuple(a.shape)}, need (N, H, W) or (N, D, H, W)")
    a, b = _to_unit(a), _to_unit(b)
    mean_a, mean_b, aa, bb, ab = _windowed(torch.cat([a, b, a * a, b * b, a * b])).chunk(5)
    var_a, var_b, covariance = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    structure = (2 * covariance + C2) / (var_a + var_b + C2)
    return (luminance * structure).flatten(1).mean(1)


def _check(name: str, a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise UserError(f"{name}: maps of shape {tuple(a.shape)} and of shape {tuple(b.shape)}")


def _centred_ranks(maps: Tensor) -> Tensor:
    """Return ranks (N, pixels) float32 in -1/2 … 1/2, their mean 0, equal ones for equal pixels."""
    values = maps.flatten(1).contiguous()
    ordered = values.sort(1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    twice = below + up_to - values.shape[1]  # whole numbers: exact
    return twice.float() / (2 * values.shape[1])


def _to_unit(maps: Tensor) -> Tensor:
    """Return each map (N, *spatial) from its lowest value, 0, to its highest, 1."""
    values = maps.flatten(1).float()
    values = values - values.amin(1, keepdim=True)
    peaks = values.amax(1, keepdim=True)
    return torch.where(peaks > 0, values / peaks, 0.0).reshape(maps.shape)


def _windowed(maps: Tensor) -> Tensor:
    """Return Gaussian means of maps (M, *spatial) at all places where the window fits."""
    convolve = F.conv2d if maps.dim() == 3 else F.conv3d
    x = maps[:, None]
    for axis in range(2, x.dim()):
        radius = min(WINDOW_RADIUS, (x.shape[axis] - 1) // 2)
        offset = torch.arange(-radius, radius + 1, device=x.device) / WINDOW_SD
        weights = torch.exp(-(offset**2) / 2)
        shape = [1] * x.dim()
        shape[axis] = len(weights)
        x = convolve(x, (weights / weights.sum()).reshape(shape))
    return x[:, 0]
