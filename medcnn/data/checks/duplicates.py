"""Images that are the same in every pixel, or copies of each other."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.checks.nearest import Nearest
from medcnn.data.overlay import agreement, align, local_contrast
from medcnn.data.samples import ALL_SPLITS, Images
from medcnn.jobs.progress import Progress

_VALUES = 1 << 24  # of images that are read at a time
_PIXELS = 1 << 18  # of pairs that are laid over each other at a time
LEAST = 8  # pixels an edge, below which images are not compared
INNER = 0.93  # share of an edge that a copy may have kept, to begin with
ROWS = 256  # of the later split that are compared at a time
ROWS_OF_LISTS = 4096  # where vectors lie in lists, so that several ask for each
NEVER = 2.0  # an agreement that no pair reaches
STEPS = 127 / 3  # of local contrast as a whole number of 8 bits


class Level(NamedTuple):
    """A level of the comparison of two images, closer than the one before."""

    side: int  # pixels an edge
    width: int  # of the neighbourhood of `medcnn.data.overlay.local_contrast`
    steps: int  # of `medcnn.data.overlay.align`
    kept: float  # least agreement of a pair that goes on to the next level
    found: float  # least agreement of copies


def levels_of(size: Sequence[int]) -> list[Level]:
    """Return the levels for images (H, W) or (D, H, W), the coarsest first.

    Their limits come from docs/findings/data.md.
    """
    side = min(size)
    if len(size) == 3:
        levels = [Level(min(side, 8), 3, 6, 0.6, NEVER), Level(min(side, 16), 3, 4, 0.75, 0.85)]
        return [*levels, Level(32, 3, 4, NEVER, 0.5)] if side >= 32 else levels
    first = Level(min(side, 16), 5, 6, 0.6, NEVER)
    if side < 24:  # so little detail that look-alikes agree
        return [first, Level(side, 3, 4, NEVER, 0.95)]
    if side < 48:
        return [first, Level(side, 3, 4, NEVER, 0.8)]
    return [first, Level(32, 3, 4, 0.6, 0.92), Level(min(side, 96), 5, 4, NEVER, 0.8)]


def content_hashes(images: Images) -> list[bytes | None]:
    """Return the SHA-256 of type, shape and values of each image of (N, C, *spatial).

    None for an image of one grey, which holds nothing that could leak to another split.
    """
    digests: list[bytes | None] = []
    for values in _chunks(images):
        start = f"{values.dtype} {tuple(values.shape[1:])} ".encode()
        for image in values.contiguous().numpy():
            flat = bool((image == image[:, *(slice(1),) * (image.ndim - 1)]).all())
            digests.append(None if flat else hashlib.sha256(start + image.tobytes()).digest())
    return digests


def near_duplicates(
    images: Images, splits: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the images of val and test that are copies of one of an earlier split.

    A copy may have been saved again (JPEG), scaled, cut by some per cent of each edge, or shown in
    another window; a mirrored or turned one is none, nor is another film of the same patient. The
    coarsest level picks a few candidates for each image, of all images in earlier splits (train for
    val; train and val for test; all three for holdout); closer levels judge these. Of hundreds of
    thousands of images it compares each with those of near lists (`Nearest`). Images with an edge
    below `LEAST` show too little: no pair is found.

    Args:
        images: (N, C, *spatial).
        splits: (N,) names of splits.

    Returns:
        (M, 2) rows, the image of the later split first, in the order of the splits and then of the
        rows: at most one pair an image. And (M,) their agreement, see `Level`.
    """
    names = np.asarray(splits, dtype=object)
    members = [np.flatnonzero(names == split) for split in ALL_SPLITS]
    searched = [(members[k], np.concatenate(members[:k])) for k in range(1, len(ALL_SPLITS))]
    searched = [(later, earlier) for later, earlier in searched if len(later) and len(earlier)]
    pairs, agreements = [np.empty((0, 2), np.int64)], [np.empty(0)]
    if not searched or min(images.shape[2:]) < LEAST:
        return pairs[0], agreements[0]
    levels = levels_of(images.shape[2:])
    maps = _maps(images, levels[:2])
    total = sum(len(later) for later, _ in searched)
    with Progress("images compared with those of earlier splits", total) as progress:
        for later, earlier in searched:
            known = maps[0][torch.from_numpy(earlier)]
            whole, inner = (
                Nearest(vectors, len(later)) for vectors in (_unit(known), _unit(_inner(known)))
            )
            size = ROWS if whole.centres is None else ROWS_OF_LISTS
            for rows in np.array_split(later, math.ceil(len(later) / size)):
                candidates, stretch = _candidates(maps[0], rows, earlier, whole, inner)
                found, how_far = _judged(images, maps, levels, candidates, stretch)
                pairs.append(found)
                agreements.append(how_far)
                progress.advance(len(rows))
    return np.concatenate(pairs), np.concatenate(agreements)


