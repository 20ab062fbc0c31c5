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

    def prefetch(self, rows: Tensor) -> None:
        """See `HeldImages.prefetch`."""
        if self.memory is None:
            for part, own in zip(self.parts, self.places, strict=True):
                at = own[rows.numpy()]
                if part is not None:
                    part.prefetch(torch.from_numpy(at[at >= 0]))
