"""The time that a planned training may take, and what of it is spent."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from medcnn.jobs.atomic_files import write_json
from medcnn.jobs.command_line import in_sweep
from medcnn.jobs.repeated import repeated

DEFAULT = "10min"
EVERY = 5.0  # seconds between two notes of what is spent: what a killed process forgets at most
YOUNG = 120.0  # seconds: a process older than this has done something else before


class Budget:
    """Wall time from the start of a command to its last file.

    Args:
        seconds: All of it.
        before: Seconds that processes before this one have spent.
        begun: When this one began, by `now`; None for now.
        now: The clock, in seconds.
    """

    def __init__(
        self,
        seconds: float,
        *,
        before: float = 0.0,
        begun: float | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.seconds, self.before, self.now = seconds, before, now
        self.begun = now() if begun is None else begun

    @property
    def spent(self) -> float:
        """Seconds that are gone."""
        return self.before + self.now() - self.begun

    @property
    def left(self) -> float:
        """Seconds until the budget ends; negative after that."""
        return self.seconds - self.spent

    @contextmanager
    def kept(self, path: Path) -> Iterator[None]:
        """Keep what is spent in a file, renewed every few seconds, inside the block."""

        def note() -> None:
            write_json(path, {"seconds": self.seconds, "spent": round(self.spent, 2)})

        note()
        try:
            with repeated(note, EVERY):
                yield
        finally:
            note()


def open_budget(path: Path, seconds: float) -> Budget:
    """Return the budget of a run, with what earlier processes have spent of it by its file."""
    before = 0.0
    if path.exists():
        before = float(json.loads(path.read_text(encoding="utf-8"))["spent"])
    return Budget(seconds, before=before, begun=_start())


def _start() -> float:
    """Return the time when this job began: the process, or a job of a sweep now."""
    now, start = time.time(), psutil.Process().create_time()
    return start if now - start < YOUNG and not in_sweep() else now
