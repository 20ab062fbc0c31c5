"""How fast medcnn trains, feeds and explains on a CUDA GPU, and how near the card's limit.

python scripts/benchmark_gpu.py [--parts training engines feeding maps ddp] [--output gpu.csv]
python scripts/benchmark_gpu.py --device cpu --quick     tries each part, where there is no GPU

One row a measurement, printed as it is made; a speed is the median of all rounds. Parts:

- training: a bare PyTorch loop, ResNet-18 and 50 at 28, 64 and 224 px, in fp32, TF32, bf16, with
  channels_last, torch.compile, and CUDA graphs through it. `tflops` counts the multiplications and
  additions of forward and backward pass (torch.utils.flop_counter); `share` is that by the TFLOP/s
  that this card reaches in a large matrix product in the same precision.
- engines: steps of medcnn's own trainer, and of MONAI's CacheDataset, DataLoader and Lightning, in
  bf16; the bare loop has taken turns with medcnn's, so that `ratio` is what medcnn adds.
- feeding: batches of medcnn's data module with augment=standard, until they are on the device.
- maps: Grad-CAM of one class an image.
- ddp: steps in DistributedDataParallel over nccl on one device (gloo on a CPU), by plain ones.

Nothing else should run meanwhile.
"""

import argparse
import itertools
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
import torch.nn.functional as F
from benchmark_training import compose, random_samples
from benchmark_training import measure as beside_bare
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from medcnn import cam, nets
from medcnn.jobs.atomic_files import write_csv
from medcnn.training.diagnosis.parts import make_parts
from medcnn.training.diagnosis.rate_test import batches

CLASSES = 3


class Way(NamedTuple):
    """A way to do the same steps."""

    dtype: torch.dtype | None = None  # of autocast; None for 32 bits
    tf32: bool = False  # for products of 32 bits
    last: bool = False  # channels_last
    compiled: str | None = None  # the mode of torch.compile


BF16 = torch.bfloat16
WAYS = {
    "fp32": Way(),
    "tf32": Way(tf32=True),
    "bf16": Way(BF16),
    "bf16 channels_last": Way(BF16, last=True),
    "bf16 channels_last compile": Way(BF16, last=True, compiled="default"),
    "bf16 channels_last cuda graphs": Way(BF16, last=True, compiled="reduce-overhead"),
}


class Scale(NamedTuple):
    """How much is measured; `batches` are images a step by the size in pixels."""

    depths: tuple[int, ...] = (18, 50)
    width: float = 1.0
    batches: dict[int, int] = {28: 512, 64: 256, 224: 128}  # noqa: RUF012
    steps: int = 20
    rounds: int = 5
    ways: tuple[str, ...] = tuple(WAYS)
    product: int = 8192


QUICK = Scale((18,), 0.125, {28: 8}, 2, 2, ("fp32", "bf16 channels_last compile"), 256)


class Bench:
    """A device, and how much is measured on it."""

    def __init__(self, device: str, scale: Scale) -> None:
        self.device, self.scale = torch.device(device), scale

    def sync(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, step: Callable[[], Any]) -> float:
        """Return the seconds that a step takes: the median over rounds, after two that warm up."""
        for _ in range(2):
            step()
        found = []
        for _ in range(self.scale.rounds):
            self.sync()
            start = time.perf_counter()
            for _ in range(self.scale.steps):
                step()
            self.sync()
            found.append((time.perf_counter() - start) / self.scale.steps)
        return statistics.median(found)

    def net(self, depth: int, size: int) -> nn.Module:
        """Return a ResNet as medcnn builds it for images of a size."""
        options = {"depth": depth, "width": self.scale.width, "input_size": (size, size)}
        return nets.build("resnet", in_channels=1, num_classes=CLASSES, **options).to(self.device)

    def cases(self) -> Iterator[tuple[int, int, int]]:
        """Yield depth, size and images a step."""
        for depth, (size, batch) in itertools.product(
            self.scale.depths, self.scale.batches.items()
        ):
            yield depth, size, batch


