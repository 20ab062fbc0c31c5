"""Room in a cache folder: chains in use, and those cleared for others."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO

from medcnn.errors import UserError
from medcnn.jobs.file_locks import lock

LOCK = "use.lock"  # in a chain's folder; shared by the processes that use it


def in_use(folder: Path) -> IO[str]:
    """Return the lock that keeps a chain's folder from being cleared until it is closed.

    The folder is made where it is missing, also where another process clears it now.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # cleared since it was made
            file = (folder / LOCK).open("w")
            lock(file, shared=True)
            if _is_there(file, folder / LOCK):
                return file
            file.close()


def _is_there(file: IO[str], path: Path) -> bool:
    """Return whether an open file is still the one that a path leads to."""
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())


def make_room(folder: Path, needed: int, most: int) -> None:
    """Clear chains that no process uses, the least recently used first.

    Args:
        folder: Of the chain that needs room, in the cache folder.
        needed: Bytes that this chain is going to hold.
        most: Bytes that the whole cache folder may hold.

    Raises:
        UserError: There is not enough room, in the cache or on the disk.
    """
    if needed > most:
        raise UserError(
            f"cache.disk={most / 1e9:.3g}GB is too small: the prepared images take "
            f"{needed / 1e9:.3g} GB; allow more, or take a smaller dataset.size"
        )
    sizes = _sizes_beside(folder)
    for child in list(sizes):
        if needed + sum(sizes.values()) <= most:
            break
        if _clear(child):
            del sizes[child]
    free = shutil.disk_usage(folder).free + _bytes_in(folder)
    if needed > free:
        raise UserError(
            f"cache.folder={folder.parent}: {free / 1e9:.3g} GB are free, the prepared images take "
            f"{needed / 1e9:.3g} GB; choose another folder, or a smaller dataset.size"
        )


def _sizes_beside(folder: Path) -> dict[Path, int]:
    """Return the bytes in the other chains' folders, the least recently used first."""
    found = []
    for child in folder.parent.iterdir():
        with suppress(FileNotFoundError):  # another process clears it now
            if child.is_dir() and child != folder:
                found.append((child.stat().st_mtime, child, _bytes_in(child)))
    return {child: size for _, child, size in sorted(found)}


def _bytes_in(folder: Path) -> int:
    return sum(child.stat().st_size for child in folder.iterdir() if child.is_file())


def _clear(folder: Path) -> bool:
    """Delete a chain's folder unless a process uses it, or it isn't a chain's folder."""
    path = folder / LOCK
    with suppress(OSError), path.open("r+") as file:
        lock(file, wait=False)
        if not _is_there(file, path):
            return False
        for child in folder.iterdir():
            if child != path:
                child.unlink()
        path.unlink()  # last: whoever opens the folder meanwhile waits for it, and tries again
        folder.rmdir()
    return not folder.exists()