def _maps(images: Images, levels: Sequence[Level]) -> list[Tensor]:
    """Return local contrast (N, *sides) of all images for each level, as int8."""
    maps: list[list[Tensor]] = [[] for _ in levels]
    with Progress("images read for copies", int(images.shape[0])) as progress:
        for values in _chunks(images):
            grey = values.float().mean(1)
            for parts, level in zip(maps, levels, strict=True):
                contrast = local_contrast(grey, level.side, level.width)
                parts.append((contrast * STEPS).round().to(torch.int8))
            progress.advance(len(values))
    return [torch.cat(parts) for parts in maps]


def _candidates(
    maps: Tensor,
    rows: NDArray[np.int64],
    earlier: NDArray[np.int64],
    whole: Nearest,
    inner: Nearest,
) -> tuple[NDArray[np.int64], Tensor]:
    """Return the pairs (P, 2) that look most alike, and the stretch of the other image, (P,).

    An image is compared as it is, and without its edges, in case that either is a copy of the
    other's inner part.
    """
    own = maps[torch.from_numpy(rows)]
    ways = (
        (_unit(own), whole, 1.0, 2),
        (_unit(_inner(own)), whole, 1 / INNER, 1),
        (_unit(own), inner, INNER, 1),
    )
    pairs, stretches = [], []
    for ours, theirs, stretch, most in ways:
        for column in theirs(ours, most).T.numpy():
            there = column >= 0
            pairs.append(np.stack([rows[there], earlier[column[there]]], 1))
            stretches.append(torch.full((int(there.sum()),), stretch))
    return np.concatenate(pairs), torch.cat(stretches)


def _judged(
    images: Images,
    maps: Sequence[Tensor],
    levels: Sequence[Level],
    pairs: NDArray[np.int64],
    stretch: Tensor,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the pairs that are copies, the best of each image, and their agreement."""
    dims = len(images.shape) - 2
    place = torch.stack([stretch, torch.zeros_like(stretch)], 1)[..., None].repeat(1, 1, dims)
    found, how_far = [np.empty((0, 2), np.int64)], [np.empty(0)]
    for k, level in enumerate(levels):
        if len(pairs) == 0:
            break
        agree = np.empty(len(pairs))
        for part in torch.arange(len(pairs)).split(max(1, _PIXELS // level.side**dims)):
            sides = pairs[part.numpy()].T
            if k < len(maps):
                fixed, moving = (maps[k][torch.from_numpy(rows)] / STEPS for rows in sides)
            else:
                grey = (images[torch.from_numpy(rows)].float().mean(1) for rows in sides)
                fixed, moving = (local_contrast(one, level.side, level.width) for one in grey)
            place[part] = align(fixed, moving, place[part], level.steps)
            agree[part.numpy()] = agreement(fixed, moving, place[part]).numpy()
        found.append(pairs[agree >= level.found])
        how_far.append(agree[agree >= level.found])
        kept = (agree >= level.kept) & (agree < level.found)
        pairs, place = pairs[kept], place[torch.from_numpy(kept)]
    copies, agreements = np.concatenate(found), np.concatenate(how_far)
    order = np.lexsort((copies[:, 1], -agreements, copies[:, 0]))
    copies, agreements = copies[order], agreements[order]
    _, first = np.unique(copies[:, 0], return_index=True)
    return copies[first], agreements[first]


def _unit(maps: Tensor) -> Tensor:
    """Return maps as vectors (N, pixels) of length 1 or 0, whose products are correlations."""
    values = maps.flatten(1).float()
    return F.normalize(values - values.mean(1, keepdim=True))


def _inner(maps: Tensor) -> Tensor:
    """Return the inner part of maps, enlarged to their size."""
    values = maps[:, None].float()
    dims = maps.ndim - 1
    turn = torch.eye(dims, dims + 1) * INNER
    grid = F.affine_grid(turn.expand(len(maps), -1, -1), list(values.shape), align_corners=False)
    return F.grid_sample(values, grid, padding_mode="border", align_corners=False)[:, 0]


def _chunks(images: Images) -> Iterator[Tensor]:
    """Yield the images, some at a time."""
    count = int(images.shape[0])
    size = min(4096, max(1, _VALUES // max(1, math.prod(images.shape[1:]))))
    for start in range(0, count, size):
        yield images[torch.arange(start, min(start + size, count))]
