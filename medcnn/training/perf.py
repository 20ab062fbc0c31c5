"""``perf=auto``: the fastest of the ways to do the same steps, by measuring them."""

import time
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
from medcnn.jobs.progress import duration
from medcnn.jobs.settings.commands import Train
from medcnn.training.compiled import check_compiler, compiled
from medcnn.training.diagnosis.parts import make_parts
from medcnn.training.from_config import make_data
from medcnn.training.speed import seconds_an_image

WORTH = 1.05  # times as fast, for which the usual way is left
PROBE = 4  # images of the first steps, which say how many fit a step that is measured
STEP = 0.3  # seconds of such a step, at most
ROUNDS = 2  # of measuring all ways in turn, of which each has its best
UNTRAINED: dict[str, Any] = {"pretrained": False, "weights": None}
# A network is compiled anew for whole and last batches, in training and in validation: a ResNet-18
# on two cores 30 to 50 s each time. The try, which compiles once, then takes 3 % of such a training
# where it gains nothing.
FORMS, LONG = 4, 1800.0  # of batches; seconds of steps from which on compiling is tried


def settle_perf(cfg: Train, samples: Samples, trust: list[str]) -> list[str]:
    """Choose how steps are done by their speed; return the reasons, in words.

    Precision, memory format, fused optimiser, threads, and in long trainings `torch.compile`. The
    settings get the choice, and their ``perf`` is null then, so that whoever reads them trains in
    the same way. What is set by hand stays. Random states are left alone.

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
            _set(cfg, key, chosen)
            speeds = ", ".join(f"{way} {1 / found[way]:.0f}" for way in ways)
            lines.append(f"perf: {key}={chosen} (images a second: {speeds})")
        if "trainer.compile" not in set_by_hand() and not cfg.trainer.compile:
            lines.append(_settle_compiling(cfg, batch, samples, trust))
            torch.set_num_threads(threads)
    cfg.perf = None
    return lines


def _choices(cfg: Train, threads: int) -> Iterator[tuple[str, list[Any]]]:
    """Yield what there is to choose, key by key: the usual way, then the others."""
    given, by_hand = cfg.trainer, set_by_hand()
    usual = resolve_precision(given.precision, given.accelerator)
    if given.precision == "auto" and usual != "32-true":
        yield "trainer.precision", [usual, "32-true"]
    if "trainer.channels_last" not in by_hand:
        yield "trainer.channels_last", [given.channels_last, not given.channels_last]
    scaled = resolve_precision(cfg.trainer.precision, given.accelerator) == "16-mixed"
    if "fused" in cfg.optimizer and "optimizer.fused" not in by_hand and not scaled:
        fused = bool(cfg.optimizer["fused"])
        yield "optimizer.fused", [fused, not fused]
    if (
        given.threads is None
        and threads > 1
        and device(given).type == "cpu"
        and processes(given) == 1
    ):
        yield "trainer.threads", list(dict.fromkeys([threads, max(1, threads // 2), 1]))


def _settle_compiling(cfg: Train, batch: int, samples: Samples, trust: list[str]) -> str:
    """Choose whether the network is compiled; return the reason.

    It is if that saves more time than it takes, which is only tried in a long training.
    """
    usual = _seconds(cfg, batch, samples, trust)
    steps = len(make_data(cfg, samples, trust).train_dataloader()) * cfg.trainer.max_epochs
    whole, begin = steps * cfg.batch_size * usual, "perf: trainer.compile="
    if whole < LONG:
        return (
            f"{begin}false (steps of {duration(whole)} in all: compiling takes minutes, and is "
            f"tried from {duration(LONG)} on)"
        )
    start = time.perf_counter()
    try:
        check_compiler(device(cfg.trainer))
        fast = _seconds(cfg, batch, samples, trust, compiling=True)
    except Exception as error:  # whatever a compiler may raise: it is no reason not to train
        return f"{begin}false ({' '.join(str(error).split())[:200]})"
    finally:
        torch.compiler.reset()
    cost = FORMS * (time.perf_counter() - start)
    pays = usual > WORTH * fast and whole * (1 - fast / usual) > cost
    cfg.trainer.compile = pays
    return (
        f"{begin}{str(pays).lower()} (images a second: {1 / usual:.0f}, compiled {1 / fast:.0f}; "
        f"of {duration(whole)} compiling takes about {duration(cost)})"
    )


def _changed(cfg: Train, key: str, way: Any) -> Train:
    """Return settings with another way to train."""
    changed = cfg.model_copy(deep=True)
    _set(changed, key, way)
    return changed


def _set(cfg: Train, key: str, way: Any) -> None:
    group, _, name = key.partition(".")
    node = getattr(cfg, group)
    if isinstance(node, dict):
        node[name] = way
    else:
        setattr(node, name, way)


def _batch(cfg: Train, samples: Samples, trust: list[str]) -> int:
    """Return how many images a step that is measured takes: of large ones not all of a batch."""
    one = _seconds(cfg, min(PROBE, cfg.batch_size), samples, trust)
    return max(min(PROBE, cfg.batch_size), min(cfg.batch_size, int(STEP / one)))


def _seconds(
    cfg: Train, batch: int, samples: Samples, trust: list[str], compiling: bool = False
) -> float:
    """Return the seconds that an image takes in training, from random weights.

    Unless `compiling` the network is not compiled, also where the settings ask for that.
    """
    own = cfg.model_copy(deep=True, update={"batch_size": batch})
    own.transfer.mode = "scratch"
    own.model |= {key: value for key, value in UNTRAINED.items() if key in own.model}
    if own.trainer.threads is not None:
        torch.set_num_threads(own.trainer.threads)
    parts = make_parts(own, samples, trust)
    parts.module.to(device(cfg.trainer))
    with compiled(parts.classifier.net, compiling):
        return seconds_an_image(parts)
