"""Normalisation of a network's input, by statistics of the training split alone."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from medcnn.data.batches import images_at
from medcnn.data.layout import Layout
from medcnn.data.samples import Samples
from medcnn.errors import UserError

KINDS = ("zscore", "mean", "pixel_mean", "whiten", "image", "none")
CHUNK_BYTES = 8 << 20  # of images turned to float32 at a time
LARGEST = 3072  # values of an image that is whitened: 32 × 32 in colour
EPSILON = 1e-2  # share of the mean variance added to each, so that noise isn't blown up


class Statistics(NamedTuple):
    """The numbers that `Normalise` subtracts, divides by and multiplies with.

    Args:
        mean: (C,), or (C, *spatial).
        std: (C,).
        whitening: (D, D) with D the values of an image, or None.
    """

    mean: Tensor
    std: Tensor
    whitening: Tensor | None = None


class Normalise(nn.Module):
    """Images in 0 … 1 → what the network sees.

    | kind       | subtracts the training split's …         | divides by …                       |
    |------------|------------------------------------------|------------------------------------|
    | zscore     | mean of each channel                     | standard deviation of each channel |
    | mean       | mean of each channel                     | –                                  |
    | pixel_mean | mean of each pixel                       | –                                  |
    | whiten     | mean of each pixel                       | see below                          |
    | image      | – (each image's own mean, by channel)    | the image's own standard deviation |
    | none       | –                                        | –                                  |

    whiten decorrelates the pixels by the principal components of the training images and turns the
    result back into pixels, so that convolutions still see an image: W = U (Λ + ε)^-1/2 Uᵀ (A.
    Bell, T. Sejnowski, "The independent components of natural scenes are edge filters", Vision
    Research 1997; A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009,
    appendix A).

    Channels of 0 and 1 (which files are there, and the mask of the lesion) stay as they are.

    Args:
        kind: One of `KINDS`.
        statistics: Of the training split; see `statistics`.
        spatial_dims: 2 or 3.
        flags: Number of channels of 0 and 1, which come last.
    """

    mean: Tensor
    std: Tensor
    whitening: Tensor | None

    def __init__(
        self, kind: str, statistics: Statistics, spatial_dims: int, flags: int = 0
    ) -> None:
        super().__init__()
        self.kind, self.flags = kind, flags
        mean, std = (torch.as_tensor(v, dtype=torch.float32) for v in statistics[:2])
        channels = (1, -1, *[1] * spatial_dims)
        self.register_buffer("mean", mean[None] if mean.ndim > 1 else mean.view(channels), False)
        self.register_buffer("std", std.view(channels), False)
        self.register_buffer("whitening", statistics.whitening, False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, *spatial) of the same shape."""
        if self.kind == "image":
            axes = tuple(range(2, images.ndim))
            std = images.std(axes, unbiased=False, keepdim=True).clamp(min=1e-6)
            normal = (images - images.mean(axes, keepdim=True)) / std
            if self.flags:
                normal[:, -self.flags :] = images[:, -self.flags :]
            return normal
        images = (images - self.mean) / self.std
        if self.whitening is None:
            return images
        with torch.autocast(images.device.type, enabled=False):
            return (images.flatten(1).float() @ self.whitening).view_as(images)


def statistics(samples: Samples, kind: str = "zscore") -> Statistics:
    """Return the statistics of the training split, scaled to 0 … 1, for `Normalise`.

    Raises:
        UserError: No such kind, or images too large to be whitened.
    """
    if kind not in KINDS:
        raise UserError(f"normalise={kind}: choose one of {', '.join(KINDS)}")
    channels, flags = samples.in_channels, samples.layout.flags if samples.layout else 0
    if kind in ("image", "none"):
        return Statistics(torch.zeros(channels), torch.ones(channels))
    if kind in ("zscore", "mean"):
        mean, std = _channel_moments(samples)
        mean[channels - flags :], std[channels - flags :] = 0, 1
        return Statistics(mean, std if kind == "zscore" else torch.ones(channels))
    size = (channels, *samples.input_size)
    if kind == "whiten" and torch.Size(size).numel() > LARGEST:
        raise UserError(
            f"normalise=whiten is for images of at most {LARGEST} values, and these have "
            f"{torch.Size(size).numel()}: take a smaller dataset.size, or normalise=pixel_mean"
        )
    if kind == "whiten" and flags:
        raise UserError(
            "normalise=whiten mixes all channels, and these images have channels of 0 and 1: take "
            "normalise=zscore"
        )
    mean, covariance = _pixel_moments(samples, kind == "whiten")
    mean = mean.view(size).float()
    mean[channels - flags :] = 0
    whitening = None if covariance is None else _whitening(covariance)
    return Statistics(mean, torch.ones(channels), whitening)


def _chunks(samples: Samples) -> Iterator[Tensor]:
    """Yield the training images in 0 … 1, some at a time."""
    one = 4 * torch.Size(samples.images.shape[1:]).numel()
    places = samples.instances(samples.rows("train"))  # all images of studies, too
    for part in places.split(max(1, CHUNK_BYTES // one)):
        yield images_at(samples, part)


def _channel_moments(samples: Samples) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, (C,); a constant channel's is 1.

    Of several files an image, those that are there.
    """
    total = torch.zeros(samples.in_channels, dtype=torch.float64)
    squares, count = torch.zeros_like(total), torch.zeros_like(total)
    for images in _chunks(samples):
        values = images.transpose(0, 1).flatten(1).double()
        total += values.sum(1)
        squares += values.square().sum(1)
        count += images[0, 0].numel() * _there(samples.layout, images).sum(0)
    count = count.clamp(min=1)
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    return mean, torch.where(std > 1e-6, std, 1.0)


def _there(layout: Layout | None, images: Tensor) -> Tensor:
    """Return which channels of images (N, C, *spatial) show a file that is there, (N, C) bool."""
    there = images.new_ones(images.shape[:2], dtype=torch.bool)
    if layout is not None:
        there[:, : layout.pictures] = layout.by_channel(layout.there(images))
    return there


def _pixel_moments(samples: Samples, products: bool) -> tuple[Tensor, Tensor | None]:
    """Return mean (D,) and, if asked for, covariance (D, D) of the images' values, float64."""
    values = samples.in_channels * torch.Size(samples.input_size).numel()
    total, count = torch.zeros(values, dtype=torch.float64), 0
    outer = torch.zeros(values, values, dtype=torch.float64) if products else None
    for images in _chunks(samples):
        flat = images.flatten(1).double()
        total, count = total + flat.sum(0), count + len(flat)
        if outer is not None:
            outer += flat.T @ flat
    mean = total / count
    return mean, None if outer is None else outer / count - mean.outer(mean)


def _whitening(covariance: Tensor) -> Tensor:
    """Return (Λ + ε)^-1/2 in the pixels' own axes, (D, D) float32."""
    variances, components = torch.linalg.eigh(covariance)
    variances = variances.clamp(min=0) + EPSILON * variances.mean().clamp(min=1e-12)
    return ((components / variances.sqrt()) @ components.T).float()
