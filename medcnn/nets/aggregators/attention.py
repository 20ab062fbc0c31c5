"""Attention: a weighted mean of a study's images, whose weights are learnt."""

import torch
from torch import Tensor, nn

from medcnn.nets.aggregators.bags import Aggregator, Context, softmax_of, sum_of

HIDDEN = 128  # L of the paper


class Attention(Aggregator):
    """Attention-based pooling (M. Ilse et al., "Attention-based deep multiple instance learning").

    z = Σ a_k h_k with a = softmax(wᵀ tanh(V h_k)) over the images k of a study (2018, eqs. 7, 8).
    It doesn't know in which order the images are.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.v = nn.Linear(features, HIDDEN)
        self.w = nn.Linear(HIDDEN, 1, bias=False)

    def hidden(self, values: Tensor) -> Tensor:
        """Return (n, L), which w makes a score of."""
        return torch.tanh(self.v(values))

    def forward(self, values: Tensor, bag: Tensor, context: Context) -> Tensor:
        """Return (B, K), see `Aggregator`."""
        return sum_of(values * self.weights(values, bag, context)[:, None], bag)

    def weights(self, values: Tensor, bag: Tensor, context: Context) -> Tensor:
        """Return the attention a (n,) of each image."""
        return softmax_of(self.w(self.hidden(values))[:, 0], bag)


class GatedAttention(Attention):
    """As `Attention`, with scores wᵀ (tanh(V h_k) ⊙ sigm(U h_k)) (eq. 9 there).

    tanh is nearly linear about 0, which the gate makes up for.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.u = nn.Linear(features, HIDDEN)

    def hidden(self, values: Tensor) -> Tensor:
        """Return (n, L), which w makes a score of."""
        return super().hidden(values) * torch.sigmoid(self.u(values))
