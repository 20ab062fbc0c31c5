"""The largest batch that fits into memory, from what small ones take."""

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medcnn.data.memory import available_memory
from medcnn.jobs.hardware import autocast, processes
from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.parts import Parts
from medcnn.training.diagnosis.start import how_many

IMAGES = 32  # of the larger batch; fewer of large images
SHARE = 0.8  # of the memory; the rest is for workspaces, augmentation and fragments


def largest_batch(parts: Parts) -> Finding:
    """Estimate the largest batch that fits: memory grows with its images along a straight line.

    It is measured with two small batches, the second only if what the first took says that it fits.
    """
    name, cfg = "largest batch", parts.cfg
    number, on_gpu = processes(cfg.trainer), parts.module.device.type == "cuda"
    free = free_memory(parts.module.device) / (1 if on_gpu else number)
    most = max(4, how_many(parts, IMAGES))
    less, more = (parts.rows("train", count) for count in (most // 2, most))
    if len(less) == len(more):
        return Finding(name, None, f"{len(more)} training images are too few to tell")
    low = step_memory(parts, less)
    if low * len(more) / len(less) > SHARE * free:
        line = f"{len(less)} images take {low / 1e6:.3g} of {free / 1e6:.3g} MB that are free"
        return Finding(name, None, f"{line}; more aren't tried")
    each = (step_memory(parts, more) - low) / (len(more) - len(less))
    fixed = low - each * len(less)
    figures = {"each": each, "fixed": fixed, "free": free}
    if each <= 0:
        return Finding(name, None, "memory doesn't grow with the images", figures=figures)
    images = len(parts.samples.rows("train"))
    fits = int((SHARE * free - fixed) / each) * number
    line = (
        f"a step takes {max(fixed, 0) / 1e6:.3g} MB and {each / 1e6:.3g} MB an image, of "
        f"{free / 1e9:.3g} GB that are free"
    )
    if fixed + each * cfg.batch_size / number > free:
        split = "a smaller net"
        if fits > 0:
            split = f"batch_size={fits} and trainer.accumulate_grad_batches"
        cause = f"a step of batch_size={cfg.batch_size} doesn't fit: take {split}, "
        return Finding(name, False, line, f"{cause}or smaller images", figures)
    largest = f"all {images} training images fit" if fits >= images else "the largest that fits"
    line = f"{line}: {largest}, batch_size={min(fits, images // number * number)}"
    return Finding(name, True, f"{line} (now {cfg.batch_size})", figures=figures)


def free_memory(device: torch.device) -> int:
    """Return the bytes that this process can still take on a device."""
    if device.type != "cuda":
        return available_memory()
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def step_memory(parts: Parts, rows: Tensor) -> int:
    """Return the bytes that a step of training on rows takes at most, beside the weights.

    They are those of forward and backward pass, and two numbers a weight for the optimiser. On a
    GPU the allocator counts; elsewhere the tensors that are made are.
    """
    module, device = parts.module, parts.module.device
    module.train()
    weights = [p for p in module.parameters() if p.requires_grad]
    for weight in weights:
        weight.grad = None
    state = 2 * sum(weight.nbytes for weight in weights)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _pass(parts, rows)
        return torch.cuda.max_memory_allocated(device) - before + state
    with Made() as made:
        _pass(parts, rows)
    return made.most + state


def _pass(parts: Parts, rows: Tensor) -> None:
    with autocast(parts.cfg.trainer.precision, parts.module.device):
        loss = parts.module.training_loss(parts.batch(rows))
    loss.backward()


class Made(TorchDispatchMode):
    """The bytes of all tensors made in a block that are alive at one time.

    >>> with Made() as made:
    ...     for _ in range(3):
    ...         x = torch.zeros(250)
    ...         y = x[:10] + 1
    >>> made.most  # a new x, of 1000 bytes, is there before the old one goes
    2040
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive: set[int] = set()
        self.now = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do an operation, and count what it gives back."""
        made = func(*args, **(kwargs or {}))
        given = {one.untyped_storage()._cdata for one in _tensors((args, kwargs))}
        for one in _tensors(made):
            if one.untyped_storage()._cdata not in given:  # no view of it
                self._count(one.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.alive:
            return
        self.alive.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, key, size).atexit = False

    def _forget(self, key: int, size: int) -> None:
        self.alive.discard(key)
        self.now -= size


def _tensors(values: Any) -> list[Tensor]:
    return [one for one in tree_leaves(values) if isinstance(one, Tensor)]
