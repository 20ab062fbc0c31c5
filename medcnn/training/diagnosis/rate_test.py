"""The learning-rate range test: a short training whose learning rate rises from step to step."""

import itertools
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medcnn.data.row_batches import Batch
from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.parts import Parts
from medcnn.training.diagnosis.steps import do_step, new_optimizer

LOWEST, HIGHEST = 1e-6, 10.0
STEPS, FEWEST = 100, 40
SECONDS, LONGEST = 30.0, 120.0  # in which as many steps are done as fit; in which `FEWEST` must
BATCHES = 4  # which come again and again
WINDOW = 7  # losses that are averaged
DIVERGED = 3.0  # times the first loss
ABOVE = 1.2  # times the first loss: what the loss does after that isn't looked at
SHARE = 0.1  # of the loss's fall by which it has risen again where it rises


def rate_test(parts: Parts) -> Finding:
    """Suggest a highest learning rate, by the loss at rates that rise exponentially.

    L. N. Smith, "Cyclical learning rates for training neural networks", 2017, section 3.3. Of the
    usual rules it is a tenth of the rate from which on the loss rises. The other one, the rate of
    steepest descent, is a matter of chance in a hundred noisy losses.

    The optimiser, augmentation and dropout of the training see a few of its batches again and
    again. So each loss is compared with the first of its own batch, which takes away how hard one
    batch is beside another. Where all is learnt before the loss can rise, it is the rate at which
    the loss gets low.
    """
    name, rate = "learning-rate range", parts.cfg.optimizer.get("lr")
    if not isinstance(rate, int | float) or not rate > 0:
        return Finding(name, None, f"optimizer.lr={rate} is no rate to compare with")
    if parts.objective.loss_name == "auc_margin":
        return Finding(name, None, "loss=auc_margin passes 0, so that no share of it tells a fall")
    parts.module.train()
    optimizer = new_optimizer(parts, parts.module.make_optimizer)
    shares = [group["lr"] / rate for group in optimizer.param_groups]

    def step(now: float, batch: Batch) -> float:
        for group, share in zip(optimizer.param_groups, shares, strict=True):
            group["lr"] = now * share
        return do_step(parts, batch, optimizer)

    few = list(itertools.islice(batches(parts), BATCHES))
    first = []
    for batch in few:
        start = time.perf_counter()
        first.append(step(LOWEST, batch))
        seconds = time.perf_counter() - start  # of the last: the first is the slowest
        if seconds * FEWEST > LONGEST:
            line = f"a step takes {seconds:.1f} s, which is too long for a test"
            return Finding(name, None, line)
    mean = sum(first) / BATCHES
    steps = int(min(STEPS, max(FEWEST, SECONDS / seconds)))
    rates, losses = np.geomspace(LOWEST, HIGHEST, steps), []
    for k, now in enumerate(rates):
        losses.append(step(float(now), few[k % BATCHES]) - first[k % BATCHES] + mean)
        if not losses[-1] < DIVERGED**2 * mean:  # nor NaN
            break
    return _finding(name, rate, rates[: len(losses)], losses)


def batches(parts: Parts) -> Iterator[Batch]:
    """Yield batches of training, augmented, epoch after epoch without end."""
    loader = parts.data.train_dataloader()
    for epoch in itertools.count():
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for stored in loader:
            batch = {key: value.to(parts.module.device) for key, value in stored.items()}
            yield parts.data.prepared(batch, epoch)


class Suggestion(NamedTuple):
    """What the losses by learning rate tell.

    Args:
        rate: To train with; None where the loss doesn't surely fall.
        falls: By how much the loss falls, as a share of the first.
        low: The rate at which it gets low.
        rises: The rate from which on it rises; None for none.
        smoothed: The losses, averaged.
    """

    rate: float | None
    falls: float
    low: float
    rises: float | None
    smoothed: NDArray[np.float64]


def suggested(rates: NDArray[np.float64], losses: ArrayLike) -> Suggestion:
    """Return the learning rate that losses at rising rates (n,) suggest.

    >>> rates = np.geomspace(1e-6, 10, 100)
    >>> losses = np.where(rates < 0.1, 1 - rates, 2)
    >>> f"{suggested(rates, losses).rate:.1g}"
    '0.006'
    """
    values = np.asarray(losses, float)
    top = DIVERGED * values[0]
    values = np.minimum(np.where(np.isfinite(values), values, top), top)
    box = np.ones(min(WINDOW, len(values)))
    smoothed = np.convolve(values, box, "same") / np.convolve(np.ones(len(values)), box, "same")
    untaught = values[: max(2, int((rates < 10 * LOWEST).sum()))]
    start, error = untaught.mean(), untaught.std() / len(box) ** 0.5
    over = np.flatnonzero(smoothed > ABOVE * start)
    end = int(over[0]) if len(over) else len(values)
    lowest = float(smoothed[: max(1, end)].min())
    falls = start - lowest > max(3 * error, 1e-3 * start)
    low = np.flatnonzero(smoothed[:end] <= lowest + SHARE * (start - lowest))
    k = int(low[-1]) + 1 if len(low) else 0
    rises = float(rates[k]) if k < len(rates) else None
    first = float(rates[low[0] if len(low) else 0])
    rate = (first if rises is None else rises / 10) if falls else None
    return Suggestion(rate, float(1 - lowest / start), first, rises, smoothed)


def _finding(name: str, rate: float, rates: NDArray[np.float64], losses: list[float]) -> Finding:
    found = suggested(rates, losses)
    figures: dict[str, Any] = {
        "rates": rates.tolist(),
        "losses": losses,
        "smoothed": found.smoothed.tolist(),
        "rate": rate,
        "suggested": found.rate,
    }
    if found.rate is None:
        line = f"the loss falls at no rate up to {rates[-1]:.2g} in {len(losses)} steps"
        return Finding(name, None, line, figures=figures)
    until = f"is low from a rate of {found.low:.1g} on: that is"
    if found.rises is not None:
        until = f"rises from a rate of {found.rises:.1g} on: a tenth of that is"
    line = f"the loss falls by {found.falls:.0%} and {until} optimizer.lr={found.rate:.1g}"
    return Finding(name, True, f"{line} (now {rate:g})", figures=figures)
