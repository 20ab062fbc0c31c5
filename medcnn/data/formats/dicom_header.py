"""DICOM headers: read in silence, within bounds, and asked for single values.

What a header says can name a patient. So nothing that pydicom warns, logs or raises leaves these
modules: reasons are our own words, and hold numbers and standard names only.
"""

import logging
import math
import re
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medcnn.data.formats.values import MAX_BYTES, check_shape
from medcnn.errors import UserError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SUFFIXES = (".dcm", ".dicom", ".ima")
MAX_FILE = MAX_BYTES + 2**28  # bytes of a file: no image within MAX_BYTES needs more
MAX_HEADER = 2**24  # bytes beside the pixels of a deflated file
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
GROUPS = {  # functional group (PS3.3 C.7.6.16.2) that holds a value in enhanced objects
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "WindowCenter": "FrameVOILUTSequence",
    "WindowWidth": "FrameVOILUTSequence",
    "VOILUTFunction": "FrameVOILUTSequence",
    "VOILUTSequence": "FrameVOILUTSequence",
}
NO_PICTURES = {  # by a key that none but such objects have
    "SegmentSequence": "is a segmentation (outlines of things in another image), not an image",
    "DoseGridScaling": "is a grid of radiation doses, not an image",
    "TotalPixelMatrixColumns": "holds the tiles of a microscope slide, not one image",
}
DIRECTORY = "1.2.840.10008.1.3.10"  # SOP class of a DICOMDIR
_TALKATIVE = re.compile(r"pydicom|nibabel\.nicom|medcnn\.data\.formats\.dicom")
_FILTER = ("ignore", None, Warning, _TALKATIVE, 0)
_LOCK = threading.Lock()


class Shape(NamedTuple):
    """Declared size of an image; samples are 1 (grey, palette) or 3 (colour)."""

    frames: int
    rows: int
    columns: int
    samples: int


def is_dicom(path: Path) -> bool:
    """Return whether a file `has_mark`, or its name ends in .dcm, .dicom or .ima."""
    return path.suffix.lower() in SUFFIXES or has_mark(path)


def has_mark(path: Path) -> bool:
    """Return whether the letters DICM follow 128 bytes."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def silence() -> None:
    """Keep pydicom from warning and logging in this process, as it quotes values of the header.

    For good, not while a file is read: filters belong to the process, and files are read by
    several threads.
    """
    with _LOCK:
        if not warnings.filters or warnings.filters[0] != _FILTER:
            warnings.filterwarnings("ignore", module=_TALKATIVE.pattern)
    for name in ("pydicom", "pylibjpeg", "openjpeg", "libjpeg"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextmanager
def reason(text: str) -> Iterator[None]:
    """Raise UserError with this text in place of any other error, which may quote the header."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception:
        raise UserError(text) from None


def read(path: Path, pixels: bool = True) -> "Dataset":
    """Read a file's header, and its pixel data without decoding them.

    Args:
        path: With the mark of DICOM, or without, as in files of the time before it.
        pixels: False: stop where the pixel data begin.

    Raises:
        UserError: Not readable, or larger than `MAX_FILE`.
    """
    silence()
    import pydicom  # slow to import
    from pydicom import filereader, uid

    with reason("can't be read as DICOM: it is damaged, or no DICOM file"):
        if path.stat().st_size > MAX_FILE:
            raise UserError(f"is larger than {MAX_FILE} bytes, more than an image may have")
        meta = filereader.read_file_meta_info(path) if has_mark(path) else None
        if meta is not None and meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
            dataset = _read_deflated(path, 144 + int(meta.FileMetaInformationGroupLength), pixels)
            dataset.file_meta = meta
            meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian  # as it is now
            return dataset
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=not pixels)
        if "TransferSyntaxUID" not in dataset.file_meta:
            implicit, little = dataset.original_encoding
            explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
            dataset.file_meta.TransferSyntaxUID = (
                uid.ImplicitVRLittleEndian if implicit and little else explicit
            )
        return dataset


