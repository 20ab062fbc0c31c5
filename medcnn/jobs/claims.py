"""The claim of a process on a folder: one at a time, as long as it lives."""

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import psutil

from medcnn.errors import UserError
from medcnn.jobs import file_locks
from medcnn.jobs.atomic_files import read_json

LOCK = ".claim"
WRITTEN = 10  # seconds in which whoever made a lock has written its name into it
LATER = 60  # seconds after which a process of the same number must be another one


def owner() -> dict[str, Any]:
    """Return this process as `living` finds it: host, number, start (seconds since 1970)."""
    started = psutil.Process().create_time()
    return {"host": platform.node(), "pid": os.getpid(), "started": started}


def living(owner: Mapping[str, Any]) -> bool:
    """Return True if a process that `owner` described still runs on this machine."""
    pid, started = owner.get("pid"), owner.get("started")
    if owner.get("host") != platform.node() or not isinstance(pid, int):
        return False
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # else another program has that number by now
        return not isinstance(started, int | float) or process.create_time() < started + LATER
    except psutil.AccessDenied:
        return True
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for the same out of a folder, inside the block.

    The folder is made where it is missing.

    Raises:
        UserError: Another process is at work in it.
    """
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / LOCK
    file: IO[str] | None = None
    with suppress(FileExistsError):
        file = lock.open("x", encoding="utf-8")
    file = file or _left_behind(lock)
    if file is None:
        other = {"pid": "?", "host": "?"} | read_json(lock)
        raise UserError(
            f"{folder} is in use by process {other['pid']} on {other['host']}; if that has ended, "
            f"delete {lock}"
        )
    try:
        with file:
            json.dump(owner(), file)
        yield
    finally:
        lock.unlink(missing_ok=True)
        if new:
            with suppress(OSError):
                folder.rmdir()  # nothing was written to it


def _left_behind(lock: Path) -> IO[str] | None:
    """Take the lock of a process that is gone, emptied; of several that ask, one gets it."""
    if not _abandoned(lock):
        return None
    file = None
    with suppress(FileNotFoundError, BlockingIOError):
        file = lock.open("r+", encoding="utf-8")
        file_locks.lock(file, wait=False)
        there = os.path.samestat(os.fstat(file.fileno()), lock.stat())
        if there and _abandoned(lock):  # still, as another may have got it meanwhile
            file.truncate()
            return file
    if file is not None:
        file.close()
    return None


def _abandoned(lock: Path) -> bool:
    """Return True if the process that made a lock on this machine is gone."""
    content = read_json(lock)
    if content:
        return content.get("host") == platform.node() and not living(content)
    try:
        return time.time() - lock.stat().st_mtime > WRITTEN
    except FileNotFoundError:
        return True
