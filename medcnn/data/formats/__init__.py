"""Files of images: what kind a file is, and one function that reads any of them."""

import glob
import gzip
from collections.abc import Callable
from pathlib import Path

from medcnn.data.formats import dicom_header, nifti, nrrd
from medcnn.data.formats.array import decode_array
from medcnn.data.formats.nifti import decode_nifti
from medcnn.data.formats.nrrd import decode_nrrd
from medcnn.data.formats.picture import decode_picture
from medcnn.data.image import Image
from medcnn.errors import UserError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUMES = (".nii", ".nii.gz", ".nrrd", ".nhdr")
SUFFIXES = (*PICTURES, *VOLUMES, ".npy", *dicom_header.SUFFIXES)
SEVERAL = 2  # DICOM files that make a folder a series
HEAD = 348  # first bytes that tell what a file is
MARKS: tuple[tuple[bytes, Callable[[Path], Image]], ...] = (
    (b"\x89PNG\r\n\x1a\n", decode_picture),
    (b"\xff\xd8\xff", decode_picture),  # JPEG
    (b"BM", decode_picture),  # BMP
    (b"II*\0", decode_picture),  # TIFF, and with + for * those above 4 GB
    (b"MM\0*", decode_picture),
    (b"II+\0", decode_picture),
    (b"MM\0+", decode_picture),
    (b"\x93NUMPY", decode_array),
    (nrrd.MARK, decode_nrrd),
)


def decode(path: Path, *, allow_missing_geometry: bool = False) -> Image:
    """Reads one image of any kind that medcnn knows.

    What a file is, its first bytes say, whatever its name; only old DICOM files, which have no
    mark, need the ending .dcm, .dicom or .ima. A folder is a DICOM series.

    Args:
        path: File or folder.
        allow_missing_geometry: Whether a series without positions may be read.

    Returns:
        The image in the units and, of volumes, the axis order of its file.

    Raises:
        UserError: Why it can't be read, as the end of a sentence that begins with its path; without
            the path, and without any text of a DICOM header.
    """
    try:
        if path.is_dir():
            from medcnn.data.formats.dicom import decode_series

            return decode_series(path, allow_missing_geometry=allow_missing_geometry)
        if not path.is_file():
            raise UserError("is special and no file" if path.exists() else "is missing")
        return _reader(path)(path)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # damaged files make readers raise almost anything
        raise UserError(_reason(error, path)) from None


def data_file(path: Path) -> Path | None:
    """The file beside an .nhdr that has its values; None of others, and where it can't be told."""
    if path.suffix.lower() != ".nhdr" or not path.is_file():
        return None
    try:
        return nrrd.data_file(path)
    except Exception:  # decode says what is wrong
        return None


def list_images(spec: str | Path, *, volumes: bool = False, key: str = "images") -> list[Path]:
    """Finds the images that a file, a folder or a glob pattern means.

    What exists under that very name wins over its meaning as a pattern. A folder is searched with
    all its subfolders for the suffixes in `SUFFIXES` and for DICOM files without a suffix or with a
    number as one; hidden files and folders are left out. A pattern (``**`` goes into subfolders)
    gives every file it matches.

    Args:
        spec: The file, folder or pattern.
        volumes: Whether a folder that itself holds several DICOM files is one image, a series.
        key: Of the config, for messages.

    Returns:
        Paths, sorted.

    Raises:
        UserError: There is nothing there.
    """
    path = Path(spec).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [child for child in path.rglob("*") if is_image(child, path)]
        wanted = f"holds no image ({', '.join(SUFFIXES)})"
    else:
        matches = [Path(match) for match in glob.glob(str(path), recursive=True)]  # noqa: PTH207
        found = [match for match in matches if match.is_file()]
        if volumes:
            folders = [match for match in matches if match.is_dir()]
            found += [file for folder in folders for file in folder.iterdir() if _is_dicom(file)]
        wanted = "is neither a file, nor a folder, nor a pattern that matches a file"
    if not found:
        raise UserError(f"{key}={spec} {wanted}")
    return sorted(_as_series(found) if volumes else found)


def _as_series(files: list[Path]) -> set[Path]:
    """The same with each folder in place of the DICOM files in it, if there are several."""
    folders: dict[Path, set[Path]] = {}
    for file in files:
        if _is_dicom(file):
            folders.setdefault(file.parent, set()).add(file)
    series = {folder: inside for folder, inside in folders.items() if len(inside) >= SEVERAL}
    return set(files).difference(*series.values()) | set(series)


def stem(path: Path) -> str:
    """The name of an image without its ending; the last number of a UID is none.

    >>> stem(Path("a/scan.nii.gz")), stem(Path("a/1.2.840.7"))
    ('scan', '1.2.840.7')
    """
    ends = (suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix))
    return path.name[: -len(next(ends, "")) or None]


def is_image(path: Path, top: Path | None = None) -> bool:
    """Whether a file looks like an image, and is not hidden, nor in a hidden folder below `top`."""
    names = path.relative_to(top).parts if top else (path.name,)
    if any(name.startswith(".") for name in names) or not path.is_file():
        return False
    return path.name.lower().endswith(SUFFIXES) or _is_dicom(path)


def _is_dicom(path: Path) -> bool:
    """By suffix, or by its mark where it has none or a number, as names that are UIDs do."""
    if path.name.startswith(".") or not path.is_file():
        return False
    suffix = path.suffix.lower()
    if suffix in dicom_header.SUFFIXES:
        return True
    return (not suffix or suffix[1:].isdigit()) and dicom_header.has_mark(path)


def _reader(path: Path) -> Callable[[Path], Image]:
    """What reads a file of this content."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise UserError("is an empty file")
    if head[128:132] != b"DICM":  # the 128 bytes before may be those of a TIFF
        for mark, reader in MARKS:
            if head.startswith(mark):
                return reader
        if packed := head.startswith(nifti.GZIP):
            with gzip.open(path) as stream:
                head = stream.read(HEAD)
        if nifti.version_of(head) is not None:
            return decode_nifti
        if packed:
            raise UserError("is compressed with gzip, and holds no NIfTI image")
    if dicom_header.is_dicom(path):
        from medcnn.data.formats.dicom import decode_file

        return decode_file
    if path.name.lower().endswith(SUFFIXES):
        raise UserError(f"is not an image, though its name ends in {path.suffix.lower()}")
    raise UserError(f"is not a kind of image that medcnn reads ({', '.join(SUFFIXES)})")


def _reason(error: Exception, path: Path) -> str:
    """Our words for what a reader raised, with its own where they hold no path."""
    if isinstance(error, EOFError):
        return "is cut short"
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno is not None:
        return f"can't be read ({error.strerror})"
    own = text and len(text) <= 200 and path.name not in text and str(path.parent) not in text
    if dicom_header.is_dicom(path) or path.is_dir() or not own:
        return "is damaged"
    return f"is damaged: {text}"
