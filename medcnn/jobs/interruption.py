"""Signals that end a job: each interrupts it as Ctrl-C does, so that it can go on later."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# A closed terminal, a batch system's time limit (as `sbatch --signal=B:USR1@120`) and its end.
NAMES = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGTERM")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]

_received: list[int] = []


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the first of `SIGNALS`, and each Ctrl-C, raise KeyboardInterrupt inside the block.

    What was raised may go unheard, as in a callback of a weak reference, after which Python goes
    on: so each is noted for `raise_if_received`, and isn't printed. Signals that this process was
    started to ignore, as SIGHUP by nohup, stay ignored.
    """
    show = sys.unraisablehook

    def interrupt(number: int, _: FrameType | None) -> None:
        first = not _received
        if first:
            _received.append(number)
        if first or number == signal.SIGINT:
            raise KeyboardInterrupt

    def show_others(unheard: "sys.UnraisableHookArgs") -> None:
        if unheard.exc_type is not KeyboardInterrupt:
            show(unheard)

    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGINT)}
    usual = (signal.SIG_DFL, signal.default_int_handler)
    heeded = [number for number, handler in before.items() if handler in usual]
    for number in heeded:
        signal.signal(number, interrupt)
    sys.unraisablehook = show_others
    try:
        yield
    finally:
        sys.unraisablehook = show
        for number in heeded:
            signal.signal(number, before[number])
        _received.clear()


def raise_if_received() -> None:
    """Raise KeyboardInterrupt again, of a signal whose first one went unheard in some library."""
    if _received:
        raise KeyboardInterrupt


def requeue() -> str | None:
    """Have SLURM put this job back into its queue, if SIGUSR1 ended it; says what came of it."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or signal.SIGUSR1 not in _received:
        return None
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"SLURM job {job} can't be put back into the queue: {error}"
    return f"SLURM job {job} is back in the queue"
