"""Lightning's Trainer as medcnn sets it up, and the hardware that it runs on."""

import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.profilers import AdvancedProfiler, Profiler, SimpleProfiler

from medcnn.classifier.checkpoint import WholeFiles
from medcnn.classifier.classifier import Classifier
from medcnn.errors import UserError, check_whole_number
from medcnn.jobs.checks import ACCELERATORS, PRECISIONS
from medcnn.jobs.instantiate import instantiate, plain
from medcnn.jobs.rundir import RunDir
from medcnn.training.callbacks import (
    BatchNormStatistics,
    EpochLines,
    History,
    LastCheckpoint,
    OwnSignals,
    ProgressBar,
)

if TYPE_CHECKING:
    from medcnn.classifier.ensemble import Ensemble

for _library in ("pytorch_lightning", "lightning_fabric"):  # notices that aren't about the run
    logging.getLogger(_library).setLevel(logging.ERROR)

MONITOR = "val/score"  # what the best checkpoint is chosen by: see medcnn.evaluation.score


def make_trainer(cfg: DictConfig, run: RunDir, trust: Iterable[str]) -> pl.Trainer:
    """The Trainer of a training run.

    Args:
        cfg: With the groups trainer, callbacks and logger.
        run: Where it writes.
        trust: Names that the user allows in its config.

    Raises:
        UserError: An accelerator that this machine lacks, or settings that don't fit together.
    """
    check_accelerator("trainer.accelerator", cfg.trainer.accelerator)
    ours = (*_OURS, *LIMITS)
    options = {key: value for key, value in cfg.trainer.items() if key not in ours}
    try:
        return pl.Trainer(
            **{str(key): value for key, value in options.items()},
            devices=_devices(cfg.trainer),
            precision=resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator),  # type: ignore[arg-type]
            # Lightning would load any hpc_ckpt_*.ckpt that lies there; a new run's is empty
            default_root_dir=run.best.parent,
            plugins=[LightningEnvironment(), WholeFiles()],
            callbacks=_callbacks(cfg, run, trust),
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


# In deterministic mode torch would fill every new tensor with NaN, at 7 % of a step, to show up who
# reads memory that was never written; nothing here does.
torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

_OURS = ("devices", "precision", "channels_last", "threads", "profiler", "requeue")
LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches")  # see DataModule


