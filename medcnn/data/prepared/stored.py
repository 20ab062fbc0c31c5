"""Images and masks in the cache, given out by the batch."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.image import Array, Image, ImageSpec
from medcnn.data.prepared.cache import Cache, kind_of
from medcnn.data.prepared.crop import crop_in
from medcnn.data.prepared.entries import Entries
from medcnn.data.prepared.facts import FactTable
from medcnn.data.prepared.geometry import prepare_mask
from medcnn.data.prepared.tiles import tile_in

Places = Sequence[int] | NDArray[np.int64]


def common_type(types: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    """Return the smallest type that holds the values of all, of those that torch knows."""
    common = np.result_type(*types)
    known = common in (np.uint8, np.uint16, np.int16)
    return common if known else np.dtype(np.float32)


class HeldImages:
    """Images that are read when they are asked for or, after `to_memory`, held in memory.

    Attributes:
        shape: (N, C, *spatial).
        dtype: Of what is given out.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    memory: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all images."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __getitem__(self, rows: Tensor) -> Tensor:
        if self.memory is not None:
            return self.memory[rows]
        return torch.from_numpy(self.gather(rows.numpy()))

    def to_memory(self) -> None:
        """Hold all images in memory from now on, in the order of the rows."""
        held = torch.from_numpy(np.empty(self.shape, self.dtype))
        for rows in torch.arange(len(held)).split(256):
            held[rows] = self[rows]
        self.memory = held

    def gather(self, rows: Array) -> Array:
        """Read the images of rows (B,)."""
        raise NotImplementedError

    def prefetch(self, rows: Tensor) -> None:
        """Have the system read images of rows (B,) from the disk, without waiting for it."""


class StoredImages(HeldImages):
    """Images of a data set, one file each, mapped from the disk.

    Grey images among coloured ones are repeated over the channels; different data types become the
    smallest that holds them all.

    Args:
        cache: Where they lie; has to stay open.
        entries: One a row.
        slices: (N,) number of each row among the entry's images.
    """

    def __init__(self, cache: Cache, entries: Entries, slices: Places) -> None:
        own_order = entries.pack_of
        kinds = sorted(entries.kinds[k] for k in np.unique(own_order))
        self.cache = cache  # keeps its files from being cleared
        self.packs = [cache.pack(kind) for kind in kinds]
        self.files = [cache.path(kind).open("rb") for kind in kinds]
        places = [kinds.index(kind) if kind in kinds else -1 for kind in entries.kinds]
        self.pack_of = np.array(places)[own_order]
        self.slots = entries.slots + np.asarray(slices, np.int64)
        items = [kind_of(kind) for kind in kinds]
        own = np.array([item.shape[0] for item in items])
        channels = int(own.max())
        self.grey = int((own[self.pack_of] < channels).sum())  # among coloured ones
        self.dtype = common_type([item.base for item in items])
        self.shape = (len(entries), channels, *items[0].shape[1:])

    def prefetch(self, rows: Tensor) -> None:
        """Have the system read images of rows (B,) from the disk, without waiting for it.

        Otherwise a batch is read page by page as it is copied, and nothing is computed meanwhile.
        """
        if self.memory is not None or not hasattr(os, "posix_fadvise"):
            return
        at = rows.numpy()
        for pack, slot in zip(self.pack_of[at].tolist(), self.slots[at].tolist(), strict=True):
            size, file = self.packs[pack][0].nbytes, self.files[pack].fileno()
            os.posix_fadvise(file, slot * size, size, os.POSIX_FADV_WILLNEED)

    def gather(self, rows: Array) -> Array:
        """See `HeldImages.gather`."""
        if len(self.packs) == 1:
            return np.asarray(self.packs[0][self.slots[rows]])
        images = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for k, pack in enumerate(self.packs):
            chosen = self.pack_of[rows] == k
            images[chosen] = pack[self.slots[rows[chosen]]]  # one channel fills three
        return images


