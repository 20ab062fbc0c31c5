"""Files of images: the kinds there are, and one function that reads any of them."""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medcnn.data.formats import dicom, dicom_header, nifti, nrrd, picture, tiff
from medcnn.data.formats.array import decode_array
from medcnn.data.formats.nifti import decode_nifti
from medcnn.data.formats.nrrd import decode_nrrd
from medcnn.data.formats.slide import Picture, ScannedSlide, Slide
from medcnn.data.formats.tiff_levels import TiffSlide
from medcnn.data.image import Image
from medcnn.errors import UserError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUMES = (".nii", ".nii.gz", ".nrrd", ".nhdr")
MIRAX = ".mrxs"  # whose data lie in a folder beside it
SLIDES = (".svs", ".ndpi", MIRAX)
SUFFIXES = (*PICTURES, *SLIDES, *VOLUMES, ".npy", *dicom_header.SUFFIXES)
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
    with in_our_words(path):
        if path.is_dir():
            return dicom.decode_series(path, allow_missing_geometry=allow_missing_geometry)
        _check_file(path)
        if path.name.lower().endswith(SLIDES):
            raise UserError("is a whole slide: dataset.tiles=224 cuts it into tiles")
        return _reader(path)(path, frame)


def open_slide(path: Path, frame: Frame = None) -> Slide:
    """Open a picture of which parts are to be read.

    The files of slide scanners (`SLIDES`) are read by OpenSlide, a TIFF block by block; others, and
    a TIFF of a kind that is rare among large ones, are decoded as a whole; of those `frame` takes
    one of several pictures.

    Raises:
        UserError: As of `decode`; so, too, when a part is read within `in_our_words`.
        MemoryError: It is too large for the memory that is free.
    """
    with in_our_words(path):
        if path.is_file() and path.name.lower().endswith(SLIDES):
            return ScannedSlide(path)
        if path.is_file() and tiff.is_tiff(path) and (found := TiffSlide.of(path)) is not None:
            return found
    return Picture(decode(path, frame=frame))


@contextmanager
def in_our_words(path: Path) -> Iterator[None]:
    """Raise whatever a reader of a file raises as UserError, or MemoryError, as `decode` does."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except ImportError as error:
        raise UserError(f"can't be read: the Python package {error.name} is missing") from None
    except Exception as error:  # damaged files make readers raise almost anything
        raise UserError(_reason(error, path)) from None


def data_file(path: Path) -> Path | None:
    """Return the file with the values of an .nhdr, and the folder with those of an .mrxs.

    None of others, and of a broken one.
    """
    if path.suffix.lower() == ".nhdr":
        with suppress(Exception):  # decode says what is wrong
            return nrrd.data_file(path)
    beside = path.with_suffix("")
    return beside if path.suffix.lower() == MIRAX and beside.is_dir() else None


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise UserError("is special and no file" if path.exists() else "is missing")


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