def shape(dataset: "Dataset") -> Shape:
    """Return the declared size.

    Raises:
        UserError: Missing or impossible, or too large, see `check_shape`.
    """
    need(dataset, "Rows", "Columns")
    least = {"NumberOfFrames": 1, "Rows": 0, "Columns": 0, "SamplesPerPixel": 1}
    found = Shape(*(int(number(dataset, key) or default) for key, default in least.items()))
    if min(found) < 1 or found.samples not in (1, 3):
        raise UserError(
            f"says it has {found.frames} frames of {found.rows} × {found.columns} pixels with "
            f"{found.samples} values each, which no image has"
        )
    check_shape(found, max(1, int(number(dataset, "BitsAllocated") or 8) // 8))
    return found


def check_kind(dataset: "Dataset") -> None:
    """Raise UserError for objects that hold no image, or one that isn't a patient's picture."""
    from pydicom.uid import UID

    for key, what in NO_PICTURES.items():
        if key in dataset:
            raise UserError(what)
    if not any(key in dataset for key in PIXELS):
        uid = UID(text(dataset, "SOPClassUID"))
        known = uid.type == "SOP Class"  # a name of the standard, not of the file
        what = f" (it is a {uid.name.removesuffix(' Storage')} object)" if known else ""
        raise UserError(f"holds no pixel data{what}, or ends before them")


def value(dataset: "Dataset", key: str, frame: int | None = None) -> Any:
    """Return a header's value, None where it is missing or empty; UserError for a broken one.

    With a frame, its functional groups come first, then the shared ones, last the top.
    """
    with reason(f"has a broken {key} in its header"):
        for item in _places(dataset, key, frame):
            found = item.get(key)
            if found is not None and found != "" and found != []:
                return found
    return None


def need(dataset: "Dataset", *keys: str) -> None:
    """Raise UserError unless a header has values of all these keys."""
    for key in keys:
        if value(dataset, key) is None:
            raise UserError(f"lacks {key} in its header, without which its pixels mean nothing")


def numbers(dataset: "Dataset", key: str, frame: int | None = None) -> tuple[float, ...] | None:
    """Return all numbers of a header's value, None without; UserError unless all are finite."""
    found = value(dataset, key, frame)
    if found is None:
        return None
    with reason(f"has a broken {key} in its header"):
        many = [found] if isinstance(found, str | int | float) else list(found)
        result = tuple(float(one) for one in many)
        if not all(math.isfinite(one) for one in result):
            raise ValueError
        return result


def number(dataset: "Dataset", key: str, frame: int | None = None) -> float | None:
    """Return the first number of a header's value; None without."""
    found = numbers(dataset, key, frame)
    return found[0] if found else None


def text(dataset: "Dataset", key: str) -> str:
    """Return a header's code, or the first of several; empty without. Not to be shown unchecked."""
    found = value(dataset, key)
    if found is None:
        return ""
    return str(found if isinstance(found, str) else found[0])


def _places(dataset: "Dataset", key: str, frame: int | None) -> Iterator["Dataset"]:
    if frame is not None and key in GROUPS:
        for kind, index in (("PerFrame", frame), ("Shared", 0)):
            groups = dataset.get(f"{kind}FunctionalGroupsSequence") or []
            if index < len(groups):
                yield from groups[index].get(GROUPS[key]) or []
    yield dataset


def _read_deflated(path: Path, offset: int, pixels: bool) -> "Dataset":
    """Inflate a header, and then no more than the pixels that it declares need."""
    from pydicom.filereader import read_dataset

    with path.open("rb") as file:
        file.seek(offset)
        deflated = file.read()
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    start = inflater.decompress(deflated, MAX_HEADER)
    header = read_dataset(
        BytesIO(start), False, True, stop_when=lambda tag, *_: tag.group >= 0x7FE0
    )
    header.set_original_encoding(False, True)
    if not pixels:
        return header
    size = math.prod(shape(header)) * int(number(header, "BitsAllocated") or 8) // 8
    rest = inflater.decompress(inflater.unconsumed_tail, max(1, size + MAX_HEADER - len(start)))
    if inflater.unconsumed_tail:
        raise UserError("inflates to more than its header says: it may be a decompression bomb")
    if not inflater.eof:
        raise UserError("is cut off: its deflated data stop early")
    dataset = read_dataset(BytesIO(start + rest), False, True)
    dataset.set_original_encoding(False, True)
    return dataset
