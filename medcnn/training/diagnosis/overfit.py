"""A few images learnt by heart: whether net and learning rate can, and what regularisation does."""

import time
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor, nn

from medcnn.data.row_batches import Batch
from medcnn.objective import known
from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.parts import Parts, without_dropout
from medcnn.training.diagnosis.start import KnownLosses, how_many, known_losses
from medcnn.training.diagnosis.steps import Maker, do_step, new_optimizer, weights_of

IMAGES = 8
STEPS = 100
SECONDS = 20.0  # of one short training
WARM_UP = 20  # steps in which the learning rate rises to its highest
EVERY = 4  # steps between two looks at what is learnt
EXPLAINED = 0.9  # share of the variance of a regression's targets that counts as learnt
SURE = 0.25  # of the loss of chance
RISES = 20.0  # times the loss of chance
LARGE_STEP = 2.0  # ratio of a step to the weights it changes; of all nine families 0.002 to 0.1
ROUNDING = 1e-7  # of weights in single precision
SMALL_STEP = 2e-4  # likewise
REFERENCE = 3e-4  # learning rate of Adam, with which nearly any net learns something


@dataclass
class Course:
    """A short training on one batch.

    Args:
        losses: Of each step.
        share: Of the labels that are right at last.
        step: Median over the weights of the norm of a step to that of the weight, of the first step
            at the highest rate.
        learnt: Whether all are right, and surely.
        out_of_time: Whether it ended before `STEPS` for lack of time.
    """

    losses: list[float] = field(default_factory=list)
    share: float = 0.0
    step: float = 0.0
    learnt: bool = False
    out_of_time: bool = False


def overfit(parts: Parts) -> list[Finding]:
    """Check that the net learns a few images by heart, with its own optimiser and learning rate.

    Dropout and augmentation are off, and the learning rate rises to its highest within 20 steps and
    stays there. Where that fails, Adam tries with 3e-4: what it can do, another rate could.
    """
    module = parts.module
    batch = parts.batch(parts.rows("train", how_many(parts, IMAGES)))
    losses = known_losses(parts, batch["label"])
    start = [(one, one.detach().clone()) for one in (*module.parameters(), *module.buffers())]
    own = course(parts, batch, module.make_optimizer, losses)
    reference = None
    if not own.learnt:
        with torch.no_grad():
            for one, before in start:
                one.copy_(before)
        reference = course(parts, batch, _adam, losses)
    can = _can_overfit(batch, own, reference)
    found = [can, _rate(parts, own, reference, losses)]
    if can.passed:
        found.append(regularisation(parts, batch))
    else:
        found.append(Finding("regularisation", None, "nothing was learnt that it could hold back"))
    return found


