"""The image files that a path, a folder or a pattern means."""

import errno
import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from medcnn.data.formats import SUFFIXES, data_file, dicom_header
from medcnn.errors import UserError, check_path
from medcnn.jobs.copies import local_copy
from medcnn.jobs.notes import note
from medcnn.jobs.remote import is_address

SEVERAL = 2  # DICOM files that make a folder a series
INDEX = "DICOMDIR"  # a DICOM file that lists others, and holds no image


def list_images(spec: str | Path, *, volumes: bool = False, key: str = "images") -> list[Path]:
    """Return the images, sorted, that a file, a folder or a glob pattern means.

    A file of that very name wins over its meaning as a pattern, also in the first parts of a path.
    A folder is searched with all its subfolders for the suffixes in `SUFFIXES` and for DICOM files
    without a suffix or with a number as one; hidden files and folders are left out, others named in
    a note. A pattern (``**`` goes into subfolders) gives every file it matches.

    Args:
        spec: The file, folder or pattern; an address, such as s3://bucket/films, is copied first.
        volumes: Whether a folder that itself holds several DICOM files is one image, a series.
        key: Of the config, for messages.

    Raises:
        UserError: There is nothing there, or a folder that can't be read.
    """
    return [Path(name) for name in each_image(spec, volumes=volumes, key=key)]


def each_image(spec: str | Path, *, volumes: bool = False, key: str = "images") -> Iterator[str]:
    """Yield what `list_images` lists, one path at a time, so that millions need little memory."""
    path = given_path(spec, key)
    if path.is_file():
        yield str(path)
    elif path.is_dir():
        yield from _in_folder(path, volumes, f"{key}={spec}")
    else:
        names = _matches(path, volumes)
        if (first := next(names, None)) is None:
            raise UserError(
                f"{key}={spec} is neither a file, nor a folder, nor a pattern that matches a file"
            )
        yield first
        yield from names


def given_path(path: str | Path, key: str) -> Path:
    """Return a path from a config, ``~`` resolved, of an address that of a copy.

    Raises:
        UserError: It is no path, or what is there can't be read.
    """
    check_path(key, path)
    if is_address(path):
        return local_copy(path, key)
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
        raise _unreadable(error, folder, what) from None

    files, linked = [], 0
    for top, folders, names in os.walk(folder, onerror=refuse):
        _check_access(top, folder, what)
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked += sum(Path(top, name).is_symlink() for name in folders)
        files += [Path(top, name) for name in names if not name.startswith(".")]
    return files, linked


def kinds(files: Iterable[Path]) -> str:
    """Return the endings of files, with how many there are of each.

    >>> kinds([Path("a.webp"), Path("b.webp"), Path("DICOMDIR"), Path("c")])
    '.webp (2), DICOMDIR (1), no ending (1)'
    """
    return _counted(Counter(map(_kind, files)))


def _kind(file: Path) -> str:
    return file.name if file.name.upper() == INDEX else file.suffix.lower() or "no ending"


def _counted(counts: Counter[str]) -> str:
    most = Counter(dict(sorted(counts.items()))).most_common()
    return ", ".join(f"{name} ({count})" for name, count in most)


def _unreadable(error: OSError, folder: Path, what: str) -> UserError:
    below = Path(error.filename).relative_to(folder).parts  # the rest may name a patient
    where = f"its folder {below[0]}" if below else "it"
    return UserError(f"{what}: {where} can't be read ({error.strerror})")


def _check_access(top: str, folder: Path, what: str) -> None:
    if not os.access(top, os.X_OK):
        error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), top)
        raise _unreadable(error, folder, what)


def _in_folder(folder: Path, volumes: bool, what: str) -> Iterator[str]:
    """Yield the images below a folder, sorted by the parts of their paths; then note the rest."""
    search = _Search(folder, volumes, what)
    yield from search.below(str(folder))
    left = search.left.total()
    rest = [f"left out: {_counted(search.left)}"] if left else []
    rest += [f"{search.linked} linked folders aren't followed"] if search.linked else []
    if not search.found:
        raise UserError("; ".join([f"{what} holds no image ({', '.join(SUFFIXES)})", *rest]))
    if rest:
        files_found = f"{what}: {search.found} of {search.found + left} files are images"
        note("; ".join([files_found, *rest]))


