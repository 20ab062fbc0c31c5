"""The head of a net that takes the images of a study together."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.base import Net
from medcnn.nets.heads import LinearHead

Context = Mapping[str, Tensor] | None


class Mean(nn.Module):
    """The mean of a study's images."""

    def forward(self, embedded: Tensor, bag: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """Return (B, K) of images (n, K), whose study is bag (n,) in 0 … B-1, ascending."""
        counts = torch.bincount(bag)
        sums = embedded.new_zeros(len(counts), embedded.shape[1]).index_add(0, bag, embedded)
        return sums / counts[:, None]


class Max(nn.Module):
    """The highest value of each feature among a study's images."""

    def forward(self, embedded: Tensor, bag: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """Return (B, K) of images (n, K), as `Mean`."""
        lowest = embedded.new_full((len(torch.bincount(bag)), embedded.shape[1]), -torch.inf)
        return lowest.scatter_reduce(0, bag[:, None].expand_as(embedded), embedded, "amax")


AGGREGATORS: dict[str, type[nn.Module]] = {"mean": Mean, "max": Max}


class StudyHead(nn.Module):
    """From the maps of all images of studies to the logits of each study.

    Each image is pooled as `head` does, the images of a study are put together, and the linear
    layer of `head` decides.

    Args:
        head: That of a net of single images, whose layers it takes.
        aggregator: From images (n, K), bag (n,) and the context to studies (B, K).
    """

    def __init__(self, head: LinearHead, aggregator: nn.Module) -> None:
        super().__init__()
        self.pooling, self.aggregator = head, aggregator
        self.fc = head.fc
        head.fc = nn.Identity()  # type: ignore[assignment]

    def forward(self, maps: Tensor, context: Context = None) -> Tensor:
        """Return logits (B, num_classes) of maps (n, K, *spatial).

        Args:
            maps: Of all images, study after study.
            context: ``bag`` (n,), the study of each image, 0 … B-1; and what else is known of them.
                None, or without ``bag``: each image is a study.
        """
        context = context or {}
        bag = context.get("bag")
        bag = torch.arange(len(maps), device=maps.device) if bag is None else bag
        together = self.aggregator(self.pooling.pool(maps), bag, context)
        logits: Tensor = self.fc(self.pooling.dropout(together))
        return logits


def study_head(net: Net, aggregate: str) -> StudyHead:
    """Return the head of studies that takes over from a net's; raise UserError if it can't."""
    if aggregate not in AGGREGATORS:
        raise UserError(f"model.aggregate={aggregate}: choose one of {', '.join(AGGREGATORS)}")
    if not isinstance(net.head, LinearHead) or type(net.head).forward is not LinearHead.forward:
        raise UserError(
            f"model.aggregate={aggregate} takes a head that pools each image, such as "
            f"model.head=gap, and that of {net.name} doesn't"
        )
    return StudyHead(net.head, AGGREGATORS[aggregate]())
