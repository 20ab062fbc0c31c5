"""Image and volume classifiers of MONAI."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from torch import nn

from medcnn.errors import UserError
from medcnn.jobs.lacking import nearest
from medcnn.nets.base import Net, Problem
from medcnn.nets.foreign.net import foreign_net, make


class Family(NamedTuple):
    """Names of what every net is given, in a class of MONAI."""

    base: str
    in_channels: str = "in_channels"
    num_classes: str = "num_classes"


RESNET = Family("ResNet", in_channels="n_input_channels")
DENSENET = Family("DenseNet", num_classes="out_channels")
SENET = Family("SENet")
EFFICIENTNET = Family("EfficientNetBN")
# name in lower case without - and _: its family
CLASSIFIERS: dict[str, Family] = {
    "resnet": RESNET,
    **{f"resnet{depth}": RESNET for depth in (10, 18, 34, 50, 101, 152, 200)},
    "densenet": DENSENET,
    **{f"densenet{depth}": DENSENET for depth in (121, 169, 201, 264)},
    "senet": SENET,
    "senet154": SENET,
    **{f"seresnet{depth}": SENET for depth in (50, 101, 152)},
    **{f"seresnext{depth}": SENET for depth in (50, 101)},
    "efficientnetbn": EFFICIENTNET,
    **{f"efficientnetb{number}": EFFICIENTNET for number in range(9)},
}
# others that a reader of MONAI's list may try, and why they don't fit
UNFIT = {
    "torchvisionfcmodel": "it is a net of torchvision; use model.library=timm",
    "vit": "it gives hidden states beside its logits; use a ViT of timm",
    "milmodel": "it classifies bags of images",
}
USUAL_SIDE = 128
TAKEN = {  # options of MONAI that are set otherwise
    "pretrained": "use model.weights",
    "progress": "nothing is downloaded",
    "spatial_dims": "the images decide",
}


def monai_net(name: str, problem: Problem, /, *, dropout: float = 0.0, **options: Any) -> Net:
    """Return a classifier of MONAI; see `medcnn.nets.foreign.net` for its stages.

    MONAI's resnets have a stride of 1 in their first convolution, where torchvision's have 2:
    ``conv1_t_stride=2`` makes them the usual net at a fraction of the time.

    Args:
        name: Of a class or function of `monai.networks.nets`, such as ``resnet18``,
            ``DenseNet121`` or ``se_resnet50``, or ``efficientnet-b0``; see `CLASSIFIERS`.
        problem: What it is for.
        dropout: Probability in front of the last linear layer.
        **options: Of MONAI's class, such as ``no_max_pool=True`` of a resnet.

    Raises:
        UserError: An unknown name or option, a value that MONAI refuses, or images too small.
    """
    key = name.lower().replace("-", "").replace("_", "")
    if key in UNFIT:
        raise UserError(f"model.name={name} doesn't fit: {UNFIT[key]}")
    if key not in CLASSIFIERS:
        hint = nearest(key, [*CLASSIFIERS])
        raise UserError(f"model.name={name}: no such classifier of MONAI{hint}")
    family = CLASSIFIERS[key]
    factory, fixed = factory_of(key, family)
    given = {
        family.in_channels: problem.in_channels,
        family.num_classes: problem.num_classes,
        "spatial_dims": problem.spatial_dims,
        **fixed,
    }
    check_options(name, options, given, factory, family)
    model, _ = make(name, factory, options | given)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return foreign_net(
        model,
        name,
        problem,
        usual_size=[USUAL_SIDE] * problem.spatial_dims,
        dropout=dropout,
        classifiers=linear[-1:],
    )


def factory_of(key: str, family: Family) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
    """Return MONAI's class or function for a name, and the arguments that the name stands for."""
    nets = import_module("monai.networks.nets")
    if family is EFFICIENTNET:
        fixed: dict[str, Any] = {"pretrained": False}
        if key != "efficientnetbn":
            fixed["model_name"] = f"efficientnet-{key.removeprefix('efficientnet')}"
        return nets.EfficientNetBN, fixed
    found = next(thing for n, thing in vars(nets).items() if n.lower() == key and callable(thing))
    return found, {}


def check_options(
    name: str,
    options: dict[str, Any],
    given: dict[str, Any],
    factory: Callable[..., nn.Module],
    family: Family,
) -> None:
    """Raise UserError for an option that neither the factory nor its family's class has."""
    base = getattr(import_module("monai.networks.nets"), family.base)
    names = [*inspect.signature(factory).parameters, *inspect.signature(base).parameters]
    taken = TAKEN | dict.fromkeys(given, "the data or the name decides")
    if family is SENET:  # in densenets it is another dropout, of each layer
        taken["dropout_prob"] = "use model.dropout"
    known = sorted(set(names) - set(taken) - {"kwargs"})
    for key in options:
        if key in taken:
            raise UserError(f"model.{key} can't be set for MONAI's {name}: {taken[key]}")
        if key not in known:
            meant = nearest(key, known)
            raise UserError(f"model.{key}: MONAI's {name} has no such option{meant}")
