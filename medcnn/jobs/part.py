"""A part of a multi-process run, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def start(
    rank: int, task: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a part of a run, which ends when this process does.

    Args:
        rank: Of the part.
        task: Arguments of ``medcnn.training.worker``.
        environment: Variables beside those of this process.
    """
    command = [sys.executable, "-m", "medcnn.training.worker", *task]
    with (Path(task[0]) / "logs" / f"rank{rank}.log").open("wb") as log:
        return subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,  # closed when this process ends, however it does
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for this process, which then stops the others
        )
