"""Rows of a sample table → batches of them: whole batches by index, each row once."""

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from itertools import chain, pairwise

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from medcnn.data.samples import Samples
from medcnn.data.sampling import Draws
from medcnn.nets.aggregators.bags import places as places_in

Batch = dict[str, Tensor]
CONTEXT = ("bag", "view", "order", "features")  # what a batch's images belong to, and come with


def context_of(batch: Batch) -> Batch | None:
    """Return what a batch holds of `CONTEXT`, for the head of the net; None for nothing."""
    return {key: batch[key] for key in CONTEXT if key in batch} or None


@dataclass(eq=False)
class RowBatches(Sampler[Tensor]):
    """Batches of rows for one of `world` processes.

    Training shuffles with a permutation drawn from (seed, epoch), cuts it into batches of
    `batch_size`, and gives each process its share of every batch; the remainder of an epoch is
    dropped, other rows each time. Without a seed every row comes exactly once, in
    order and unpadded, so that figures gathered over processes are exact.

    With `draws`, some rows come several times in an epoch and others not at all, in as many batches
    as without. A batch is then (2, n): the rows, and which of its draws each is, from 0.

    Args:
        parts: Rows (n,) int64 of each part; a batch never holds rows of two parts.
        batch_size: Rows of a batch, over all processes together.
        seed: Of the shuffling; None for no shuffling.
        limit: Share (float) or number (int) of the shuffled batches of an epoch, at least one.
        rank: This process, 0 … world - 1.
        world: Number of processes.
        ahead: Called with the rows of each batch one batch before it comes.
        draws: How often each row of the one part comes in training; None for once.
        epoch: Number of the epoch.
    """

    parts: list[Tensor]
    batch_size: int
    _: KW_ONLY
    seed: int | None = None
    limit: float = 1.0
    rank: int = 0
    world: int = 1
    ahead: Callable[[Tensor], None] | None = None
    draws: Draws | None = None
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; called by Lightning before each."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Tensor]:
        for batch, coming in pairwise(chain([None], self._shares(), [None])):
            if coming is not None and self.ahead is not None:
                self.ahead(coming if coming.ndim == 1 else coming[0])
            if batch is not None:
                yield batch

    def _shares(self) -> Iterator[Tensor]:
        """Yield this process's share of each batch of an epoch."""
        for part in self.parts:
            rows = part
            if self.seed is not None:
                generator = np.random.default_rng([self.seed, self.epoch])
                if self.draws is None:
                    rows = part[torch.from_numpy(generator.permutation(len(part)))]
                else:
                    order, times = self.draws.epoch(generator)
                    rows = torch.stack([part[order], times])
            for batch in self._batches(rows):
                yield batch[..., self.rank :: self.world]

    def __len__(self) -> int:
        return sum(len(self._batches(part)) for part in self.parts)

    def _batches(self, rows: Tensor) -> tuple[Tensor, ...]:
        batches = rows.split(self.batch_size, dim=-1)
        if self.seed is None:
            return tuple(b for b in batches if len(b) > self.rank)
        batches = tuple(b for b in batches if b.shape[-1] == self.batch_size) or batches
        share = self.limit if isinstance(self.limit, int) else self.limit * len(batches)
        return batches[: max(1, int(share))]


class RowDataset(Dataset[Batch]):
    """A batch for a batch of rows: images as stored, labels, rows, and ranges where they differ.

    Of rows that come with their draws (2, n), as `RowBatches` gives them, these are its ``draw``.
    With `Samples.studies` ``label``, ``row`` and ``draw`` are those of the B studies, and ``image``
    holds all their n images, whose rows are ``place`` and whose study is ``bag`` (n,) in 0 … B-1,
    ascending; where views are known, ``view`` (n,), and of slices their ``order`` (n,) from 0.
    Columns that the net takes are ``features`` (B, F) float32, encoded as in `Samples`. Without
    images there is neither ``image`` nor ``range``.
    """

    def __init__(self, samples: Samples, *, images: bool = True) -> None:
        self.with_images = images
        self.images, self.labels = samples.images, samples.labels
        self.ranges, self.studies = samples.intensity_range, samples.studies
        self.features = samples.feature_values

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor) -> Batch:
        draw = {}
        if rows.ndim == 2:
            rows, draw["draw"] = rows
        batch = {"label": self.labels[rows], "row": rows} | draw
        if self.features is not None:
            batch["features"] = self.features[rows]
        places = rows
        if self.studies is not None:
            places, bag = self.studies.instances(rows)
            batch |= {"place": places, "bag": bag}
            if self.studies.views is not None:
                batch["view"] = self.studies.views[places]
            if self.studies.together:
                batch["order"] = places_in(bag)
        if self.with_images:
            batch["image"] = self.images[places]
            if isinstance(self.ranges, Tensor):
                batch["range"] = self.ranges[places]
        return batch
