"""The first logits and the first loss, before anything is learnt."""

from collections.abc import Callable
from math import inf, isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.parts import Parts, without_dropout

IMAGES = 16
VALUES = 2**22  # of the images of a batch, so that large volumes don't take minutes
FAR = 2.5  # times the loss of chance; all nine families begin below 1.3
NEAR = 0.5  # of the loss of the classes' shares, below which a net knows something
SAME = 1e-4
AMPLITUDES = (1e-1, 1.0, 1e1, 1e2, 1e3)


def how_many(parts: Parts, most: int = IMAGES) -> int:
    """Return how many images a batch of the checks has."""
    return parts.count(most, VALUES)


def logits_are_free(parts: Parts) -> Finding:
    """Check that the net ends without softmax or sigmoid, which the loss has already.

    Images of noise, ever stronger and of both signs, drive logits out of 0 … 1; probabilities stay.
    """
    samples, module = parts.samples, parts.module
    if samples.task == "regression":
        return Finding("logits", None, "a regression's predictions may have any range")
    module.eval()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, samples.in_channels, *samples.input_size, generator=generator)
    strong = [sign * size * noise for size in AMPLITUDES for sign in (1.0, -1.0)]
    net = parts.classifier.net
    with torch.no_grad():
        logits = torch.cat([net(images.to(module.device)).float() for images in strong])
    logits = logits[logits.isfinite().all(1)]
    if not len(logits) or bool((logits.amax(0) - logits.amin(0) < SAME).all()):
        return Finding("logits", None, "the net's outputs don't depend on the image")
    figures = {"least": float(logits.min()), "most": float(logits.max())}
    if bool(((logits >= 0) & (logits <= 1)).all()):
        sums = logits.shape[1] > 1 and torch.allclose(
            logits.sum(1), torch.ones(()).to(logits), atol=1e-3
        )
        what = "softmax" if sums else "sigmoid"
        return Finding(
            "logits",
            False,
            f"the net's outputs stay in 0 … 1 whatever the image: it seems to end in a {what}",
            "the loss takes logits and has that function itself; twice, it makes learning slow: "
            "leave it out of the net",
            figures,
        )
    return Finding("logits", True, "the net gives logits, not probabilities", figures=figures)


def loss_at_start(parts: Parts) -> Finding:
    """Check that the first loss is near that of chance.

    Chance is the loss of equal logits for all classes, ln C of a cross-entropy over C classes; or
    that of the constant that fits the classes' shares best, which is lower. All losses are counted
    from the least that there can be.
    """
    rows = parts.rows("train", how_many(parts))
    batch = parts.batch(rows)
    without_dropout(parts.module)
    with torch.no_grad():
        logits = parts.module.logits(batch)
        loss = float(parts.objective.loss(logits, batch["label"]))
    known = known_losses(parts, batch["label"])
    figures = {"loss": loss, **known._asdict()}
    line = f"the first loss is {loss:.3g}; that of chance is {known.chance:.3g}"
    if not loss <= known.part(FAR, known.chance):  # nor NaN
        return Finding(
            "loss at the start",
            False,
            line,
            "the first logits are too large: look at the initialisation (model.init) and at the "
            "range of the inputs",
            figures,
        )
    if loss < known.part(NEAR, known.shares) and not parts.starts_trained:
        return Finding(
            "loss at the start",
            False,
            line,
            "an untrained net can't know labels: something gives them away, or the loss is wrong",
            figures,
        )
    return Finding("loss at the start", True, line, figures=figures)


class KnownLosses(NamedTuple):
    """What the loss of some labels is without a net.

    Args:
        chance: Of logits that are all zero.
        shares: Of the best constant logits.
        least: Of the best logits of each image: near 0, but above it where labels are smoothed, and
            below it of AUC margin.
    """

    chance: float
    shares: float
    least: float

    def part(self, share: float, of: float) -> float:
        """Return the loss that is a share of the way from the least one to another."""
        return self.least + share * (of - self.least)


def known_losses(parts: Parts, truth: Tensor) -> KnownLosses:
    """Return what the loss of labels is by chance, by the classes' shares, and at best."""
    zero = torch.zeros(len(truth), parts.objective.num_outputs, device=truth.device)

    def loss(logits: Tensor) -> Tensor:
        return parts.objective.loss(logits.expand_as(zero), truth)

    chance = float(loss(zero).detach())
    shares = min(chance, _lowest(loss, zero[:1]))
    return KnownLosses(chance, shares, min(shares, _lowest(loss, zero)))


def _lowest(loss: Callable[[Tensor], Tensor], start: Tensor) -> float:
    """Return the lowest loss that is reached from some logits on."""
    logits = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(logits)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(closure)
    lowest = float(loss(logits).detach())
    return lowest if isfinite(lowest) else inf
