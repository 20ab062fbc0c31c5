"""``perf=auto``: the fastest of the ways to do the same steps, by measuring them."""

from collections.abc import Iterator
from typing import Any

import torch
from pytorch_lightning.utilities.seed import isolate_rng

from medcnn.data.samples import Samples
from medcnn.jobs.by_hand import set_by_hand
from medcnn.jobs.hardware import (
    device,
    local_processes,
    processes,
    resolve_precision,
    set_threads,
)
from medcnn.jobs.settings.commands import Train
from medcnn.training.diagnosis.parts import make_parts
from medcnn.training.speed import seconds_an_image

WORTH = 1.05  # times as fast, for which the usual way is left
PROBE = 4  # images of the first steps, which say how many fit a step that is measured
STEP = 0.3  # seconds of such a step, at most
ROUNDS = 2  # of measuring all ways in turn, of which each has its best
UNTRAINED: dict[str, Any] = {"pretrained": False, "weights": None}


def settle_perf(cfg: Train, samples: Samples, trust: list[str]) -> list[str]:
    """Choose precision, memory format and threads by their speed; return the reasons, in words.

    The settings get the choice, and their ``perf`` is null then, so that whoever reads them trains
    in the same way. What is set by hand stays. Random states are left alone.

    Args:
        cfg: Of a training, with ``perf=auto``; else nothing is done.
        samples: To train on.
        trust: Names that the config may hold beside medcnn's own.
    """
    if cfg.perf is None:
        return []
    lines = []
    set_threads(cfg.trainer.threads, local_processes(cfg.trainer))
    threads = torch.get_num_threads()
    with isolate_rng(include_cuda=device(cfg.trainer).type == "cuda"):
        batch = _batch(cfg, samples, trust)
        for key, ways in _choices(cfg, threads):
            found = {way: float("inf") for way in ways}
            for _ in range(ROUNDS):
                for way in ways:
                    seconds = _seconds(_changed(cfg, key, way), batch, samples, trust)
                    found[way] = min(found[way], seconds)
            torch.set_num_threads(threads)
            usual, best = ways[0], min(ways, key=lambda way: found[way])
            chosen = best if found[usual] > WORTH * found[best] else usual
            setattr(cfg.trainer, key, chosen)
            speeds = ", ".join(f"{way} {1 / found[way]:.0f}" for way in ways)
            lines.append(f"perf: trainer.{key}={chosen} (images a second: {speeds})")
    cfg.perf = None
    return lines


def _choices(cfg: Train, threads: int) -> Iterator[tuple[str, list[Any]]]:
    """Yield what there is to choose, key by key: the usual way, then the others."""
    given, by_hand = cfg.trainer, set_by_hand()
    usual = resolve_precision(given.precision, given.accelerator)
    if given.precision == "auto" and usual != "32-true":
        yield "precision", [usual, "32-true"]
    if "trainer.channels_last" not in by_hand:
        yield "channels_last", [given.channels_last, not given.channels_last]
    if (
        given.threads is None
        and threads > 1
        and device(given).type == "cpu"
        and processes(given) == 1
    ):
        yield "threads", list(dict.fromkeys([threads, max(1, threads // 2), 1]))


def _changed(cfg: Train, key: str, way: Any) -> Train:
    """Return settings with another way to train."""
    changed = cfg.model_copy(deep=True)
    setattr(changed.trainer, key, way)
    return changed


def _batch(cfg: Train, samples: Samples, trust: list[str]) -> int:
    """Return how many images a step that is measured takes: of large ones not all of a batch."""
    one = _seconds(cfg, min(PROBE, cfg.batch_size), samples, trust)
    return max(min(PROBE, cfg.batch_size), min(cfg.batch_size, int(STEP / one)))


def _seconds(cfg: Train, batch: int, samples: Samples, trust: list[str]) -> float:
    """Return the seconds that an image takes in training, from random weights."""
    own = cfg.model_copy(deep=True, update={"batch_size": batch})
    own.transfer.mode = "scratch"
    own.model |= {key: value for key, value in UNTRAINED.items() if key in own.model}
    if own.trainer.threads is not None:
        torch.set_num_threads(own.trainer.threads)
    parts = make_parts(own, samples, trust)
    parts.module.to(device(cfg.trainer))
    return seconds_an_image(parts)
