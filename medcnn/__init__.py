"""Train medical image classifiers, test them, and see the evidence for each decision."""

import os
import sys
from typing import TYPE_CHECKING, Any

from medcnn._version import __version__

# Read when PyTorch is loaded: threads that wait for work soon sleep. Those that spin for long take
# the cores from other processes; to spin for a thousand rounds costs 4 % on an idle machine, and to
# sleep at once, as OpenMP runtimes other than GNU's will, 10 % (docs/benchmark_waiting.csv).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if TYPE_CHECKING:
    from medcnn.classifier.ensemble import load

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import `load`, and with it PyTorch, only when it is asked for."""
    if name == "load":
        from medcnn.classifier.ensemble import load

        return load
    raise AttributeError(f"module 'medcnn' has no attribute {name!r}")


if sys.argv[:1] == ["-m"]:  # while Python looks for the module of python -m medcnn.NAME
    from medcnn.jobs.lacking import refuse_command

    refuse_command(sys.orig_argv)
