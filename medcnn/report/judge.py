"""A training judged by its tables: what a careful teacher would say of the curves."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from medcnn.report.words import listed, percent, plural

# ‖Δw‖ / ‖w‖ of a step is near 1e-3 in a sound training (A. Karpathy, CS231n, "Neural networks
# part 3", "Ratio of weights:updates"). Off by ten times is worth a line.
SOUND = 1e-3
OFF = 10
STILL = 1e-7  # a stage that moves by less doesn't move
FEWEST = 5  # rows that a line rests on
RECENT = 12  # rows that it looks back over
DEAD = 0.5  # share of a stage's channels
WAITING = 0.4  # share of the time of the steps
STRETCH = 6  # epochs, at least, over which a loss is looked at
FLAT = 0.01  # share by which the training loss falls over a stretch that is called flat
LEARNT = 0.25  # a loss below this share of the first epoch's may stay where it is
RATE = 0.1  # of the highest learning rate: below, weights are meant to come to rest
PARTED = 1.25  # the validation loss at the end, beside its lowest
LATE = 3  # epochs after the lowest validation loss


class Verdict(NamedTuple):
    """A sentence on a training.

    Args:
        about: What it is about, the same for each sentence on it.
        line: The sentence, with what usually causes it and what to do.
    """

    about: str
    line: str


def judge(
    epochs: pd.DataFrame | None, health: pd.DataFrame | None, *, over: bool = True
) -> list[Verdict]:
    """Return what is wrong with a training, by its tables; nothing of a sound one.

    Args:
        epochs: As metrics.csv holds them, one row an epoch; None where there are none.
        health: As health.csv holds them; None where there are none.
        over: Whether the training has ended; before, what a learning rate that is still to rise
            may mend isn't judged.
    """
    found: list[Verdict | None] = []
    if epochs is not None and len(epochs):
        broken = _not_finite(epochs)
        found += [broken] if broken else [_overfitting(epochs)]
        found += [_flat(epochs)] if over and not broken else []
    if health is not None and len(health):
        found += [*_steps(health, over), *_dead(health), _waiting(health)]
    return [verdict for verdict in found if verdict is not None]


def _not_finite(epochs: pd.DataFrame) -> Verdict | None:
    losses = epochs[[name for name in ("train/loss", "val/loss") if name in epochs]]
    bad = ~losses.apply(lambda values: values.abs() < float("inf")).all(axis=1)
    if not bad.any():
        return None
    epoch = int(epochs.loc[bad, "epoch"].iloc[0])
    return Verdict(
        "finite",
        f"from epoch {epoch} on the loss is no finite number: the training has diverged; lower "
        "optimizer.lr",
    )


def _flat(epochs: pd.DataFrame) -> Verdict | None:
    """Return a sentence where the training loss stands still though the rate is high."""
    loss = epochs.get("train/loss")
    if loss is None or len(loss) < STRETCH:
        return None
    stretch = max(STRETCH, len(loss) // 3)
    rate = epochs["lr"] if "lr" in epochs else pd.Series(1.0, epochs.index)
    moving = loss[rate >= RATE * rate.max()]
    last = moving.iloc[-stretch:]
    if len(last) < stretch or not last.iloc[0] > 0:
        return None
    half = stretch // 2
    first, second = last.iloc[:half].mean(), last.iloc[-half:].mean()
    if first - second > FLAT * first or second < LEARNT * loss.iloc[0]:
        return None
    never = second > (1 - 2 * FLAT) * loss.iloc[0]
    what = "has not fallen since the first epoch" if never else "has stopped falling"
    return Verdict(
        "flat",
        f"the training loss {what} ({loss.iloc[0]:.3g} at first, {second:.3g} over the last "
        f"{plural(half, 'epoch')} of a high rate): the learning rate may be 10 times too high or "
        "too low, or the labels may not belong to the images (python -m medcnn.data)",
    )


def _overfitting(epochs: pd.DataFrame) -> Verdict | None:
    """Return a sentence where the validation loss rises while that of training falls on."""
    if not {"train/loss", "val/loss"} <= set(epochs) or epochs["val/loss"].isna().all():
        return None
    calm = epochs.rolling(LATE, center=True, min_periods=1).median()  # few images: a ragged loss
    best = int(np.nanargmin(calm["val/loss"]))
    if len(epochs) - best - 1 < LATE:
        return None
    first = int(epochs["epoch"].iloc[best])
    at, end = calm.iloc[best], epochs.iloc[-LATE:].median()
    lowest, now = float(at["val/loss"]), float(end["val/loss"])
    then, train = float(at["train/loss"]), float(end["train/loss"])
    if not (lowest > 0 and now > PARTED * lowest and train < then and train < now):
        return None
    return Verdict(
        "overfitting",
        f"training and validation part: since epoch {first} the validation loss "
        f"has risen from {lowest:.3g} to {now:.3g} while that of training fell from "
        f"{then:.3g} to {train:.3g}, which is learning by heart: more data or augmentation, a "
        "smaller net, more optimizer.weight_decay, or callbacks=early_stopping",
    )


def _steps(health: pd.DataFrame, over: bool) -> list[Verdict]:
    """Return sentences on steps that are far too long or too short for the weights."""
    high = health[health["lr"] >= 0.5 * health["lr"].max()].iloc[-RECENT:]
    ratios = high.filter(like="update/").dropna(axis=1, how="all")
    if len(high) < FEWEST or ratios.empty:
        return []
    typical = ratios.median()
    typical.index = [name.removeprefix("update/") for name in typical.index]
    found = []
    long = typical[typical > OFF * SOUND]
    alone = list(typical.index) == ["head"]  # on a frozen trunk it bears, and gets, a high rate
    if len(long) and not alone:
        found.append(
            Verdict(
                "long steps",
                f"a step changes the weights of {_named(long)} by {percent(long.max())} of their "
                f"size, where about {percent(SOUND)} is sound: optimizer.lr is too high",
            )
        )
    if over and typical.max() < SOUND / OFF:
        found.append(
            Verdict(
                "short steps",
                f"no step changes the weights of a stage by more than {typical.max():.1g} of their "
                f"size, where about {SOUND:g} is sound: optimizer.lr is too low",
            )
        )
    still = typical[typical < STILL]
    if len(still) and len(still) < len(typical):
        found.append(
            Verdict(
                "still",
                f"the weights of {_named(still)} don't move while others do: no gradient reaches "
                "them (dead units before, or a part that is detached)",
            )
        )
    return found


def _dead(health: pd.DataFrame) -> list[Verdict]:
    shares = health.filter(like="dead/").iloc[-FEWEST:].dropna(axis=1, how="all").min()
    shares.index = [name.removeprefix("dead/") for name in shares.index]
    dead = shares[shares > DEAD]
    if len(health) < FEWEST or dead.empty:
        return []
    return [
        Verdict(
            "dead",
            f"{percent(dead.max())} of the channels of {_named(dead)} are zero for whole batches: "
            "dead ReLUs, which learn no more; lower optimizer.lr, or more scheduler.warmup",
        )
    ]


def _waiting(health: pd.DataFrame) -> Verdict | None:
    share = health["waiting"].iloc[-RECENT:].median()
    if len(health) < FEWEST or not share > WAITING:
        return None
    return Verdict(
        "waiting",
        f"the net waits for its images {percent(share)} of the time: reading and augmenting them "
        "is the bottleneck: more cache.memory, cache.folder on a faster disk, less augment",
    )


def _named(stages: pd.Series) -> str:
    """Return the names of stages, the worst first, of many the first."""
    names = [str(name) for name in stages.index[:4]]
    rest = len(stages) - len(names)
    return listed([*names, f"{rest} more"] if rest else names)