@contextmanager
def precise(way: Way) -> Iterator[None]:
    """Take products of 32 bits as a way does inside the block."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = way.tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def bare_step(bench: Bench, net: nn.Module, way: Way, batch: int, size: int) -> Callable[[], None]:
    """Return a step of the bare loop, on one batch again and again."""
    memory = torch.channels_last if way.last else torch.contiguous_format
    net = net.to(memory_format=memory).train()
    call = net if way.compiled is None else torch.compile(net, mode=way.compiled)
    images = torch.randn(batch, 1, size, size, device=bench.device).contiguous(memory_format=memory)
    labels = torch.arange(batch, device=bench.device) % CLASSES
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)

    def step() -> None:
        if way.compiled == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(bench.device.type, way.dtype, enabled=way.dtype is not None):
            logits = call(images)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    return step


def flops_an_image(bench: Bench, depth: int, size: int) -> int:
    """Return the multiplications and additions of an image, forward and backward."""
    net, images = bench.net(depth, size), torch.randn(2, 1, size, size, device=bench.device)
    with FlopCounterMode(display=False) as counter:
        net(images).sum().backward()
    return int(counter.get_total_flops()) // 2


def limit(bench: Bench, way: Way) -> float:
    """Return the FLOP/s of a large matrix product in the precision of a way."""
    side = bench.scale.product
    one, other = (torch.randn(side, side, device=bench.device, dtype=way.dtype) for _ in "ab")
    with precise(way):
        return 2 * side**3 / bench.seconds(lambda: one @ other)


def training(bench: Bench) -> Iterator[dict[str, Any]]:
    """The bare loop by precision, memory format and compilation."""
    limits = {name: limit(bench, WAYS[name]) for name in bench.scale.ways}
    for depth, size, batch in bench.cases():
        flops = flops_an_image(bench, depth, size)
        for name in bench.scale.ways:
            way = WAYS[name]
            torch.compiler.reset()
            with precise(way):
                step = bare_step(bench, bench.net(depth, size), way, batch, size)
                start = time.perf_counter()
                step()
                bench.sync()
                first = time.perf_counter() - start
                speed = batch / bench.seconds(step)
            yield {
                "net": f"resnet{depth}", "size": size, "batch": batch, "way": name,
                "images_per_s": speed, "first_step_s": first, "tflops": speed * flops / 1e12,
                "share": speed * flops / limits[name],
            }  # fmt: skip


def engines(bench: Bench) -> Iterator[dict[str, Any]]:
    """Medcnn's trainer beside the bare loop, and MONAI's way."""
    for depth, size, batch in bench.cases():
        own = argparse.Namespace(batch_size=batch, steps=bench.scale.steps, precision="bf16-mixed")
        own.pairs, own.further = bench.scale.rounds, overrides(bench, depth)
        pairs = beside_bare(size, own)
        facts = {"net": f"resnet{depth}", "size": size, "batch": batch}
        for engine in ("bare", "medcnn"):
            speed = pairs[f"{engine}_images_per_s"].median()
            ratio = {"ratio": pairs["ratio"].median()} if engine == "medcnn" else {}
            yield {**facts, "way": engine, "images_per_s": speed, **ratio}
        yield {**facts, "way": "monai", "images_per_s": monai(bench, depth, size, batch)}


def overrides(bench: Bench, depth: int) -> list[str]:
    """Return what settings of a training differ from medcnn's own."""
    kind = "cpu" if bench.device.type == "cpu" else "gpu"
    return [f"trainer={kind}", f"model.depth={depth}", f"model.width={bench.scale.width}"]