def _adam(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.Adam([p for group in groups for p in group["params"]], lr=REFERENCE)


def course(parts: Parts, batch: Batch, make: Maker, losses: KnownLosses) -> Course:
    """Train on one batch, until all of it is learnt, or steps or time are over."""
    without_dropout(parts.module)
    optimizer = new_optimizer(parts, make)
    weights = [p for p in weights_of(optimizer) if p.ndim > 1 and p.requires_grad]
    highest = [group["lr"] for group in optimizer.param_groups]
    found, end = Course(), time.perf_counter() + SECONDS
    for number in range(STEPS):
        for group, rate in zip(optimizer.param_groups, highest, strict=True):
            group["lr"] = rate * min(1.0, (number + 1) / WARM_UP)
        before = [p.detach().clone() for p in weights] if number == 0 else []
        found.losses.append(do_step(parts, batch, optimizer))
        if number == 0:
            found.step = _change(before, weights) * WARM_UP
        if not found.losses[-1] < 1e6:  # nor NaN
            break
        if number % EVERY == EVERY - 1:
            found.share, loss = learnt(parts, batch)
            found.learnt = found.share == 1 and loss < losses.part(SURE, losses.chance)
            if found.learnt:
                break
        if time.perf_counter() > end:
            found.out_of_time = True
            break
    return found


@torch.no_grad()
def _change(before: list[Tensor], after: list[nn.Parameter]) -> float:
    """Return the median over weights of the norm of their change to their own."""
    ratios = [
        float((new - old).norm() / old.norm())
        for old, new in zip(before, after, strict=True)
        if float(old.norm()) > 0
    ]
    return float(torch.tensor(ratios).median()) if ratios else 0.0


@torch.no_grad()
def learnt(parts: Parts, batch: Batch) -> tuple[float, float]:
    """Return the share of labels that the net has right, and the loss; in regression R² ≥ 0.9."""
    objective, truth = parts.objective, batch["label"]
    logits = parts.module.logits(batch)
    there, loss = known(truth), float(objective.loss(logits, truth))
    decided = objective.decide(objective.probs(logits))
    if objective.task == "regression":
        errors = (decided - truth)[there].square().sum()
        spread = (truth - truth.nanmean(0))[there].square().sum()
        return float(errors <= (1 - EXPLAINED) * spread), 0.0
    return float((decided == truth)[there].float().mean()), loss


def _can_overfit(batch: Batch, own: Course, reference: Course | None) -> Finding:
    count, best = (
        len(batch["label"]),
        max(filter(None, (own, reference)), key=lambda one: one.share),
    )
    figures = {"losses": own.losses, "reference": reference.losses if reference else None}
    for one in (own, reference):
        if one is not None and one.learnt:
            line = f"{count} images are learnt by heart in {len(one.losses)} steps"
            return Finding("overfitting", True, line, figures=figures)
    if own.out_of_time or (reference is not None and reference.out_of_time):
        line = f"of {count} images {best.share:.0%} are learnt by heart in {SECONDS:g} s"
        return Finding("overfitting", None, f"{line}, which is too short to tell", figures=figures)
    return Finding(
        "overfitting",
        False,
        f"in {STEPS} steps {best.share:.0%} of {count} images are learnt by heart"
        + (", but none surely" if best.share == 1 else ""),
        "net, loss and labels don't go together: a softmax before the loss, a part that gets no "
        "signal, like images with unlike labels; or the net is too small",
        figures,
    )


def _rate(parts: Parts, own: Course, reference: Course | None, losses: KnownLosses) -> Finding:
    rate = parts.cfg.optimizer.get("lr")
    highest = max(loss if isfinite(loss) else inf for loss in own.losses)
    figures = {"first step": own.step, "highest loss": highest, "rate": rate}
    line = f"the first step changes weights by {own.step:.3g} of their size"
    if highest > losses.part(RISES, losses.chance) or own.step > LARGE_STEP:
        return Finding(
            "learning rate",
            False,
            f"{line}, and the loss rises to {highest:.3g}",
            f"the highest rate, optimizer.lr={rate}, is too high: try a hundredth of it",
            figures,
        )
    if own.learnt:
        return Finding("learning rate", True, line, figures=figures)
    if reference is None or not reference.learnt:
        return Finding("learning rate", None, "no rate learns these images", figures=figures)
    if own.step >= SMALL_STEP and (own.out_of_time or 2 * len(reference.losses) > STEPS):
        line = f"{line}, and learns less in {len(own.losses)} steps than Adam at {REFERENCE:g}"
        return Finding("learning rate", None, f"{line}; that may be chance", figures=figures)
    way = "low: try a hundred times as much" if own.step < SMALL_STEP else "high: try a tenth of it"
    return Finding(
        "learning rate",
        False,
        f"{line}; {len(own.losses)} steps learn less than {len(reference.losses)} of Adam at "
        f"{REFERENCE:g}",
        f"the highest rate, optimizer.lr={rate}, seems too {way}",
        figures,
    )


def regularisation(parts: Parts, batch: Batch) -> Finding:
    """Check that what was learnt costs more once dropout, penalties and weight decay are on."""
    module, lines = parts.module, []
    dropping = without_dropout(module)
    with torch.no_grad():
        plain = float(parts.objective.loss(module.logits(batch), batch["label"]))
        for part in dropping:
            part.train()
        full = sum(float(module.training_loss(batch)) for _ in range(8)) / 8
    shrinks = _decay(parts)
    figures = {"without": plain, "with": full, "decay": shrinks}
    if dropping or full > plain * (1 + 1e-4):
        lines.append(f"the loss rises from {plain:.2g} to {full:.2g}")
    if shrinks is not None:
        lines.append(f"a step of weight decay leaves {shrinks:.6g} of the weights")
    if not lines:
        return Finding("regularisation", None, "none is switched on", figures=figures)
    line = f"with regularisation {' and '.join(lines)}"
    if full < plain - 0.05 * abs(plain) or (shrinks is not None and shrinks > 1 + ROUNDING):
        cause = "it has to cost something: look at the sign of penalties and of weight decay"
        return Finding("regularisation", False, line, cause, figures)
    return Finding("regularisation", True, line, figures=figures)


def _decay(parts: Parts) -> float | None:
    """Return what a step without gradient leaves of the weights; None without weight decay."""
    if not parts.cfg.optimizer.get("weight_decay"):
        return None
    optimizer = new_optimizer(parts, parts.module.make_optimizer)
    weights = [p for p in weights_of(optimizer) if p.ndim > 1]

    def closure() -> float:
        for p in weights:
            p.grad = torch.zeros_like(p)
        return 0.0

    before = sum(float(p.detach().double().square().sum()) for p in weights) ** 0.5
    optimizer.step(closure)
    after = sum(float(p.detach().double().square().sum()) for p in weights) ** 0.5
    return after / before if before else None
