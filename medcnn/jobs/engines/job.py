"""A job of an engine: one command line of medcnn, in a process of its own."""

import os
import platform
import shlex
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from medcnn.jobs import file_locks
from medcnn.jobs.engines.child import STOPPED
from medcnn.jobs.notes import without_password
from medcnn.jobs.rundir import RunDir

LOST = -1000  # stands for the exit code of a job that was lost with its machine
LOOK = 0.2  # seconds between two looks at a process
PASSED = ("PYTHONPATH", "MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_PROJECT")
OURS = "medcnn: "  # how the line begins by which a command says what was wrong


def passed_environment() -> dict[str, str]:
    """Return the variables that a job has as this process; none that may hold a secret."""
    found = {name: os.environ[name] for name in PASSED if name in os.environ}
    return {name: value for name, value in found.items() if without_password(value) == value}


@dataclass(frozen=True)
class Job:
    """A command line, and where it runs; all paths are the same on all machines.

    Args:
        name: In lines about it.
        module: As of ``python -m``.
        arguments: Of the command.
        log: File that takes what it prints, and whose lock is of the process that is at work on it.
        run: Run directory with which a job that begins again goes on; None: it has none.
        there: Status of another run in that folder, with which it may not go on.
        folder: In which the command runs.
        environment: Variables of it.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    log: Path
    run: Path | None = None
    there: dict[str, Any] = field(default_factory=dict)
    folder: Path = field(default_factory=Path.cwd)
    environment: dict[str, str] = field(default_factory=passed_environment)


class End(NamedTuple):
    """How a job has ended."""

    name: str
    code: int  # of its process; negative: the signal that has ended it, or LOST
    said: str = ""  # its last word, where it failed
    again: int = 0  # times that it was started again


class Children:
    """The processes of jobs, which are stopped together."""

    def __init__(self) -> None:
        self.stopping = False
        self._living: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def run(self, command: list[str], log: IO[bytes], **options: Any) -> int:
        """Run a command, and return its exit code; an exception that comes meanwhile stops it."""
        with self._lock:
            if self.stopping:
                return STOPPED
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # closed when this process ends, however it does
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for this process, which then stops it
                **options,
            )
            self._living.add(child)
        try:
            while (code := child.poll()) is None:
                time.sleep(LOOK)  # not within wait(), which Ray's interruption doesn't reach
            return code
        except BaseException:  # Ctrl-C, or the end of a batch job's time
            self.stop()
            raise
        finally:
            self._living.discard(child)

    def stop(self) -> None:
        """Let all stop as they do at SIGTERM, and wait for them; kill them at the next Ctrl-C."""
        with self._lock:
            self.stopping, living = True, list(self._living)
        try:
            for child in living:
                if child.stdin is not None:
                    child.stdin.close()
            for child in living:
                child.wait()
        except BaseException:
            for child in living:
                child.kill()
            raise


def run_job(job: Job, threads: int | None, retries: int, children: Children | None = None) -> End:
    """Run a job, and return how it ended.

    Where its process is killed, by what is short of memory for example, it is started again.

    Args:
        job: What.
        threads: Of its process, where nobody has set OMP_NUM_THREADS.
        retries: Times that it is started again.
        children: Those that are stopped together; None: this job alone.
    """
    children = children or Children()
    again = 0
    while True:
        code, said = _run_once(job, threads, children)
        if code >= 0 or children.stopping or again == retries:
            return End(job.name, code, said, again)
        again += 1


def _run_once(job: Job, threads: int | None, children: Children) -> tuple[int, str]:
    """Run a job's process; gives its exit code and its last word."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:  # the process holds its lock, too, and what it starts
        file_locks.lock(log)
        if (arguments := _arguments(job)) is None:
            return 0, ""
        start = os.fstat(log.fileno()).st_size
        words = ("python", "-m", job.module, *arguments)
        log.write(f"{platform.node()}: {without_password(shlex.join(words))}\n".encode())
        log.flush()
        environment = {**os.environ, **job.environment, "PYTHONIOENCODING": "utf-8"}
        if threads is not None:
            environment.setdefault("OMP_NUM_THREADS", str(threads))
        code = children.run(
            [sys.executable, "-m", "medcnn.jobs.engines.child", job.module, *arguments],
            log,
            cwd=job.folder,
            env=environment,
        )
    return code, _last_word(job.log, start) if code else ""


def _arguments(job: Job) -> list[str] | None:
    """Return a job's arguments: to begin, or to go on; None if its run is finished."""
    if job.run is None:
        return list(job.arguments)
    run = RunDir(job.run)
    if run.status == job.there or not (run / "config.yaml").exists():
        return list(job.arguments)
    if run.finished:
        return None
    if run.status.get("state") == "failed" and not run.trained:
        return list(job.arguments)
    trust = [one for one in job.arguments if one.lstrip("+").startswith("trust=")]
    return [f"resume={job.run}", "engine=local", *trust]


def _last_word(log: Path, start: int) -> str:
    """Return the last line of medcnn's own in a log from a place on, or else its last line."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode("utf-8", errors="replace").splitlines()[1:]
    lines = [line for line in lines if line.strip()]
    ours = [line.removeprefix(OURS) for line in lines if line.startswith(OURS)]
    return next(iter([*ours[-1:], *lines[-1:]]), "")
