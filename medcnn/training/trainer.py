"""Lightning's Trainer as medcnn sets it up: callbacks, loggers, profiler."""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.profilers import AdvancedProfiler, Profiler, SimpleProfiler

from medcnn.classifier.checkpoint import WholeFiles
from medcnn.errors import UserError
from medcnn.jobs.hardware import check_accelerator, local_processes, resolve_precision
from medcnn.jobs.instantiate import instantiate
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.jobs.settings.read import no_such_key
from medcnn.training.callbacks import (
    BatchNormStatistics,
    Deadline,
    EpochLines,
    FiniteLoss,
    Health,
    History,
    LastCheckpoint,
    OptimizerModes,
    OwnSignals,
    ProgressBar,
)
from medcnn.training.module import MONITOR
from medcnn.training.trackers import is_tracker


def make_trainer(
    cfg: Train, run: RunDir, trust: Iterable[str], further: Sequence[Callback] = ()
) -> pl.Trainer:
    """Return the Trainer of a training run.

    Args:
        cfg: Of the training.
        run: Where it writes.
        trust: Names that a ``_target_`` may hold beside medcnn's own.
        further: Callbacks that come after those of the config and medcnn's own.

    Raises:
        UserError: An accelerator that this machine lacks, or settings that don't fit together.
    """
    check_accelerator("trainer.accelerator", cfg.trainer.accelerator)
    devices = cfg.trainer.devices
    try:
        return pl.Trainer(
            **cfg.trainer.model_dump(exclude={*_OURS, *LIMITS}),
            devices=devices if isinstance(devices, list) else local_processes(cfg.trainer),
            precision=resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator),  # type: ignore[arg-type]
            # Lightning would load any hpc_ckpt_*.ckpt that lies there; a new run's is empty
            default_root_dir=run.best.parent,
            plugins=[LightningEnvironment(), WholeFiles()],
            callbacks=[*_callbacks(cfg, run, trust), *further],
            logger=_loggers(cfg, run, trust),
            profiler=_profiler(cfg.trainer.profiler, run),
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_model_summary=False,
            enable_progress_bar=ProgressBar.useful(),
        )
    except UserError:
        raise
    except (pl.utilities.exceptions.MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"trainer: {error}") from error


def check_trainer(cfg: Train) -> None:
    """Raise UserError at a key that neither medcnn nor Lightning's Trainer has."""
    known = inspect.signature(pl.Trainer).parameters
    for key, value in (cfg.trainer.model_extra or {}).items():
        if key not in known:
            raise UserError(no_such_key(f"trainer.{key}", "train", value))


# In deterministic mode torch would fill every new tensor with NaN, at 7 % of a step, to show up who
# reads memory that was never written; nothing here does.
torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

_OURS = (
    *("devices", "precision", "channels_last", "threads", "compile", "profiler", "requeue"),
    "launcher",
)
LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches")  # see DataModule


def _callbacks(cfg: Train, run: RunDir, trust: Iterable[str]) -> list[Callback]:
    chosen = []
    for name, node in cfg.callbacks.items():
        if isinstance(node, dict) and node.get("monitor", "") is None:
            node = node | {"monitor": MONITOR}
        chosen.append(instantiate(node, f"callbacks.{name}", trust))
    best = ModelCheckpoint(
        dirpath=run.best.parent,
        filename=run.best.stem,
        monitor=MONITOR,
        mode="max",
        save_weights_only=True,
        enable_version_counter=False,
    )
    shown: Callback = ProgressBar() if ProgressBar.useful() else EpochLines()
    history, every = History(run / "metrics.csv"), cfg.diagnosis.every_n_steps
    ours = [LastCheckpoint(run.last), history, OwnSignals(), FiniteLoss()]
    health = [Health(run / "health.csv", every, history)] if every else []
    if cfg.plan is not None and cfg.plan.deadline is not None:
        chosen.append(Deadline(cfg.plan.deadline))
    average = instantiate(cfg.average, "average", trust)
    averages = [OptimizerModes(), *([average] if average is not None else [])]
    return [*averages, BatchNormStatistics(), *chosen, best, *ours, shown, *health]


def _profiler(name: str | None, run: RunDir) -> Profiler | None:
    """Return Lightning's profiler of that name, which writes to ``logs/`` in the run directory."""
    if name is None:
        return None
    kind = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}[name]
    return kind(dirpath=run / "logs", filename="profile")


def _loggers(cfg: Train, run: RunDir, trust: Iterable[str]) -> list[Any]:
    return [
        instantiate(node, f"logger.{name}", trust, save_dir=run.path)
        for name, node in cfg.logger.items()
        if not is_tracker(node)  # which is a callback of the first process
    ]