class _Search:
    """A walk through a folder, which counts what it finds.

    Attributes:
        found: Files that are images.
        left: Other visible files, by their endings.
        linked: Linked folders, which aren't followed.
    """

    def __init__(self, folder: Path, volumes: bool, what: str) -> None:
        self.folder, self.volumes, self.what = folder, volumes, what
        self.found, self.linked, self.left = 0, 0, Counter[str]()
        self._data: set[Path] = set()  # files with the values of an .nhdr

    def below(self, top: str) -> Iterator[str]:
        """Yield the images in a folder and its subfolders."""
        _check_access(top, self.folder, self.what)
        try:
            entries = _Sorted(lambda: _visible(top))
        except OSError as error:
            raise _unreadable(error, self.folder, self.what) from None
        for entry in entries:
            if entry.lower().endswith(".nhdr\0f") and (data := data_file(Path(top, entry[:-2]))):
                self._data.add(data)
        series = self.volumes and self._is_series(top, entries)
        if series:
            yield top
        for entry in entries:
            name, kind = entry[:-2], entry[-1]
            if kind == "d":
                yield from self.below(os.path.join(top, name))  # noqa: PTH118 (a text)
            elif kind == "l":
                self.linked += 1
            elif self._counts(file := Path(top, name)) and not (series and _is_dicom(file)):
                yield str(file)

    def _counts(self, file: Path) -> bool:
        """Return whether a file is an image, and count it."""
        image = is_image(file)
        if image:
            self.found += 1
        elif file not in self._data:
            self.left[_kind(file)] += 1
        return image

    @staticmethod
    def _is_series(top: str, entries: "_Sorted") -> bool:
        dicom = (_is_dicom(Path(top, entry[:-2])) for entry in entries if entry[-1] == "f")
        return sum(dicom) >= SEVERAL


def _visible(top: str) -> Iterator[str]:
    """Yield the names in a folder that aren't hidden, each with NUL and d, l or f behind it.

    These stand for a folder, a linked one, and a file; a name is the same in order with it, as
    nothing is less than NUL.
    """
    with os.scandir(top) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                folder = entry.is_dir()
                kind = "l" if folder and entry.is_symlink() else "d" if folder else "f"
                yield f"{entry.name}\0{kind}"


class _Sorted:
    """Texts in order, as bytes of one array: a list of a million takes several times as much.

    Args:
        texts: Called twice, as the longest has to be known before.
    """

    def __init__(self, texts: Callable[[], Iterable[str]]) -> None:
        longest = max((len(os.fsencode(text)) for text in texts()), default=1)
        self._array = np.fromiter(map(os.fsencode, texts()), f"S{longest}")
        self._array.sort()

    def __iter__(self) -> Iterator[str]:
        return (os.fsdecode(bytes(text)) for text in self._array)


def _matches(path: Path, volumes: bool) -> Iterator[str]:
    """Yield the images that match a pattern, sorted by the parts of their paths."""
    pattern = _pattern(path)
    if not volumes:

        def found() -> Iterator[str]:
            matches = glob.iglob(pattern, recursive=True)  # noqa: PTH207 (absolute)
            return (name.replace(os.sep, "\0") for name in matches if Path(name).is_file())

        yield from (str(Path(name.replace("\0", os.sep))) for name in _Sorted(found))
        return
    matches = [Path(match) for match in glob.glob(pattern, recursive=True)]  # noqa: PTH207
    files = [match for match in matches if match.is_file()]
    for folder in (match for match in matches if match.is_dir()):
        files += [file for file in folder.iterdir() if _is_dicom(file)]
    yield from map(str, sorted(_as_series(files)))


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
