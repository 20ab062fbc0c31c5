import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medcnn.data.batches import DataModule
from medcnn.data.image import ImageSpec
from medcnn.data.prepared.cache import Cache
from medcnn.data.prepared.entries import Entries
from medcnn.data.prepared.facts import FactTable
from medcnn.data.prepared.stored import BoxMasks, StoredImages, StoredMasks
from medcnn.data.samples import Samples


def entries(cache: Cache, arrays: list[np.ndarray]) -> Entries:
    with cache.filling():
        for k, array in enumerate(arrays):
            cache.add(f"{k}", array, {})
    found = [cache.entry(f"{k}") for k in range(len(arrays))]
    return Entries(entry for entry in found if entry is not None)


def test_gives_batches_in_the_order_of_the_rows(tmp_path: Path) -> None:
    arrays = [np.full((1, 1, 3, 4), k, np.uint8) for k in range(6)]
    with Cache(tmp_path, {}) as cache:
        images = StoredImages(cache, entries(cache, arrays)[::-1], [0] * 6)
        assert images.shape == (6, 1, 3, 4)
        assert images.nbytes == 72
        batch = images[torch.tensor([5, 0, 5])]
        assert batch.dtype == torch.uint8
        assert batch[:, 0, 0, 0].tolist() == [0, 5, 0]
        images.to_memory()
        assert torch.equal(images[torch.tensor([5, 0, 5])], batch)


def test_a_batch_is_a_copy_of_its_own(tmp_path: Path) -> None:
    with Cache(tmp_path, {}) as cache:
        images = StoredImages(cache, entries(cache, [np.ones((1, 1, 2, 2), np.uint8)]), [0])
        images[torch.tensor([0])].zero_()
        assert images[torch.tensor([0])].sum() == 4


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no hints")
def test_images_on_the_disk_are_asked_for_before_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def read(file: int, start: int, size: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        asked.append(os.pread(file, size, start))

    arrays = [np.full((1, 1, 2, 2), k, kind) for k, kind in enumerate(("uint8", "int16") * 4)]
    with Cache(tmp_path, {}) as cache:
        images = StoredImages(cache, entries(cache, arrays), [0] * 8)
        table = pd.DataFrame({"image": range(8), "patient": range(8), "split": "train", "label": 0})
        data = DataModule(Samples("toy", table, images, "binary", ("a", "b")), 4, seed=1)
        monkeypatch.setattr(os, "posix_fadvise", read)
        rows = torch.cat([batch["row"] for batch in data.train_dataloader()])
        assert asked == [arrays[row].tobytes() for row in rows]
        images.to_memory()
        list(data.train_dataloader())
        assert len(asked) == 8


def test_slices_of_a_volume_are_rows(tmp_path: Path) -> None:
    volume = np.arange(5, dtype=np.int16)[:, None, None, None] * np.ones((1, 1, 2, 2), np.int16)
    with Cache(tmp_path, {}) as cache:
        found = entries(cache, [volume, volume + 10])
        images = StoredImages(cache, found.take([0, 1, 0]), [4, 1, 0])
        assert images[torch.arange(3)][:, 0, 0, 0].tolist() == [4, 11, 0]


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        (np.uint8, np.uint8, torch.uint8),
        (np.uint8, np.int16, torch.int16),
        (np.uint8, np.uint16, torch.uint16),
        (np.uint16, np.int16, torch.float32),
        (np.int16, np.float32, torch.float32),
    ],
)
def test_types_and_channels_are_brought_together(
    tmp_path: Path, first: type, second: type, common: torch.dtype
) -> None:
    grey = np.full((1, 1, 2, 2), 7, first)
    colour = np.stack([np.full((2, 2), k, second) for k in (1, 2, 3)])[None]
    with Cache(tmp_path, {}) as cache:
        images = StoredImages(cache, entries(cache, [grey, colour]), [0, 0])
        batch = images[torch.tensor([1, 0])]
        assert batch.dtype == common
        assert batch.shape == (2, 3, 2, 2)
        assert batch[:, :, 0, 0].tolist() == [[1, 2, 3], [7, 7, 7]]


def test_masks_are_false_where_there_is_none(tmp_path: Path) -> None:
    drawn = np.zeros((2, 3, 3), np.uint8)
    drawn[0, 1, 1] = drawn[1, 2, 2] = 1
    with Cache(tmp_path, {}) as cache:
        entry = entries(cache, [drawn])[0]
        masks = StoredMasks(cache, str(entry.kind), np.array([[-1, -1], [-1, entry.slot]]))
        assert masks.shape == (2, 3, 3)
        chosen = masks.of([1, 0, 1], [1, 0, 0])
        batch = chosen[torch.arange(3)]
        assert batch.dtype == torch.bool
        assert batch.flatten(1).nonzero().tolist() == [[0, 8], [2, 4]]
        both = StoredMasks(cache, str(entry.kind), np.array([[entry.slot, entry.slot + 1]]))
        assert both[torch.tensor([0])].flatten(1).nonzero().tolist() == [[0, 4], [0, 8]]


def test_boxes_are_drawn_on_the_prepared_image() -> None:
    boxes = np.array([[2, 4, 6, 12], [np.nan] * 4, [0, 0, 1, 1]])
    facts = FactTable([{"shape": [8, 16], "spacing": None}] * 3)
    masks = BoxMasks(boxes[:, None], facts, "pixel", ImageSpec(size=(4, 8)))
    batch = masks[torch.tensor([0, 1])]
    assert batch.shape == (2, 4, 8)
    assert batch[0].nonzero().tolist() == [[y, x] for y in (1, 2) for x in (2, 3, 4, 5)]
    assert not batch[1].any()
    both = BoxMasks(boxes[None], facts, "pixel", ImageSpec(size=(8, 16)))[torch.tensor([0])]
    assert int(both.sum()) == 4 * 8 + 1
    fractions = BoxMasks(boxes[:, None] / [8, 16, 8, 16], facts, "fraction", ImageSpec(size=(4, 8)))
    assert torch.equal(fractions.of([1, 0], [0, 0])[torch.tensor([1])], batch[:1])
