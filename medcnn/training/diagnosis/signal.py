"""The signal through the net, stage by stage: activations, and gradients back."""

from typing import Any

import torch
from torch import Tensor

from medcnn.data.row_batches import context_of
from medcnn.nets.base import stages_of
from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.parts import Parts, without_dropout
from medcnn.training.diagnosis.start import how_many

DEAD = 0.5  # share of the units of a stage; of all nine families at most 0.21
RANGE = 1e3  # ratio of a stage's spread to the input's; of all nine families 0.07 to 1.3
GRADIENTS = 1e5  # ratio of two stages' relative gradients; of all nine families at most 2,200
BINS = 40


def signal(parts: Parts) -> list[Finding]:
    """Check that no stage's units are dead, and that no signal vanishes or explodes on the way."""
    stages = stage_statistics(parts)
    figures = {"stages": stages}
    return [_dead(stages), _activations(stages, figures), _gradients(stages)]


def _dead(stages: list[dict[str, Any]]) -> Finding:
    shares = {one["name"]: one["dead"] for one in stages if one["dead"] is not None}
    if not shares:
        return Finding("dead units", None, "no stage has units that could be dead")
    worst = max(shares, key=lambda name: shares[name])
    line = f"{shares[worst]:.0%} of the units of {worst} are zero for all images"
    if shares[worst] > DEAD:
        cause = (
            "dead units learn nothing: look at the initialisation, at biases, and at the range of"
        )
        return Finding("dead units", False, line, f"{cause} the inputs")
    return Finding("dead units", True, line if shares[worst] > 0 else "no unit is dead")


def _activations(stages: list[dict[str, Any]], figures: dict[str, Any]) -> Finding:
    first, *rest = stages
    ratios = {one["name"]: one["std"] / max(first["std"], 1e-12) for one in rest}
    low, high = min(ratios, key=lambda n: ratios[n]), max(ratios, key=lambda n: ratios[n])
    line = f"activations spread between {ratios[low]:.2g} ({low}) and {ratios[high]:.2g} ({high}) "
    line += "times the input"
    for bad, what in (
        (not ratios[low] > 1 / RANGE, "vanishes"),
        (not ratios[high] < RANGE, "explodes"),
    ):
        if bad:
            cause = (
                f"the signal {what}: take model.init=he, a net with batch norm, or a shallower one"
            )
            return Finding("activations", False, line, cause, figures)
    return Finding("activations", True, line, figures=figures)


def _gradients(stages: list[dict[str, Any]]) -> Finding:
    shares = {one["name"]: one["gradient"] for one in stages if one["gradient"] is not None}
    if not shares:
        return Finding("gradients", None, "no stage learns")
    low, high = min(shares, key=lambda n: shares[n]), max(shares, key=lambda n: shares[n])
    line = f"gradients are {shares[low]:.2g} ({low}) to {shares[high]:.2g} ({high}) of the weights"
    if not shares[high] <= GRADIENTS * shares[low]:
        cause = (
            "gradients vanish or explode on their way through the net: take model.init=he, a net"
        )
        return Finding("gradients", False, line, f"{cause} with batch norm, or a shallower one")
    return Finding("gradients", True, line)


def stage_statistics(parts: Parts) -> list[dict[str, Any]]:
    """Return of the input and each stage and head: spread, dead units, gradients, histograms."""
    module, classifier = parts.module, parts.classifier
    batch = parts.batch(parts.rows("train", how_many(parts)))
    without_dropout(module)
    x, given = classifier.normalise(batch["image"]), context_of(batch)
    context = () if given is None else (given,)
    found = [_of("input", x, False)]
    for name, stage in stages_of(classifier.net).items():
        x = stage(x)
        found.append(_of(name, x, any(True for _ in stage.parameters())))
    logits: Tensor = classifier.net.head(x, *context).float()  # type: ignore[operator]
    found.append(_of("head", logits, False))
    loss = parts.objective.loss(logits, batch["label"])
    if loss.requires_grad:
        loss.backward()
    learning = {**stages_of(classifier.net), "head": classifier.net.head}
    for one in found[1:]:
        weights = [p for p in learning[one["name"]].parameters() if p.grad is not None]  # type: ignore[union-attr]
        one |= _gradient(weights)
    return found


@torch.no_grad()
def _of(name: str, x: Tensor, has_units: bool) -> dict[str, Any]:
    values = x.detach().float()
    units = values.transpose(0, 1).flatten(1)
    dead = float((units == 0).all(1).float().mean()) if has_units else None
    return {
        "name": name,
        "mean": float(values.mean()),
        "std": float(values.std()),
        "zeros": float((values == 0).float().mean()),
        "dead": dead,
        "activations": _histogram(values),
        "gradient": None,
        "gradients": None,
    }


@torch.no_grad()
def _gradient(weights: list[torch.nn.Parameter]) -> dict[str, Any]:
    """Return the norm of a stage's gradient as a share of that of its weights, and a histogram."""
    if not weights:
        return {}
    grads = torch.cat([p.grad.flatten() for p in weights if p.grad is not None]).float()
    length = torch.cat([p.flatten() for p in weights]).float().norm()
    share = float(grads.norm() / length.clamp(min=1e-12))
    return {"gradient": share, "gradients": _histogram(grads[grads != 0].abs().log10())}


def _histogram(values: Tensor) -> dict[str, Any] | None:
    values = values.flatten().cpu()
    values = values[values.isfinite()]
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    return {"low": low, "high": high, "counts": torch.histc(values, BINS, low, high).tolist()}
