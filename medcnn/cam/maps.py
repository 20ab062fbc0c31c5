"""Maps of a batch: each image explained for its own class, with nothing left behind in the net."""

from collections.abc import Callable
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medcnn.cam.linear_head import class_weights
from medcnn.cam.methods import cam, gradcam
from medcnn.errors import UserError
from medcnn.nets.base import Net
from medcnn.objective import Objective

GRADIENT_METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"gradcam": gradcam}
METHODS = ("cam", *GRADIENT_METHODS)
Function = Callable[[Tensor], Tensor]


class ClassifierNet(Protocol):
    """A classifier that is ``head(features(x))``."""

    @property
    def features(self) -> Function:
        """Images to activations (N, K, *spatial); named stages if it is an nn.Sequential."""

    @property
    def head(self) -> Function:
        """Activations to logits (N, outputs)."""


def explain(
    net: ClassifierNet,
    images: Tensor,
    targets: Tensor | None = None,
    *,
    method: str = "gradcam",
    stage: str = "last",
    size: Literal["input"] | None = "input",
    objective: Objective | None = None,
) -> Tensor:
    """Class activation maps of a batch, each image explained for its own class.

    The activations A of a stage are computed without a graph, the rest of the net is applied to
    them, and the backward pass stops at A. So no hook is set, no ``.grad`` is filled, frozen nets
    work, and so do `torch.no_grad`, `torch.inference_mode` and autocast around the call.

    The net stays in the mode it is in. Call ``net.eval()`` first: in training mode batch
    normalisation mixes the images of a batch and updates its running statistics, as in any
    forward pass, and dropout makes the map random.

    Args:
        net: A net with ``features`` and ``head``, its logits being ``head(features(images))``.
        images: (N, C, *spatial), 2-D or 3-D, as the net takes them.
        targets: (N,) int64 class indices; None for the class that the net decides on (multi-label:
            the most probable label).
        method: One of `METHODS`.
        stage: Name of a stage of ``net.features``, whose output is A; "last" for the last one.
        size: "input" to interpolate the maps (bi-, trilinear) to the images' spatial size, None
            to leave them at the stage's own.
        objective: Says which scalar stands for a class; None for ``logits[:, target]``. A net with
            one logit needs it.

    Returns:
        Raw maps (N, *spatial) float32 on the images' device; high means important. Grad-CAM is
        nowhere below zero, CAM is signed. See `normalise` for pictures.

    Raises:
        UserError: Unknown method, stage or size, targets that don't fit, a net without spatial
            activations, or a method that doesn't fit the head or the task.
    """
    _check(net, images, method, size)
    before, after = _split(net, stage, method)
    with _autocast_without_cache(images.device.type):
        with torch.no_grad():
            activations = before(images)
        if activations.dim() != images.dim():
            raise UserError(
                f"stage={stage}: its output has the shape {tuple(activations.shape)}, which isn't "
                f"(N, K, *spatial); choose an earlier stage"
            )
        with torch.inference_mode(False), torch.enable_grad():
            # Fresh copies: inference tensors can't be differentiated, and the next layer may work
            # in place.
            activations = activations.detach().clone().requires_grad_()
            logits = after(activations.clone())
            targets = _targets(logits, targets, objective)
            if method == "cam":
                weights = class_weights(net.head, activations, targets, objective)
                maps = cam(activations.detach().float(), weights)
            else:
                score = _score(logits, targets, objective).sum()
                (gradients,) = torch.autograd.grad(score, activations)
                formula = GRADIENT_METHODS[method]
                maps = formula(activations.detach().float(), gradients.float())
    return maps if size is None else _resize(maps, images.shape[2:])


