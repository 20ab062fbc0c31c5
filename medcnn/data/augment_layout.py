"""Augmentation of inputs that have channels of 0 and 1 beside those of their files."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medcnn.data.augment import DROPPING, Augment, row_states, uniform
from medcnn.data.layout import Layout
from medcnn.errors import UserError

Augmentation = Callable[[Tensor, Tensor, int], Tensor]


def with_layout(augment: Augmentation | None, layout: Layout | None) -> Augmentation | None:
    """Return the augmentation of inputs whose channels are of a layout.

    Intensities of the files' channels alone are changed; the lesion's mask moves with them; what is
    missing stays 0; and files are dropped as `Augment.drop_channel` asks.

    Raises:
        UserError: There are no channels that could tell what was dropped, or a mask would have to
            move along with another augmentation than `Augment`.
    """
    dropped = augment.drop_channel if isinstance(augment, Augment) else 0.0
    if dropped and not (layout and layout.presence):
        raise UserError(
            f"augment.drop_channel={dropped} goes with several files an image "
            "(dataset.columns.image=[t1,t2]) and dataset.missing_channel=zero, which tells the "
            "network what was dropped"
        )
    if augment is None or layout is None or not layout.flags:
        return augment
    if layout.lesion and not isinstance(augment, Augment):
        raise UserError(
            "dataset.mask_as=channel: only augment=light, standard, strong or none move the mask "
            "along with the image"
        )
    return LayoutAugment(augment, layout)


@dataclass(frozen=True)
class LayoutAugment:
    """An augmentation of the files' channels that keeps those of 0 and 1 true to them.

    Args:
        augment: Of the files' channels.
        layout: Of all channels.
    """

    augment: Augmentation
    layout: Layout

    def __call__(self, images: Tensor, rows: Tensor, epoch: int) -> Tensor:
        """Return a changed batch of the same shape, see `medcnn.data.augment.Augment`."""
        shown = self.augment(images[:, : self.layout.pictures], rows, epoch)
        parts = [shown]
        if self.layout.presence:
            kept = self._kept(self.layout.there(images), rows, epoch)
            spread = [1] * (images.ndim - 2)
            parts[0] = shown * self.layout.by_channel(kept).view(*shown.shape[:2], *spread)
            flags = kept.view(*kept.shape, *spread).expand(-1, -1, *images.shape[2:])
            parts.append(flags.to(images.dtype))
        if self.layout.lesion:
            parts.append(self._moved(images[:, -1:], rows, epoch))
        return torch.cat(parts, 1)

    def _kept(self, there: Tensor, rows: Tensor, epoch: int) -> Tensor:
        """Return which files (N, files) of those that are there stay: one of each image at least.

        Where all would go, the one with the highest draw stays.
        """
        if not isinstance(self.augment, Augment) or not self.augment.drop_channel:
            return there
        state = row_states(self.augment.seed, epoch, rows.to(there.device))
        draws = uniform(state, DROPPING, there.shape[1]).masked_fill(~there, -1.0)
        highest = draws == draws.amax(1, keepdim=True)
        return there & ((draws >= self.augment.drop_channel) | highest)

    def _moved(self, masks: Tensor, rows: Tensor, epoch: int) -> Tensor:
        """Return masks (N, 1, *spatial) of 0 and 1 moved as the files' channels are."""
        assert isinstance(self.augment, Augment)
        moves = replace(self.augment, gamma=0.0, contrast=0.0, brightness=0.0, noise=0.0, erase=0.0)
        return (moves(masks, rows, epoch) >= 0.5).to(masks.dtype)
