"""Weights that were trained elsewhere."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.base import Net, times
from medcnn.nets.pretrained.adapt import adapt_channels, inflate

SHOWN = 3  # keys that a message lists
HEADS = ("head.", "aux.")
WRAPPERS = ("state_dict", "model")  # keys under which training scripts put the weights
COUNTS = "num_batches_tracked"


@dataclass
class Loaded:
    """The outcome of `load_weights`; as a string, one line.

    Args:
        loaded: Names of the net's tensors that were filled.
        adapted: What was changed on the way, in words.
        dropped: Tensors of the file's head that the net has no place for.
        left: Tensors of the net's head that stay as they were.
    """

    loaded: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{len(self.loaded)} tensors loaded"
        if self.adapted:
            text += f" ({', '.join(self.adapted)})"
        if self.dropped:
            text += f"; dropped {', '.join(self.dropped)}"
        if self.left:
            text += f"; drawn anew {', '.join(self.left)}"
        return text


def load_weights(net: Net, weights: Mapping[str, Tensor] | str | Path) -> Loaded:
    """Copy weights into a net.

    They may have this package's names or those that were published for the architecture
    (torchvision's for alexnet, vgg, googlenet, resnet and densenet; the library's own for nets of
    timm and MONAI). With the same architecture (``stem="imagenet"``, 2-D, 3 channels) the logits
    are then the published ones.

    - Another number of channels: the first convolution is adapted so that an image whose channels
      are all alike gives the response of its RGB copy, see
      `medcnn.nets.pretrained.adapt.adapt_channels`.
    - A 3-D net takes the weights of its 2-D form, inflated, see
      `medcnn.nets.pretrained.adapt.inflate`.
    - What doesn't fit the head (other classes, another kind of head, auxiliary heads) is dropped,
      and that part of the net's head stays as it is. All else has to fit.

    GoogLeNet: the published weights expect images of mean and standard deviation 0.5; see its
    option transform_input.

    Args:
        net: The net to fill.
        weights: A state dict, or a file: .safetensors, or a .pt, .pth or .ckpt file with a state
            dict, alone or under the key state_dict or model; checkpoints of medcnn too.

    Returns:
        What was loaded, and what not.

    Raises:
        UserError: No such file, a file without a state dict, or weights of another architecture.
            The net is then as before. Also if they hold NaN.
    """
    state = dict(weights if isinstance(weights, Mapping) else read_state_dict(Path(weights)))
    expected = net.state_dict()
    if not set(state) <= set(expected):
        state = rename(state, net.published_names)
    check_finite(state, "weights" if isinstance(weights, Mapping) else f"weights={weights}")
    report = Loaded()
    fitting = {}
    for key, value in state.items():
        if key in expected:
            value = fit(net, key, value, expected[key], report)
        if key in expected and value.shape == expected[key].shape:
            fitting[key] = value
        elif key.startswith(HEADS) and not key.endswith(COUNTS):
            report.dropped.append(f"{key} ({sizes(value, expected.get(key))})")
    check_trunk(net, state, fitting, expected)
    report.loaded = list(fitting)
    report.left = [key for key in expected if key not in fitting and not key.endswith(COUNTS)]
    net.load_state_dict(fitting, strict=False)
    return report


def check_finite(state: Mapping[str, Tensor], what: str) -> None:
    """Raise UserError if weights, which come from `what`, hold NaN: a net then says nothing."""
    bad = [key for key, value in state.items() if bool(value.isnan().any())]
    if bad:
        raise UserError(
            f"{what}: {len(bad)} of {len(state)} tensors hold NaN (the first is {bad[0]}): the "
            "training that made them has diverged; take other weights"
        )


def fit(net: Net, key: str, value: Tensor, like: Tensor, report: Loaded) -> Tensor:
    """Return a tensor of the trunk, inflated to 3-D and adapted to the net's channels."""
    layer = net.get_submodule(key.rpartition(".")[0])
    convolution = isinstance(layer, nn.Conv2d | nn.Conv3d) and key.endswith(".weight")
    if key.startswith(HEADS) or not convolution:
        return value
    done = []
    if value.ndim == 4 and like.ndim == 5:
        value = inflate(value, like.shape[2])
        done.append("inflated from 2-D to 3-D")
    first = next(m for m in net.features.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))
    if layer is first and value.ndim == like.ndim and value.shape[1] != like.shape[1]:
        old, new = value.shape[1], like.shape[1]
        value = adapt_channels(value, new)
        done.append(f"first convolution adapted from {old} channels to {new}")
    report.adapted += [text for text in done if text not in report.adapted]
    return value


