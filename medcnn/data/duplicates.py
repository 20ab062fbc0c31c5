"""Images that are the same, or nearly so: hashes of their content and of their look."""

import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.image import Array
from medcnn.data.samples import ALL_SPLITS, Images

BITS = 64
NO_HASH = 0  # of an image of one grey; any other image has its first bit, or about half of all, set
_VALUES = 1 << 24  # that are hashed at a time
_BITS_OF = np.array([n.bit_count() for n in range(1 << 16)], np.uint8)


def content_hashes(images: Images) -> list[bytes | None]:
    """SHA-256 of each image's data type, shape and values: equal where every pixel is.

    Args:
        images: (N, C, *spatial).

    Returns:
        N digests of 32 bytes; None for an image of one grey, which holds nothing that could leak
        from one split to another.
    """
    digests: list[bytes | None] = []
    for values in _chunks(images):
        start = f"{values.dtype} {tuple(values.shape[1:])} ".encode()
        for image in values.contiguous().numpy():
            flat = bool((image == image[:, *(slice(1),) * (image.ndim - 1)]).all())
            digests.append(None if flat else hashlib.sha256(start + image.tobytes()).digest())
    return digests


def perceptual_hashes(images: Images) -> NDArray[np.uint64]:
    """64 bits a picture or volume, of which similar ones share most.

    The hash of the discrete cosine transform (C. Zauner, "Implementation and benchmarking of
    perceptual image hash functions", 2010), in the form of ``imagehash.phash``: the mean of the
    channels is brought to 32×32 pixels and transformed (type II), and each of the lowest 8×8
    frequencies, the constant one included, gives a bit: 1 above their median. Volumes, for which
    there is no such convention: 16×16×16 voxels and the lowest 4×4×4 frequencies. Brightness,
    contrast and size hardly matter; a mirrored, turned or shifted copy gets another hash.

    Args:
        images: (N, C, H, W) or (N, C, D, H, W), any real data type.

    Returns:
        (N,) uint64, the first bit the lowest frequency; `NO_HASH` for an image of one grey.
    """
    hashes = [_hash(values.double().mean(1)) for values in _chunks(images)]
    return np.concatenate(hashes) if hashes else np.empty(0, np.uint64)


def _chunks(images: Images) -> Iterator[Tensor]:
    """The images, some at a time."""
    count = int(images.shape[0])
    size = min(4096, max(1, _VALUES // max(1, math.prod(images.shape[1:]))))
    for start in range(0, count, size):
        yield images[torch.arange(start, min(start + size, count))]


def _hash(grey: Tensor) -> NDArray[np.uint64]:
    """Hashes (B,) of images (B, *spatial) float64."""
    dims = grey.ndim - 1
    side, kept = (32, 8) if dims == 2 else (16, 4)
    size = (side,) * dims
    if dims == 2:
        low = F.interpolate(grey[:, None], size, mode="bicubic", antialias=True)[:, 0]
    else:  # PyTorch has no antialiased resampling of volumes
        low = F.interpolate(grey[:, None], size, mode="area")[:, 0]
    basis = _cosines(side, kept)
    for _ in range(dims):  # transform the first spatial axis, and put it last
        low = torch.tensordot(low, basis, dims=([1], [1]))
    low = low.flatten(1)
    largest = low.abs().amax(1, keepdim=True).clamp(min=1e-300)
    low = (low / largest * 2**30).round()  # what is zero but for rounding errors counts as zero
    bits = (low > low.quantile(0.5, dim=1, keepdim=True)).numpy()
    hashes = np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)
    flat = grey.flatten(1)
    hashes[(flat.amax(1) == flat.amin(1)).numpy()] = NO_HASH
    return hashes


def _cosines(side: int, kept: int) -> Tensor:
    """The lowest `kept` rows (kept, side) of the DCT-II, without a norm."""
    frequency, place = torch.arange(kept).double()[:, None], torch.arange(side).double()
    return torch.cos(math.pi * frequency * (2 * place + 1) / (2 * side))


def near_pairs(
    hashes: NDArray[np.uint64], splits: Sequence[str], distance: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each image of val and test, the image of an earlier split that looks most like it.

    Exact: every image is compared with every image of the earlier splits (train for val; train and
    val for test; all three for holdout). Of several equally near ones the one with the lowest hash
    counts, and of those with that hash the first.

    Args:
        hashes: (N,) of `perceptual_hashes`; those that are `NO_HASH` are left out.
        splits: (N,) names of splits.
        distance: Bits in which two hashes may differ, 0 … 64.

    Returns:
        (M, 2) rows, the image of the later split first, in the order of the splits and then of the
        rows: at most one pair for an image and an earlier split. And (M,), the bits they differ in.
    """
    hashes, names = np.asarray(hashes, np.uint64), np.asarray(splits, dtype=object)
    found = [(np.empty((0, 2), np.int64), np.empty(0, np.int64))]
    members = [np.flatnonzero((names == split) & (hashes != NO_HASH)) for split in ALL_SPLITS]
    for later in range(1, len(ALL_SPLITS)):
        for earlier in range(later):
            found.append(_nearest(hashes, members[later], members[earlier], distance))
    pairs, distances = zip(*found, strict=True)
    return np.concatenate(pairs), np.concatenate(distances)


def _nearest(
    hashes: NDArray[np.uint64], rows: Array, others: Array, distance: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The nearest of the other rows for each row, where it is near enough."""
    if len(rows) == 0 or len(others) == 0:
        return np.empty((0, 2), np.int64), np.empty(0, np.int64)
    wanted, back = np.unique(hashes[rows], return_inverse=True)
    known, first = np.unique(hashes[others], return_index=True)
    place, bits = np.empty(len(wanted), np.int64), np.empty(len(wanted), np.int64)
    for k, value in enumerate(wanted):  # one against all: the differences stay in the CPU's cache
        differing = count_bits(known ^ value)
        place[k] = differing.argmin()
        bits[k] = differing[place[k]]
    near = bits[back] <= distance
    pairs = np.stack([rows, others[first[place[back]]]], axis=1)
    return pairs[near].astype(np.int64), bits[back][near]


def count_bits(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """How many bits are set in each number, (N,) of (N,)."""
    if hasattr(np, "bitwise_count"):
        counts: NDArray[np.uint8] = np.bitwise_count(values)
        return counts
    return _count_bits_by_table(values)


def _count_bits_by_table(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """The same for numpy 1, in four parts of 16 bits."""
    parts = np.ascontiguousarray(values).view(np.uint16).reshape(-1, 4)
    total: NDArray[np.uint8] = _BITS_OF[parts].sum(axis=1, dtype=np.uint8)
    return total
