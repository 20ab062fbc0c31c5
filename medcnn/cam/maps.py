"""Maps of a batch: each image explained for its own class, with nothing left behind in the net."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from medcnn.cam.decisions import ClassifierNet, Decisions, decisions_of
from medcnn.cam.from_input import gradient, guided_backprop, integrated_gradients, smoothgrad
from medcnn.cam.methods import (
    by_class_weights,
    by_gradients,
    by_principal_component,
    fused,
    gradcam,
    gradcampp,
    hirescam,
    layercam,
    resized,
    xgradcam,
)
from medcnn.cam.perturbation import ablationcam, occlusion, scorecam
from medcnn.cam.smoothing import smoothed
from medcnn.cam.targets import Chosen
from medcnn.errors import UserError, check_whole_number
from medcnn.nets.studies import Context
from medcnn.objective import Objective

Method = Callable[[Decisions], Tensor]
"""From N images with T targets each to raw maps (N, T, *spatial), of any spatial size."""

OF_A_STAGE: dict[str, Method] = {
    "cam": by_class_weights,
    "gradcam": partial(by_gradients, formula=gradcam),
    "gradcampp": partial(by_gradients, formula=gradcampp),
    "hirescam": partial(by_gradients, formula=hirescam),
    "xgradcam": partial(by_gradients, formula=xgradcam),
    "layercam": partial(by_gradients, formula=layercam),
    "scorecam": scorecam,
    "ablationcam": ablationcam,
    "eigencam": by_principal_component,
}
OF_THE_INPUT: dict[str, Method] = {
    "occlusion": occlusion,
    "gradient": gradient,
    "smoothgrad": smoothgrad,
    "integrated_gradients": integrated_gradients,
    "guided_backprop": guided_backprop,
}
METHODS = (*OF_A_STAGE, *OF_THE_INPUT)
SIGNED = frozenset({"cam", "hirescam", "occlusion", "integrated_gradients"})
"""The methods whose maps go below zero, where there is evidence against the class."""
OF_STUDIES = tuple(
    method
    for method, how in (OF_A_STAGE | OF_THE_INPUT).items()
    if isinstance(how, partial) or how.__module__ == gradient.__module__
)
"""The methods by a gradient, which the images of a study share: their maps are on one scale."""


def explain(
    net: nn.Module | ClassifierNet,
    images: Tensor,
    targets: Chosen = None,
    *,
    method: str = "gradcam",
    stage: str | Sequence[str] = "last",
    size: Literal["input"] | None = "input",
    objective: Objective | None = None,
    smooth: int = 0,
    flip: Sequence[int] = (-1,),
    context: Context = None,
) -> Tensor:
    """Return maps of a batch, each image explained for its own class.

    The activations A of a stage are computed without a graph, the rest of the net is applied to
    them, and the backward pass stops at A; the methods of the input go on to the image. No hook is
    set, no ``.grad`` is filled, frozen nets work, and so do `torch.no_grad`,
    `torch.inference_mode` and autocast around the call.

    The net stays in the mode it is in. Call ``net.eval()`` first: in training mode batch
    normalisation mixes the images of a batch and updates its running statistics, as in any
    forward pass, and dropout makes the map random.

    Args:
        net: A net with ``features`` and ``head``, its logits being ``head(features(images))``; or
            one of torchvision, timm or MONAI, which is taken apart as ``model=timm`` is, see
            `medcnn.nets.foreign.apart`; compiled, or wrapped in DistributedDataParallel, too.
        images: (N, C, *spatial), 2-D or 3-D, as the net takes them.
        targets: (N,) int64 class indices; (N, T) for several maps of each image, at the price of
            little more than one; a function from logits (M, outputs) to scores (M,), to explain
            something else than a class; None for the class that the net decides on (multi-label:
            the most probable label; regression: the first target).
        method: One of `METHODS`: see the functions of these names for formulas and papers.
        stage: Name of a stage of ``net.features``, whose output is A; "last" for the last one. With
            method=layercam several: their maps are fused. The methods of the input have none.
        size: "input" to interpolate the maps (bi-, trilinear) to the images' spatial size, None
            to leave them at the stage's own.
        objective: Says which scalar stands for a class; None for ``logits[:, target]``. A net with
            one logit needs it.
        smooth: From 2 on, the map is the mean over so many copies of the image, all but the first
            shifted by up to 1/32 of a side, and mirrored (test-time augmentation).
        flip: The axes that `smooth` mirrors, from the end: those to which the net is used.
        context: What the head takes beside the maps (`medcnn.nets.studies.StudyHead`). With its
            ``bag`` targets and logits are those of B studies, and so is the score: the maps of a
            study's images are on one scale.

    Returns:
        Raw maps (N, *spatial) float32 on the images' device, or (N, T, *spatial); high means
        important. CAM, HiResCAM, occlusion and integrated gradients are signed, the others nowhere
        below zero. See `normalise` for pictures.

    Raises:
        UserError: Unknown method, stage or size, targets that don't fit, a net without spatial
            activations, or a method that doesn't fit the head, the task or a study.
    """
    stages = [stage] if isinstance(stage, str) else list(stage)
    _check(method, stages, size, smooth)
    if context is not None and method not in OF_STUDIES:
        raise UserError(
            f"method={method}: made for images that are decided on alone, not for studies or with "
            f"columns; choose one of {', '.join(OF_STUDIES)}"
        )
    decisions = decisions_of(net, images, targets, stages, objective, context)
    with _autocast_without_cache(images.device.type):
        if smooth:
            with torch.no_grad():
                chosen = decisions.targets.resolved(decisions.net(images))
            once = partial(
                explain, method=method, stage=stage, objective=objective, context=context
            )
            aim = chosen.function or chosen.classes
            return smoothed(lambda batch: once(net, batch, aim), images, smooth, flip)
        if len(decisions.pieces) > 2:
            maps = fused(decisions)
        else:
            maps = (OF_A_STAGE | OF_THE_INPUT)[method](decisions).float()
            if size is not None:
                maps = resized(maps.flatten(0, 1), images.shape[2:]).unflatten(0, maps.shape[:2])
    return maps[:, 0] if decisions.targets.single else maps


def normalise(maps: Tensor) -> Tensor:
    """Return maps for pictures: the positive part of each, divided by its maximum.

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
    """Return (N,) bool: maps (N, *spatial) without a value above zero, which show nothing.

    A map with NaN in it counts as empty.
    """
    return ~(maps.flatten(1).amax(1) > 0)


