"""Recurrent nets that read a study's images in their order, from both ends."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from medcnn.nets.aggregators.bags import (
    Aggregator,
    Context,
    max_of,
    padded,
    share_of_maximum,
    sizes,
)

HIDDEN = 128  # units in each direction


class Recurrent(Aggregator):
    """A bidirectional recurrent net, then the highest value of each unit among the images.

    So a finding in one of many slices isn't forgotten until the last one (A. Conneau et al.,
    "Supervised learning of universal sentence representations from natural language inference
    data", 2017, section 3.2.2). What lies beside an image counts in what is said of it.

    Args:
        features: K, of an image.
        net: PyTorch's; it reads images (K,) and gives 2 × `HIDDEN` numbers for each.
    """

    def __init__(self, features: int, net: type[nn.GRU] | type[nn.LSTM]) -> None:
        super().__init__(features, 2 * HIDDEN)
        self.net = net(features, HIDDEN, batch_first=True, bidirectional=True)

    def read(self, values: Tensor, bag: Tensor) -> Tensor:
        """Return what the net says (n, 2 × HIDDEN) at each image; no study sees another's."""
        rectangle, _, place = padded(values, bag)
        if bag.is_meta:
            return cast(Tensor, self.net(rectangle)[0][bag, place])
        counts = sizes(bag).cpu()
        packed = pack_padded_sequence(rectangle, counts, batch_first=True, enforce_sorted=False)
        # cuDNN has no gradient outside training, which maps take
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and self.training):
            said = cast(PackedSequence, self.net(packed)[0])
        return pad_packed_sequence(said, batch_first=True)[0][bag, place]

    def forward(self, values: Tensor, bag: Tensor, context: Context) -> Tensor:
        """Return (B, 2 × HIDDEN), see `Aggregator`."""
        return max_of(self.read(values, bag), bag)

    def weights(self, values: Tensor, bag: Tensor, context: Context) -> Tensor:
        """Return the share of the units that are highest at each image."""
        return share_of_maximum(self.read(values, bag), bag)


class GRU(Recurrent):
    """`Recurrent` of gated units (K. Cho et al., "Learning phrase representations using RNN
    encoder-decoder for statistical machine translation", 2014, eqs. 5-8).
    """  # noqa: D205

    def __init__(self, features: int) -> None:
        super().__init__(features, nn.GRU)


class LSTM(Recurrent):
    """`Recurrent` with a memory (S. Hochreiter, J. Schmidhuber, "Long short-term memory", 1997)."""

    def __init__(self, features: int) -> None:
        super().__init__(features, nn.LSTM)
