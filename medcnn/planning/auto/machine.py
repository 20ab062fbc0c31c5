"""What this machine can train in a second, by a few steps on noise of the data's kind."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import torch
from pytorch_lightning.utilities.seed import isolate_rng
from scipy.optimize import nnls

from medcnn.data.samples import Samples
from medcnn.jobs.hardware import device, local_processes, processes, resolve_precision, set_threads
from medcnn.jobs.settings.commands import Train
from medcnn.nets.describe import build_on_meta, count_macs, count_memory, count_parameters
from medcnn.planning.auto.fingerprint import Fingerprint
from medcnn.training.diagnosis.largest_batch import free_memory
from medcnn.training.diagnosis.parts import Parts, make_parts
from medcnn.training.perf import UNTRAINED
from medcnn.training.speed import seconds_an_image
from medcnn.training.transfer import is_own

NARROW, HALF, WHOLE = 0.25, 0.5, 1.0  # widths: two are measured, another follows from its work
WORK = 2e10  # multiply-accumulates of a step that is measured, at most: a second or so of slow CPUs
NOT_BUILT = ("_target_", *UNTRAINED)
BESIDE = 0.9  # share of its speed that a training is taken to keep beside others; not measured
FORWARD = 0.35  # share of a step of training that its forward pass takes, about


@dataclass(frozen=True)
class Machine:
    """The speed of a machine.

    Args:
        device: cpu or cuda.
        threads: Of the CPU.
        precision: As Lightning names it.
        memory: Bytes that are free on the device.
        measured: (width, size, images a second in training), in words' order.
        a_byte: Seconds that an image takes for each byte that the net moves.
        a_mac: Seconds that an image takes for each multiply-accumulate of the net.
        a_image: Seconds that an image takes whatever the net does.
        scaling: Exponent of the number of threads to which a training's speed is proportional: 1
            where twice the threads train twice as fast, 0 where they don't help.
    """

    device: str
    threads: int
    precision: str
    memory: int
    measured: tuple[tuple[float, tuple[int, ...], float], ...]
    a_byte: float
    a_mac: float
    a_image: float = 0.0
    scaling: float = 1.0

    def slower(self, at_once: int) -> float:
        """Return how much longer a training takes among several, which share the threads."""
        if at_once == 1:
            return 1.0
        return (self.threads / max(1, self.threads // at_once)) ** self.scaling / BESIDE

    def training(self, work: "Work") -> float:
        """Return the seconds that an image takes in training."""
        return self.a_byte * work.moved + self.a_mac * work.macs + self.a_image

    def testing(self, work: "Work") -> float:
        """Return the seconds that an image takes in validation and test."""
        return FORWARD * self.training(work)

    def line(self) -> str:
        """Return it in words."""
        speeds = ", ".join(
            f"{speed:.0f} images/s at width {width:g} and {size[-1]} px"
            for width, size, speed in self.measured
        )
        free = f"{self.memory / 1e9:.3g} GB free"
        return f"{self.device}, {self.threads} threads, {free}, {self.precision}: {speeds}"


@dataclass(frozen=True)
class Work:
    """What a net does for an image, in training."""

    moved: int  # bytes: what the net keeps for its backward pass, or of foreign nets the image
    macs: int
    parameters: int

    @property
    def memory(self) -> int:
        """Bytes that a step holds for the image; 0 of a net that can't be counted."""
        return self.moved if self.parameters else 0


