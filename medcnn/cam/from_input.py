"""Maps by gradients with respect to the image itself; |·| and Σ_c go over its channels."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from medcnn.cam.decisions import Decisions
from medcnn.cam.targets import Targets, gradients_of
from medcnn.errors import UserError

SMOOTHGRAD_COPIES, SMOOTHGRAD_SPREAD = 16, 0.15
PATH_NODES = 32


def gradient(decisions: Decisions) -> Tensor:
    """Return the gradient of the score with respect to the image, (N, T, *spatial).

    M^c(x) = max_c |∂y^c/∂I_c(x)|

    K. Simonyan, A. Vedaldi, A. Zisserman, "Deep inside convolutional networks: visualising image
    classification models and saliency maps", ICLR workshop 2014.
    """
    return _gradients(decisions, decisions.images).abs().amax(2)


def smoothgrad(decisions: Decisions) -> Tensor:
    """Return the mean gradient over noisy copies of the image, (N, T, *spatial).

    M^c(x) = max_c |1/n Σ_i ∂y^c/∂I_c(x) at I + ε_i|,    ε_i ~ N(0, σ²)

    D. Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017; n = 16 copies,
    σ = 0.15 of the range of the image's values. The noise is the same for every image, so that a
    map doesn't depend on the batch.
    """
    images = decisions.images
    spread = images.flatten(1).amax(1) - images.flatten(1).amin(1)
    spread = spread.reshape(-1, *[1] * (images.dim() - 1)) * SMOOTHGRAD_SPREAD
    generator = torch.Generator().manual_seed(0)
    targets = _resolved(decisions)
    found = []
    for _ in range(SMOOTHGRAD_COPIES):
        noise = torch.randn(images.shape[1:], generator=generator).to(images)
        found.append(_gradients(decisions, images + spread * noise, targets))
    return torch.stack(found).mean(0).abs().amax(2)


def integrated_gradients(decisions: Decisions) -> Tensor:
    """Return the gradient along the way from a black image, (N, T, *spatial), signed.

    M^c(x) = Σ_c (I_c(x) − I'_c(x)) · ∫_0^1 ∂y^c/∂I_c(x) at I' + t (I − I') dt,    I' = 0

    M. Sundararajan, A. Taly, Q. Yan, "Axiomatic attribution for deep networks", ICML 2017, eq. 1.
    Zero is, after normalisation, the mean intensity of the training images. The sum over x is
    y^c(I) − y^c(I') ("completeness"), up to the error of Gauss and Legendre's quadrature with 32
    nodes.
    """
    images = decisions.images
    targets = _resolved(decisions)
    nodes, weights = np.polynomial.legendre.leggauss(PATH_NODES)
    integral: Tensor | float = 0.0
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        integral = integral + float(weight) * _gradients(decisions, float(node) * images, targets)
    return (images[:, None].float() * integral).sum(2)


def guided_backprop(decisions: Decisions) -> Tensor:
    """Return the gradient with ReLUs that pass back positive values only, (N, T, *spatial).

    M^c(x) = max_c |R_c(x)|, R backpropagated with R_in = [input > 0] · [R_out > 0] · R_out

    J. T. Springenberg et al., "Striving for simplicity: the all convolutional net", ICLR workshop
    2015. It hardly depends on the class or on what the net has learned (J. Adebayo et
    al., "Sanity checks for saliency maps", 2018): a picture of edges, here to be compared with.

    Raises:
        UserError: The net has no ReLU.
    """
    mode = _GuidedReLUs()
    found = _gradients(decisions, decisions.images, mode=mode)
    if not mode.seen:
        raise UserError("method=guided_backprop: the net has no ReLU; use method=gradient")
    return found.abs().amax(2)


def _resolved(decisions: Decisions) -> Targets:
    """Return the targets of the images themselves, for all points at which there is a gradient."""
    with torch.inference_mode(False), torch.no_grad():
        return decisions.targets.resolved(decisions.net(decisions.images.clone()))


def _gradients(
    decisions: Decisions, images: Tensor, targets: Any = None, mode: Any = None
) -> Tensor:
    """Return gradients (N, T, C, *spatial) float32 of the scores with respect to images."""
    with torch.inference_mode(False), torch.enable_grad():
        x = images.detach().clone().requires_grad_()
        with mode or nullcontext():
            logits = decisions.net(x)
        targets = decisions.targets.resolved(logits) if targets is None else targets
        scores = targets.scores(logits)
        found = [of_images for (of_images,) in gradients_of(scores, [x])]
    return torch.stack(found, 1).float()


class _GuidedReLU(torch.autograd.Function):
    """ReLU whose gradient passes only where it and the input are positive."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = x.clamp(min=0)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Tensor:
        (out,) = ctx.saved_tensors
        return given[0] * (out > 0) * (given[0] > 0)


class _GuidedReLUs(TorchFunctionMode):
    """While it is entered, every ReLU is a guided one; no module is touched."""

    NAMES: frozenset[Callable[..., Any]] = frozenset(
        (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
    )

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.NAMES:
            self.seen += 1
            return _GuidedReLU.apply(args[0])
        return func(*args, **(kwargs or {}))