def normalise(maps: Tensor) -> Tensor:
    """Maps for pictures: the positive part of each, divided by its maximum.

    Args:
        maps: (N, *spatial), raw.

    Returns:
        (N, *spatial) in [0, 1]; an empty map (see `is_empty`) is zero everywhere.

    Example:
        >>> normalise(torch.tensor([[-1.0, 0.0, 4.0], [-2.0, 0.0, 0.0]]))
        tensor([[0., 0., 1.],
                [0., 0., 0.]])
    """
    peaks = maps.flatten(1).amax(1).reshape(-1, *[1] * (maps.dim() - 1))
    return torch.where(peaks > 0, maps.clamp(min=0) / peaks, 0.0)


def is_empty(maps: Tensor) -> Tensor:
    """Whether each map (N, *spatial) has nothing to show: (N,) bool, no value above zero.

    A map with NaN in it counts as empty.
    """
    return ~(maps.flatten(1).amax(1) > 0)


def _check(net: ClassifierNet, images: Tensor, method: str, size: str | None) -> None:
    if method not in METHODS:
        raise UserError(f"method={method}: choose one of {', '.join(METHODS)}")
    if size not in ("input", None):
        raise UserError(f"size={size}: choose input or null (the stage's own size)")
    if not getattr(net, "spatial", True) or images.dim() not in (4, 5):
        raise UserError(
            f"{type(net).__name__} on images of shape {tuple(images.shape)} has no spatial "
            "activations, so there is no class activation map; use a convolutional model"
        )
    if isinstance(net, Net):
        net.check_input(images)


def _split(net: ClassifierNet, stage: str, method: str) -> tuple[Function, Function]:
    """The net in two functions: images to the stage's output, and from there to logits."""
    if stage == "last":
        return net.features, net.head
    stages = dict(net.features.named_children()) if isinstance(net.features, nn.Sequential) else {}
    if stage not in stages:
        raise UserError(f"stage={stage}: choose one of {', '.join([*stages, 'last'])}")
    if method == "cam" and stage != list(stages)[-1]:
        raise UserError(f"method=cam: defined for stage=last only, not {stage}; use method=gradcam")
    position = list(stages).index(stage) + 1
    assert isinstance(net.features, nn.Sequential)
    before, rest = net.features[:position], net.features[position:]
    return before, lambda activations: net.head(rest(activations))


def _targets(logits: Tensor, targets: Tensor | None, objective: Objective | None) -> Tensor:
    """Class indices (N,) int64 on the logits' device, checked; those decided where None."""
    if objective is None and logits.shape[1] == 1:
        raise UserError("a net with one logit: give its objective, which knows the positive class")
    classes = logits.shape[1] if objective is None else objective.num_classes
    if targets is None:
        return _decided(logits.detach(), objective)
    if targets.shape != logits.shape[:1] or targets.dtype.is_floating_point:
        raise UserError(
            f"targets: need one class index for each of the {len(logits)} images, "
            f"got {targets.dtype} of shape {tuple(targets.shape)}"
        )
    targets = targets.to(logits.device, torch.int64).clone()
    if not ((targets >= 0) & (targets < classes)).all():
        raise UserError(f"targets: {targets.tolist()} leave the classes 0 … {classes - 1}")
    return targets


def _decided(logits: Tensor, objective: Objective | None) -> Tensor:
    if objective is None:
        return logits.argmax(1)
    probs = objective.probs(logits)
    return probs.argmax(1) if objective.task == "multilabel" else objective.decide(probs)


def _score(logits: Tensor, targets: Tensor, objective: Objective | None) -> Tensor:
    if objective is None:
        return logits.gather(1, targets[:, None])[:, 0]
    return objective.score(logits, targets)


def _resize(maps: Tensor, size: torch.Size) -> Tensor:
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return F.interpolate(maps[:, None], size=size, mode=mode, align_corners=False)[:, 0]


def _autocast_without_cache(device_type: str) -> torch.autocast:
    """The caller's autocast state, without its cache of cast weights.

    Weights cast without a graph (here, or earlier by the caller) would otherwise be used again
    where a graph is needed.
    """
    return torch.autocast(
        device_type,
        dtype=torch.get_autocast_dtype(device_type),
        enabled=torch.is_autocast_enabled(device_type),
        cache_enabled=False,
    )
