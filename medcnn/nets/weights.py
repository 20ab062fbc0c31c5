"""Weights that were trained elsewhere."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from medcnn.errors import UserError
from medcnn.nets.base import Net, times

SHOWN = 3  # keys that a message lists


def load_weights(net: Net, weights: Mapping[str, Tensor] | str | Path) -> None:
    """Copies weights into a net.

    They may have this package's names or, for alexnet, vgg, googlenet, resnet and densenet,
    torchvision's; with the same architecture (``stem="imagenet"``, ``in_channels=3``, 2-D) the
    logits are then torchvision's.

    GoogLeNet: torchvision's published weights expect images scaled to -1 … 1. There,
    ``transform_input=True`` turns ImageNet's normalisation into that one; here the net takes what
    it is given, so normalise with mean 0.5 and standard deviation 0.5. Its auxiliary heads are left
    out where the net was built without them.

    Args:
        net: The net to fill.
        weights: A state dict, or the path of a .pt or .pth file that holds one.

    Raises:
        UserError: No such file, a file that isn't a state dict, names that don't match those of the
            net, or tensors of another shape.
    """
    state = weights if isinstance(weights, Mapping) else read_state_dict(Path(weights))
    expected = net.state_dict()
    if not set(state) <= set(expected):
        state = rename(state, net.torchvision_names)
        if not getattr(net, "aux", True):
            state = {key: value for key, value in state.items() if not key.startswith("aux.")}
    unknown = [key for key in state if key not in expected]
    missing = [
        key for key in expected if key not in state and not key.endswith("num_batches_tracked")
    ]
    if unknown or missing:
        parts = [f"{len(unknown)} unknown ({some(unknown)})"] if unknown else []
        parts += [f"{len(missing)} missing ({some(missing)})"] if missing else []
        raise UserError(f"weights don't fit {net.name}: {', '.join(parts)}; check model and depth")
    check_shapes(net, state, expected)
    net.load_state_dict(dict(state), strict=False)


def read_state_dict(path: Path) -> Mapping[str, Tensor]:
    """The state dict in a file; nothing but tensors and plain values is unpickled."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"can't read weights {path}: {error.strerror or error}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{path} isn't a file of weights that torch.save wrote") from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path} doesn't hold a state dict (names and tensors)")
    return state


def rename(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Replaces the longest known prefix of each key, or leaves it."""
    renamed = {}
    for key, value in state.items():
        # DenseNet files of 2017 write norm.1 for norm1
        modern = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)
        parts = modern.split(".")
        for end in range(len(parts), 0, -1):
            prefix = ".".join(parts[:end])
            if prefix in names:
                modern = ".".join([names[prefix], *parts[end:]])
                break
        renamed[modern] = value
    return renamed


def check_shapes(net: Net, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises UserError naming the first tensor whose shape isn't that of the net."""
    for key, value in state.items():
        want = expected[key].shape
        if value.shape != want:
            raise UserError(
                f"weights don't fit {net.name}: {key} is {times(value.shape)} but the net needs "
                f"{times(want)}; check in_channels, num_classes and stem=imagenet"
            )


def some(keys: list[str]) -> str:
    """The first few of many keys."""
    return ", ".join(keys[:SHOWN]) + (", …" if len(keys) > SHOWN else "")
