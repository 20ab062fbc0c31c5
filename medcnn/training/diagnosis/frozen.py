"""What learns: frozen parts get no gradient, all others do."""

import torch
from torch import nn

from medcnn.data.row_batches import Batch
from medcnn.jobs.notes import shortened
from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.parts import Parts, without_dropout
from medcnn.training.diagnosis.start import how_many

IMAGES = 4
STEP = 0.01  # of a parameter's norm


def frozen_parts(parts: Parts) -> Finding:
    """Check which parameters get a gradient, and which the optimiser has.

    A parameter may have none at first because classes of like number cancel out, as in the bias of
    a hinge loss, or because another one is zero, as in a block that starts as the identity. So the
    gradient is taken of one image less, too, and once more after a step.
    """
    rows = parts.rows("train", how_many(parts, IMAGES))
    batch = parts.batch(rows)
    named = dict(parts.classifier.net.named_parameters())
    still = meant_to_be_frozen(parts)
    without_dropout(parts.module)
    fewer = parts.batch(rows[: max(2, len(rows) - 1)])
    reached, wanted = _reached(parts, batch, named), len(named) - len(still)
    if len(reached) < wanted:
        reached |= _reached(parts, fewer, named)
    if len(reached) < wanted:
        _step(named)
        reached |= _reached(parts, batch, named)
    faults = _faults(parts, named, still, reached)
    figures = {what: names for what, (names, _) in faults.items()}
    for what, (names, cause) in faults.items():
        if names:
            text = f"{len(names)} of {len(named)} parameters are {what} ({_short(names)})"
            return Finding("frozen parts", False, text, cause, figures)
    learning = sum(id(p) not in still for p in named.values())
    count = f"{learning} parameters get a gradient"
    text = f"{count}, {len(still)} are frozen" if still else f"all {count}"
    return Finding("frozen parts", True, text, figures=figures)


def meant_to_be_frozen(parts: Parts) -> set[int]:
    """Return what ``transfer`` freezes in the first epoch, by the identity of the parameters."""
    freezing, net = parts.module.freezing, parts.classifier.net
    still = {id(p) for stage in freezing.frozen(net, 0) for p in stage.parameters()}
    if freezing.trunk_is_fixed:  # then auxiliary heads have no part in the loss
        still |= {id(p) for p in getattr(net, "aux", nn.ModuleDict()).parameters()}
    return still


def _faults(
    parts: Parts, named: dict[str, nn.Parameter], still: set[int], reached: set[str]
) -> dict[str, tuple[list[str], str]]:
    """Return by what parameters are and should not be: their names, and what usually causes it."""
    mode, held = f"transfer={parts.module.freezing.mode}", _held(parts)
    free = {name: p for name, p in named.items() if id(p) not in still}
    wanted = [name for name, p in free.items() if p.requires_grad]
    return {
        "frozen": (
            [name for name, p in free.items() if not p.requires_grad],
            f"with {mode} they learn: something has set requires_grad to false",
        ),
        "not frozen": (
            [
                name
                for name, p in named.items()
                if name not in free and p.requires_grad and not name.startswith("aux.")
            ],
            f"with {mode} they are frozen: something has set requires_grad to true",
        ),
        "without a gradient": (
            [name for name in wanted if name not in reached],
            "they learn nothing: forward() leaves them out, or what follows them is zero, detached "
            "or dead",
        ),
        "not in the optimiser": (
            [name for name in wanted if id(named[name]) not in held],
            "they learn nothing",
        ),
    }


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
    return {id(p) for group in parts.module.groups() for p in group["params"]}