def _check(method: str, stages: list[str], size: str | None, smooth: int) -> None:
    if method not in METHODS:
        raise UserError(f"method={method}: choose one of {', '.join(METHODS)}")
    if size not in ("input", None):
        raise UserError(f"size={size}: choose input or null (the stage's own size)")
    if not stages:
        raise UserError("stage=[]: name at least one stage, or last")
    if method in OF_THE_INPUT and stages != ["last"]:
        raise UserError(f"method={method} goes back to the image, so stage={stages} means nothing")
    if len(stages) > 1 and method != "layercam":
        raise UserError(f"method={method}: only layercam fuses several stages, not {stages}")
    if size is None and (len(stages) > 1 or smooth):
        raise UserError("size=null: maps that are fused or smoothed have the size of the input")
    check_whole_number("smooth", smooth, least=0)
    if smooth == 1:
        raise UserError("smooth=1: give 0, or at least 2 copies")


def _autocast_without_cache(device_type: str) -> torch.autocast:
    """Return the caller's autocast state, without its cache of cast weights.

    Weights cast without a graph (here, or earlier by the caller) would otherwise be used again
    where a graph is needed.
    """
    return torch.autocast(
        device_type,
        dtype=torch.get_autocast_dtype(device_type),
        enabled=torch.is_autocast_enabled(device_type),
        cache_enabled=False,
    )
