"""Stability of maps under faint noise, and among nets of several seeds."""

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor

from medcnn.cam.scores.similarity import rank_correlation
from medcnn.errors import UserError

SD = 2 / 255


def noise_stability(
    images: Tensor,
    explain: Callable[[Tensor], Tensor],
    *,
    sd: float = SD,
    draws: int = 4,
    seed: int = 0,
) -> Tensor:
    """Return the mean rank correlation of each map with those of the image under faint noise.

    The noise is Gaussian and independent for each pixel. The default standard deviation is two of
    the 255 steps of an 8-bit image: 19 of 20 pixels change by four steps or less, a peak
    signal-to-noise ratio of 42 dB, which the eye hardly sees. A map that such noise changes
    describes the noise as much as the lesion (A. Ghorbani et al., "Interpretation of neural
    networks is fragile", 2019, compare maps by the same correlation).

    Every image gets the same draws of noise, so a score doesn't depend on the batch. The noisy
    images are cut to 0 … 1.

    Args:
        images: (N, C, *spatial) in 0 … 1.
        explain: Images to raw maps (N, *spatial). The classes should be fixed, those of the images
            without noise; else a change of the decision counts as a change of the map.
        sd: Standard deviation of the noise, above 0.
        draws: Noisy copies of each image, at least 1.
        seed: Of the noise.

    Returns:
        (N,) float32 in -1 … 1, 1 for a map that keeps its order; NaN where one of the maps has one
        value only.

    Raises:
        UserError: sd or draws out of range.
    """
    if not sd > 0 or draws < 1:
        raise UserError(
            f"noise stability: sd={sd}, draws={draws}; need sd above 0, draws from 1 on"
        )
    generator = torch.Generator().manual_seed(seed)
    clean = explain(images)
    total = torch.zeros(len(images), device=clean.device)
    for _ in range(draws):
        noise = sd * torch.randn(images.shape[1:], generator=generator)
        noisy = (images + noise.to(images)).clamp(0, 1)
        total += rank_correlation(clean, explain(noisy))
    return total / draws


def agreement(maps: Sequence[Tensor]) -> Tensor:
    """Return the mean rank correlation between the maps of several nets, over all pairs.

    For nets that differ by their training seed alone: where they decide alike on different
    evidence, a single net's map can't be taken for the evidence.

    Args:
        maps: Of two or more nets, raw (N, *spatial) each.

    Returns:
        (N,) float32 in -1 … 1; NaN where one of the maps has one value only.

    Raises:
        UserError: Fewer than two nets, or shapes differ.

    Example:
        >>> up = torch.arange(4.0).reshape(1, 2, 2)
        >>> agreement([up, up, -up])
        tensor([-0.3333])
    """
    if len(maps) < 2:
        raise UserError(f"agreement: need the maps of two nets or more, got {len(maps)}")
    return torch.stack([rank_correlation(a, b) for a, b in combinations(maps, 2)]).mean(0)
