"""Images laid over each other: their registration, and the agreement of their structures.

Compared is local contrast, which windows, brightness and gamma hardly change. One image is
stretched and shifted along each axis until it fits the other best (Gauss-Newton steps: S. Baker and
I. Matthews, "Lucas-Kanade 20 years on", 2004), which undoes cropped edges.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

FLAT = 0.03  # of an image's standard deviation: local deviations far below are noise
MOST = 3.0  # local contrast is cut off here
STRETCH = (0.8, 1.25)  # limits of the stretch
SHIFT = 0.25  # limit of the shift, in half edges


def local_contrast(images: Tensor, side: int, width: int) -> Tensor:
    """Return the distance of each pixel from the mean around it, in standard deviations around it.

    Args:
        images: (N, *spatial) float32.
        side: To which every edge is resampled first.
        width: Edge of the square or cube around a pixel; odd.

    Returns:
        (N, side, side[, side]) in -3 … 3; 0 where an image is flat.
    """
    dims = images.ndim - 1
    small = _resized(images[:, None], side)
    mean, square = (_blurred(values, width) for values in (small, small * small))
    spread = small.flatten(1).std(1).view(-1, 1, *(1,) * dims)
    deviation = ((square - mean * mean).clamp(min=0) + (FLAT * spread) ** 2).sqrt()
    contrast = (small - mean) / deviation.clamp(min=1e-12)
    return contrast[:, 0].clamp(-MOST, MOST)


def align(fixed: Tensor, moving: Tensor, place: Tensor, steps: int) -> Tensor:
    """Return the stretches and shifts that lay one image over another.

    Args:
        fixed: (N, *spatial) local contrast.
        moving: The same of the other images.
        place: (N, 2, dims) to start with, in the form of the result: for each axis the stretch, and
            the shift in half edges, from a place in `fixed` to that in `moving`.
        steps: Number of Gauss-Newton steps.
    """
    dims = fixed.ndim - 1
    axes = torch.meshgrid(*_lines(fixed.shape[1:]), indexing="ij")
    place = place.clone()
    for _ in range(steps):
        moved, inside = _moved(moving, place)
        slopes = torch.gradient(moved, dim=tuple(range(1, dims + 1)))
        columns = []
        for k, (slope, axis) in enumerate(zip(slopes, axes, strict=True)):
            unit = slope * (fixed.shape[1 + k] / 2) / place[:, 0, k].view(-1, *(1,) * dims)
            columns += [unit * axis, unit]
        effect = (torch.stack(columns, 1) * inside[:, None]).flatten(2)  # (N, 2·dims, pixels)
        wanted = ((fixed - moved) * inside).flatten(1)[..., None]
        normal = effect @ effect.transpose(1, 2)
        damping = 1e-3 * normal.diagonal(dim1=1, dim2=2).mean(1) + 1e-6
        normal = normal + damping[:, None, None] * torch.eye(2 * dims)
        change = torch.linalg.solve(normal, effect @ wanted)[..., 0].clamp(-0.05, 0.05)
        place += change.view(-1, dims, 2).transpose(1, 2)
        place[:, 0].clamp_(*STRETCH)
        place[:, 1].clamp_(-SHIFT, SHIFT)
    return place


def agreement(fixed: Tensor, moving: Tensor, place: Tensor) -> Tensor:
    """Return Pearson's correlation (N,) of images where they overlap; 0 if one is flat.

    The images are (N, *spatial), the place is that of `align`.
    """
    moved, inside = _moved(moving, place)
    inside = inside.flatten(1)
    count = inside.sum(1, keepdim=True).clamp(min=1)
    both = []
    for values in (fixed.flatten(1), moved.flatten(1)):
        mean = (values * inside).sum(1, keepdim=True) / count
        both.append((values - mean) * inside)
    first, second = both
    lengths = (first.norm(dim=1) * second.norm(dim=1)).clamp(min=1e-9)
    return (first * second).sum(1) / lengths


def _moved(images: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Return images (N, *spatial) at another place, and 1 where that lies within them, else 0."""
    dims = images.ndim - 1
    points = torch.stack(torch.meshgrid(*_lines(images.shape[1:]), indexing="ij"), -1)
    wide = (-1, *(1,) * dims, dims)
    at = points * place[:, 0].view(wide) + place[:, 1].view(wide)
    moved = F.grid_sample(images[:, None], at.flip(-1), padding_mode="border", align_corners=False)
    return moved[:, 0], (at.abs() <= 1).all(-1).float()


def _lines(shape: torch.Size) -> list[Tensor]:
    """Return for each axis the places of its pixels, -1 … 1."""
    return [(torch.arange(n) + 0.5) * 2 / n - 1 for n in shape]


def _resized(images: Tensor, side: int) -> Tensor:
    size = (side,) * (images.ndim - 2)
    if images.shape[2:] == size:
        return images
    if len(size) == 2:
        return F.interpolate(images, size, mode="bicubic", antialias=True)
    smaller = all(side <= edge for edge in images.shape[2:])
    return F.interpolate(images, size, mode="area" if smaller else "trilinear")


def _blurred(images: Tensor, width: int) -> Tensor:
    dims = images.ndim - 2
    padded = F.pad(images, (width // 2,) * (2 * dims), mode="replicate")
    pool = F.avg_pool2d if dims == 2 else F.avg_pool3d
    return pool(padded, width, stride=1)
