"""The facts of environment.json: command, versions, hardware."""

import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from medcnn.jobs.private import with_pseudonyms

LIBRARIES = ("medcnn", "torch", "torchvision", "pytorch-lightning", "monai", "hydra-core", "numpy")


def environment(**facts: Any) -> dict[str, Any]:
    """Return what a job runs on and with, for environment.json."""
    import torch

    return {
        "command": [Path(sys.executable).name, *map(with_pseudonyms, sys.argv)],
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: library_version(name) for name in LIBRARIES},
        "cpu": {"count": os.cpu_count(), "capability": torch.backends.cpu.get_cpu_capability()},
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "torch_threads": torch.get_num_threads(),
        "waiting_threads": os.environ.get("OMP_WAIT_POLICY"),
        **facts,
    }


def library_version(name: str) -> str | None:
    """Return the version of an installed library; None where it isn't installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
