"""What goes wrong with disks: they are full, or not for this user."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


def fill(folder: Path) -> Path:
    """Leave no space on the file system of a folder; gives the file that takes it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return ballast
    raise AssertionError("a disk without end")


@contextmanager
def forbidden(path: Path) -> Iterator[None]:
    """Nobody may read or write to a file or folder, nor this process, inside the block."""
    mode = path.stat().st_mode
    path.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:  # who passes everywhere
            os.seteuid(NOBODY)
        yield
    finally:
        if root:
            os.seteuid(0)
        path.chmod(mode)
