"""Filling in missing pixels from those around them."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.errors import UserError

TOLERANCE = 1e-5  # of the residual, relative to that of a fill with the mean of the known pixels
MOST_STEPS = 2000  # of conjugate gradients; some dozens are usual
COARSEST = 4  # px: the pyramid halves the image as long as its shortest side has so many

Operator = Callable[[Tensor], Tensor]


@torch.no_grad()
def linear_imputation(
    images: Tensor, missing: Tensor, *, noise: float = 0.0, seed: int = 0
) -> Tensor:
    """Return images with missing pixels filled in: each is the weighted mean of its neighbours.

    Y. Rong et al., "A consistent and efficient evaluation strategy for attribution methods", ICML
    2022 ("noisy linear imputation"). The neighbours are those that touch a pixel, at a corner too.
    The weight of one halves with each further axis along which it is shifted: in 2-D, as in the
    paper, 1/6 for the four direct and 1/12 for the four diagonal neighbours; in 3-D, which the
    paper doesn't have, 1/14 for the 6 across a face, 1/28 for the 12 across an edge and 1/56 for
    the 8 across a corner. At the image's border the weights of those within the image are divided
    by their sum.

    All missing pixels are solved for together, by conjugate gradients on the images' device, until
    the residual of each channel is 1e-5 of what it is if the missing pixels have the mean of the
    known ones. On images in 0 … 1 that is within a few 1e-4 of the exact solution.

    Args:
        images: (N, C, *spatial), 2-D or 3-D.
        missing: (N, *spatial) bool, the same pixels in all channels. What the images hold there
            doesn't matter, unless all of an image is missing.
        noise: Standard deviation of Gaussian noise that is added to what is filled in, so that it
            can't be told by its smoothness; the paper has 0.01 of the range of intensities.
        seed: Of the noise, which is one pattern for all images of a size: an image is filled in
            the same way in any batch.

    Returns:
        (N, C, *spatial), of the images' type; known pixels are as they were. Where all pixels of
        an image are missing, each is the mean of its channel.

    Raises:
        UserError: Shapes don't fit, the noise is below zero, or known pixels aren't finite.

    Example:
        >>> image = torch.tensor([[[[0.0, 0.5, 1.0], [0.0, 9.0, 1.0], [0.0, 0.5, 1.0]]]])
        >>> missing = torch.zeros(1, 3, 3, dtype=torch.bool)
        >>> missing[0, 1, 1] = True
        >>> round(linear_imputation(image, missing)[0, 0, 1, 1].item(), 4)
        0.5
    """
    check_sizes(images, missing)
    if not noise >= 0:
        raise UserError(f"imputation: noise={noise} is a standard deviation, at least 0")
    gaps = missing.bool()[:, None]
    everything = gaps.flatten(1).all(1).reshape(-1, *[1] * (images.dim() - 1))
    values = images if images.dtype == torch.float64 else images.float()
    values = torch.where(everything, _mean(values, torch.ones_like(gaps)), values)
    values = torch.where(gaps & ~everything, 0.0, values)
    if not values.isfinite().all():
        raise UserError("imputation: known pixels hold numbers that aren't finite")
    mean = _mean(values, ~gaps | everything)
    known = torch.where(gaps, 0.0, values - mean)
    filled = mean + _solve(known, gaps & ~everything)
    if noise:
        pattern = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed))
        filled = filled + noise * pattern.to(filled)
    return torch.where(gaps, filled.to(images.dtype), images)


def check_sizes(images: Tensor, maps: Tensor) -> None:
    """Raise UserError unless there is a value for each pixel of the images."""
    if images.dim() not in (4, 5) or maps.shape != images.shape[:1] + images.shape[2:]:
        raise UserError(
            f"images of shape {tuple(images.shape)} with maps or masks of shape "
            f"{tuple(maps.shape)}; need (N, C, *spatial), 2-D or 3-D, and (N, *spatial)"
        )


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Return the mean (N, C, 1, …) of the pixels (N, 1, *spatial) of each channel."""
    axes = list(range(2, values.dim()))
    return (values * where).sum(axes, keepdim=True) / where.sum(axes, keepdim=True)


