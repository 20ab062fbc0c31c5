"""Files of images: the kinds there are, and one function that reads any of them."""

import gzip
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from medcnn.data.formats import dicom, dicom_header, nifti, nrrd, picture
from medcnn.data.formats.array import decode_array
from medcnn.data.formats.nifti import decode_nifti
from medcnn.data.formats.nrrd import decode_nrrd
from medcnn.data.image import Image
from medcnn.errors import UserError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUMES = (".nii", ".nii.gz", ".nrrd", ".nhdr")
SUFFIXES = (*PICTURES, *VOLUMES, ".npy", *dicom_header.SUFFIXES)
# Words of readers about files that are damaged
DAMAGE = re.compile("truncated|broken|checksum|CRC|corrupt", re.IGNORECASE)
Frame = int | str | None
Reader = Callable[[Path, Frame], Image]
MARKS: dict[tuple[bytes, ...], Reader] = {
    picture.MARKS: picture.decode_picture,
    (b"\x93NUMPY",): decode_array,
    (nrrd.MARK,): decode_nrrd,
}


def decode(path: Path, *, allow_missing_geometry: bool = False, frame: Frame = None) -> Image:
    """Read one image of any kind that medcnn knows.

    A file is known by its first bytes, whatever its name; only old DICOM files, which have no
    mark, need the ending .dcm, .dicom or .ima. A folder is a DICOM series.

    Args:
        path: File or folder.
        allow_missing_geometry: Whether a series without positions may be read.
        frame: Of files that hold several volumes (a fourth axis, such as time), the number of the
            one to take, from 0, or ``centre``; so, too, of films and stacks of pictures that don't
            say where in the patient each lies. None: several volumes are refused, and the frames
            of a film are the slices of a volume.

    Returns:
        The image in the units and, of volumes, the axis order of its file.

    Raises:
        UserError: Why it can't be read, as the end of a sentence that begins with its path; without
            the path, and without any text of a DICOM header.
        MemoryError: It is too large for the memory that is free.
    """
    try:
        if path.is_dir():
            return dicom.decode_series(path, allow_missing_geometry=allow_missing_geometry)
        if not path.is_file():
            raise UserError("is special and no file" if path.exists() else "is missing")
        return _reader(path)(path, frame)
    except (UserError, MemoryError):
        raise
    except ImportError as error:
        raise UserError(f"can't be read: the Python package {error.name} is missing") from None
    except Exception as error:  # damaged files make readers raise almost anything
        raise UserError(_reason(error, path)) from None


def data_file(path: Path) -> Path | None:
    """Return the file with the values of an .nhdr; None of others, and of a broken one."""
    if path.suffix.lower() == ".nhdr":
        with suppress(Exception):  # decode says what is wrong
            return nrrd.data_file(path)
    return None


def _reader(path: Path) -> Reader:
    """Return the function that reads a file of this content."""
    with path.open("rb") as file:
        head = file.read(nifti.HEAD)
    if not head:
        raise UserError("is an empty file")
    if head[128:132] != b"DICM":  # the 128 bytes before may be those of a TIFF
        for marks, reader in MARKS.items():
            if head.startswith(marks):
                return reader
        if packed := head.startswith(nifti.GZIP):
            with gzip.open(path) as stream:
                head = stream.read(nifti.HEAD)
        if nifti.version_of(head) is not None:
            return decode_nifti
        if packed:
            raise UserError("is compressed with gzip, and holds no NIfTI image")
    if dicom_header.is_dicom(path):
        return dicom.decode_file
    if path.name.lower().endswith(SUFFIXES):
        raise UserError(f"is not an image, though its name ends in {path.suffix.lower()}")
    raise UserError(f"is not a kind of image that medcnn reads ({', '.join(SUFFIXES)})")


def _reason(error: Exception, path: Path) -> str:
    """Return our words for a reader's error, with its own where they hold no path."""
    if isinstance(error, EOFError):
        return "is cut short"
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno is not None:
        return f"can't be read ({error.strerror})"
    own = text and len(text) <= 200 and path.name not in text and str(path.parent) not in text
    if isinstance(error, NotImplementedError):
        what = "is unsupported: a kind of image that no reader here knows"
    elif isinstance(error, zlib.error | gzip.BadGzipFile) or DAMAGE.search(text):
        what = "is damaged"
    else:
        what = "can't be decoded: it is damaged, or of a kind that isn't supported"
    return what if dicom_header.is_dicom(path) or path.is_dir() or not own else f"{what}: {text}"
