"""Rows to batches, over one and several processes, and what happens to a batch."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from medcnn.data.batches import DataModule, unit_intensity
from medcnn.data.row_batches import RowBatches
from medcnn.data.samples import SPLITS, Samples
from medcnn.errors import UserError

SIZES = {"train": 10, "val": 5, "test": 7}


def samples(dtype: torch.dtype = torch.uint8, **options: Any) -> Samples:
    """22 images of 2×3 pixels; each holds its row."""
    splits = np.repeat(SPLITS, [SIZES[split] for split in SPLITS])
    count = len(splits)
    table = pd.DataFrame({"image": range(count), "patient": range(count), "split": splits})
    table["label"] = np.arange(count) % 2
    images = torch.arange(count)[:, None, None, None].expand(-1, 1, 2, 3).to(dtype)
    return Samples("toy", table, images, "binary", ("no", "yes"), positive=1, **options)


def all_ranks(
    parts: list[Tensor], batch_size: int, world: int, **options: Any
) -> list[list[Tensor]]:
    """The batches of each process."""
    batches = []
    for rank in range(world):
        sampler = RowBatches(parts, batch_size, rank=rank, world=world, **options)
        batches.append(list(sampler))
        assert len(sampler) == len(batches[-1])
    return batches


PARTS = [torch.arange(3, 14), torch.arange(40, 49)]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 6, 50])
def test_without_seed_each_row_comes_once_in_order(batch_size: int, world: int) -> None:
    ranks = all_ranks(PARTS, batch_size, world)
    rows = torch.cat([batch for batches in ranks for batch in batches])
    assert sorted(rows.tolist()) == torch.cat(PARTS).tolist()
    for batches in ranks:
        assert all(len(batch) > 0 for batch in batches)
        given = [row for batch in batches for row in batch.tolist()]
        assert given == sorted(given)


@pytest.mark.parametrize("world", [1, 2])
def test_a_batch_never_straddles_two_parts(world: int) -> None:
    ranks = all_ranks(PARTS, 4, world)
    assert [len(b) for b in all_ranks(PARTS, 4, 1)[0]] == [4, 4, 3, 4, 4, 1]
    for batch in (batch for batches in ranks for batch in batches):
        assert len({int(row) >= 40 for row in batch}) == 1


@pytest.mark.parametrize("world", [2, 3])
def test_all_processes_together_train_on_the_batch_of_one(world: int) -> None:
    (alone,) = all_ranks(PARTS[:1], 6, 1, seed=3)
    ranks = all_ranks(PARTS[:1], 6, world, seed=3)
    assert {len(batches) for batches in ranks} == {len(alone)}
    for whole, *shares in zip(alone, *ranks, strict=True):
        assert [len(share) for share in shares] == [6 // world] * world
        together = torch.stack(shares, 1).flatten()  # dealt like cards
        assert together.tolist() == whole.tolist()


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = RowBatches([torch.arange(100)], 10, seed=seed)
        sampler.set_epoch(epoch)
        return torch.cat(list(sampler)).tolist()

    expected = np.random.default_rng([5, 2]).permutation(100).tolist()
    assert order(5, 2) == expected == order(5, 2)
    assert len({tuple(order(seed, epoch)) for seed in (5, 6) for epoch in (2, 3)}) == 4


def test_what_is_left_over_is_dropped_in_training_and_other_rows_each_epoch() -> None:
    sampler = RowBatches([torch.arange(11)], 4, seed=0)
    left = set()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert [len(batch) for batch in batches] == [4, 4]
        seen = torch.cat(batches).tolist()
        assert len(set(seen)) == 8
        left |= set(range(11)) - set(seen)
    assert left == set(range(11))


def test_each_batch_is_announced_one_before_it_comes() -> None:
    events: list[tuple[str, list[int]]] = []
    batches = RowBatches(
        [torch.arange(5)], 2, ahead=lambda rows: events.append(("ahead", rows.tolist()))
    )
    for rows in batches:
        events.append(("comes", rows.tolist()))
    assert events == [
        ("ahead", [0, 1]), ("ahead", [2, 3]), ("comes", [0, 1]), ("ahead", [4]),
        ("comes", [2, 3]), ("comes", [4]),
    ]  # fmt: skip


def test_fewer_rows_than_a_batch_are_one_batch() -> None:
    (batches,) = all_ranks([torch.arange(3)], 8, 1, seed=0)
    assert [sorted(batch.tolist()) for batch in batches] == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("limit", "batches"), [(1.0, 5), (0.5, 2), (0.01, 1), (3, 3), (1, 1), (99, 5)]
)
def test_limited_training(limit: float, batches: int) -> None:
    sampler = RowBatches([torch.arange(10)], 2, seed=0, limit=limit)
    assert len(sampler) == len(list(sampler)) == batches


@pytest.mark.parametrize(
    ("limit", "rows"),
    [(1.0, range(15, 22)), (0.5, (15, 18, 21)), (1, (15, 21)), (99, range(15, 22))],
)
def test_limited_test_takes_rows_from_the_whole_split(limit: float, rows: Any) -> None:
    data = DataModule(samples(), 2, limits={"test": limit})
    found = torch.cat([batch["row"] for batch in data.test_dataloader()])
    assert found.tolist() == list(rows)


def test_loaders_give_batches_by_index() -> None:
    data = DataModule(samples(), 4, seed=1, test_splits=("val", "test"))
    for batch in data.train_dataloader():
        assert batch["image"].dtype == torch.uint8
        assert batch["image"][:, 0, 0, 0].tolist() == batch["row"].tolist()
        assert (batch["label"] == batch["row"] % 2).all()
        assert (batch["row"] < 10).all()
    assert [batch["row"].tolist() for batch in data.val_dataloader()] == [[10, 11, 12, 13], [14]]
    rows = [batch["row"].tolist() for batch in data.test_dataloader()]
    assert rows == [[10, 11, 12, 13], [14], [15, 16, 17, 18], [19, 20, 21]]


def test_statistics_are_of_mixed_batches_though_a_table_is_sorted_by_class() -> None:
    toy = samples()
    toy.table["label"] = (toy.table.index % 10 >= 5).astype(int)
    data = DataModule(toy, 5)
    batches = [batch["row"].tolist() for batch in data.statistics_batches(99)]
    assert sorted(row for rows in batches for row in rows) == list(range(10))
    assert all(0 < sum(row >= 5 for row in rows) < 5 for rows in batches)
    assert [batch["row"].tolist() for batch in data.statistics_batches(99)] == batches


def test_overfitting_validates_on_the_rows_it_trains_on() -> None:
    data = DataModule(samples(), 3, overfit_batches=2)
    trained = torch.cat([batch["row"] for batch in data.train_dataloader()])
    validated = torch.cat([batch["row"] for batch in data.val_dataloader()])
    assert sorted(trained.tolist()) == validated.tolist() == list(range(6))
    assert len(torch.cat([batch["row"] for batch in data.test_dataloader()])) == 7


@pytest.mark.parametrize(
    ("dtype", "intensity_range"),
    [
        (torch.uint8, (0.0, 255.0)),
        (torch.uint16, (0.0, 65535.0)),
        (torch.int16, (-1024.0, 3071.0)),
        (torch.float32, (-0.5, 2.0)),
    ],
)
def test_intensities_are_scaled(dtype: torch.dtype, intensity_range: tuple[float, float]) -> None:
    low, high = intensity_range
    stored = torch.tensor([low, (low + high) // 2, high]).to(dtype)
    scaled = unit_intensity(stored, intensity_range)
    assert scaled.dtype == torch.float32
    expected = (stored.double() - low) / (high - low)
    torch.testing.assert_close(scaled.double(), expected, atol=1e-7, rtol=0)
    assert scaled[0] == 0
    assert scaled[2] == 1


def test_a_constant_image_is_black() -> None:
    stored = torch.full((1, 1, 2, 2), 7, dtype=torch.int16)
    for intensity_range in ((7.0, 7.0), torch.tensor([[7.0, 7.0]])):
        assert unit_intensity(stored, intensity_range).eq(0).all()


def prepared(data: DataModule, **state: Any) -> dict[str, Tensor]:
    data.trainer = SimpleNamespace(**state)  # type: ignore[assignment]
    batch = {"image": torch.full((2, 1, 2, 3), 51, dtype=torch.uint8), "row": torch.tensor([4, 7]),
             "label": torch.tensor([0, 1])}  # fmt: skip
    return data.on_after_batch_transfer(batch, 0)  # type: ignore[no-any-return]


def test_only_training_images_are_augmented() -> None:
    calls: list[tuple[Any, ...]] = []

    def augment(images: Tensor, rows: Tensor, epoch: int) -> Tensor:
        calls.append((rows.tolist(), epoch))
        return images + 1

    data = DataModule(samples(), 2, augment=augment)
    batch = prepared(data, training=True, current_epoch=3)
    torch.testing.assert_close(batch["image"], torch.full((2, 1, 2, 3), 1.2))
    assert calls == [([4, 7], 3)]
    assert batch["row"].tolist() == [4, 7]
    batch = prepared(data, training=False, current_epoch=3)
    torch.testing.assert_close(batch["image"], torch.full((2, 1, 2, 3), 0.2))
    assert len(calls) == 1
    plain = prepared(DataModule(samples(), 2), training=True, current_epoch=0)
    torch.testing.assert_close(plain["image"], torch.full((2, 1, 2, 3), 0.2))


@pytest.mark.parametrize("batch_size", [0, -4, 2.5, "few", True, None])
def test_bad_batch_size(batch_size: Any) -> None:
    with pytest.raises(UserError, match=f"batch_size={batch_size}: give a whole number"):
        DataModule(samples(), batch_size)


def test_a_batch_that_the_processes_cannot_share() -> None:
    data = DataModule(samples(), 5)
    data.trainer = SimpleNamespace(global_rank=0, world_size=2)  # type: ignore[assignment]
    with pytest.raises(UserError, match="batch_size=5 can't be shared by 2 processes"):
        data.train_dataloader()


@pytest.mark.parametrize("split", SPLITS)
def test_an_empty_split(split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, split, 0)
    data = DataModule(samples(), 2)
    with pytest.raises(UserError, match=f"the {split} split is empty"):
        getattr(data, f"{split}_dataloader")()