def _solve(known: Tensor, gaps: Tensor) -> Tensor:
    """Return values for the gaps (N, 1, *spatial) of images (N, C, *spatial) that are 0 there.

    The equation of a missing pixel i, times the sum of its weights within the image, is
    Σ_j w_ij (x_i − x_j) = 0. With the known x_j on the right-hand side the matrix is a graph
    Laplacian's: symmetric, and positive definite wherever a pixel is known. A pixel's weight with
    itself cancels out, so `_blur` may have one.
    """
    spatial = known.shape[2:]
    levels = max(0, (min(spatial) // COARSEST).bit_length() - 1)
    ends = [end for side in reversed(spatial) for end in (0, -side % 2**levels)]
    inside = F.pad(torch.ones_like(known[:1, :1]), ends)
    free, known = F.pad(gaps.to(known), ends), F.pad(known, ends)
    weights = _blur(inside)
    diagonal = torch.where(inside > 0, weights - 0.5 ** len(spatial), 1.0)
    coarse = _pyramid(free * _blur(inside - free), levels)

    def laplacian(x: Tensor) -> Tensor:
        return free * (weights * x - _blur(x))

    def precondition(residual: Tensor) -> Tensor:
        return free * (residual / diagonal + coarse(residual))

    solution = _conjugate_gradients(laplacian, free * _blur(known), precondition)
    whole: Any = (..., *[slice(side) for side in spatial])
    return solution[whole]


def _blur(x: Tensor) -> Tensor:
    """Return weighted sums of pixels and their neighbours, x being 0 beyond the border.

    The weights are (1, 2, 1) / 4 along each axis: they halve with each axis of a shift.
    """
    total = x
    for axis in range(2, x.dim()):
        rest = x.shape[axis] - 1
        following = 2 * total
        following.narrow(axis, 1, rest).add_(total.narrow(axis, 0, rest))
        following.narrow(axis, 0, rest).add_(total.narrow(axis, 1, rest))
        total = following
    return total / 4 ** (x.dim() - 2)


def _pyramid(to_known: Tensor, levels: int) -> Operator:
    """Return the coarse part of a multilevel preconditioner: corrections constant in blocks.

    Residuals are summed over blocks of 2, 4, … pixels a side, divided by the block's element of
    the Laplacian, and added up over the levels (J. H. Bramble, J. E. Pasciak, J. Xu, "Parallel
    multilevel preconditioners", 1990, here with piecewise constants). That element is what
    connects a block with all else: its pixels with known ones, ``to_known`` (N, 1, *spatial), and
    its 2 or 3 pairs of faces with the next blocks, by 1/4 for each pixel of a face.
    """
    dims = to_known.dim() - 2
    mean = F.avg_pool2d if dims == 2 else F.avg_pool3d
    diagonals = []
    for level in range(1, levels + 1):
        to_known = mean(to_known, 2) * 2**dims
        diagonals.append(to_known + 2 * dims * 2 ** (level * (dims - 1)) / 4)

    def coarse(residual: Tensor) -> Tensor:
        corrections = []
        for diagonal in diagonals:
            residual = mean(residual, 2) * 2**dims
            corrections.append(residual / diagonal)
        total = torch.zeros_like(residual)
        for correction in reversed(corrections):
            total = F.interpolate(total + correction, scale_factor=2, mode="nearest")
        return total

    return coarse


def _conjugate_gradients(matrix: Operator, right: Tensor, precondition: Operator) -> Tensor:
    """Return the x (N, C, *spatial) of matrix(x) = right, for each channel of each image.

    Y. Saad, "Iterative methods for sparse linear systems", 2nd ed. 2003, algorithm 9.1. A channel
    that has reached the tolerance stays as it is, whatever the others need.
    """
    solution, residual = torch.zeros_like(right), right
    direction = better = precondition(residual)
    product = _dot(residual, better)
    limit = TOLERANCE**2 * _dot(right, right)
    for _ in range(MOST_STEPS):
        going = _dot(residual, residual) > limit
        if not going.any():
            break
        image = matrix(direction)
        step = torch.where(going, product / _dot(direction, image), 0.0)
        solution = solution + step * direction
        residual = residual - step * image
        better = precondition(residual)
        last, product = product, _dot(residual, better)
        direction = better + torch.where(going, product / last, 0.0) * direction
    return solution


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(list(range(2, a.dim())), keepdim=True)
