"""All nets by name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from medcnn.errors import UserError
from medcnn.nets.alexnet import alexnet
from medcnn.nets.base import Net
from medcnn.nets.densenet import densenet
from medcnn.nets.googlenet import googlenet
from medcnn.nets.lenet import lenet
from medcnn.nets.mlp import mlp
from medcnn.nets.resnet import resnet
from medcnn.nets.vgg import vgg
from medcnn.nets.zfnet import zfnet

FAMILIES: dict[str, Callable[..., Net]] = {
    "mlp": mlp,
    "lenet": lenet,
    "alexnet": alexnet,
    "zfnet": zfnet,
    "vgg": vgg,
    "googlenet": googlenet,
    "resnet": resnet,
    "densenet": densenet,
}
GIVEN = ("in_channels", "num_classes", "spatial_dims", "input_size")  # not options of a family


def build(
    name: str,
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int = 2,
    input_size: Sequence[int] | None = None,
    **options: Any,
) -> Net:
    """Makes a net with random weights.

    >>> net = build("resnet", depth=18, in_channels=1, num_classes=3, input_size=(28, 28))
    >>> net.name, net.stem, net.min_size
    ('resnet18', 'small', 8)

    Args:
        name: mlp, lenet, alexnet, zfnet, vgg, googlenet, resnet or densenet.
        in_channels: Channels of an image.
        num_classes: Number of logits.
        spatial_dims: 2 for images, 3 for volumes.
        input_size: Spatial size of the images, (H, W) or (D, H, W), where it is known: stem=auto
            goes by it, and images that are too small are refused at once.
        **options: Of the family; see the function of its name.

    Raises:
        UserError: Unknown name, option or value, or images too small for the net.
    """
    if name not in FAMILIES:
        raise UserError(f"model.name={name}: no such net{nearest(str(name), list(FAMILIES))}")
    family = FAMILIES[name]
    accepted = inspect.signature(family).parameters
    defaults = {key: p.default for key, p in accepted.items() if key not in GIVEN}
    check_options(name, options, defaults)
    if in_channels < 1 or num_classes < 1:
        raise UserError(
            f"{name} needs at least 1 channel and 1 logit, got in_channels={in_channels} and "
            f"num_classes={num_classes}"
        )
    if spatial_dims not in (2, 3) or (spatial_dims == 3 and "spatial_dims" not in accepted):
        able = [
            key for key, f in FAMILIES.items() if "spatial_dims" in inspect.signature(f).parameters
        ]
        raise UserError(
            f"{name} has no form for spatial_dims={spatial_dims}; 2 works for every net, 3 for "
            f"{', '.join(able)}"
        )
    if input_size is not None and len(input_size) != spatial_dims:
        raise UserError(f"input_size={tuple(input_size)} must hold {spatial_dims} numbers")
    given = {"spatial_dims": spatial_dims, "input_size": input_size}
    options |= {key: value for key, value in given.items() if key in accepted}
    net = family(in_channels=in_channels, num_classes=num_classes, **options)
    if input_size is not None:
        net.check_size(input_size)
    return net


def check_options(name: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raises UserError for an unknown option, or for a switch or dropout that is none."""
    for key, value in options.items():
        if key not in defaults:
            raise UserError(f"model.{key}: {name} has no such option{nearest(key, list(defaults))}")
        if isinstance(defaults[key], bool) and not isinstance(value, bool):
            raise UserError(f"model.{key}={value}: give true or false")
    dropout = options.get("dropout", 0.0)
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise UserError(f"model.dropout={dropout}: give a probability, from 0 to below 1")


def nearest(word: str, known: Sequence[str]) -> str:
    """End of a sentence: what the writer of a word may have meant."""
    close = get_close_matches(word, known, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{meant} (known: {', '.join(known)})" if known else " (it has none)"
