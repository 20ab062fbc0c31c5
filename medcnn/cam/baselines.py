"""Maps that know nothing of a net, with which scores are compared."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from medcnn.errors import UserError


def random_maps(images: Tensor, rows: Tensor) -> Tensor:
    """Return independent uniform noise in each pixel, drawn from the image's row alone."""
    maps = [
        np.random.default_rng(row).random(images.shape[2:], np.float32) for row in rows.tolist()
    ]
    return torch.from_numpy(np.stack(maps)).to(images.device)


def centre_maps(images: Tensor, rows: Tensor) -> Tensor:
    """Return a Gaussian blob with its maximum, 1, at index size // 2 of each axis.

    Its standard deviation is a quarter of the axis.
    """
    blob = torch.ones(())
    for size in images.shape[2:]:
        offset = (torch.arange(size) - size // 2) / (size / 4)
        blob = blob[..., None] * torch.exp(-(offset**2) / 2)
    return blob.to(images.device).repeat(len(images), *[1] * blob.dim())


def edge_maps(images: Tensor, rows: Tensor) -> Tensor:
    """Return edges: the length of the gradient of the channels' mean.

    The mean is smoothed by (1, 2, 1) / 4 along each axis, then derived by the Sobel operator
    (I. Sobel, G. Feldman, "A 3×3 isotropic gradient operator for image processing", 1968), all in
    pixels; the border's values go on beyond it.
    """
    axes = range(1, images.dim() - 1)
    smoothed = images.float().mean(1)
    for axis in axes:
        smoothed = _smooth(smoothed, axis)
    squares = torch.zeros_like(smoothed)
    for axis in axes:
        before, after = _neighbours(smoothed, axis)
        slope = (after - before) / 2
        for other in axes:
            slope = slope if other == axis else _smooth(slope, other)
        squares += slope**2
    return squares.sqrt()


def intensity_maps(images: Tensor, rows: Tensor) -> Tensor:
    """Return the image itself: the mean of its channels."""
    return images.float().mean(1)


KINDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "random": random_maps,
    "centre": centre_maps,
    "edges": edge_maps,
    "intensity": intensity_maps,
}
BASELINES = tuple(KINDS)


def baseline(kind: str, images: Tensor, rows: Tensor) -> Tensor:
    """Return maps that don't depend on a net, for scores to be compared with.

    - ``random``: `random_maps`.
    - ``centre``: `centre_maps`, for lesions tend to lie there.
    - ``edges``: `edge_maps`, to which some methods are close (J. Adebayo et al., "Sanity checks for
      saliency maps", 2018, figure 1).
    - ``intensity``: the image, for lesions are often bright.

    Args:
        kind: One of `BASELINES`.
        images: (N, C, *spatial) in 0 … 1, 2-D or 3-D.
        rows: (N,) int64, each image's row in the sample table, 0 or more.

    Returns:
        Raw maps (N, *spatial) float32 on the images' device, nowhere below zero; high means
        important.

    Raises:
        UserError: Another kind, or rows that don't fit the images.

    Example:
        >>> baseline("intensity", torch.tensor([[[[0.0, 0.2]], [[0.0, 0.6]]]]), torch.tensor([7]))
        tensor([[[0.0000, 0.4000]]])
    """
    if kind not in KINDS:
        raise UserError(f"baseline={kind}: choose one of {', '.join(BASELINES)}")
    if rows.shape != images.shape[:1] or rows.dtype.is_floating_point or (rows < 0).any():
        raise UserError(
            f"baseline: need a row, 0 or more, for each of the {len(images)} images, "
            f"got {rows.tolist()}"
        )
    return KINDS[kind](images, rows)


def _neighbours(values: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return the values before and after each along an axis; at the ends, the value itself."""
    last = values.shape[axis] - 1
    before = torch.cat([values.narrow(axis, 0, 1), values.narrow(axis, 0, last)], axis)
    after = torch.cat([values.narrow(axis, 1, last), values.narrow(axis, last, 1)], axis)
    return before, after


def _smooth(values: Tensor, axis: int) -> Tensor:
    """Return the values smoothed by (1, 2, 1) / 4 along an axis."""
    before, after = _neighbours(values, axis)
    return (before + 2 * values + after) / 4
