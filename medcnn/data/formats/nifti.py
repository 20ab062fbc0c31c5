"""NIfTI files, versions 1 and 2, .nii and .nii.gz.

Read with nibabel, not through MONAI's `NibabelReader`: where voxel sizes and sform disagree that
one puts the qform in the sform's place, even a qform which the file says isn't meant; it takes the
matrix that nibabel makes up for files without any; and it reads neither to the checksum at the end
of a compressed file nor within bounds.
"""

import gzip
import math
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from medcnn.data.formats.values import check_end, check_kind, check_shape, pick, read_values
from medcnn.data.formats.volume import arrange, invertible
from medcnn.data.image import Array, Image
from medcnn.errors import UserError

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

MARKS = {1: (344, b"n+1\0"), 2: (4, b"n+2\0")}  # version: where, what
HEADER = {1: 348, 2: 540}  # bytes
HEAD = 348  # bytes that `version_of` reads
MAX_OFFSET = 2**24  # of the values: what lies before them are notes
MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by unit code: unknown, m, mm, µm
ROUNDING = 1e-3  # by which a quaternion may be longer than 1
GZIP = b"\x1f\x8b"


def version_of(head: bytes) -> int | None:
    """Return 1 or 2 if these first bytes (inflated) are those of a NIfTI file, else None."""
    found = (v for v, (start, mark) in MARKS.items() if head[start : start + 4] == mark)
    return next(found, None)


def decode_nifti(path: Path, frame: int | str | None = None) -> Image:
    """Read a NIfTI file.

    The matrix is the sform where the file has one that is invertible, else the qform, else unknown.
    Values are rescaled (float32) where the header has a slope and an intercept that do something.
    Of several volumes, `frame` is taken (see `medcnn.data.formats.decode`).

    Returns:
        Image of one channel: a volume (1, I, J, K), or of a single slice a picture.

    Raises:
        UserError: Damaged; or with several volumes, colours, vectors or complex numbers.
    """
    with ExitStack() as stack:
        stream: IO[bytes] = stack.enter_context(path.open("rb"))
        packed = stream.read(2) == GZIP
        stream.seek(0)
        if packed:
            stream = cast(IO[bytes], stack.enter_context(gzip.open(stream)))
        header = _header(stream)
        shape, volumes = _shape(header)
        dtype = header.get_data_dtype()
        check_kind(dtype)
        number = 0
        if volumes > 1:
            if frame is None:
                what = f"is a series of {volumes} volumes"
                raise UserError(f"{what}: dataset.frame=0, 1, … or centre takes one")
            number = pick(volumes, frame, "volumes")
        check_shape(shape, dtype.itemsize)
        size = math.prod(shape)
        stream.seek(_offset(header) + number * size * dtype.itemsize)
        values = read_values(stream, dtype, size)
        if packed and volumes == 1:
            check_end(stream)
    values = _rescale(header, values).reshape(shape, order="F")
    unit = MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    spacing = np.abs(header["pixdim"][1:4].astype(float)) * unit
    return arrange(values[None], _affine(header, unit), spacing)


def _header(stream: IO[bytes]) -> "Nifti1Header":
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    head = stream.read(HEAD)
    version = version_of(head)
    if version is None:
        raise UserError("is not a NIfTI file")
    head += stream.read(HEADER[version] - len(head))
    kind = Nifti1Header if version == 1 else Nifti2Header
    return kind(head, check=False)  # the check would write to the screen


def _shape(header: Any) -> tuple[tuple[int, int, int], int]:
    """Return three axes, and the length of the fourth; those that follow must have length 1."""
    shape = [int(length) for length in header.get_data_shape()]
    if not shape or min(shape) < 1:
        check_shape(shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) > 4:
        raise UserError(f"holds {math.prod(shape[3:])} values a voxel: only grey ones can be read")
    i, j, k, volumes = shape + [1] * (4 - len(shape))
    return (i, j, k), volumes


def _offset(header: Any) -> int:
    """Return the byte at which the values begin."""
    offset = float(header["vox_offset"])
    if not header.template_dtype.itemsize <= offset <= MAX_OFFSET:
        raise UserError(f"is damaged: its values can't begin at byte {offset:g}")
    return int(offset)


def _rescale(header: Any, values: Array) -> Array:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope) or (slope, intercept) == (1, 0):
        return values  # as the standard, and nibabel, take it
    if not math.isfinite(intercept):
        raise UserError(f"has the intercept (scl_inter) {intercept} in its header: no number")
    with np.errstate(over="ignore"):
        scaled = np.multiply(values, np.float32(slope), dtype=np.float32, casting="unsafe")
    scaled += np.float32(intercept)
    return scaled


def _affine(header: Any, unit: float) -> Array | None:
    """Return the affine to mm in RAS+, by the standard's methods 3 (sform) and 2 (qform)."""
    affine = None
    if header["sform_code"] > 0:
        affine = np.array(header.get_sform(), float)
        if header["qform_code"] > 0 and not invertible(affine):
            affine = None
    if affine is None and header["qform_code"] > 0:
        affine = _qform(header)
    if affine is None:
        return None
    affine[:3] *= unit
    return affine


def _qform(header: Any) -> Array:
    b, c, d = (float(header[f"quatern_{letter}"]) for letter in "bcd")
    if not abs(b * b + c * c + d * d) <= 1 + ROUNDING:
        raise UserError("has a broken qform in its header: its quaternion is longer than 1")
    header.quaternion_threshold = ROUNDING
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1  # as the standard takes 0
    return np.array(header.get_qform(), float)
