"""What learns: frozen parts get no gradient, all others do."""

import torch
from torch import nn

from medcnn.data.batches import Batch
from medcnn.jobs.notes import shortened
from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.parts import Parts, without_dropout
from medcnn.training.diagnosis.start import how_many
from medcnn.training.freezing import parameter_groups

IMAGES = 4
STEP = 0.01  # of a parameter's norm


def frozen_parts(parts: Parts) -> Finding:
    """Check which parameters get a gradient, and which the optimiser has.

    A parameter may have none at first because another one is zero, as in a block that starts as the
    identity; so a step is made, and the gradient taken once more.
    """
    module, net = parts.module, parts.classifier.net
    batch = parts.batch(parts.rows("train", how_many(parts, IMAGES)))
    still = {id(p) for stage in module.freezing.frozen(net, 0) for p in stage.parameters()}
    if module.freezing.trunk_is_fixed:  # then auxiliary heads have no part in the loss
        still |= {id(p) for p in getattr(net, "aux", nn.ModuleDict()).parameters()}
    named = dict(net.named_parameters())
    stuck = [n for n, p in named.items() if id(p) not in still and not p.requires_grad]
    loose = [
        n
        for n, p in named.items()
        if id(p) in still and p.requires_grad and not n.startswith("aux.")
    ]
    without_dropout(module)
    reached = _reached(parts, batch, named)
    if len(reached) < len(named) - len(still):
        _step(named)
        reached |= _reached(parts, batch, named)
    wanted = {n for n, p in named.items() if id(p) not in still and p.requires_grad}
    lacking = [n for n in named if n in wanted - reached]
    held = _held(parts)
    left_out = [n for n in named if n in wanted and id(named[n]) not in held]
    figures = {"frozen": stuck, "not frozen": loose, "no gradient": lacking, "not in it": left_out}
    mode = f"transfer={module.freezing.mode}"
    for names, line, cause in (
        (stuck, "frozen", f"{mode} trains them: something has set requires_grad to false"),
        (loose, "not frozen", f"{mode} freezes them: something has set requires_grad to true"),
        (
            lacking,
            "without a gradient",
            "they learn nothing: they are left out of forward(), or "
            "what follows them is zero, detached or dead",
        ),
        (left_out, "not in the optimiser", "they learn nothing"),
    ):
        if names:
            text = f"{len(names)} of {len(named)} parameters are {line} ({_short(names)})"
            return Finding("frozen parts", False, text, cause, figures)
    count = f"{len(wanted)} parameters get a gradient"
    text = f"{count}, {len(still)} are frozen" if still else f"all {count}"
    return Finding("frozen parts", True, text, figures=figures)


def _short(names: list[str]) -> str:
    return shortened(names[:2], ", ") + (", …" if len(names) > 2 else "")


def _reached(parts: Parts, batch: Batch, named: dict[str, nn.Parameter]) -> set[str]:
    """Return the names of the parameters that the loss of a batch depends on."""
    for parameter in named.values():
        parameter.grad = None
    loss = parts.module.training_loss(batch)
    if loss.requires_grad:
        loss.backward()
    return {n for n, p in named.items() if p.grad is not None and bool((p.grad != 0).any())}


@torch.no_grad()
def _step(named: dict[str, nn.Parameter]) -> None:
    """Move each parameter by a hundredth of its norm against its gradient."""
    for parameter in named.values():
        if parameter.grad is not None and bool((parameter.grad != 0).any()):
            length = float(parameter.norm()) or 1.0
            parameter.sub_(parameter.grad, alpha=STEP * length / float(parameter.grad.norm()))


def _held(parts: Parts) -> set[int]:
    """Return what the optimiser has, or will have once all stages learn."""
    groups = parameter_groups(
        parts.classifier.net, parts.module.freezing, parts.cfg.optimizer.get("lr")
    )
    return {id(p) for group in groups for p in group["params"]}