def monai(bench: Bench, depth: int, size: int, batch: int) -> float:
    """Return the images a second of MONAI's and Lightning's usual way, after the first epoch."""
    import pytorch_lightning as pl
    from monai.data import CacheDataset, DataLoader
    from monai.transforms import Compose, EnsureTyped, ScaleIntensityd

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.ends = bench.net(depth, size), list[float]()

        def training_step(self, parts: Any, _: int) -> Tensor:
            loss = F.cross_entropy(self.net(parts["image"]), parts["label"])
            self.log("train/loss", loss)
            return loss

        def on_train_epoch_end(self) -> None:
            bench.sync()
            self.ends.append(time.perf_counter())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters())

    samples = random_samples(size, bench.scale.steps * batch, batch)
    rows = samples.rows("train").tolist()
    items = [{"image": samples.images[k].numpy(), "label": int(samples.labels[k])} for k in rows]
    how = Compose([ScaleIntensityd("image"), EnsureTyped("image", track_meta=False)])
    held = CacheDataset(items, how, progress=False)
    loader = DataLoader(held, batch_size=batch, shuffle=True)
    module = Module()
    module.ends.clear()
    trainer = pl.Trainer(
        max_epochs=bench.scale.rounds + 1,
        accelerator=bench.device.type,
        devices=1,
        precision="bf16-mixed",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader)
    return len(rows) / statistics.median(np.diff(module.ends))


def feeding(bench: Bench) -> Iterator[dict[str, Any]]:
    """Batches until they are on the device, augmented."""
    for size, batch in bench.scale.batches.items():
        own = argparse.Namespace(batch_size=batch, precision="bf16-mixed", pairs=1)
        own.further = [*overrides(bench, 18), "augment=standard"]
        cfg = compose(own)
        parts = make_parts(cfg, random_samples(size, bench.scale.steps * batch, batch), [])
        parts.module.to(bench.device)
        source = batches(parts)
        speed = batch / bench.seconds(partial(next, source))
        yield {"size": size, "batch": batch, "way": "augment=standard", "images_per_s": speed}


def maps(bench: Bench) -> Iterator[dict[str, Any]]:
    """Grad-CAM of one class an image."""
    for depth, size, batch in bench.cases():
        for name, way in (("fp32", WAYS["fp32"]), ("bf16", WAYS["bf16 channels_last"])):
            memory = torch.channels_last if way.last else torch.contiguous_format
            net = bench.net(depth, size).eval().to(memory_format=memory)
            images = torch.randn(batch, 1, size, size, device=bench.device)
            images = images.contiguous(memory_format=memory)
            targets = torch.zeros(batch, dtype=torch.long, device=bench.device)
            with torch.autocast(bench.device.type, way.dtype, enabled=way.dtype is not None):
                speed = batch / bench.seconds(partial(cam.explain, net, images, targets))
            facts = {"net": f"resnet{depth}", "size": size, "batch": batch, "way": name}
            yield {**facts, "images_per_s": speed}


def ddp(bench: Bench) -> Iterator[dict[str, Any]]:
    """Steps in DistributedDataParallel, of one process, by plain ones."""
    backend = "nccl" if bench.device.type == "cuda" else "gloo"
    store = dist.HashStore()
    dist.init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        for depth, size, batch in bench.cases():
            way = WAYS["bf16 channels_last"]
            plain = bare_step(bench, bench.net(depth, size), way, batch, size)
            speed = batch / bench.seconds(plain)
            net = bench.net(depth, size).to(memory_format=torch.channels_last)
            wrapped = nn.parallel.DistributedDataParallel(net)
            other = batch / bench.seconds(bare_step(bench, wrapped, way, batch, size))
            facts = {"net": f"resnet{depth}", "size": size, "batch": batch, "way": backend}
            yield {**facts, "images_per_s": other, "ratio": other / speed}
    finally:
        dist.destroy_process_group()


def shown(value: Any) -> Any:
    """Return a number with four digits; all else as it is."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


PARTS = {"training": training, "engines": engines, "feeding": feeding, "maps": maps, "ddp": ddp}


def main() -> int:
    """Measure the parts that are asked for; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny: whether each part runs")
    parser.add_argument("--output", type=Path, help="CSV file, a row a measurement")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "benchmark_gpu.py: torch finds no CUDA GPU on this machine; --device cpu --quick tries "
            "each part without one",
            file=sys.stderr,
        )
        return 2
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    bench = Bench(options.device, QUICK if options.quick else Scale())
    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    rows = []
    for part in options.parts:
        for row in PARTS[part](bench):
            rows.append({"part": part, **row, "device": name, "torch": torch.__version__})
            print(", ".join(f"{key} {shown(one)}" for key, one in rows[-1].items()), flush=True)
    if options.output:
        write_csv(options.output, pd.DataFrame(rows).map(shown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
