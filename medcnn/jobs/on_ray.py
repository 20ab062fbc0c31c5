"""A command whose processes Ray Train starts, on the machines of its cluster."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from medcnn.errors import InterruptedRunError, UserError
from medcnn.jobs import launched
from medcnn.jobs.engines.job import passed_environment
from medcnn.jobs.engines.ray_cluster import join_cluster
from medcnn.jobs.processes import signal_name
from medcnn.jobs.settings.groups import Trainer

PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl


def train_on_ray(trainer: Trainer, run: Path, overrides: list[str]) -> None:
    """Have Ray Train start a training's processes, and wait for them.

    Each of them runs the command ``python -m medcnn.train`` as under torchrun, whose variables Ray
    sets: the first leads, the others serve it (`medcnn.jobs.launched`). Ray's cluster is the one of
    ``RAY_ADDRESS``, or one that runs on this machine, or a new one on it. Its machines share the
    folder of the run, and have medcnn.

    Args:
        trainer: How many processes, and what each of them needs.
        run: The run directory.
        overrides: Of the training.

    Raises:
        InterruptedRunError: A process was lost.
        UserError: Ray isn't installed, or its cluster is too small; or the training failed.
    """
    if launched.others is not None:
        raise UserError("trainer.launcher=ray: Ray starts the processes; leave out torchrun, srun")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    try:
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError:
        raise UserError('trainer=ray needs Ray Train: pip install "medcnn[ray]"') from None
    folder, own = run.parent / f".{run.name}-ray", join_cluster(ray, "trainer=ray", show=True)
    try:
        has = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        count, resources = needed(trainer, has)
        spread = "SPREAD" if len(has) == trainer.num_nodes else "PACK"  # which fills a machine
        command = {
            "arguments": _arguments(run, overrides),
            "folder": str(Path.cwd()),
            "environment": passed_environment(),
        }
        TorchTrainer(
            part,
            train_loop_config=command,
            torch_config=TorchConfig(backend="gloo"),  # of Ray's own group, which isn't used
            scaling_config=ScalingConfig(
                num_workers=count,
                use_gpu="GPU" in resources,
                resources_per_worker=resources,
                placement_strategy="STRICT_PACK" if trainer.num_nodes == 1 else spread,
            ),
            run_config=RunConfig(name=folder.name, storage_path=str(run.parent.absolute())),
        ).fit()
    except (ray.train.TrainingFailedError, ray.exceptions.RayError) as error:
        raise _reason(error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # Ray's records, which hold nothing of the run
        if own:
            ray.shutdown()


def needed(trainer: Trainer, has: list[dict[str, Any]]) -> tuple[int, dict[str, float]]:
    """Return the number of processes, and what each of them takes for itself.

    Args:
        trainer: ``devices`` on each of ``num_nodes`` machines.
        has: What each machine of the cluster has, as `ray.nodes` lists it.

    Raises:
        UserError: The cluster hasn't so much, and a training would wait for ever.
    """
    wants_gpu = trainer.accelerator in ("gpu", "cuda")
    gpu = wants_gpu or (trainer.accelerator == "auto" and any(one.get("GPU") for one in has))
    kind = "GPU" if gpu else "CPU"
    most = sorted((int(one.get(kind, 0)) for one in has), reverse=True)[: trainer.num_nodes]
    devices = trainer.devices
    if devices == "auto" and gpu and most and most[-1] > 0:
        devices = most[-1]
    if not isinstance(devices, int) or isinstance(devices, bool):
        raise UserError(f"trainer.devices={devices}: with Ray a number of processes a machine")
    if len(most) < trainer.num_nodes or most[-1] < devices:
        raise UserError(
            f"trainer.devices={devices} trainer.num_nodes={trainer.num_nodes}: Ray's cluster has "
            f"{len(has)} machine(s), with {', '.join(map(str, most))} {kind}(s)"
        )
    cores = min(int(one.get("CPU", 1)) for one in has if int(one.get(kind, 0)) >= devices)
    threads = trainer.threads or max(1, cores // devices)
    each: dict[str, float] = {"CPU": threads, **({"GPU": 1} if gpu else {})}
    return devices * trainer.num_nodes, each


def _arguments(run: Path, overrides: list[str]) -> list[str]:
    """Return the arguments of each process: those of this command, or of this job of a sweep."""
    sources = HydraConfig.get().runtime.config_sources
    folders = [one.path for one in sources if one.provider == "command-line"]
    given = [f"--config-dir={folder}" for folder in folders]
    keys = [one.lstrip("+").partition("=")[0] for one in overrides]
    key = "resume" if "resume" in keys else "paths.run"  # an address is mirrored here alone
    others = [one for one, of in zip(overrides, keys, strict=True) if of != key]
    return [*given, *others, f"{key}='{run.absolute()}'", "trainer.launcher=null"]


def part(command: dict[str, Any]) -> None:
    """Run a command in a process of its own, as one of Ray's processes.

    Args:
        command: ``arguments`` of ``python -m medcnn.train``, the ``folder`` it runs in, and an
            ``environment`` beside that of Ray's process.

    Raises:
        RuntimeError: It failed; with its exit code.
    """
    started = [sys.executable, "-m", "medcnn.train", *command["arguments"]]
    # the store by which they speak is that of Ray's own group, as torchrun's is that of its agent
    env = {**os.environ, **command["environment"], "TORCHELASTIC_USE_AGENT_STORE": "True"}
    done = subprocess.run(
        started, cwd=command["folder"], env=env, check=False, preexec_fn=_end_with_parent
    )
    if done.returncode < 0:
        raise RuntimeError(f"ended by {signal_name(-done.returncode)}")
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}")


def _end_with_parent() -> None:
    """Have the kernel of Linux send SIGTERM to this process once its parent has ended.

    Elsewhere it ends some seconds later, as the store is gone.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM)


def _reason(error: Exception) -> UserError:
    """Return what a person is told of a training that failed."""
    if "exit code" in str(error):  # which has said itself why
        return UserError("the training failed on Ray; its own line above says why")
    words = " ".join(str(error).split())[:300]
    return InterruptedRunError(f"a process of this training was lost on Ray: {words}")
