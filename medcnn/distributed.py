"""The other processes of a multi-process run.

The first process composes the config and starts the others on the file that it wrote, so that no
process but the first meets Hydra and its sweeps. They find each other through the environment
variables that Lightning (and torchrun) use.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medcnn.errors import UserError
from medcnn.private import without_paths
from medcnn.rundir import RunDir
from medcnn.terminal import say

PATIENCE = 60  # seconds for the others to end once the first is done


@contextmanager
def other_processes(run: RunDir, world: int, trust: list[str]) -> Iterator[None]:
    """Start processes 1 … world - 1 on the run's config.yaml; this one is process 0.

    What they print goes to ``logs/rank<k>.log`` in the run directory. They are stopped when the
    block is left by an exception.

    Raises:
        UserError: torchrun or its like started this process, or one of the others failed.
    """
    if "LOCAL_RANK" in os.environ:
        raise UserError("medcnn starts its own processes: run it without torchrun or its like")
    children: list[subprocess.Popen[bytes]] = []
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0"}
    if world > 1:
        (run / "logs").mkdir(exist_ok=True)
        children = [_start(run, rank, world, trust, shared) for rank in range(1, world)]
        os.environ |= {**shared, "LOCAL_RANK": "0"}
    try:
        yield
        for rank, child in enumerate(children, 1):
            _check_end(child, run / "logs" / f"rank{rank}.log")
    finally:
        for child in children:
            child.kill()
            child.wait()
        _leave_group()
        for name in (*shared, "LOCAL_RANK", "WORLD_SIZE"):  # Lightning sets them, too
            os.environ.pop(name, None)


def _leave_group() -> None:
    """Leave the process group of a run that failed; the next run of a sweep makes its own."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _start(
    run: RunDir, rank: int, world: int, trust: list[str], shared: dict[str, str]
) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **shared, "LOCAL_RANK": str(rank)}
    command = [sys.executable, "-m", "medcnn.distributed", str(run.path), *trust]
    with (run / "logs" / f"rank{rank}.log").open("wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def _check_end(child: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for a process to end, and raise UserError if it failed or doesn't."""
    try:
        code = child.wait(PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"a process of this run doesn't end; see {log}") from error
    if code != 0:
        raise UserError(f"a process of this run failed with exit code {code}; see {log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """``python -m medcnn.distributed <run directory> [trusted class …]``: one of the processes."""
    from medcnn.datasets import open_data
    from medcnn.train import fit_and_test

    run, trust = RunDir(sys.argv[1]), sys.argv[2:]
    cfg = run.read_config()
    try:  # what this prints goes to a file of the run
        data = open_data(cfg, trust, checked=False, quiet=True)
        fit_and_test(cfg, run, trust, data.samples)
    except UserError as error:
        sys.exit(say(without_paths(str(error)), 2))


if __name__ == "__main__":
    main()
