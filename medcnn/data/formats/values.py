"""What formats share: bounds, numbers read from streams, and the few types images are kept in."""

import math
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from medcnn.data.image import Array, Range
from medcnn.errors import UserError

MAX_VALUES = 2**29  # that one image may have: 512 × 512 × 2048
SPARE = 2**20  # bytes that may follow compressed values


def check_shape(shape: Sequence[int]) -> None:
    """Raise UserError for axes without length, or for more than `MAX_VALUES` values."""
    text = " × ".join(map(str, shape))
    if not shape or min(shape) < 1:
        raise UserError(f"declares a size of {text or 'nothing'}")
    if math.prod(map(int, shape)) > MAX_VALUES:
        raise UserError(f"declares a size of {text}, more than the {MAX_VALUES} values allowed")


def check_kind(dtype: np.dtype[Any]) -> None:
    """Raise UserError unless values are single real numbers."""
    if dtype.kind not in "buif":
        what = {"c": "complex numbers", "V": "records, such as colours"}.get(dtype.kind, "objects")
        raise UserError(f"holds {what}: only real numbers can be read")


def read_values(stream: IO[bytes], dtype: np.dtype[Any], count: int) -> Array:
    """Reads exactly so many values, however much a compressed stream would give.

    Raises:
        UserError: There are fewer.
    """
    values = np.empty(count, dtype)
    left = memoryview(values.view(np.uint8).data)
    while left:
        piece = stream.read(min(len(left), 2**24))
        if not piece:
            raise UserError("is cut short: it holds fewer values than its header declares")
        left[: len(piece)] = piece
        left = left[len(piece) :]
    return values


def check_end(stream: IO[bytes]) -> None:
    """Reads a compressed stream to its end, where its checksum is compared.

    Raises:
        UserError: It goes on for long.
    """
    if len(stream.read(SPARE)) == SPARE:
        raise UserError("inflates to far more than its header declares")


def to_stored(values: Array) -> Array:
    """Values as uint8, uint16, int16 or float32.

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
    """Black and white by the type of values as a file has them; None where it doesn't say.

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
