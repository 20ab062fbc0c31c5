"""What the looks at a training cost: health.csv, its lines, and the check that the loss is finite.

python scripts/benchmark_diagnosis_cost.py [--size 64] [--pairs 7] [--output cost.csv]

One training of ``python -m medcnn.train augment=none`` on random images, whose epochs are in turn
with all looks that ``diagnosis=default`` and the trainer take, and without. Only the training steps
of an epoch are timed, its end with the row of health.csv among them; the first epoch of each warms
up.

Nothing else should run meanwhile; OMP_NUM_THREADS=1 suffers least from what does.
"""

import argparse
import statistics
import tempfile
import warnings
from pathlib import Path

import hydra
import pandas as pd
import pytorch_lightning as pl
from benchmark_training import _now, positive, random_samples
from pytorch_lightning.callbacks import Callback

from medcnn.classifier.build import make_classifier
from medcnn.classifier.card import make_card
from medcnn.jobs.atomic_files import write_csv
from medcnn.jobs.hardware import set_threads
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.jobs.settings.read import read
from medcnn.training.callbacks import FiniteLoss, Health
from medcnn.training.from_config import make_data, make_module
from medcnn.training.trainer import make_trainer


def compose(arguments: argparse.Namespace) -> Train:
    """Return the settings of medcnn's own files with the benchmark's settings."""
    overrides = [
        f"model={arguments.model}",
        "augment=none",
        "logger=none",
        f"batch_size={arguments.batch_size}",
        f"trainer.max_epochs={2 * (arguments.pairs + 1)}",
    ]
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg: Train = read(hydra.compose("train", overrides), "train")
    return cfg


class InTurn(Callback):
    """Takes the looks away for every second epoch, and times the steps of each.

    Attributes:
        seconds: Of the steps of each epoch.
    """

    def __init__(self, looks: list[Callback]) -> None:
        self.looks, self.seconds = looks, [0.0]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.start = _now()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Stop the clock after the last step."""
        self.seconds[-1] = _now() - self.start

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Change sides."""
        self.seconds.append(0.0)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        away = len(self.seconds) % 2 == 0
        rest = [one for one in callbacks if one is not self and one not in self.looks]
        trainer.callbacks = [*rest, *([] if away else self.looks), self]  # type: ignore[attr-defined]


def measure(arguments: argparse.Namespace) -> pd.DataFrame:
    """Return the milliseconds of a step with the looks and without, a row a pair of epochs."""
    cfg = compose(arguments)
    set_threads(cfg.trainer.threads, 1)
    pl.seed_everything(cfg.seed, verbose=False)
    count = arguments.steps * cfg.batch_size
    samples = random_samples(arguments.size, count, cfg.batch_size)
    module = make_module(cfg, make_classifier(make_card(cfg, samples)), samples, [])
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(cfg, RunDir(Path(folder)), [])
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        turns = InTurn([one for one in callbacks if isinstance(one, FiniteLoss | Health)])
        callbacks.append(turns)
        trainer.fit(module, make_data(cfg, samples, []))
    steps = pd.Series(turns.seconds[: 2 * (arguments.pairs + 1)]) * 1000 / arguments.steps
    with_looks, without = steps[2::2].to_numpy(), steps[3::2].to_numpy()
    return pd.DataFrame(
        {
            "model": arguments.model,
            "size": arguments.size,
            "with_ms": with_looks.round(3),
            "without_ms": without.round(3),
            "ratio": (with_looks / without).round(4),
        }
    )


def main() -> None:
    """Measure, print the pairs and their medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet", help="of conf/model")
    parser.add_argument("--size", type=positive, default=64, help="pixels")
    parser.add_argument("--batch-size", type=positive, default=32, help="images a step")
    parser.add_argument("--steps", type=positive, default=50, help="steps an epoch")
    parser.add_argument("--pairs", type=positive, default=7, help="epochs of each side that count")
    parser.add_argument("--output", type=Path, help="CSV file, one row a pair")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    table = measure(arguments)
    print(table.to_string(index=False))
    print(
        f"{arguments.model}, {arguments.size} px: a step takes {table['with_ms'].median():.2f} ms "
        f"with, {table['without_ms'].median():.2f} ms without; median ratio "
        f"{statistics.median(table['ratio']):.4f}"
    )
    if arguments.output:
        write_csv(arguments.output, table)


if __name__ == "__main__":
    main()
