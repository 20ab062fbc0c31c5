"""The formulas: one method, one function. N images, K channels, Z = product of the map's sizes."""

from torch import Tensor


def cam(activations: Tensor, weights: Tensor) -> Tensor:
    """Class activation map of a head that is global average pooling and one linear layer.

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
    return (_over_space(weights, activations) * activations).sum(1)


def gradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Gradient-weighted class activation map.

    α_k^c = 1/Z Σ_x ∂y^c/∂A_k(x),    M^c(x) = ReLU(Σ_k α_k^c A_k(x))

    R. R. Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
    localization", ICCV 2017, eq. 1 and 2.

    Args:
        activations: A (N, K, *spatial).
        gradients: ∂y^c/∂A (N, K, *spatial), y^c the score that is explained.

    Returns:
        (N, *spatial), nowhere below zero.
    """
    alpha = gradients.flatten(2).mean(2)
    return (_over_space(alpha, activations) * activations).sum(1).relu()


def _over_space(values: Tensor, like: Tensor) -> Tensor:
    """(N, K) as (N, K, 1, …) to stand beside an (N, K, *spatial) tensor."""
    return values.reshape(*values.shape, *[1] * (like.dim() - 2))
