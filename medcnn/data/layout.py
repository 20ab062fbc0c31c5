"""What the channels of a network's input are, where it is made of several files or of a mask."""

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The channels of an input, in their order: those of its files, then those of 0 and 1.

    Args:
        counts: Channels of each file: 1 (grey) or 3 (colour).
        presence: Whether a channel for each file follows, 1 where the file is there, else 0.
        lesion: Whether the lesion's mask is the last channel.
    """

    counts: tuple[int, ...]
    presence: bool = False
    lesion: bool = False

    @property
    def pictures(self) -> int:
        """Number of channels of the files together."""
        return sum(self.counts)

    @property
    def flags(self) -> int:
        """Number of channels of 0 and 1, which come last."""
        return len(self.counts) * self.presence + self.lesion

    @property
    def files(self) -> list[slice]:
        """The channels of each file."""
        ends = list(accumulate(self.counts))
        return [slice(end - count, end) for end, count in zip(ends, self.counts, strict=True)]

    def there(self, images: Tensor) -> Tensor:
        """Return which files each of images (N, C, *spatial) has, (N, files) bool.

        As its channels say; all, where there are none of presence.
        """
        if not self.presence:
            return images.new_ones(len(images), len(self.counts), dtype=torch.bool)
        flags = images[:, self.pictures : self.pictures + len(self.counts)]
        return flags.flatten(2)[:, :, 0] > 0

    def by_channel(self, of_files: Tensor) -> Tensor:
        """Return values (N, files) for the channels of the files, (N, pictures)."""
        counts = of_files.new_tensor(self.counts, dtype=torch.int64)
        return of_files.repeat_interleave(counts, 1)
