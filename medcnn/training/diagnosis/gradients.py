"""Gradients beside finite differences."""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medcnn.data.row_batches import context_of
from medcnn.nets.base import stages_of
from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.parts import Parts

IMAGES = 2
EACH = 2  # weights of each stage: that with the highest gradient, and one at random
STEP = 1e-5  # of the root mean square of a weight's tensor
AGREES = 1e-2  # relative difference; of all nine families at most 2e-4, at kinks of ReLUs


def finite_differences(parts: Parts) -> Finding:
    """Check some gradients against (L(w + ε) - L(w - ε)) / 2ε, in double precision.

    In evaluation mode, so that both see the same net.
    """
    classifier = copy.deepcopy(parts.classifier).cpu().double().eval()
    net: Any = classifier.net
    rows = parts.rows("train", IMAGES)
    batch = parts.batch(rows)
    images, truth = batch["image"].cpu().double(), batch["label"].cpu()
    given = context_of({name: values.cpu() for name, values in batch.items()})
    context = () if given is None else (given,)

    def loss() -> Tensor:
        maps = net.features(classifier.normalise(images))
        logits: Tensor = net.head(maps, *context)
        return classifier.objective.loss(logits, truth)

    value = loss()
    if value.dtype != torch.float64:
        return Finding("finite differences", None, "the net doesn't calculate in double precision")
    value.backward()
    worst, where, count = 0.0, "", 0
    for name, weight in chosen_weights(net):
        for k in _places(weight):
            differs = _difference(loss, weight, k)
            count += 1
            worst, where = max((worst, where), (differs, name))
    figures: dict[str, Any] = {"weights": count, "largest": worst}
    if not count:
        return Finding("finite differences", None, "nothing has a gradient")
    line = f"gradients of {count} weights agree with finite differences to {worst:.0e}"
    if worst > AGREES:
        return Finding(
            "finite differences",
            False,
            f"the gradient of {where} differs from finite differences by {worst:.0%}",
            "part of the forward pass is detached, or a backward() of one's own is wrong",
            figures,
        )
    return Finding("finite differences", True, line, figures=figures)


def chosen_weights(net: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the first weight of each stage and of the head that has a gradient."""
    found = []
    for part, module in {**stages_of(net), "head": net.head}.items():
        weights = [
            (f"{part}.{name}", p)
            for name, p in module.named_parameters()  # type: ignore[union-attr]
            if p.ndim > 1 and p.grad is not None
        ]
        found += weights[:1]
    return found


def _places(weight: nn.Parameter) -> list[int]:
    assert weight.grad is not None
    random = int(np.random.default_rng(0).integers(weight.numel()))
    return [int(weight.grad.abs().argmax()), random][:EACH]


@torch.no_grad()
def _difference(loss: Any, weight: nn.Parameter, k: int) -> float:
    """Return how far a gradient is from its finite difference, relative to the larger of them."""
    assert weight.grad is not None
    place = np.unravel_index(k, weight.shape)
    gradient, before = float(weight.grad[place]), weight[place].clone()
    step = STEP * float(weight.square().mean().sqrt()) or STEP
    values = []
    for sign in (1, -1):
        weight[place] = before + sign * step
        values.append(float(loss()))
    weight[place] = before
    measured = (values[0] - values[1]) / (2 * step)
    rounding = 1e-15 * max(map(abs, values)) / step / AGREES  # what double precision can't tell
    return abs(measured - gradient) / max(abs(measured), abs(gradient), rounding, 1e-12)
