"""NPY files: arrays as NumPy saves them.

The size is checked before the values are read: `numpy.load` asks the system for 7 TiB where the
header of a file of 200 bytes declares as much.
"""

import math
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from medcnn.data.formats.values import (
    check_kind,
    check_shape,
    pick,
    read_values,
    to_stored,
    type_range,
)
from medcnn.data.image import Array, Image
from medcnn.errors import UserError

# CPython 3.11 confuses literals, such as headers, that two threads parse at a time (issue 106905)
_LOCK = threading.Lock()


def decode_array(path: Path, frame: int | str | None = None) -> Image:
    """Read an NPY file (versions 1 to 3 of the format).

    An axis of length 1 or 3 at the start, or else at the end, is that of the channels. So

    * (H, W), (C, H, W) and (H, W, C) are pictures;
    * (D, H, W) is a volume, where neither D nor W is 1 or 3;
    * (C, D, H, W) and (D, H, W, C) are volumes always.

    A volume doesn't say how it lies. With `frame` (see `medcnn.data.formats.decode`) one slice of
    it is taken, as a picture, or one volume of (T, D, H, W).

    Returns:
        Image without spacing and affine.

    Raises:
        UserError: Damaged, of another shape, too large, or not of real numbers.
    """
    with path.open("rb") as file:
        shape, fortran, dtype = npy_header(file)
        check_kind(dtype)
        check_shape(shape, dtype.itemsize)
        values = read_values(file, dtype, math.prod(shape))
    values = values.reshape(shape, order="F" if fortran else "C")
    if frame is not None and values.ndim == 4 and not {shape[0], shape[-1]} & {1, 3}:
        values = values[pick(len(values), frame, "volumes")][None]
    else:
        values = channels_first(values)
        if frame is not None and values.ndim == 4:
            values = values[:, pick(values.shape[1], frame, "slices")]
    return Image(to_stored(values), value_range=type_range(values))


def channels_first(values: Array) -> Array:
    """Return values as (C, H, W) or (C, D, H, W) by the rule of `decode_array`."""
    if values.ndim in (3, 4):
        if values.shape[0] in (1, 3):
            return values
        if values.shape[-1] in (1, 3):
            return np.moveaxis(values, -1, 0)
    if values.ndim in (2, 3):
        return values[None]
    size = " × ".join(map(str, values.shape))
    raise UserError(f"has the shape {size}, which is not that of a picture or a volume")


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the first axis varies fastest, and type; the values follow."""
    version = npy.read_magic(file)
    with _LOCK:
        if version == (1, 0):
            return npy.read_array_header_1_0(file)
        return npy.read_array_header_2_0(file)  # version 3 differs in the names of records' fields
