"""Maps by activations and their gradients: one method, one formula.

A formula takes the activations A (N, K, *spatial) of N images with K channels, and their gradients
G = ∂y^c/∂A of that shape, with y^c the score that is explained. It gives maps (N, *spatial),
nowhere below zero unless it says that they are signed. Z is the product of the map's sizes.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.cam.decisions import Decisions
from medcnn.cam.linear_head import class_weights
from medcnn.cam.targets import gradients_of
from medcnn.errors import UserError

Formula = Callable[[Tensor, Tensor], Tensor]
FUSION_GAIN = 2.0  # γ of LayerCAM


def cam(activations: Tensor, weights: Tensor) -> Tensor:
    """Return the class activation map of a head of global average pooling and one linear layer.

    M^c(x) = Σ_k w_k^c A_k(x)

    B. Zhou et al., "Learning deep features for discriminative localization", CVPR 2016, eq. 2.
    Its mean over x is the logit of class c less the bias, so it is signed: below zero lies
    evidence against the class.

    Args:
        activations: A (N, K, *spatial).
        weights: w^c (N, K), each row the weights of the class that is explained in that image.

    Returns:
        (N, *spatial).
    """
    return torch.einsum("nkx,nk->nx", activations.flatten(2), weights).unflatten(
        1, activations.shape[2:]
    )


def gradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return the gradient-weighted class activation map.

    α_k^c = 1/Z Σ_x ∂y^c/∂A_k(x),    M^c(x) = ReLU(Σ_k α_k^c A_k(x))

    R. R. Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
    localization", ICCV 2017, eq. 1 and 2.
    """
    return cam(activations, gradients.flatten(2).mean(2)).relu()


