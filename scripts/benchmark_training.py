"""How fast medcnn trains, beside a bare PyTorch loop.

python scripts/benchmark_training.py [--model resnet] [--sizes 28 64] [--output training.csv]

Both sides train the same net with the same optimiser, batch size, precision and memory format. The
medcnn side is what ``python -m medcnn.train augment=none callbacks=none`` does: uint8 images from
its data module, its classifier, its Lightning trainer with loggers and checkpoints. The bare side
indexes images that are float and normalised already, and does nothing else. They take turns, an
epoch each, and only the training steps of an epoch are timed; the first turn of each warms up. (The
lines that medcnn prints after each epoch count the seconds of both sides and of the validation.)

Nothing else should run meanwhile: with two threads, one busy process beside them makes a step
several times slower. OMP_NUM_THREADS=1 suffers least.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import hydra
import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from medcnn import nets
from medcnn.classifier.build import make_classifier
from medcnn.classifier.card import make_card
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.jobs.atomic_files import write_csv
from medcnn.jobs.hardware import resolve_precision, set_threads
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.jobs.settings.read import read
from medcnn.jobs.settings.values import Precision
from medcnn.training.from_config import make_data, make_module
from medcnn.training.trainer import make_trainer

CLASS_NAMES = ("normal", "nodule", "effusion")
LOW_PRECISION = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # that of autocast


def compose(arguments: argparse.Namespace) -> Train:
    """Return the settings of medcnn's own files with the benchmark's settings."""
    overrides = [
        f"model={arguments.model}",
        "augment=none",
        "callbacks=none",
        f"batch_size={arguments.batch_size}",
        f"trainer.precision={arguments.precision}",
        f"trainer.max_epochs={arguments.pairs + 1}",
        *arguments.further,
    ]
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg: Train = read(hydra.compose("train", overrides), "train")
    return cfg


def random_samples(size: int, train: int, batch_size: int) -> Samples:
    """Random images (N, 1, size, size) uint8: `train` to train on, one batch of val and of test."""
    splits = ["train"] * train + ["val"] * batch_size + ["test"] * batch_size
    count = len(splits)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "image": np.arange(count),
            "patient": np.arange(count),
            "split": splits,
            "label": np.arange(count) % len(CLASS_NAMES),
        }
    )
    images = torch.from_numpy(rng.integers(0, 256, (count, 1, size, size), dtype=np.uint8))
    return Samples("random", table, images, "multiclass", CLASS_NAMES)


def bare_epoch(cfg: Train, samples: Samples, device: torch.device) -> Callable[[], None]:
    """An epoch of the bare loop, to be called again and again."""
    precision = resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    dtype, low = LOW_PRECISION.get(precision), precision in LOW_PRECISION
    memory = torch.channels_last if cfg.trainer.channels_last else torch.contiguous_format
    model = {key: value for key, value in cfg.model.items() if key != "_target_"}
    model |= {"in_channels": samples.in_channels, "input_size": samples.input_size}
    net = nets.build(**model, num_classes=len(CLASS_NAMES)).train()
    net = net.to(device).to(memory_format=memory)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in net.parameters() if p.ndim > 1]},
        {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    options = {key: value for key, value in cfg.optimizer.items() if key != "_target_"}
    optimizer = torch.optim.AdamW(groups, **options)
    rows = samples.rows("train")
    images: Tensor = samples.images[rows].to(device, torch.float32)
    images = ((images - images.mean()) / images.std()).contiguous(memory_format=memory)
    labels = samples.labels[rows].to(device)

    def epoch() -> None:
        for batch in torch.randperm(len(labels), device=device).split(cfg.batch_size):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, dtype=dtype, enabled=low):
                logits = net(images[batch])
            F.cross_entropy(logits.float(), labels[batch]).backward()
            optimizer.step()

    return epoch


class TakeTurns(Callback):
    """Runs a bare epoch before each epoch of the trainer, and times both.

    Args:
        bare: An epoch of the bare loop.

    Attributes:
        seconds: (bare, medcnn) of each epoch.
    """

    def __init__(self, bare: Callable[[], None]) -> None:
        self.bare = bare
        self.seconds: list[tuple[float, float]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The bare epoch, without the deterministic mode that the trainer has switched on."""
        deterministic = torch.are_deterministic_algorithms_enabled()
        warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        torch.use_deterministic_algorithms(False)
        start = _now()
        self.bare()
        self.bare_seconds = _now() - start
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        self.start = _now()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Stop the clock after the last step, before validation and checkpoints."""
        if trainer.is_last_batch:
            self.seconds.append((self.bare_seconds, _now() - self.start))


def _now() -> float:
    """Seconds, once the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(size: int, arguments: argparse.Namespace) -> pd.DataFrame:
    """Images per second of both sides, one row a pair of epochs."""
    cfg = compose(arguments)
    set_threads(cfg.trainer.threads, 1)
    pl.seed_everything(cfg.seed, verbose=False)
    count = arguments.steps * cfg.batch_size
    samples = random_samples(size, count, cfg.batch_size)
    module = make_module(cfg, make_classifier(make_card(cfg, samples)), samples, [])
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(cfg, RunDir(Path(folder)), [])
        turns = TakeTurns(bare_epoch(cfg, samples, trainer.strategy.root_device))
        trainer.callbacks.append(turns)  # type: ignore[attr-defined]
        trainer.fit(module, make_data(cfg, samples, []))
    bare, ours = np.array(turns.seconds[1:]).T
    table = pd.DataFrame({"size": size, "pair": np.arange(1, len(bare) + 1)})
    table.insert(0, "model", arguments.model)
    table["batch_size"], table["precision"] = cfg.batch_size, str(trainer.precision)
    table["threads"] = torch.get_num_threads()
    table["bare_images_per_s"] = (count / bare).round(1)
    table["medcnn_images_per_s"] = (count / ours).round(1)
    table["ratio"] = (bare / ours).round(4)
    return table


def positive(text: str) -> int:
    """A number of the command line that has to be at least 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return int(text)


def main() -> None:
    """Measure each size, print the pairs and their medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet", help="as of python -m medcnn.train")
    parser.add_argument("--sizes", type=positive, nargs="+", default=[28, 64], help="pixels")
    parser.add_argument("--batch-size", type=positive, default=32, help="images a step")
    parser.add_argument("--steps", type=positive, default=20, help="steps an epoch")
    parser.add_argument("--pairs", type=positive, default=7, help="epochs of each side that count")
    parser.add_argument("--precision", default="auto", choices=get_args(Precision))
    parser.add_argument("--output", type=Path, help="CSV file, one row a pair")
    parser.set_defaults(further=[])
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    try:
        table = pd.concat([measure(size, arguments) for size in arguments.sizes], ignore_index=True)
    except UserError as error:
        parser.error(str(error))
    print(table.to_string(index=False))
    for size, pairs in table.groupby("size"):
        bare, ours = pairs["bare_images_per_s"], pairs["medcnn_images_per_s"]
        print(
            f"{arguments.model}, {size} px: bare {bare.median():.1f}, medcnn {ours.median():.1f} "
            f"images/s; median ratio {statistics.median(pairs['ratio']):.3f}"
        )
    if arguments.output:
        write_csv(arguments.output, table)


if __name__ == "__main__":
    main()
