"""A transformer, in which the images of a study are seen beside each other."""

import math

import torch
from torch import Tensor, nn

from medcnn.nets.aggregators.attention import Attention
from medcnn.nets.aggregators.bags import Aggregator, Context, padded

WIDTH, HEADS, LAYERS = 128, 4, 2


class Transformer(Aggregator):
    """Two layers of self-attention over a study's images, then `Attention` over what they give.

    (A. Vaswani et al., "Attention is all you need", 2017, with the norm first as in R. Xiong et
    al., "On layer normalization in the transformer architecture", 2020.) Where the order of the
    images means something, that of slices, the place of each is told by sines (section 3.5 there);
    without, the order doesn't count.

    Args:
        features: K, of an image; a linear layer makes 128 of them.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, WIDTH)
        self.narrow = nn.Linear(features, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 2 * WIDTH, dropout=0.0, activation="gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.encoder = nn.TransformerEncoder(
            layer, LAYERS, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False
        )
        for one in self.encoder.layers:  # which are copies of one with one draw of weights
            for weight in one.parameters():
                if weight.ndim > 1:
                    nn.init.xavier_uniform_(weight)
        self.pool = Attention(WIDTH)

    def encode(self, values: Tensor, bag: Tensor, context: Context) -> Tensor:
        """Return images (n, 128) that know of the others of their study."""
        values = self.narrow(values)
        if "order" in context:
            values = values + sines(context["order"], WIDTH)
        rectangle, there, place = padded(values, bag)
        encoded: Tensor = self.encoder(rectangle, src_key_padding_mask=~there)
        return encoded[bag, place]

    def forward(self, values: Tensor, bag: Tensor, context: Context) -> Tensor:
        """Return (B, 128), see `Aggregator`."""
        pooled: Tensor = self.pool(self.encode(values, bag, context), bag, context)
        return pooled

    def weights(self, values: Tensor, bag: Tensor, context: Context) -> Tensor:
        """Return the attention (n,) of the last step, to images that know of the others."""
        return self.pool.weights(self.encode(values, bag, context), bag, context)


def sines(places: Tensor, width: int) -> Tensor:
    """Return codes (n, width) float32 of places (n,) (Vaswani et al., section 3.5).

    sin(p / 10000^(2i / width)) in the even channels 2i, the cosine in the odd ones.
    """
    rates = torch.exp(
        torch.arange(0, width, 2, device=places.device) * (-math.log(10_000.0) / width)
    )
    angles = places[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)
