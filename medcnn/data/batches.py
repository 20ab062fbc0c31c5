"""Samples → loaders of batches, and the preparation of a batch on its device."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from medcnn.data.prepared.stored import HeldImages
from medcnn.data.row_batches import Batch, RowBatches, RowDataset
from medcnn.data.samples import Samples
from medcnn.data.sampling import Draws
from medcnn.errors import UserError, check_whole_number

Augmentation = Callable[[Tensor, Tensor, int], Tensor]


def unit_intensity(images: Tensor, intensity_range: tuple[float, float] | Tensor) -> Tensor:
    """Return stored values as float32 in 0 … 1; same shape.

    Args:
        images: (B, C, *spatial).
        intensity_range: The values (low, high) that become 0 and 1, or (B, 2) with those of each
            image, or (B, C, 2) of each channel; values outside are cut. low > high turns black and
            white round; where both are one, as of a constant image, all becomes black.
    """
    if isinstance(intensity_range, tuple):
        low, high = intensity_range
        if low == 0 and images.dtype == torch.uint8 and high >= 255:
            return images.to(torch.float32).div_(high)
        return (images.to(torch.float32) - low).div_((high - low) or 1.0).clamp_(0, 1)
    ranges = intensity_range.to(images.device)
    ranges = ranges.reshape(len(ranges), -1, *[1] * (images.ndim - 2), 2)
    lows, widths = ranges[..., 0], ranges[..., 1] - ranges[..., 0]
    widths = torch.where(widths == 0, 1.0, widths)
    return (images.to(torch.float32) - lows).div_(widths).clamp_(0, 1)


def unit_images(samples: Samples, rows: Tensor) -> Tensor:
    """Return the images (n, C, *spatial) float32 of rows (B,), in 0 … 1.

    One a row; with `Samples.studies` all images of each.
    """
    return images_at(samples, samples.instances(rows))


def images_at(samples: Samples, places: Tensor) -> Tensor:
    """Return the images (n, C, *spatial) float32 in 0 … 1 of rows (n,), one a row."""
    shared = samples.intensity_range
    ranges = shared if isinstance(shared, tuple) else samples.ranges(places)
    return unit_intensity(samples.images[places], ranges)


class DataModule(pl.LightningDataModule):
    """Loaders of a data set's splits, and the preparation of a batch on its device.

    A batch reaches the classifier as ``image`` (N, C, *spatial) float32 in 0 … 1, augmented in
    training, ``label`` and ``row``.

    Args:
        samples: The data.
        batch_size: Images of a batch, over all processes together.
        seed: Of the order of training batches.
        augment: Called with images, rows and the epoch in training; None for none. The second draw
            of a row in an epoch has, in the row's place, row + N of N rows, the third row + 2 N, so
            that each is augmented in a way of its own.
        overfit_batches: Above 0, train and validate on just so many batches.
        test_splits: The splits that `test_dataloader` goes through.
        limits: For a split the share (float) or number (int) of its batches to use; at least one
            is. In training they are others each epoch; in validation and test the rows are spread
            evenly over the split.
        draws: From the rows to train on to how often each is drawn; None for once an epoch.

    Attributes:
        with_images: Whether batches of the loaders hold images; a net whose features are kept
            takes their rows alone.

    Raises:
        UserError: A batch size that the processes can't share or the data can't fill.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        *,
        seed: int = 0,
        augment: Augmentation | None = None,
        overfit_batches: int = 0,
        test_splits: tuple[str, ...] = ("test",),
        limits: Mapping[str, float] | None = None,
        draws: Callable[[Tensor], Draws] | None = None,
    ) -> None:
        super().__init__()
        check_whole_number("batch_size", batch_size, least=1)
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.overfit_rows = overfit_batches * batch_size
        self.test_splits = test_splits
        self.limits = dict(limits or {})
        self.draws = draws
        self.with_images = True

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled batches of the training split."""
        rows = self._train_rows()
        options: dict[str, Any] = {"seed": self.seed, "limit": self.limits.get("train", 1.0)}
        if (draws := self.train_draws()) is not None:
            options["draws"] = draws
        return self._loader([rows], **options)

    def train_draws(self) -> Draws | None:
        """Return how often each training image is drawn; None where each comes once an epoch."""
        return None if self.draws is None else self.draws(self._train_rows())

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation split in order, each row once."""
        return self._loader([self._train_rows() if self.overfit_rows else self._limited("val")])

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the splits in `test_splits` in order, each row once."""
        return self._loader([self._limited(split) for split in self.test_splits])

    def split_batches(self, split: str) -> tuple[Tensor, ...]:
        """Return the rows of each batch in which `test_dataloader` goes through a split."""
        return self._limited(split).split(self.batch_size)

    def statistics_batches(self, images: int) -> Iterator[Batch]:
        """Yield at most so many training images, evenly spread, in stored batches of like size.

        They are the same each time, and mixed: in the order of a table that is sorted by class each
        batch would have one class alone, and a smaller deviation than those of training. Where
        images are drawn, so are these: of classes in the shares that training batches have. Of
        studies there are so many that they have about as many images, two at least.
        """
        rows, generator = self._train_rows(), np.random.default_rng(self.seed)
        if self.samples.studies is not None:
            sizes = self.samples.studies.sizes(rows).float()
            images = max(2, round(images / float(sizes.mean())))
        if (draws := self.train_draws()) is not None:
            order, _ = draws.epoch(generator)
            rows = evenly_spread(rows[order], images)
        else:
            rows = evenly_spread(rows, images)
            rows = rows[torch.from_numpy(generator.permutation(len(rows)))]
        dataset = RowDataset(self.samples)
        for part in rows.tensor_split(-(-len(rows) // self.batch_size)):
            yield dataset[part]

    def _limited(self, split: str) -> Tensor:
        """Return rows of a split, evenly spread, as many as its limit allows."""
        rows, limit = self.samples.rows(split), self.limits.get(split, 1.0)
        count = limit * (self.batch_size if isinstance(limit, int) else len(rows))
        return evenly_spread(rows, max(1, int(count)))

    def _train_rows(self) -> Tensor:
        rows = self.samples.rows("train")
        return rows[: self.overfit_rows] if self.overfit_rows else rows

    def _loader(self, parts: list[Tensor], **options: Any) -> DataLoader[Batch]:
        rank, world = 0, 1
        if self.trainer:
            rank, world = self.trainer.global_rank, self.trainer.world_size
        if self.batch_size % world:
            raise UserError(f"batch_size={self.batch_size} can't be shared by {world} processes")
        if min(len(part) for part in parts) < world:
            raise UserError(f"a split has fewer images than the {world} processes: use fewer")
        images = self.samples.images if self.with_images else None
        sampler = RowBatches(
            parts,
            self.batch_size,
            rank=rank,
            world=world,
            ahead=self._prefetch if isinstance(images, HeldImages) else None,
            **options,
        )
        dataset = RowDataset(self.samples, images=self.with_images)
        return DataLoader(dataset, sampler=sampler, batch_size=None)

    def _prefetch(self, rows: Tensor) -> None:
        """Have the images of rows (B,) read from the disk ahead."""
        images: Any = self.samples.images
        images.prefetch(self.samples.instances(rows))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Scale the intensities and, in training, augment; on the batch's device."""
        training = self.trainer is not None and self.trainer.training
        return self.prepared(batch, self.trainer.current_epoch if training else None)  # type: ignore[union-attr]

    def prepared(self, batch: Batch, epoch: int | None) -> Batch:
        """Return a stored batch as the net takes it: scaled and, in an epoch, augmented."""
        batch = self.scaled(batch)
        keys = self._keys(batch)
        if self.augment is None or epoch is None or "image" not in batch:
            return batch
        return {**batch, "image": self.augment(batch["image"], keys, epoch)}

    def _keys(self, batch: Batch) -> Tensor:
        """Return by what each image (n,) is augmented; slices of a volume are augmented alike."""
        row, drawn = batch["row"], batch.pop("draw", 0) * len(self.samples)
        place = batch.get("place", row)
        if self.samples.studies is None:
            return row + drawn
        of_study = (torch.zeros_like(row) + drawn)[batch["bag"]]
        return of_study + (row[batch["bag"]] if self.samples.studies.together else place)

    def scaled(self, batch: Batch) -> Batch:
        """Return a stored batch with its images, if it has any, in 0 … 1."""
        if "image" not in batch:
            return batch
        ranges = batch.pop("range", self.samples.intensity_range)
        return {**batch, "image": unit_intensity(batch["image"], ranges)}


def evenly_spread(rows: Tensor, count: int) -> Tensor:
    """Return at most `count` of rows (n,), in order, the first and the last among them."""
    return rows[torch.linspace(0, len(rows) - 1, min(len(rows), count)).round().long()]
