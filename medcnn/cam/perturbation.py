"""Maps by the score's change when parts of the image or of its activations are hidden."""

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from medcnn.cam.decisions import Decisions
from medcnn.cam.methods import cam, resized

COPIES = 16  # of images, that go through the net at once
ABLATED = 2**25  # numbers, 128 MB, of activations that go through the head at once


def scorecam(decisions: Decisions) -> Tensor:
    """Return Score-CAM: each channel weighted by the score of the image seen through it.

    H_k = U(s(A_k)),    w^c = softmax_k(y^c(I ∘ H_k)),    M^c(x) = ReLU(Σ_k w_k^c A_k(x))

    H. Wang et al., "Score-CAM: score-weighted visual explanations for convolutional neural
    networks", CVPR workshop 2020. s scales to 0 … 1, U interpolates to
    the size of the image (there in the other order, which leaves them a little brighter); the
    baseline's score, the same for all channels, cancels in the softmax.
    One forward pass of the whole net for each channel that isn't constant.
    """
    images = decisions.images
    activations = decisions.activations()
    with torch.inference_mode():
        targets = decisions.targets.resolved(decisions.pieces[-1](activations.clone()))
        low, high = activations.flatten(2).amin(2), activations.flatten(2).amax(2)
        varies = high > low
        black = targets.scores(decisions.net(torch.zeros_like(images)))  # what a constant one shows
        scores = black[:, None].repeat(1, activations.shape[1], 1).float()  # (N, K, T)
        for part in varies.nonzero().split(COPIES):
            rows, channels = part.unbind(1)
            chosen = _scaled(activations[rows, channels], low[rows, channels], high[rows, channels])
            shown = resized(chosen.float(), images.shape[2:])[:, None]
            seen = images[rows] * shown.to(images.dtype)
            logits = decisions.net(_channels_last(seen))
            scores[rows, channels] = targets.scores(logits, rows).float()
        return _weighted(activations, scores.softmax(1))


def ablationcam(decisions: Decisions) -> Tensor:
    """Return Ablation-CAM: each channel weighted by the score's loss without it.

    w_k^c = y^c − y^c(A_k = 0),    M^c(x) = ReLU(Σ_k w_k^c A_k(x))

    S. Desai, H. G. Ramaswamy, "Ablation-CAM: visual explanations for deep convolutional network via
    gradient-free localization", WACV 2020. There w is divided by y^c: a factor of the
    whole map, which would turn it over where y^c is below zero, and is left out. Only what comes
    after the stage is computed for each channel.
    """
    activations = decisions.activations()
    after = decisions.pieces[-1]
    with torch.inference_mode():
        logits = after(activations.clone())
        targets = decisions.targets.resolved(logits)
        whole = targets.scores(logits).float()  # (N, T)
        losses = whole.new_zeros(*activations.shape[:2], whole.shape[1])
        there = (activations.flatten(2) != 0).any(2)  # the others lose nothing
        for part in there.nonzero().split(max(1, ABLATED // activations[0].numel())):
            rows, channels = part.unbind(1)
            without = activations[rows]
            without[torch.arange(len(rows)), channels] = 0
            losses[rows, channels] = whole[rows] - targets.scores(after(without), rows).float()
        return _weighted(activations, losses)


def occlusion(decisions: Decisions) -> Tensor:
    """Return the occlusion sensitivity: the score's loss when a window is grey; signed.

    M^c(x) = mean over the windows W that cover x of y^c(I) − y^c(I with W = 0)

    M. D. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.
    Windows of an eighth of each side, half a window apart (volumes: a whole one); zero is, after
    normalisation, the mean intensity of the training images.
    """
    images = decisions.images
    size = images.shape[2:]
    with torch.inference_mode():
        logits = decisions.net(images)
        targets = decisions.targets.resolved(logits)
        whole = targets.scores(logits).float()
        total = whole.new_zeros(*whole.shape, *size)
        count = whole.new_zeros(size)
        windows = _windows(size)
        step = max(1, COPIES // len(images))
        for first in range(0, len(windows), step):
            part = windows[first : first + step]
            rows = torch.arange(len(images), device=images.device).repeat(len(part))
            hidden = images.repeat(len(part), *[1] * (images.dim() - 1))
            for copies, window in zip(hidden.split(len(images)), part, strict=True):
                copies[(slice(None), slice(None), *window)] = 0
            logits = decisions.net(_channels_last(hidden))
            lost = whole[rows] - targets.scores(logits, rows).float()
            for window, values in zip(part, lost.split(len(images)), strict=True):
                total[(slice(None), slice(None), *window)] += values.reshape(
                    *values.shape, *[1] * len(size)
                )
                count[window] += 1
        return total / count


def _windows(size: Sequence[int]) -> list[tuple[slice, ...]]:
    """Return windows that cover an image of a size; the last of each axis ends at its end."""
    axes = []
    for side in size:
        width = max(1, math.ceil(side / 8))
        step = max(1, width // 2) if len(size) == 2 else width
        starts = sorted({min(start, side - width) for start in range(0, side, step)})
        axes.append([slice(start, start + width) for start in starts])
    return list(product(*axes))


def _channels_last(images: Tensor) -> Tensor:
    """Return the same numbers in the order in which convolutions are fastest."""
    last = torch.channels_last if images.dim() == 4 else torch.channels_last_3d
    return images.contiguous(memory_format=last)


def _scaled(channels: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return channels (P, *spatial) in 0 … 1 by their lowest and highest value (P,)."""
    shape = (-1, *[1] * (channels.dim() - 1))
    return (channels - low.reshape(shape)) / (high - low).reshape(shape)


def _weighted(activations: Tensor, weights: Tensor) -> Tensor:
    """Return maps (N, T, *spatial) of activations (N, K, *spatial) and weights (N, K, T)."""
    return torch.stack([cam(activations.float(), one).relu() for one in weights.unbind(2)], 1)