def sizes(value: Tensor, like: Tensor | None) -> str:
    """Return the size of a tensor in the file, and where they differ in the net."""
    return times(value.shape) + (f", here {times(like.shape)}" if like is not None else "")


def check_trunk(
    net: Net, state: Mapping[str, Tensor], fitting: Mapping[str, Tensor], like: Mapping[str, Tensor]
) -> None:
    """Raise UserError unless all tensors of the trunk found their place, and some did."""

    def trunk(key: str) -> bool:
        return not key.startswith(HEADS) and not key.endswith(COUNTS)

    wrong = [key for key in state if trunk(key) and key in like and key not in fitting]
    unknown = [key for key in state if trunk(key) and key not in like]
    missing = [key for key in like if trunk(key) and key not in state]
    if unknown or missing:
        parts = [f"{len(unknown)} unknown ({some(unknown)})"] if unknown else []
        parts += [f"{len(missing)} missing ({some(missing)})"] if missing else []
        raise UserError(f"weights don't fit {net.name}: {', '.join(parts)}; check model and depth")
    if wrong:
        key = wrong[0]
        raise UserError(
            f"weights don't fit {net.name}: {key} is {times(state[key].shape)} but the net needs "
            f"{times(like[key].shape)}; check model, width and stem=imagenet"
        )
    if not fitting:
        raise UserError(f"weights don't fit {net.name}: not one tensor has a place in it")


def read_state_dict(path: Path) -> Mapping[str, Tensor]:
    """Read the state dict in a file; nothing but tensors and plain values is unpickled."""
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # whatever unpickling raises on a file that is something else
        raise UserError(
            f"{path} isn't a file of weights that torch.save wrote, or a damaged one "
            "(of a whole model, save its state_dict)"
        ) from error
    for key in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    named = isinstance(state, Mapping) and all(isinstance(key, str) for key in state)
    if not named or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} doesn't hold a state dict (names and tensors)")
    return unwrapped(state)


def read_safetensors(path: Path) -> Mapping[str, Tensor]:
    """Read the tensors in a file of the safetensors library."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return unwrapped(load_file(path))
    except OSError as error:
        raise unreadable(path, error) from error
    except SafetensorError as error:
        raise UserError(f"{path} isn't a file of weights that safetensors wrote") from error


def unreadable(path: Path, error: OSError) -> UserError:
    """Return the error for a file that can't be opened."""
    return UserError(f"can't read weights {path}: {error.strerror or error}")


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off what wrappers put before every name: ``net.`` of checkpoints of medcnn, and so on.

    >>> list(unwrapped({"module.fc.bias": torch.zeros(1), "module.fc.weight": torch.zeros(1, 2)}))
    ['fc.bias', 'fc.weight']
    """
    if any(key.startswith("net.features.") for key in state):  # beside others, of the classifier
        state = {key: value for key, value in state.items() if key.startswith("net.")}
    for prefix in ("module.", "model.", "net."):
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return dict(state)


def rename(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Replace the longest known prefix of each key, or leave it."""
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


def some(keys: list[str]) -> str:
    """Return the first few of many keys."""
    return ", ".join(keys[:SHOWN]) + (", …" if len(keys) > SHOWN else "")
