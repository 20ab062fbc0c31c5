"""The hardware that a job runs on: processes, threads, devices, precision."""

import os
from typing import Any

import torch

from medcnn.errors import UserError
from medcnn.jobs.settings.groups import Trainer


def check_accelerator(key: str, accelerator: str) -> None:
    """Raise UserError unless this machine has the accelerator that a key of the config asks for."""
    there = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator in ("gpu", "cuda") and not there:
        raise UserError(
            f"{key}={accelerator}: torch finds no supported GPU on this machine; auto or cpu "
            "goes without one"
        )


def processes(trainer: Trainer) -> int:
    """Return the number of processes that a trainer's settings ask for, of all machines.

    Raises:
        UserError: See `local_processes`.
    """
    return local_processes(trainer) * trainer.num_nodes


def local_processes(trainer: Trainer) -> int:
    """Return the number of processes of each machine.

    Raises:
        UserError: ``devices`` is neither a number of processes, nor a list of this machine's GPUs.
    """
    devices = trainer.devices
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


def device(trainer: Trainer) -> torch.device:
    """Return the device of a training's first process."""
    first = trainer.devices[0] if isinstance(trainer.devices, list) else 0
    return torch.device("cuda", first) if uses_gpu(trainer.accelerator) else torch.device("cpu")


def uses_gpu(accelerator: str) -> bool:
    """Return True if a job with this accelerator setting runs on a CUDA GPU."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def resolve_precision(precision: str, accelerator: str) -> str:
    """Return a precision; for auto bf16 where the hardware multiplies in it.

    That is CUDA GPUs that support bf16 (others take 16-mixed), and CPUs with AMX, on which a
    ResNet-18 trains about three times as fast, or AVX512-BF16, where it is 1.5 to 1.9 times (28
    and 64 px, one thread of an AMD EPYC).
    """
    if precision != "auto":
        return precision
    if uses_gpu(accelerator):
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return "bf16-mixed" if multiplies_in_bf16() else "32-true"


def multiplies_in_bf16() -> bool:
    """Return whether the processor has instructions that multiply in bf16."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16"))


def set_threads(threads: int | None, sharing: int) -> None:
    """Share the CPU's cores among the processes of a machine, or take the number given."""
    if threads is None and sharing > 1:
        known = hasattr(os, "sched_getaffinity")  # the cores that this process may use
        cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
        threads = max(1, cores // sharing)
    if threads is not None:
        torch.set_num_threads(threads)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context of a config's ``trainer.precision`` on a device."""
    resolved = resolve_precision(precision, "gpu" if device.type == "cuda" else "cpu")
    dtype = torch.float16 if resolved == "16-mixed" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=resolved != "32-true")


def device_of(accelerator: str) -> torch.device:
    """Return the device that an accelerator setting means: auto, cpu or gpu."""
    check_accelerator("accelerator", accelerator)
    if accelerator not in ("auto", "cpu") and not uses_gpu(accelerator):
        raise UserError(f"accelerator={accelerator}: this machine has no CUDA GPU")
    return torch.device("cuda" if uses_gpu(accelerator) else "cpu")


def device_of_one(accelerator: str, processes: int, worker: int | None) -> torch.device:
    """Return `device_of` one of several processes of a command, which share the GPUs in turn.

    Args:
        accelerator: auto, cpu or gpu.
        processes: How many do the work; 1 for the command's own.
        worker: Number of this one; None for the command's own, which leaves the GPUs to others.
    """
    device = device_of(accelerator)
    if device.type == "cpu" or processes == 1:
        return device
    count = torch.cuda.device_count()
    return torch.device("cpu") if worker is None else torch.device("cuda", worker % count)
