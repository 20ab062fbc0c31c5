"""The sign of life of a worker, in the run directory of the trial that it is at work on."""

import json
import os
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from medcnn.jobs.atomic_files import write_json
from medcnn.jobs.claims import living, owner
from medcnn.jobs.repeated import repeated

FILE, BEATS = ".worker", 6  # beats in the time after which a worker is taken to be gone


class Stamp:
    """A file that names the worker of a trial, and whose time it renews.

    Args:
        run: The trial's run directory.
    """

    def __init__(self, run: Path) -> None:
        self.path, self.token = run / FILE, uuid.uuid4().hex
        self.lost = False  # another worker has taken the trial over

    def take(self) -> None:
        """Take the trial."""
        write_json(self.path, {**owner(), "token": self.token})

    @property
    def held(self) -> bool:
        """Whether the trial is still this worker's."""
        return _read(self.path).get("token") == self.token

    def let_go(self) -> None:
        """Leave the trial to whoever comes next."""
        if self.held:
            self.path.unlink(missing_ok=True)

    @contextmanager
    def beating(self, stale: float) -> Iterator[None]:
        """Renew the stamp inside the block, so that it is never so many seconds old."""

        def beat() -> None:
            with suppress(OSError):  # of a disk that is away for a moment
                if self.held:
                    os.utime(self.path)
                else:
                    self.lost = True

        with repeated(beat, stale / BEATS):
            yield


def is_worked_on(run: Path, stale: float) -> bool:
    """Return whether the worker of a trial has given a sign of life in the last `stale` seconds.

    Of one on this machine the process itself tells; a third of the time has still to pass once that
    is gone, as it may live in another container. Times are compared as the disk tells them, for the
    clocks of two machines may differ.
    """
    path = run / FILE
    try:
        age = _now(run) - path.stat().st_mtime
    except FileNotFoundError:
        return False
    worker = _read(path)
    if worker.get("host") == platform.node():
        return living(worker) or age < stale / 3
    return age < stale


def last_sign(run: Path) -> float | None:
    """Return when a worker renewed its stamp last, in seconds since 1970; None without a stamp."""
    with suppress(OSError):
        return (run / FILE).stat().st_mtime
    return None


def _now(folder: Path) -> float:
    """Return the time of the disk that a folder is on."""
    probe = folder / f".now-{uuid.uuid4().hex}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
