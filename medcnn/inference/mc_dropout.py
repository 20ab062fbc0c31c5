"""Monte-Carlo dropout: passes of a trained net in which its dropout is on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

from torch import Tensor, nn

from medcnn.classifier.classifier import Classifier
from medcnn.data.augment import row_states, uniform
from medcnn.errors import UserError
from medcnn.nets.families.resnet import StochasticDepth

OF_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
LAYERS = (nn.Dropout, StochasticDepth, *OF_CHANNELS)


def check_mc_dropout(members: Sequence[Classifier], passes: int) -> None:
    """Raise UserError if passes are asked for, and no member has anything to drop."""
    if passes and not any(dropout_layers(member.net) for member in members):
        raise UserError(
            f"mc_dropout={passes}: the network has no dropout (model.dropout), so that all passes "
            "would be the same"
        )


def dropout_layers(net: nn.Module) -> list[nn.Module]:
    """Return the layers of a net that drop something in training: dropout, stochastic depth."""
    layers = [layer for part in (net.features, net.head) for layer in part.modules()]  # type: ignore[union-attr]
    return [layer for layer in layers if isinstance(layer, LAYERS) and drop_of(layer) > 0]


def drop_of(layer: nn.Module) -> float:
    """Return the probability with which a layer drops."""
    return layer.drop if isinstance(layer, StochasticDepth) else float(layer.p)  # type: ignore[arg-type]


@contextmanager
def dropping(
    classifier: Classifier, number: int | None, rows: Tensor, images: Tensor | None = None
) -> Iterator[None]:
    """Let the dropout layers of a classifier drop inside the block, and nothing else train.

    What is dropped depends on the seed of the training, the number of the pass and an image's row
    alone, not on its batch (Y. Gal, Z. Ghahramani, "Dropout as a Bayesian approximation:
    representing model uncertainty in deep learning", 2016; there every layer has dropout).

    Args:
        classifier: In evaluation mode.
        number: Of the pass; None for none: nothing is dropped.
        rows: (N,) int64, the rows of the images that it is to see, or of studies.
        images: (n,) int64, the rows of all images of the studies; None where each row is an image.
    """
    layers = [] if number is None else dropout_layers(classifier.net)
    if number is not None:
        seed = classifier.card["config"].get("seed", 0)
        of_rows, calls = row_states(seed, number, rows.to(classifier.device)), count()
        of_images = of_rows
        if images is not None:
            of_images = row_states(seed, number, images.to(classifier.device))
        in_features = set(classifier.net.features.modules())  # type: ignore[union-attr]
    net: Any = classifier.net
    chunk = getattr(net, "chunk", None)
    if layers and chunk is not None:
        net.chunk = None  # generators are those of all images
    for layer in layers:
        state = of_images if layer in in_features else of_rows
        layer.forward = partial(drop, layer, state, calls)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
        if chunk is not None:
            net.chunk = chunk


def drop(layer: nn.Module, state: Tensor, calls: Iterator[int], values: Tensor) -> Tensor:
    """Return what a dropout layer lets through in training, by the generators of the images.

    Args:
        layer: One of `LAYERS`.
        state: (N,) of the generator of each image.
        calls: Counts how often layers were asked, so that each draws numbers of its own.
        values: (N, …), or those of an image in several places of the first axis, one by one.
    """
    drawn = values.shape
    if isinstance(layer, StochasticDepth):
        drawn = drawn[:1]
    elif isinstance(layer, OF_CHANNELS):
        drawn = drawn[:2]
    kept = uniform(state, next(calls) << 32, drawn.numel() // len(state)) >= drop_of(layer)
    kept = kept.view(*drawn, *[1] * (values.ndim - len(drawn)))
    return values * kept / (1 - drop_of(layer))