def gradcampp(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return Grad-CAM++: a mean of the gradients for the class, weighted place by place.

    α_k(x) = G_k(x)² / (2 G_k(x)² + Σ_u A_k(u) · G_k(x)³),
    w_k = Σ_x α_k(x) ReLU(G_k(x)),    M^c(x) = ReLU(Σ_k w_k A_k(x))

    A. Chattopadhay et al., "Grad-CAM++: generalized gradient-based visual explanations for deep
    convolutional networks", WACV 2018. The derivatives there are of exp(y^c);
    its factor, one for the whole image, is left out. Places with a denominator at or below zero,
    which needs negative activations, have no weight.
    """
    g = gradients.flatten(2).relu()
    # G² cancelled: α = 1 / (2 + Σ A · G), which doesn't underflow where G is small.
    denominator = 2 + activations.flatten(2).sum(2, keepdim=True) * g
    alpha = torch.where(denominator > 0, 1 / denominator, 0.0)
    return cam(activations, (alpha * g).sum(2)).relu()


def hirescam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return HiResCAM: gradients weigh each place by itself, not by their mean.

    M^c(x) = Σ_k ∂y^c/∂A_k(x) · A_k(x)

    R. L. Draelos, L. Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of
    convolutional neural networks", 2020. Signed; behind a head of one linear layer its sum
    is the logit less the bias.
    """
    return (activations * gradients).sum(1)


def xgradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return XGrad-CAM: a mean of the gradients weighted by the activations.

    α_k^c = Σ_x (A_k(x) / Σ_u A_k(u)) · ∂y^c/∂A_k(x),    M^c(x) = ReLU(Σ_k α_k^c A_k(x))

    R. Fu et al., "Axiom-based Grad-CAM: towards accurate visualization and explanation of CNNs",
    BMVC 2020. A channel whose activations add up to zero has no weight.
    """
    total = activations.flatten(2).sum(2)
    alpha = (activations * gradients).flatten(2).sum(2) / torch.where(total != 0, total, torch.inf)
    return cam(activations, alpha).relu()


def layercam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return LayerCAM: only gradients that speak for the class, each place by itself.

    M^c(x) = ReLU(Σ_k ReLU(∂y^c/∂A_k(x)) · A_k(x))

    P.-T. Jiang et al., "LayerCAM: exploring hierarchical class activation maps for localization",
    IEEE TIP 2021. Made for early stages, too; of several stages see `fused`.
    """
    return (activations * gradients.relu()).sum(1).relu()


def eigencam(activations: Tensor) -> Tensor:
    """Return Eigen-CAM: the principal component of the channels, whatever the class.

    A as a matrix (Z, K) = U Σ Vᵀ,    M(x) = ReLU(A(x) · v_1)

    M. B. Muhammad, M. Yeasin, "Eigen-CAM: class activation map using principal components", IJCNN
    2020. The sign of v_1, which the decomposition leaves open, is that of a positive
    sum. It doesn't know the class, so it can't be evidence for one.
    """
    flat = activations.flatten(2).transpose(1, 2).double()  # (N, Z, K)
    vectors = torch.linalg.eigh(flat.transpose(1, 2) @ flat).eigenvectors[..., -1]
    projected = torch.einsum("nxk,nk->nx", flat, vectors)
    projected = projected * torch.where(projected.sum(1, keepdim=True) < 0, -1.0, 1.0)
    return projected.relu().float().unflatten(1, activations.shape[2:])


def by_class_weights(decisions: Decisions) -> Tensor:
    """Return maps (N, T, *spatial) of `cam`: one forward pass and no gradient.

    Raises:
        UserError: The head isn't one that has class weights.
    """
    if not decisions.at_end:
        raise UserError("method=cam: defined for stage=last only; use method=gradcam")
    activations = decisions.activations()
    targets = decisions.targets
    if targets.function is not None:
        raise UserError("method=cam: a function as target has no weights; use method=gradcam")
    with torch.no_grad():
        targets = targets.resolved(decisions.head(activations.clone()))
        assert targets.classes is not None
        classes = targets.classes.reshape(len(decisions.images), -1)
        weights = [
            class_weights(decisions.head, activations, one, targets.objective)
            for one in classes.unbind(1)
        ]
        return torch.stack([cam(activations.float(), one) for one in weights], 1)


def by_gradients(decisions: Decisions, formula: Formula) -> Tensor:
    """Return maps (N, T, *spatial) of a formula of activations and gradients, at one stage."""
    (activations,), gradients = _gradients(decisions)
    return torch.stack([formula(activations, one) for (one,) in gradients], 1)


def by_principal_component(decisions: Decisions) -> Tensor:
    """Return maps (N, T, *spatial) of `eigencam`, the same for each target."""
    activations = decisions.activations()
    with torch.no_grad():
        targets = decisions.targets.resolved(decisions.pieces[-1](activations.clone()))
        return eigencam(activations.float())[:, None].repeat_interleave(targets.count, 1)


def fused(decisions: Decisions) -> Tensor:
    """Return `layercam` of several stages in one, (N, T, *image size): the highest, after scaling.

    M(x) = max_s tanh(γ M_s(x) / max M_s),    γ = 2

    P.-T. Jiang et al., "LayerCAM", 2021. Of a study the maximum is that of all its images.
    """
    activations, gradients = _gradients(decisions)
    maps = []
    for of_target in gradients:
        scaled = []
        for a, g in zip(activations, of_target, strict=True):
            one = resized(layercam(a, g), decisions.images.shape[2:])
            peak = _of_study(one.flatten(1).amax(1), decisions.bag)
            peak = peak.reshape(-1, *[1] * (one.dim() - 1))
            scaled.append(torch.tanh(FUSION_GAIN * one / torch.where(peak > 0, peak, torch.inf)))
        maps.append(torch.stack(scaled).amax(0))
    return torch.stack(maps, 1)


def resized(maps: Tensor, size: torch.Size) -> Tensor:
    """Return maps (N, *spatial) interpolated to a size, bi- or trilinearly."""
    if maps.shape[1:] == size:
        return maps
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return F.interpolate(maps[:, None], size=size, mode=mode, align_corners=False)[:, 0]


def _of_study(peaks: Tensor, bag: Tensor | None) -> Tensor:
    """Return of each image (N,) the highest of its study's."""
    if bag is None:
        return peaks
    return torch.full_like(peaks, -torch.inf).scatter_reduce(0, bag, peaks, "amax")[bag]


def _gradients(decisions: Decisions) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Return activations of each stage, and for each target their gradients; float32, no graph.

    Only what comes after the first stage has a graph, so the backward pass stops there.
    """
    first = decisions.activations()
    with torch.inference_mode(False), torch.enable_grad():
        # Fresh copies: inference tensors can't be differentiated, and the next layer may work in
        # place.
        x = first.detach().clone().requires_grad_()
        activations = [x]
        for piece in decisions.pieces[1:-1]:
            activations.append(piece(activations[-1].clone()))
        logits = decisions.pieces[-1](activations[-1].clone())
        scores = decisions.targets.resolved(logits).scores(logits)
        gradients = gradients_of(scores, activations)
    return [a.detach().float() for a in activations], [[g.float() for g in of] for of in gradients]
