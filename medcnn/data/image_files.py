"""The image files that a path, a folder or a pattern means."""

import errno
import glob
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from medcnn.data.formats import SUFFIXES, data_file, dicom_header
from medcnn.errors import UserError, check_path
from medcnn.jobs.notes import note

SEVERAL = 2  # DICOM files that make a folder a series
INDEX = "DICOMDIR"  # a DICOM file that lists others, and holds no image


def list_images(spec: str | Path, *, volumes: bool = False, key: str = "images") -> list[Path]:
    """Return the images, sorted, that a file, a folder or a glob pattern means.

    A file of that very name wins over its meaning as a pattern, also in the first parts of a path.
    A folder is searched with all its subfolders for the suffixes in `SUFFIXES` and for DICOM files
    without a suffix or with a number as one; hidden files and folders are left out, others named in
    a note. A pattern (``**`` goes into subfolders) gives every file it matches.

    Args:
        spec: The file, folder or pattern.
        volumes: Whether a folder that itself holds several DICOM files is one image, a series.
        key: Of the config, for messages.

    Raises:
        UserError: There is nothing there, or a folder that can't be read.
    """
    path = given_path(spec, key)
    if path.is_file():
        return [path]
    if path.is_dir():
        return sorted(_in_folder(path, volumes, f"{key}={spec}"))
    matches = [Path(match) for match in glob.glob(_pattern(path), recursive=True)]  # noqa: PTH207
    found = [match for match in matches if match.is_file()]
    if volumes:
        folders = [match for match in matches if match.is_dir()]
        found += [file for folder in folders for file in folder.iterdir() if _is_dicom(file)]
    if not found:
        raise UserError(
            f"{key}={spec} is neither a file, nor a folder, nor a pattern that matches a file"
        )
    return sorted(_as_series(found) if volumes else found)


def given_path(path: str | Path, key: str) -> Path:
    """Return a path from a config, ``~`` resolved; raise UserError if it is none or forbidden."""
    check_path(key, path)
    found = Path(path).expanduser()
    try:
        found.is_dir()
    except OSError as error:
        raise UserError(f"{key}={path} can't be read ({error.strerror})") from None
    return found


def stem(path: Path) -> str:
    """Return the name of an image without its ending; the last number of a UID is none.

    >>> stem(Path("a/scan.nii.gz")), stem(Path("a/1.2.840.7"))
    ('scan', '1.2.840.7')
    """
    ends = (suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix))
    return path.name[: -len(next(ends, "")) or None]


def is_image(path: Path) -> bool:
    """Return whether a file is an image by its name or mark, and not hidden."""
    if path.name.startswith(".") or not path.is_file():
        return False
    return path.name.lower().endswith(SUFFIXES) or _is_dicom(path)


def visible_files(folder: Path, what: str) -> tuple[list[Path], int]:
    """Return the visible files below a folder, and how many linked folders weren't followed.

    The error about one that can't be read names the folder as `what` does.
    """

    def refuse(error: OSError) -> None:
        below = Path(error.filename).relative_to(folder).parts  # the rest may name a patient
        where = f"its folder {below[0]}" if below else "it"
        raise UserError(f"{what}: {where} can't be read ({error.strerror})") from None

    files, linked = [], 0
    for top, folders, names in os.walk(folder, onerror=refuse):
        if not os.access(top, os.X_OK):
            refuse(PermissionError(errno.EACCES, os.strerror(errno.EACCES), top))
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked += sum(Path(top, name).is_symlink() for name in folders)
        files += [Path(top, name) for name in names if not name.startswith(".")]
    return files, linked


def kinds(files: Iterable[Path]) -> str:
    """Return the endings of files, with how many there are of each.

    >>> kinds([Path("a.webp"), Path("b.webp"), Path("DICOMDIR"), Path("c")])
    '.webp (2), DICOMDIR (1), no ending (1)'
    """
    names = (f.name if f.name.upper() == INDEX else f.suffix.lower() or "no ending" for f in files)
    return ", ".join(f"{name} ({count})" for name, count in Counter(sorted(names)).most_common())


def _in_folder(folder: Path, volumes: bool, what: str) -> Iterable[Path]:
    files, linked = visible_files(folder, what)
    found = [path for path in files if is_image(path)]
    taken = {*found, *map(data_file, found)}
    left = [path for path in files if path not in taken]
    rest = [f"left out: {kinds(left)}"] if left else []
    rest += [f"{linked} linked folders aren't followed"] if linked else []
    if not found:
        raise UserError("; ".join([f"{what} holds no image ({', '.join(SUFFIXES)})", *rest]))
    if rest:
        files_found = f"{what}: {len(found)} of {len(found) + len(left)} files are images"
        note("; ".join([files_found, *rest]))
    return _as_series(found) if volumes else found


def _pattern(path: Path) -> str:
    """Return a path as a glob pattern whose first parts, as far as they exist, are literal."""
    parts, known = list(path.parts), Path()
    for index, part in enumerate(parts):
        known /= part
        if not known.exists():
            return str(Path(*map(glob.escape, parts[:index]), *parts[index:]))
    return glob.escape(str(path))


def _as_series(files: list[Path]) -> set[Path]:
    """Return the files with a folder in place of the DICOM files in it, if it has several."""
    dicom = {file for file in files if _is_dicom(file)}
    counts = Counter(file.parent for file in dicom)
    series = {file for file in dicom if counts[file.parent] >= SEVERAL}
    return {file.parent if file in series else file for file in files}


def _is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM: by suffix, or by mark where that is missing or a number."""
    if path.name.startswith(".") or path.name.upper() == INDEX or not path.is_file():
        return False
    suffix = path.suffix.lower()
    unnamed = not suffix or suffix[1:].isdigit()
    return suffix in dicom_header.SUFFIXES or (unnamed and dicom_header.has_mark(path))
