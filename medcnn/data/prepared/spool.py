"""Images of one file that may be more than memory holds."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from medcnn.data.image import Array

PART = 2**25  # bytes that are read back at a time


class Spool:
    """Images (S, *item) of one type, put one behind the other into a file without a name.

    Args:
        folder: Where the file is; None for the system's folder of such files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.file = TemporaryFile(dir=folder)  # noqa: SIM115 (it goes with this object)
        self.shape: tuple[int, ...] = (0,)
        self.dtype = np.dtype(np.uint8)

    def append(self, image: Array) -> None:
        """Add an image (*item)."""
        self.dtype = image.dtype
        self.file.write(np.ascontiguousarray(image).data)
        self.shape = (self.shape[0] + 1, *image.shape)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all images."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def parts(self) -> Iterator[Array]:
        """Yield the images, some (s, *item) at a time."""
        item = np.dtype((self.dtype, self.shape[1:]))
        self.file.flush()
        self.file.seek(0)
        step = max(1, PART // max(1, item.itemsize))
        for first in range(0, len(self), step):
            count = min(step, len(self) - first)
            held = self.file.read(count * item.itemsize)
            yield np.frombuffer(held, self.dtype).reshape(count, *self.shape[1:])

    def mapped(self) -> Array:
        """Return all images (S, *item), mapped from the file."""
        self.file.flush()
        return np.memmap(self.file, self.dtype, "r+", shape=self.shape)
