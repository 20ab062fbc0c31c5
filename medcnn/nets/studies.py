"""The head of a net that takes the images of a study together."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.aggregators import AGGREGATORS, Aggregator
from medcnn.nets.base import Net
from medcnn.nets.heads import LinearHead

Context = Mapping[str, Tensor] | None


class StudyHead(nn.Module):
    """From the maps of all images of studies to the logits of each study.

    Each image is pooled as `head` does, what is known of its view is added, the images of a study
    are put together, and a linear layer decides.

    Args:
        head: That of a net of single images, whose layers it takes.
        aggregator: From images (n, K), bag (n,) and the context to studies (B, channels).
        views: Number of the views that an image may be; 0 where there are none. Each has a vector
            (K,), zero at first, and zero for ever where the view isn't known.
    """

    def __init__(self, head: LinearHead, aggregator: Aggregator, views: int = 0) -> None:
        super().__init__()
        self.pooling, self.aggregator = head, aggregator
        features, channels = head.fc.in_features, aggregator.channels
        self.fc = head.fc
        if channels != features:
            self.fc = nn.Linear(channels, head.fc.out_features)
        head.fc = nn.Identity()  # type: ignore[assignment]
        self.view = nn.Embedding(views + 1, features, padding_idx=0) if views else None
        if self.view is not None:
            nn.init.zeros_(self.view.weight)

    def forward(self, maps: Tensor, context: Context = None) -> Tensor:
        """Return logits (B, num_classes) of maps (n, K, *spatial).

        Args:
            maps: Of all images, study after study.
            context: ``bag`` (n,), the study of each image, 0 … B-1; and what else is known of them:
                ``view`` (n,), from 0 or -1, and ``order`` (n,), see `Aggregator`. None, or without
                ``bag``: each image is a study.
        """
        with in_full_precision(maps):
            together = self.aggregator(*self.images(maps, context))
            logits: Tensor = self.fc(self.pooling.dropout(together))
        return logits

    def weights(self, maps: Tensor, context: Context = None) -> Tensor:
        """Return the weight (n,) of each image in its study, see `Aggregator.weights`."""
        with in_full_precision(maps):
            weights: Tensor = self.aggregator.weights(*self.images(maps, context))
        return weights

    def images(self, maps: Tensor, context: Context) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        """Return what the aggregator takes: images (n, K), bag (n,), and the context.

        In the precision of the weights, also where the maps are in half of it.
        """
        context = context or {}
        bag = context.get("bag")
        bag = torch.arange(len(maps), device=maps.device) if bag is None else bag
        pooled = self.pooling.pool(maps.to(self.fc.weight.dtype))
        if self.view is not None and "view" in context:
            pooled = pooled + self.view(context["view"] + 1)
        return pooled, bag, context


def in_full_precision(maps: Tensor) -> torch.autocast:
    """Return the context in which 32 bits stay 32; the meta device has none of its own."""
    return torch.autocast("cpu" if maps.is_meta else maps.device.type, enabled=False)


def study_head(net: Net, aggregate: str, views: int = 0) -> StudyHead:
    """Return the head of studies that takes over from a net's; raise UserError if it can't."""
    if aggregate not in AGGREGATORS:
        raise UserError(f"model.aggregate={aggregate}: choose one of {', '.join(AGGREGATORS)}")
    if not isinstance(net.head, LinearHead) or type(net.head).forward is not LinearHead.forward:
        raise UserError(
            f"model.aggregate={aggregate} takes a head that pools each image, such as "
            f"model.head=gap, and that of {net.name} doesn't"
        )
    head = StudyHead(net.head, AGGREGATORS[aggregate](net.head.fc.in_features), views)
    return head.train(net.head.training)
