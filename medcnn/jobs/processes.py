"""The other processes of a multi-process run.

The first process composes the config and starts the others on the file that it wrote, so that no
process but the first meets Hydra and its sweeps. They find each other through the environment
variables that Lightning (and torchrun) use.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medcnn.errors import InterruptedRunError, UserError
from medcnn.jobs.rundir import RunDir, how_to_go_on
from medcnn.jobs.terminal import say

PATIENCE = 60  # seconds for the others to end once the first is done
GRACE = 15  # seconds for this process to notice that another one is gone, before it is ended
DYING = 5  # seconds in which a process that broke a connection has ended
GONE = 2  # exit code of a process that was ended since another one is gone


def refuse_launchers() -> None:
    """Raise UserError in a process that torchrun, or srun with several tasks, has started."""
    if "LOCAL_RANK" in os.environ:
        raise UserError("medcnn starts its own processes: run it without torchrun or its like")
    if os.environ.get("SLURM_PROCID", "0") != "0":
        raise UserError(
            "medcnn starts its own processes: run it without srun, or with srun --ntasks=1; this "
            f"is task {os.environ['SLURM_PROCID']}, and ends"
        )


@contextmanager
def other_processes(
    run: RunDir, world: int, trust: list[str], split: str = "test"
) -> Iterator[None]:
    """Start processes 1 … world - 1 on the run's config.yaml; this one is process 0.

    `split` is what they test.

    What they print goes to ``logs/rank<k>.log`` in the run directory. They are stopped when the
    block is left by an exception, and end by themselves when this process does. If one of them is
    lost within the block, this process would wait for it in vain; it is then ended.

    Raises:
        InterruptedRunError: One of the others was ended by a signal.
        UserError: One of the others failed.
    """
    children: list[subprocess.Popen[bytes]] = []
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0"}
    done = threading.Event()
    if world > 1:
        (run / "logs").mkdir(exist_ok=True)
        children = [_start(run, rank, [split, *trust], shared) for rank in range(1, world)]
        os.environ |= {**shared, "LOCAL_RANK": "0"}
        threading.Thread(target=_watch, args=(run, children, done), daemon=True).start()
    try:
        yield
        done.set()
        for rank, child in enumerate(children, 1):
            _check_end(child, run / "logs" / f"rank{rank}.log")
    except RuntimeError as error:  # of a broken connection, among others
        lost = _lost(run, children, DYING)
        if lost is None:
            raise
        raise lost from error
    finally:
        done.set()
        for child in children:
            child.kill()
            child.wait()
        _leave_group()
        for name in (*shared, "LOCAL_RANK", "WORLD_SIZE"):  # Lightning sets them, too
            os.environ.pop(name, None)


def _watch(run: RunDir, children: list[subprocess.Popen[bytes]], done: threading.Event) -> None:
    """End this process if another one is lost and it doesn't notice, as it waits for that one.

    It may wait inside of torch, where no signal and no exception reaches it.
    """
    lost = None
    while lost is None:
        if done.wait(0.5):
            return
        lost = _lost(run, children)
    if done.wait(GRACE):
        return
    for child in children:
        child.kill()
    own = [one for one in (run, RunDir(run.path.parent)) if one.status.get("pid") == os.getpid()]
    with suppress(OSError):
        for one in own:  # of a fold also the cross-validation
            one.set_status("interrupted", **{**one.facts, "error": str(lost)})
    say(f"{lost}; {how_to_go_on(own[-1])}")
    os._exit(GONE)


def _lost(
    run: RunDir, children: list[subprocess.Popen[bytes]], seconds: float = 0
) -> UserError | None:
    """Return the error of the first process that has ended badly, or does within some seconds."""
    end = time.monotonic() + seconds
    while True:
        for rank, child in enumerate(children, 1):
            if child.poll():
                return _ended(child.returncode, run / "logs" / f"rank{rank}.log")
        if not children or time.monotonic() >= end:
            return None
        time.sleep(0.1)


def _ended(code: int, log: Path) -> UserError:
    if code >= 0:
        return UserError(f"a process of this run failed with exit code {code}; see {log}")
    name = signal_name(-code)
    return InterruptedRunError(f"a process of this run was ended by {name}; see {log}")


def signal_name(number: int) -> str:
    """Return a signal's name, as ``SIGKILL``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _leave_group() -> None:
    """Leave the process group of a run that failed; the next run of a sweep makes its own."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _start(
    run: RunDir, rank: int, arguments: list[str], shared: dict[str, str]
) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **shared, "LOCAL_RANK": str(rank)}
    command = [sys.executable, "-m", "medcnn.training.worker", str(run.path), *arguments]
    with (run / "logs" / f"rank{rank}.log").open("wb") as log:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,  # closed when this process ends, however it does
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for this process, which then stops the others
        )


def _check_end(child: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for a process to end, and raise UserError if it failed or doesn't."""
    try:
        code = child.wait(PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"a process of this run doesn't end; see {log}") from error
    if code != 0:
        raise _ended(code, log)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
