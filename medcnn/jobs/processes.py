"""The other processes of a multi-process run.

The first process composes the config and starts the others on the file that it wrote, so that no
process but the first meets Hydra and its sweeps. They find each other through the environment
variables that Lightning (and torchrun) use. Where torchrun or srun has started all processes, the
others start their parts themselves (see `medcnn.jobs.launched`).
"""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from medcnn.errors import InterruptedRunError, UserError
from medcnn.jobs import launched
from medcnn.jobs.part import start
from medcnn.jobs.rundir import RunDir, how_to_go_on
from medcnn.jobs.terminal import say

PATIENCE = 60  # seconds for the others to end once the first is done
GRACE = 15  # seconds for this process to notice that another one is gone, before it is ended
DYING = 5  # seconds in which a process that broke a connection has ended
GONE = 2  # exit code of a process that was ended since another one is gone

Part = subprocess.Popen[bytes] | launched.Other  # of a run, in another process


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
    children: Sequence[Part] = []
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0"}
    done = threading.Event()
    if world > 1:
        (run / "logs").mkdir(exist_ok=True)
        children = _begin(world, [str(run.path.absolute()), split, *trust], shared)
        os.environ |= {**shared, "LOCAL_RANK": "0"}
        threading.Thread(target=_watch, args=(run, children, done), daemon=True).start()
    try:
        yield
        done.set()
        for rank, child in enumerate(children, 1):
            _check_end(child, run / "logs" / f"rank{rank}.log")
    except RuntimeError as error:  # of a broken connection, among others
        lost = _lost(run, children, DYING + (launched.SILENCE if launched.others else 0))
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


def _begin(world: int, task: list[str], shared: dict[str, str]) -> Sequence[Part]:
    """Begin the parts 1 … world - 1 of a run; `shared` gets the host that all have to find."""
    if launched.others is None:
        return [start(k, task, {**shared, "LOCAL_RANK": str(k)}) for k in range(1, world)]
    place = launched.others.place
    if place.nodes > 1:
        shared["MASTER_ADDR"] = place.host
    return launched.others.begin(task, shared)


def _watch(run: RunDir, children: Sequence[Part], done: threading.Event) -> None:
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


def _lost(run: RunDir, children: Sequence[Part], seconds: float = 0) -> UserError | None:
    """Return the error of the first process that has ended badly, or does within some seconds."""
    end = time.monotonic() + seconds
    while True:
        for rank, child in enumerate(children, 1):
            if code := child.poll():
                return _ended(code, run / "logs" / f"rank{rank}.log")
        if not children or time.monotonic() >= end:
            return None
        time.sleep(0.1)


def _ended(code: int, log: Path) -> UserError:
    if code == launched.SILENT:
        return InterruptedRunError(f"a process of this run isn't heard of any more; see {log}")
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


def _check_end(child: Part, log: Path) -> None:
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
