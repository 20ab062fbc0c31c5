"""Images of several files each, and of masks: their channels one behind the other."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.image import Array
from medcnn.data.layout import Layout
from medcnn.data.prepared.intensity import training_percentiles
from medcnn.data.prepared.stored import HeldImages, Masks, StoredImages, common_type


class StackedImages(HeldImages):
    """Images whose channels come from several files, and from the mask of the lesion.

    Channels of a file that is missing are 0, as is its channel of presence.

    Args:
        parts: Images of each file; None where no row has it. One at least is there.
        places: (files, N) where each row is among the images of a file; -1 where it is missing.
        layout: Of the channels.
        lesion: (N, *spatial) masks, which the last channel has; None without.
    """

    def __init__(
        self,
        parts: Sequence[StoredImages | None],
        places: NDArray[np.int64],
        layout: Layout,
        lesion: Masks | None = None,
    ) -> None:
        self.parts, self.places, self.layout, self.lesion = parts, places, layout, lesion
        known = [part for part in parts if part is not None]
        self.dtype = common_type([part.dtype for part in known])
        channels = layout.pictures + layout.flags
        self.shape = (places.shape[1], channels, *known[0].shape[2:])

    def gather(self, rows: Array) -> Array:
        """See `HeldImages.gather`."""
        images = np.zeros((len(rows), *self.shape[1:]), self.dtype)
        there = self.places[:, rows] >= 0
        for part, own, channels in zip(self.parts, self.places, self.layout.files, strict=True):
            at = own[rows]
            if part is not None:
                images[at >= 0, channels] = part.gather(at[at >= 0])
        if self.layout.presence:
            first = self.layout.pictures
            flags = images[:, first : first + len(there)]
            flags[:] = there.T.reshape(*flags.shape[:2], *[1] * (flags.ndim - 2))
        if self.lesion is not None:
            images[:, -1] = self.lesion[torch.from_numpy(rows)].numpy()
        return images

    def training_ranges(self, rows: Tensor) -> Tensor:
        """Return for each channel the values (C, 2) that become 0 and 1, from training images.

        Percentiles of the images of rows (n,), as `training_percentiles` has them, of each file.
        """
        ranges = torch.tensor([0.0, 1.0]).repeat(self.shape[1], 1)
        for part, own, channels in zip(self.parts, self.places, self.layout.files, strict=True):
            at = torch.from_numpy(own)[rows]
            if part is not None and (at >= 0).any():
                ranges[channels] = torch.tensor(training_percentiles(part, at[at >= 0]))
        return ranges

    def ranges_of_rows(self, ranges: Tensor) -> Tensor:
        """Return the values (N, C, 2) that become 0 and 1, of channels for which they are (C, 2).

        In a file that is missing 0 stays 0, whatever the other files of its column hold.
        """
        found = ranges.expand(self.shape[0], -1, 2)
        if not self.layout.presence:
            return found
        pictures = self.layout.pictures
        missing = self.layout.by_channel(torch.from_numpy(self.places.T < 0))
        own = torch.where(missing[..., None], torch.tensor([0.0, 1.0]), found[:, :pictures])
        return torch.cat([own, found[:, pictures:]], 1)

    def ranges_of_channels(self, ranges: Tensor) -> Tensor:
        """Return (C, 2) from which `ranges_of_rows` made the values (N, C, 2)."""
        found = ranges[0].clone()
        for own, channels in zip(self.places, self.layout.files, strict=True):
            found[channels] = ranges[int((own >= 0).argmax()), channels]
        return found

    def prefetch(self, rows: Tensor) -> None:
        """See `HeldImages.prefetch`."""
        if self.memory is None:
            for part, own in zip(self.parts, self.places, strict=True):
                at = own[rows.numpy()]
                if part is not None:
                    part.prefetch(torch.from_numpy(at[at >= 0]))
