"""Image classifiers of timm (R. Wightman, PyTorch Image Models)."""

import socket
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from torch import Tensor

from medcnn.errors import UserError
from medcnn.jobs.lacking import nearest
from medcnn.nets.base import Net, Problem
from medcnn.nets.foreign.net import first_line, foreign_net, make

TAKEN = {  # options of timm that are set otherwise
    "checkpoint_path": "use model.weights",
    "drop_rate": "use model.dropout",
    "features_only": "a classifier needs its head",
    "img_size": "the images decide",
    "in_chans": "the images decide",
    "num_classes": "the labels decide",
    "pretrained": "use model.weights",
}


def timm_net(name: str, problem: Problem, /, *, dropout: float = 0.0, **options: Any) -> Net:
    """Return a model of timm with random weights; see `medcnn.nets.foreign.net` for its stages.

    Args:
        name: As `timm.list_models` has it, such as ``resnet18`` or ``convnext_tiny``.
        problem: What it is for. A model for images of one size is made for its input_size, or where
            that isn't known for timm's.
        dropout: Probability in front of the last linear layer.
        **options: Of timm's model, such as ``drop_path_rate=0.1``.

    Raises:
        UserError: timm isn't installed, an unknown name or option, or a model that isn't of the
            form ``head(features(x))`` or doesn't take images of input_size.
    """
    timm = load_timm()
    config = configuration(timm, name)
    for key in TAKEN.keys() & options:
        raise UserError(f"model.{key} can't be set for a model of timm: {TAKEN[key]}")
    options |= {"in_chans": problem.in_channels, "num_classes": problem.num_classes}
    options["drop_rate"] = 0.0
    if config.fixed_input_size and problem.input_size is not None:
        options["img_size"] = problem.input_size
    factory = partial(timm.create_model, name)
    model, given = make(name, factory, options, optional=("drop_rate", "img_size"))
    if not hasattr(model, "get_classifier"):
        raise UserError(f"{name} of timm is no classifier")
    classifier = model.get_classifier()
    return foreign_net(
        model,
        name,
        problem,
        usual_size=given.get("img_size", config.input_size[1:]),
        dropout=dropout,
        classifiers=classifier if isinstance(classifier, tuple) else (classifier,),
    )


def timm_state(name: str) -> dict[str, Tensor]:
    """Return the published weights of a model of timm, under timm's own names.

    timm downloads them where its cache (that of the Hugging Face hub or of torch.hub) doesn't hold
    them yet.

    Args:
        name: As `timm.list_pretrained` has it, such as ``resnet18`` or ``resnet18.a1_in1k``.

    Raises:
        UserError: timm isn't installed, an unknown name, no published weights, or no way to get
            them now.
    """
    timm = load_timm()
    config = configuration(timm, name)
    if not config.has_weights:
        raise UserError(f"model.pretrained=true: timm publishes no weights of {name}")
    place, file = located(config)
    hint = "download it elsewhere and give its place with model.weights=…"
    if config.hf_hub_id and file is None and not reachable():
        raise UserError(f"model.pretrained=true: can't get {place} (no connection); {hint}")
    overlay = {"file": file} if file else None
    try:
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    except Exception as error:  # of the hub, its network library, the file …
        reason = first_line(error).split(". ")[0]
        raise UserError(f"model.pretrained=true: can't get {place} ({reason}); {hint}") from error
    state: dict[str, Tensor] = model.state_dict()
    return state


def load_timm() -> Any:
    """Return the module timm; raise UserError where it isn't installed."""
    try:
        return import_module("timm")
    except ImportError as error:
        raise UserError('models of timm need timm: pip install "medcnn[timm]"') from error


def configuration(timm: Any, name: str) -> Any:
    """Return what timm knows of a model: its usual size, and where its weights are."""
    model, names = name.split(".")[0], timm.list_models()
    if model not in names:
        raise UserError(f"model.name={name}: timm has no such model{nearest(model, names)}")
    try:
        return timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        known = timm.list_models(f"{model}.*", pretrained=True)
        raise UserError(
            f"model.name={name}: timm has no such weights (known: {', '.join(known)})"
        ) from error


def located(config: Any) -> tuple[str, str | None]:
    """Return in words where timm gets a model's weights, and their file in the cache, if any."""
    if not config.hf_hub_id:
        return str(config.url or config.file), None
    repository, named = config.hf_hub_id.split("@")[0], config.hf_hub_filename
    files = [named] if named else ["model.safetensors", "pytorch_model.bin"]
    look = import_module("huggingface_hub").try_to_load_from_cache
    cached = [path for file in files if isinstance(path := look(repository, file), str)]
    return f"{files[0]} of {repository} on {hub()}", cached[0] if cached else None


def hub() -> str:
    """Return the name of the host of Hugging Face's hub, or of the mirror that is set."""
    endpoint = import_module("huggingface_hub").constants.ENDPOINT
    return urlsplit(endpoint).netloc


def reachable() -> bool:
    """Return whether the hub's name resolves; the hub's own library would try for a minute."""
    if getproxies():  # a proxy resolves names itself
        return True
    with suppress(OSError):
        return socket.getaddrinfo(hub(), 443) is not None
    return False
