"""The class weights that CAM needs, read from a head that has them."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.objective import Objective


def class_weights(
    head: Callable[[Tensor], Tensor],
    activations: Tensor,
    targets: Tensor,
    objective: Objective | None,
) -> Tensor:
    """Return the weights (N, K) of the K channels for the target class of each image.

    They are the class's row of the linear layer; in a binary task, where one logit serves both
    classes, that row with the sign of the class; of a target's quantiles that of the median.

    Args:
        head: Global average pooling and one linear layer (dropout and flattening may lie between).
        activations: (N, K, *spatial), input of the head; only the shape counts.
        targets: (N,) int64 class indices.
        objective: Its task says how classes lie on the logits; None for one logit a class.

    Raises:
        UserError: The head isn't of that form, or the task is ordinal.
    """
    if objective is not None and objective.task == "ordinal":
        raise UserError("method=cam: an ordinal class has no linear weights; use method=gradcam")
    weight = _linear(head, activations.shape).weight.detach().float()
    if objective is not None and objective.task == "binary":
        sign = torch.where(targets == objective.positive, 1.0, -1.0)
        return sign[:, None] * weight
    if objective is not None and objective.levels:
        targets = targets * len(objective.levels) + objective.levels.index(0.5)
    return weight[targets]


def _linear(head: Callable[[Tensor], Tensor], shape: torch.Size) -> nn.Linear:
    """Return the one linear layer of the head; raise UserError unless the rest is an average."""
    if isinstance(head, nn.Module):
        layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
        if len(layers) == 1 and layers[0].in_features == shape[1] and _averages(head, shape):
            return layers[0]
    raise UserError(
        "method=cam: the net's head isn't global average pooling and one linear layer; "
        "use method=gradcam"
    )


def _averages(head: nn.Module, shape: torch.Size) -> bool:
    """Return True if a copy of the head acts on random activations as a linear layer of their mean.

    The copy is in eval mode and float32, so that dropout and autocast don't blur the comparison.
    """
    probe = copy.deepcopy(head).float().eval()
    linear = next(module for module in probe.modules() if isinstance(module, nn.Linear))
    device = linear.weight.device
    generator = torch.Generator().manual_seed(0)
    activations = torch.randn(8, *shape[1:], generator=generator).to(device)
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        got, expected = probe(activations), linear(activations.flatten(2).mean(2))
    return got.shape == expected.shape and torch.allclose(got, expected, rtol=1e-3, atol=1e-4)
