"""A list of paths in a file, of which a part is read at a time."""

import os
from array import array
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import numpy as np

from medcnn.jobs.atomic_files import replacing


class PathList:
    """The paths in a file that `write_paths` wrote: a million take 8 MB of memory.

    Args:
        file: With each path and NUL behind it; beside it, ending in .npy, where each ends.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._ends = np.load(_ends_of(file))

    def __len__(self) -> int:
        return len(self._ends)

    def names(self, first: int, last: int) -> list[str]:
        """Return the paths of the rows first … last - 1."""
        if first >= last:
            return []
        start = int(self._ends[first - 1]) if first else 0
        with self.file.open("rb") as stream:
            stream.seek(start)
            content = stream.read(int(self._ends[last - 1]) - start)
        return [os.fsdecode(path) for path in content.split(b"\0")[:-1]]


def write_paths(paths: Iterable[str], file: Path) -> str:
    """Write a list of paths, one at a time; return a hexadecimal digest of it."""
    digest, ends, end = sha256(), array("q"), 0
    with replacing(file) as temporary, temporary.open("wb") as stream:
        for path in paths:
            content = os.fsencode(path) + b"\0"
            digest.update(content)
            stream.write(content)
            end += len(content)
            ends.append(end)
    with replacing(_ends_of(file)) as temporary:
        np.save(temporary, np.asarray(ends))
    return digest.hexdigest()


def _ends_of(file: Path) -> Path:
    return file.with_suffix(".npy")
