"""All nets by name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medcnn.errors import UserError, check_whole_number
from medcnn.jobs.lacking import lacking, nearest
from medcnn.nets.base import Net, Problem
from medcnn.nets.cut import cut as cut_at
from medcnn.nets.cut import head_kind
from medcnn.nets.families.alexnet import alexnet
from medcnn.nets.families.densenet import densenet
from medcnn.nets.families.googlenet import googlenet
from medcnn.nets.families.lenet import lenet
from medcnn.nets.families.linear import linear
from medcnn.nets.families.mlp import mlp
from medcnn.nets.families.resnet import resnet
from medcnn.nets.families.vgg import vgg
from medcnn.nets.families.zfnet import zfnet
from medcnn.nets.fusion import fused_head
from medcnn.nets.initialise import initialise
from medcnn.nets.pretrained.published import published_state
from medcnn.nets.pretrained.weights import load_weights
from medcnn.nets.studies import study_head
from medcnn.nets.variants import VARIANTS, resolve
from medcnn.objective import Task

FAMILIES: dict[str, Callable[..., Net]] = {
    "linear": linear,
    "mlp": mlp,
    "lenet": lenet,
    "alexnet": alexnet,
    "zfnet": zfnet,
    "vgg": vgg,
    "googlenet": googlenet,
    "resnet": resnet,
    "densenet": densenet,
}


def build(
    name: str,
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int = 2,
    input_size: Sequence[int] | None = None,
    library: str | None = None,
    init: str | None = None,
    pretrained: bool = False,
    weights: str | Path | None = None,
    cut: str | None = None,
    aggregate: str | None = None,
    views: int = 0,
    chunk: int | None = None,
    fusion: str | None = None,
    columns: Sequence[float] = (),
    task: Task | None = None,
    **options: Any,
) -> Net:
    """Make a net.

    >>> net = build("resnet", depth=18, in_channels=1, num_classes=3, input_size=(28, 28))
    >>> net.name, net.stem, net.min_size
    ('resnet18', 'small', 8)

    Args:
        name: A family (linear, mlp, lenet, alexnet, zfnet, vgg, googlenet, resnet, densenet), one
            of its nets (resnet50, vgg16_bn, …), or of a library's the name that it has there.
        in_channels: Channels of an image.
        num_classes: Number of logits.
        spatial_dims: 2 for images, 3 for volumes.
        input_size: Spatial size of the images, (H, W) or (D, H, W), where it is known: stem=auto
            goes by it, and images that are too small are refused at once.
        library: Whose net: None for medcnn's own, timm or monai.
        init: How weights are drawn, see `medcnn.nets.initialise`; None for he, and for the
            library's own way with its nets.
        pretrained: Take the weights that torchvision (or timm) publishes. stem=auto is then the
            imagenet stem.
        weights: A file of weights to begin with, see `load_weights`.
        cut: Name of the last stage to keep, under a new head, see `medcnn.nets.cut`.
        aggregate: How the images of a study are put together, one of
            `medcnn.nets.aggregators.AGGREGATORS`; None for a net of single images.
        views: Number of the views that an image of a study may be; 0 where they aren't known.
        chunk: Images that go through the features at a time, see `medcnn.nets.chunks`; None for
            all.
        fusion: How columns of a table come in, late, concat or film, see `medcnn.nets.fusion`; None
            for a net that takes none.
        columns: With it the columns (F,) of a patient of whom nothing is known.
        task: What the logits mean (`medcnn.objective`); for late fusion.
        **options: Of the family; see the function of its name.

    Raises:
        UserError: Unknown name, option or value, images too small for the net, or weights that
            can't be got or don't fit.
    """
    size = None if input_size is None else tuple(int(side) for side in input_size)
    problem = Problem(in_channels, num_classes, spatial_dims, size)
    check_common(name, problem, options)
    if pretrained and weights is not None:
        raise UserError("model.pretrained=true and model.weights: choose one of them")
    if library is None:
        net = own_net(name, pretrained, problem, options)
    else:
        net = library_net(library, name, problem, options)
    if size is not None:
        net.check_size(size)
    if init is not None or library is None:
        initialise(net, init or "he")
    if pretrained:
        net.loaded = load_weights(net, pretrained_state(net, library, name))
    elif weights is not None:
        net.loaded = load_weights(net, weights)
    if cut is not None:
        loaded = net.loaded
        net = cut_at(net, cut, head=head_kind(net.head), dropout=options.get("dropout", 0.0))
        net.loaded = loaded
    if chunk is not None:
        check_whole_number("model.chunk", chunk, least=1)
        net.chunk = chunk
    if aggregate is not None:
        net.head = study_head(net, aggregate, views)
    if fusion is not None:
        net.head = fused_head(net, fusion, columns, task)
    if hasattr(net, "aux") and (aggregate or fusion):
        net.aux = nn.ModuleDict()  # GoogLeNet's further heads, of single images alone
    return net


def own_net(name: str, pretrained: bool, problem: Problem, options: dict[str, Any]) -> Net:
    """Return a net of medcnn's own families, with PyTorch's weights."""
    if name in FAMILIES:
        family = name
    else:
        family, fixed = resolve(name)
        if family not in FAMILIES:
            known = list(dict.fromkeys([*FAMILIES, *VARIANTS]))
            hint = lacking(name) or f"no such net{nearest(str(name), known)}"
            raise UserError(f"model.name={name}: {hint}")
        for key, value in options.items():
            if fixed.get(key, value) != value:
                raise UserError(f"model.{key}={value}: {name} has {key}={fixed[key]}")
        options = options | fixed
    defaults = options_of(FAMILIES[family])
    check_options(family, options, defaults)
    if pretrained and options.get("stem") in (None, "auto") and "stem" in defaults:
        options = options | {"stem": "imagenet"}
    return FAMILIES[family](problem, **options)


def options_of(family: Callable[..., Net]) -> dict[str, Any]:
    """Return the options of a family, and their defaults."""
    parameters = inspect.signature(family).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


@torch.inference_mode(False)  # how tensors are passed on is watched, which inference tensors forbid
def library_net(library: str, name: str, problem: Problem, options: dict[str, Any]) -> Net:
    """Return a net of timm or MONAI, see `medcnn.nets.foreign`."""
    from medcnn.nets.foreign import monai_net, timm_net

    if library == "monai":
        return monai_net(name, problem, **options)
    if library != "timm":
        raise UserError(f"model.library={library}: choose timm, monai or null")
    if problem.spatial_dims != 2:
        raise UserError(f"model.name={name}: timm's nets are for images; monai has 3-D ones")
    return timm_net(name, problem, **options)


def pretrained_state(net: Net, library: str | None, name: str) -> Mapping[str, Tensor]:
    """Return the weights that are published for a net; raise UserError where there are none."""
    if library is None:
        return published_state(net.name)
    if library == "monai":
        raise UserError("model.pretrained=true: MONAI publishes no weights of these nets")
    from medcnn.nets.foreign import timm_state

    return timm_state(name)


def check_common(name: str, problem: Problem, options: Mapping[str, Any]) -> None:
    """Raise UserError for what no net can be built with."""
    dims, size = problem.spatial_dims, problem.input_size
    if problem.in_channels < 1 or problem.num_classes < 1:
        raise UserError(
            f"{name} needs at least 1 channel and 1 logit, got in_channels={problem.in_channels} "
            f"and num_classes={problem.num_classes}"
        )
    if dims not in (2, 3):
        raise UserError(f"{name} has no form for spatial_dims={dims}; choose 2 or 3")
    if size is not None and len(size) != dims:
        raise UserError(f"input_size={size} must hold {dims} numbers")
    for key in ("dropout", "stochastic_depth"):
        value = options.get(key, 0.0)
        if not isinstance(value, int | float) or not 0 <= value < 1:
            raise UserError(f"model.{key}={value}: give a probability, from 0 to below 1")
    width = options.get("width", 1.0)
    if not isinstance(width, int | float) or isinstance(width, bool) or not 0 < width <= 16:
        raise UserError(f"model.width={width}: give a factor, above 0 and up to 16")


def check_options(name: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise UserError for an unknown option, or for a switch that is none."""
    for key, value in options.items():
        if key not in defaults:
            meant = nearest(key, list(defaults)) or ", it has none"
            raise UserError(f"model.{key}: {name} has no such option{meant}")
        if isinstance(defaults[key], bool) and not isinstance(value, bool):
            raise UserError(f"model.{key}={value}: give true or false")