class StoredMasks:
    """Lesion masks in the cache, for some of a data set's rows; the others have no known lesion.

    Args:
        cache: Where they lie; has to stay open.
        kind: Of the masks.
        slots: (N, M) places of each row's masks, which together are the lesion; -1 for none.
    """

    def __init__(self, cache: Cache, kind: str, slots: Array) -> None:
        self.cache, self.kind, self.slots = cache, kind, slots
        self.pack = cache.pack(kind)
        self.shape = (len(slots), *self.pack.shape[1:])

    def of(self, rows: Places, slices: Places) -> "StoredMasks":
        """Return the masks of slices of rows, in this order."""
        first = self.slots[np.asarray(rows, np.int64)]
        beyond = np.asarray(slices, np.int64)[:, None]
        return StoredMasks(self.cache, self.kind, np.where(first < 0, -1, first + beyond))

    def __getitem__(self, rows: Tensor) -> Tensor:
        slots = self.slots[rows.numpy()]
        masks = np.zeros((len(slots), *self.shape[1:]), bool)
        for places in slots.T:
            masks[places >= 0] |= self.pack[places[places >= 0]] > 0
        return torch.from_numpy(masks)


class BoxMasks:
    """Boxes round the lesions of pictures as masks, drawn when they are asked for.

    Args:
        boxes: (N, M, 4) top, left, bottom, right of up to M a row, the last two exclusive; NaN for
            none, as of volumes.
        facts: Of the N files, see `medcnn.data.prepared.one_file.read_file`.
        unit: ``pixel`` of the file, or ``fraction`` of its height and width.
        spec: Of the pictures.
        tiles: (N,) number of each row among the tiles of its file; None where they aren't cut.
    """

    def __init__(
        self,
        boxes: Array,
        facts: FactTable,
        unit: str,
        spec: ImageSpec,
        tiles: Places | None = None,
    ) -> None:
        self.boxes, self.facts, self.unit, self.spec = boxes, facts, unit, spec
        self.tiles = np.zeros(len(boxes), np.int64) if tiles is None else np.asarray(tiles)
        self.shape = (len(boxes), *spec.size)

    def of(self, rows: Places, slices: Places) -> "BoxMasks":
        """Return the masks of rows, in this order."""
        boxes, facts = self.boxes[np.asarray(rows, np.int64)], self.facts.take(rows)
        return BoxMasks(boxes, facts, self.unit, self.spec, slices)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(np.concatenate([self._draw(row) for row in rows.tolist()]))

    def _draw(self, row: int) -> Array:
        boxes = self.boxes[row]
        boxes = boxes[~np.isnan(boxes).any(1)]
        if not len(boxes):
            return np.zeros((1, *self.spec.size), bool)
        facts, spec = self.facts[row], self.spec
        size = facts["shape"]
        edges = boxes * np.tile(size, 2) if self.unit == "fraction" else boxes
        tile = tile_in(facts, int(self.tiles[row]))
        if tile is not None:  # at the resolution that it is seen at
            edges = (edges - np.tile(tile.corner, 2)) / tile.downsample
            size = [max(1, round(length / tile.downsample)) for length in tile.edge]
            spec = ImageSpec(size=spec.size, allow_missing_geometry=True)
        edges = np.round(edges).astype(int)
        edges[:, 2:] = np.maximum(edges[:, 2:], edges[:, :2] + 1)
        edges = edges.clip(0)
        mask = np.zeros((1, *size), np.uint8)
        for top, left, bottom, right in edges:
            mask[:, top:bottom, left:right] = 1
        spacing, crop = facts["spacing"], crop_in(facts)
        return prepare_mask(Image(mask, spacing=spacing and tuple(spacing)), spec, crop)


class LabelMasks:
    """Lesion masks a label, of multi-label data; a batch of rows gives what any of them marks.

    Args:
        parts: One a label, in the order of the labels; None for a label without masks.
        shape: (N, *spatial).
    """

    def __init__(self, parts: Sequence[StoredMasks | None], shape: Sequence[int]) -> None:
        self.parts, self.shape = list(parts), tuple(shape)

    def of(self, rows: Places, slices: Places) -> "LabelMasks":
        """Return the masks of slices of rows, in this order."""
        parts = [part and part.of(rows, slices) for part in self.parts]
        return LabelMasks(parts, (len(rows), *self.shape[1:]))

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.by_label(rows).any(1)

    def by_label(self, rows: Tensor) -> Tensor:
        """Return masks (B, K, *spatial) bool of rows (B,), one a label."""
        masks = torch.zeros(len(rows), len(self.parts), *self.shape[1:], dtype=torch.bool)
        for k, part in enumerate(self.parts):
            if part is not None:
                masks[:, k] = part[rows]
        return masks


Masks = StoredMasks | BoxMasks | LabelMasks
