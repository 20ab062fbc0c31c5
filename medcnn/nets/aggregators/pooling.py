"""Mean and maximum over the images of a study, which learn nothing."""

from torch import Tensor

from medcnn.nets.aggregators.bags import (
    Aggregator,
    Context,
    max_of,
    share_of_maximum,
    sizes,
    sum_of,
)


class Mean(Aggregator):
    """The mean of a study's images."""

    def forward(self, values: Tensor, bag: Tensor, context: Context) -> Tensor:
        """Return (B, K), see `Aggregator`."""
        return sum_of(values, bag) / sizes(bag)[:, None]

    def weights(self, values: Tensor, bag: Tensor, context: Context) -> Tensor:
        """Return the same weight for each of a study's images."""
        return 1 / sizes(bag)[bag].to(values.dtype)


class Max(Aggregator):
    """The highest value of each feature among a study's images."""

    def forward(self, values: Tensor, bag: Tensor, context: Context) -> Tensor:
        """Return (B, K), see `Aggregator`."""
        return max_of(values, bag)

    def weights(self, values: Tensor, bag: Tensor, context: Context) -> Tensor:
        """Return the share of the features that are highest in each image."""
        return share_of_maximum(values, bag)