def bare_trainer(accelerator: str, precision: str) -> pl.Trainer:
    """A Trainer for one pass over data: one process, no files."""
    check_accelerator("accelerator", accelerator)
    try:
        return pl.Trainer(
            accelerator=accelerator,
            devices=1,
            precision=resolve_precision(precision, accelerator),  # type: ignore[arg-type]
            default_root_dir=os.devnull,  # no folder, so that there is no hpc_ckpt_*.ckpt in it
            plugins=[LightningEnvironment()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except UserError:
        raise
    except (pl.utilities.exceptions.MisconfigurationException, ValueError) as error:
        raise UserError(f"accelerator={accelerator}: {error}") from error


def check_accelerator(key: str, accelerator: Any) -> None:
    """Raise UserError unless this machine has what ``accelerator`` asks for.

    Args:
        key: What it is called in the config.
        accelerator: One of `medcnn.jobs.checks.ACCELERATORS`.
    """
    if accelerator not in ACCELERATORS:
        raise UserError(f"{key}={accelerator}: choose one of {', '.join(ACCELERATORS)}")
    there = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator in ("gpu", "cuda") and not there:
        raise UserError(
            f"{key}={accelerator}: torch finds no supported GPU on this machine; auto or cpu "
            "goes without one"
        )


def processes(trainer: DictConfig) -> int:
    """How many processes the trainer config asks for.

    Raises:
        UserError: ``devices`` is neither a number of processes, nor a list of this machine's GPUs.
    """
    devices = plain(trainer.devices)
    gpus = torch.cuda.device_count() if trainer.accelerator != "cpu" else 0
    if devices == "auto":
        if gpus == 0 and trainer.strategy == "ddp":
            raise UserError("trainer.devices=auto counts GPUs and there is none; on the CPU set it")
        return max(1, gpus)
    if isinstance(devices, list):
        whole = all(isinstance(one, int) and not isinstance(one, bool) for one in devices)
        if not devices or not whole or len(set(devices)) < len(devices):
            raise UserError(f"trainer.devices={devices}: name each GPU once by its number, from 0")
        if min(devices) < 0 or max(devices) >= gpus:
            has = f"has {gpus}, numbered from 0" if gpus else "has none"
            raise UserError(f"trainer.devices={devices} picks GPUs, of which this job {has}")
        return len(devices)
    if not isinstance(devices, int) or isinstance(devices, bool) or devices < 1:
        raise UserError(f"trainer.devices={devices}: a number of processes, GPUs as [0,1], or auto")
    return devices


def _devices(trainer: DictConfig) -> int | list[int]:
    """As Lightning takes it: GPUs that are named, else how many devices."""
    devices = plain(trainer.devices)
    count = processes(trainer)
    return devices if isinstance(devices, list) else count


def device(trainer: DictConfig) -> torch.device:
    """Where the first process of a training computes."""
    devices = plain(trainer.devices)
    first = devices[0] if isinstance(devices, list) else 0
    return torch.device("cuda", first) if uses_gpu(trainer.accelerator) else torch.device("cpu")


def uses_gpu(accelerator: str) -> bool:
    """Whether a job with this accelerator setting runs on a CUDA GPU."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def resolve_precision(precision: str, accelerator: str) -> str:
    """What ``precision=auto`` means here: bf16 where the hardware multiplies matrices in it.

    That is CUDA GPUs that support bf16 (others take 16-mixed), and CPUs with AMX, on which a
    ResNet-18 trains about three times as fast.

    Raises:
        UserError: Not one of `medcnn.jobs.checks.PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision={precision}: choose one of {', '.join(PRECISIONS)}")
    if precision != "auto":
        return precision
    if uses_gpu(accelerator):
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16-mixed" if capabilities.get("amx_bf16") else "32-true"


def _cores() -> int:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(threads: int | None, local_processes: int) -> None:
    """Share the CPU's cores among the processes of a job, or take the number given."""
    if threads is None and local_processes > 1:
        threads = max(1, _cores() // local_processes)
    if threads is not None:
        check_whole_number("threads", threads, least=1)
        torch.set_num_threads(threads)


def _callbacks(cfg: DictConfig, run: RunDir, trust: Iterable[str]) -> list[Callback]:
    chosen = []
    for name, node in cfg.callbacks.items():
        options = plain(node)
        if isinstance(options, dict) and options.get("monitor", "") is None:
            options["monitor"] = MONITOR
        chosen.append(instantiate(options, f"callbacks.{name}", trust))
    best = ModelCheckpoint(
        dirpath=run.best.parent,
        filename=run.best.stem,
        monitor=MONITOR,
        mode="max",
        save_weights_only=True,
        enable_version_counter=False,
    )
    shown: Callback = ProgressBar() if ProgressBar.useful() else EpochLines()
    ours = [LastCheckpoint(run.last), History(run / "metrics.csv"), OwnSignals(), shown]
    return [BatchNormStatistics(), *chosen, best, *ours]


def _profiler(name: str | None, run: RunDir) -> Profiler | None:
    """Lightning's profiler of that name, which writes to ``logs/`` in the run directory."""
    if name is None:
        return None
    kinds = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}
    if name not in kinds:
        raise UserError(f"trainer.profiler={name}: choose simple or advanced")
    return kinds[name](dirpath=run / "logs", filename="profile")


def _loggers(cfg: DictConfig, run: RunDir, trust: Iterable[str]) -> list[Any]:
    return [
        instantiate(node, f"logger.{name}", trust, save_dir=run.path)
        for name, node in cfg.logger.items()
    ]


def autocast(classifier: "Classifier | Ensemble") -> torch.autocast:
    """The precision that a classifier's config asks for, as a context, on its device."""
    settings = classifier.card["config"]["trainer"]
    kind = classifier.device.type
    precision = resolve_precision(settings["precision"], "gpu" if kind == "cuda" else "cpu")
    dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
    return torch.autocast(kind, dtype=dtype, enabled=precision != "32-true")


def device_of(accelerator: str) -> torch.device:
    """The device that an accelerator setting means: auto, cpu or gpu."""
    check_accelerator("accelerator", accelerator)
    if accelerator not in ("auto", "cpu") and not uses_gpu(accelerator):
        raise UserError(f"accelerator={accelerator}: this machine has no CUDA GPU")
    return torch.device("cuda" if uses_gpu(accelerator) else "cpu")
