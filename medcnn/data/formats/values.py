"""Values of all formats: bounds, numbers read from streams, and the few types images have."""

import math
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from medcnn.data.image import Array, Range
from medcnn.data.memory import available_memory
from medcnn.errors import UserError

MAX_VALUES = 2**29  # that one image may have: 512 × 512 × 2048
MAX_BYTES = 2**31  # that they may take: so many of float32, half as many of float64
SMALL = 2**24  # bytes that there always is memory for
COPIES = 2  # of an image that are in memory while it is prepared, at least
PIECE = 2**21  # values that are read at a time
SPARE = 2**20  # bytes that may follow compressed values


def check_shape(shape: Sequence[int], itemsize: int = 1) -> None:
    """Check the declared lengths of axes, and bytes of a value, before any value is read.

    Raises:
        UserError: Axes without length, or more than `MAX_VALUES` values or `MAX_BYTES` bytes.
        MemoryError: More than there is memory for now.
    """
    text = " × ".join(map(str, shape))
    if not shape or min(shape) < 1:
        raise UserError(f"declares a size of {text or 'nothing'}")
    count = math.prod(map(int, shape))
    if count > MAX_VALUES:
        raise UserError(f"declares a size of {text}, more than the {MAX_VALUES} values allowed")
    size = count * itemsize
    if size > MAX_BYTES:
        raise UserError(
            f"declares {size / 1e9:.1f} GB of values ({text} of {itemsize} bytes), more than the "
            f"{MAX_BYTES / 1e9:.1f} GB allowed"
        )
    if size > SMALL and COPIES * size > available_memory():
        raise MemoryError


def pick(count: int, frame: int | str, what: str) -> int:
    """Return the number of the frame, of `count`, for a number from 0 or ``centre``.

    Raises:
        UserError: There is none of that number; `what` names the frames, in the plural.

    >>> pick(10, "centre", "volumes"), pick(10, 3, "volumes")
    (4, 3)
    """
    number = (count - 1) // 2 if frame == "centre" else int(frame)
    if not 0 <= number < count:
        raise UserError(
            f"holds {count} {what}, and dataset.frame={frame} is none of 0 … {count - 1}"
        )
    return number


def check_kind(dtype: np.dtype[Any]) -> None:
    """Raise UserError unless values are single real numbers."""
    if dtype.kind not in "buif":
        what = {"c": "complex numbers", "V": "records, such as colours"}.get(dtype.kind, "objects")
        raise UserError(f"holds {what}: only real numbers can be read")


def read_values(stream: IO[bytes], dtype: np.dtype[Any], count: int) -> Array:
    """Read exactly so many values, however much a compressed stream would give.

    Floating-point numbers of more than 32 bits become float32 piece by piece, as `to_stored` would
    make them.

    Raises:
        UserError: There are fewer.
    """
    wide = dtype.kind == "f" and dtype.itemsize > 4
    values = np.empty(count, np.float32 if wide else dtype)
    for start in range(0, count, PIECE):
        target = values[start : start + PIECE]
        size = len(target) * dtype.itemsize
        piece = stream.read(size)
        if len(piece) < size:
            raise UserError("is cut short: it holds fewer values than its header declares")
        with np.errstate(over="ignore"):
            target[...] = np.frombuffer(piece, dtype)
    return values


def check_end(stream: IO[bytes]) -> None:
    """Read a compressed stream to its end, where its checksum is compared.

    Raises:
        UserError: It goes on for long.
    """
    if len(stream.read(SPARE)) == SPARE:
        raise UserError("inflates to far more than its header declares")


def to_stored(values: Array) -> Array:
    """Return values as uint8, uint16, int16 or float32.

    Truth values become 0 and 255; integers of other types int16 or uint16 where they fit, in this
    order, else float32.
    """
    dtype = values.dtype
    if dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if dtype.kind in "ui" and dtype.itemsize <= 2:
        kind = np.dtype(np.int16) if dtype == np.int8 else dtype.newbyteorder("=")
        return values.astype(kind, copy=False)
    if dtype.kind in "ui":
        low, high = values.min(), values.max()
        for whole in (np.int16, np.uint16):
            if np.iinfo(whole).min <= low and high <= np.iinfo(whole).max:
                return values.astype(whole)
    with np.errstate(over="ignore"):  # becomes infinite, which is refused with the count of values
        return values.astype(np.float32, copy=False)


def type_range(values: Array) -> Range | None:
    """Return black and white by the type of a file's values; None where it doesn't say.

    Of 8 or 16 bits without sign all that they can hold; of truth values, as `to_stored` makes them,
    (0, 255); of floating-point numbers within 0 … 1 (0, 1).
    """
    dtype = values.dtype
    if dtype.kind == "b":
        return 0, 255
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return 0, int(np.iinfo(dtype).max)
    if dtype.kind == "f" and bool(((values >= 0) & (values <= 1)).all()):
        return 0, 1
    return None
