"""NRRD files, .nrrd and .nhdr (header apart from its data).

The header is read with pynrrd, not through MONAI's `NrrdReader`: that one needs directions and an
origin, takes a space that isn't named for LPS and other spaces for what they aren't, and makes all
values float32. The values are read here: of a file of 2 MB that declares 4096 bytes and inflates to
2 GB, pynrrd 1.1 takes 4.1 GB of memory before it refuses it, `read_values` 5 MB.
"""

import bz2
import gzip
import io
import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from medcnn.data.formats.values import (
    SPARE,
    check_end,
    check_kind,
    check_shape,
    pick,
    read_values,
)
from medcnn.data.formats.volume import arrange
from medcnn.data.image import Array, Image
from medcnn.errors import UserError

MARK = b"NRRD000"
MAX_HEADER = 2**20  # bytes
TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, "
    "int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
SPACES = {  # signs that turn a space's axes to the patient's right, front and head
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
MILLIMETRES = {"": 1.0, "mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001}
COLOUR = ("rgb-color", "3-color")
SPATIAL = ("domain", "space", "???", "none")


def decode_nrrd(path: Path, frame: int | str | None = None) -> Image:
    """Read an NRRD file, raw, as text, or compressed with gzip or bzip2.

    Of several volumes, `frame` is taken (see `medcnn.data.formats.decode`).

    Returns:
        Image: a volume (C, I, J, K), or of a single slice or two axes a picture; C is 3 where an
        axis is declared to hold red, green and blue.

    Raises:
        UserError: Damaged; with several volumes or values a voxel; or with data elsewhere than
            in the header's own folder.
    """
    header, offset = _header(path)
    sizes = [int(size) for size in header["sizes"]]
    dtype = _dtype(header)
    check_shape(sizes, dtype.itemsize)
    if len(sizes) != header["dimension"]:
        raise UserError(f"declares {header['dimension']} axes and {len(sizes)} sizes")
    check_kind(dtype)
    source = data_file(path, header)
    values = _values(source or path, 0 if source else offset, header, dtype, math.prod(sizes))
    values, axes = _spatial(values.reshape(sizes, order="F"), header, frame)
    return arrange(values, *_geometry(header, axes))


def data_file(path: Path, header: Mapping[str, Any] | None = None) -> Path | None:
    """Return the file with the values of an .nhdr; None of a file that has its own.

    Raises:
        UserError: It lies elsewhere than in the folder of `path`, or there are several.
    """
    header = _header(path)[0] if header is None else header
    name = header.get("data file", header.get("datafile"))
    if name is None:
        return None
    if path.suffix.lower() != ".nhdr":
        raise UserError("has its values in another file: a name in .nhdr is needed for that")
    found = path.parent / name
    if Path(name).name != name or found.resolve().parent != path.parent.resolve():
        raise UserError("has its values in another folder: keep them beside it")
    if not found.is_file():
        raise UserError("has its values in a file that is missing, or in several")
    return found


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the fields, and the number of bytes they take."""
    import nrrd

    with path.open("rb") as file:
        head = io.BytesIO(file.read(MAX_HEADER))
    header = dict(nrrd.read_header(head))
    for field in ("dimension", "type", "encoding", "sizes"):
        if field not in header:
            raise UserError(f"is damaged: its header lacks the field {field}")
    return header, head.tell()


def _dtype(header: Mapping[str, Any]) -> np.dtype[Any]:
    codes = [code for code, names in TYPES.items() if header["type"].lower() in names.split(", ")]
    if not codes:
        raise UserError("holds blocks of bytes or an unknown type: only numbers can be read")
    dtype = np.dtype(codes[0])
    if dtype.itemsize == 1 or header["encoding"].lower() in ("ascii", "text", "txt"):
        return dtype
    if header.get("endian", "").lower() not in ("little", "big"):
        raise UserError("is damaged: its header doesn't say the order of bytes")
    return dtype.newbyteorder("<" if header["endian"].lower() == "little" else ">")


def _values(
    path: Path, offset: int, header: Mapping[str, Any], dtype: np.dtype[Any], count: int
) -> Array:
    encoding = header["encoding"].lower()
    skip = int(header.get("byte skip", header.get("byteskip", 0)))
    lines = int(header.get("line skip", header.get("lineskip", 0)))
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        file.seek(offset)
        for _ in range(lines):
            file.readline(SPARE)
        if encoding in ("ascii", "text", "txt"):
            return _text(file, dtype, count)
        stream: IO[bytes] = file
        if encoding in ("gzip", "gz"):
            stream = cast(IO[bytes], stack.enter_context(gzip.open(file)))
        elif encoding in ("bzip2", "bz2"):
            stream = stack.enter_context(bz2.open(file))
        elif encoding != "raw":
            raise UserError("is encoded in an unknown way: raw, text, gzip or bzip2 can be read")
        if skip == -1 and encoding == "raw":
            stream.seek(-count * dtype.itemsize, io.SEEK_END)
        elif 0 <= skip <= SPARE:
            stream.read(skip)
        else:
            raise UserError(f"skips {skip} bytes, which can't be done")
        values = read_values(stream, dtype, count)
        if encoding != "raw":
            check_end(stream)
    return values


def _text(file: IO[bytes], dtype: np.dtype[Any], count: int) -> Array:
    """Read numbers written in digits."""
    values = np.fromstring(file.read(64 * count), dtype, sep=" ")
    if values.size != count:
        raise UserError(f"is damaged: it declares {count} values and holds {values.size}")
    return values


def _spatial(
    values: Array, header: Mapping[str, Any], frame: int | str | None
) -> tuple[Array, list[int]]:
    """Return values (C, I, J) or (C, I, J, K), and the numbers of the spatial axes."""
    kinds = [str(kind).lower() for kind in header.get("kinds", ["???"] * values.ndim)]
    directions = header.get("space directions")
    if directions is not None:
        without = [not np.isfinite(np.asarray(row, float)).all() for row in directions]
    else:
        without = [kind not in SPATIAL for kind in kinds]
    if len(kinds) != values.ndim or len(without) != values.ndim:
        raise UserError("is damaged: its header doesn't describe each axis")
    axes = [axis for axis in range(values.ndim) if not without[axis]]
    axes = [axis for axis in axes if axis < 3 or len(axes) <= 3 or values.shape[axis] > 1]
    others = [axis for axis in range(values.ndim) if axis not in axes]
    wide = [axis for axis in others if values.shape[axis] > 1]
    if len(axes) > 3 or len(axes) < 2:
        raise UserError(f"has {len(axes)} axes in space and time: only 2 or 3 can be read")
    if len(wide) == 1 and frame is not None and kinds[wide[0]] not in COLOUR:
        number = pick(values.shape[wide[0]], frame, "volumes")
        values, wide = values.take([number], wide[0]), []
    if len(wide) > 1 or (wide and (kinds[wide[0]] not in COLOUR or values.shape[wide[0]] != 3)):
        number = math.prod(values.shape[axis] for axis in wide)
        raise UserError(
            f"holds {number} values a voxel: only grey, or red, green and blue; "
            "of several volumes dataset.frame=0, 1, … or centre takes one"
        )
    shape = [values.shape[axis] for axis in axes]
    return values.transpose(*others, *axes).reshape(-1, *shape), axes


def _geometry(header: Mapping[str, Any], axes: list[int]) -> tuple[Array | None, Array | None]:
    """Return the affine to mm in RAS+ and the spacing in mm of the axes; None where unknown."""
    units = {str(unit).lower() for unit in header.get("space units", [""])}
    unit = MILLIMETRES.get(units.pop()) if len(units) == 1 else None
    if unit is None:
        return None, None
    directions = header.get("space directions")
    if directions is None:
        spacings = header.get("spacings")
        return None, None if spacings is None else np.asarray(spacings, float)[axes] * unit
    rows = np.asarray([directions[axis] for axis in axes], float) * unit
    spacing = np.linalg.norm(rows, axis=1)
    signs = SPACES.get(str(header.get("space", "")).lower())
    origin = header.get("space origin")
    if signs is None or origin is None or rows.shape != (3, 3):
        return None, spacing
    affine = np.eye(4)
    affine[:3, :3] = rows.T
    affine[:3, 3] = np.asarray(origin, float) * unit
    affine[:3] *= np.array(signs)[:, None]
    return affine, spacing