def noise(f: Fingerprint, size: Sequence[int], images: int) -> Samples:
    """Return random images of a data set's kind, with labels that mean nothing."""
    generator = torch.Generator().manual_seed(0)
    count = images + 4
    shape = (count, f.channels, *size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    names = tuple(f"class {k}" for k in range(f.outputs))
    table = pd.DataFrame({"image": range(count), "patient": range(count)})
    table["split"] = ["train"] * images + ["val"] * 2 + ["test"] * 2
    kind = "binary" if f.task == "ordinal" and f.outputs == 2 else f.task
    if kind in ("multilabel", "regression"):
        columns = [f"label:{name}" for name in names]
        columns = ["label"] if kind == "regression" and len(names) == 1 else columns
        for k, column in enumerate(columns):
            table[column] = (np.arange(count) + k) % 2
    else:
        table["label"] = np.arange(count) % f.outputs
    positive = 1 if kind == "binary" else None
    return Samples("noise", table, pixels, kind, names, positive)


def work_of(cfg: Train, f: Fingerprint, size: Sequence[int]) -> Work:
    """Return what the net of a config does for an image of a size; of foreign nets, nothing."""
    shape = (f.channels, *size)
    if not is_own(cfg) or cfg.model.get("library"):
        return Work(4 * int(np.prod(shape)), 0, 0)
    options = {key: value for key, value in cfg.model.items() if key not in NOT_BUILT}
    return _counted(json.dumps(options), shape, f.outputs)


@cache
def _counted(options: str, shape: tuple[int, ...], outputs: int) -> Work:
    """Return what a net does, by its options as JSON."""
    given = json.loads(options)
    net = build_on_meta(given.pop("name"), shape, outputs, **given)
    return Work(count_memory(net, shape), count_macs(net, shape), count_parameters(net))


def with_width(cfg: Train, width: float) -> Train:
    """Return a config whose net has a width."""
    changed = cfg.model_copy(deep=True)
    changed.model["width"] = width
    return changed


def measure(
    cases: Sequence[tuple[Train, tuple[int, ...]]], f: Fingerprint, trust: list[str]
) -> Machine:
    """Measure some steps of training of nets on images of some sizes.

    Random states are as they were afterwards; the nets are thrown away.

    Args:
        cases: Configs and sizes of images, small ones first; of the first the net is measured in
            two widths, where it has such.
        f: Of the data.
        trust: Names that the config may hold beside medcnn's own.
    """
    cfg, first = cases[0]
    set_threads(cfg.trainer.threads, local_processes(cfg.trainer))
    world = processes(cfg.trainer)  # which share the images
    wider = HALF if f.few or f.dims == 3 else WHOLE
    widths = (NARROW, wider) if cfg.model.get("width") is not None else (WHOLE,)
    points: list[tuple[int, int, float]] = []
    measured: list[tuple[float, tuple[int, ...], float]] = []
    with isolate_rng(include_cuda=device(cfg.trainer).type == "cuda"):
        further = [(widths[0], *case) for case in cases[1:]]
        for width, one, size in [(w, cfg, first) for w in widths] + further:
            changed = with_width(one, width) if len(widths) > 1 else one
            work = work_of(changed, f, size)
            seconds = _seconds(changed, f, size, work, trust) / world
            points.append((work.moved, work.macs, seconds))
            if (width, tuple(size)) not in [one[:2] for one in measured]:
                measured.append((width, tuple(size), 1 / seconds))
        scaling = _scaling(with_width(cfg, HALF) if len(widths) > 1 else cfg, f, first, trust)
    a_byte, a_mac, a_image = _plane(points)
    return Machine(
        device(cfg.trainer).type,
        torch.get_num_threads(),
        resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator),
        free_memory(device(cfg.trainer)),
        tuple(measured),
        a_byte,
        a_mac,
        a_image,
        scaling,
    )


def _scaling(cfg: Train, f: Fingerprint, size: tuple[int, ...], trust: list[str]) -> float:
    """Return `Machine.scaling`, by a net with all threads and with one."""
    threads, work = torch.get_num_threads(), work_of(cfg, f, size)
    if device(cfg.trainer).type != "cpu" or processes(cfg.trainer) > 1 or threads == 1:
        return 1.0
    together = _seconds(cfg, f, size, work, trust)
    torch.set_num_threads(1)
    try:
        alone = _seconds(cfg, f, size, work, trust)
    finally:
        torch.set_num_threads(threads)
    return float(np.clip(np.log(alone / together) / np.log(threads), 0, 1))


def _plane(points: list[tuple[int, int, float]]) -> tuple[float, float, float]:
    """Return seconds a byte, a multiply-accumulate and an image, by relative least squares.

    The last one is 0 of less than three points.
    """
    table = np.array([(*point, 1.0) for point in points])
    relative = table[:, [0, 1, 3]] / table[:, 2:3]
    relative[:, 2] *= len(points) > 2
    scale = np.maximum(relative.max(0), 1e-300)
    found, _ = nnls(relative / scale, np.ones(len(table)))
    a_byte, a_mac, a_image = (found / scale).tolist()
    return a_byte, a_mac, a_image


def _parts(cfg: Train, f: Fingerprint, size: Sequence[int], images: int, trust: list[str]) -> Parts:
    """Return the parts of a training from random weights, on noise."""
    own = cfg.model_copy(deep=True)
    own.transfer.mode = "scratch"
    own.model |= {key: value for key, value in UNTRAINED.items() if key in own.model}
    parts = make_parts(own, noise(f, size, images), trust)
    parts.module.to(device(cfg.trainer))
    return parts


def _seconds(
    cfg: Train, f: Fingerprint, size: Sequence[int], work: Work, trust: list[str]
) -> float:
    """Return the seconds that an image takes in training, by the median step."""
    batch = max(2, min(cfg.batch_size, int(WORK / max(1, work.macs))))
    own = cfg.model_copy(deep=True, update={"batch_size": batch})
    return seconds_an_image(_parts(own, f, size, batch, trust))
