"""Aggregators: how the images of a study become one vector."""

from collections.abc import Callable

from medcnn.nets.aggregators.attention import Attention, GatedAttention
from medcnn.nets.aggregators.bags import Aggregator
from medcnn.nets.aggregators.pooling import Max, Mean
from medcnn.nets.aggregators.recurrent import GRU, LSTM
from medcnn.nets.aggregators.transformer import Transformer

# by the name that model.aggregate gives; made for so many features of an image
AGGREGATORS: dict[str, Callable[[int], Aggregator]] = {
    "mean": Mean,
    "max": Max,
    "attention": Attention,
    "gated": GatedAttention,
    "transformer": Transformer,
    "gru": GRU,
    "lstm": LSTM,
}

__all__ = ["AGGREGATORS", "Aggregator"]
