"""Opens every file of a data set once, in parallel: checked, prepared, and kept in the cache."""

import os
import stat
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from medcnn.data.identity import content_of, stamp_of
from medcnn.data.image import Array, ImageSpec
from medcnn.data.prepared.cache import Cache, Entry, Facts
from medcnn.data.prepared.one_file import read_file
from medcnn.errors import UserError
from medcnn.jobs.environment import library_version
from medcnn.jobs.progress import progress

FORMAT = 3  # raised whenever the same file is prepared in another way
LIBRARIES = (
    "monai",
    "nibabel",
    "numpy",
    "pillow",
    "pydicom",
    "pylibjpeg",
    "pylibjpeg-libjpeg",
    "pylibjpeg-openjpeg",
    "pynrrd",
    "python-gdcm",
    "tifffile",
    "torch",
)
BATCH_SECONDS = 0.05  # of reading that a thread hands over at once
COMMIT_SECONDS = 2.0  # what a killed process loses at most
WHAT = ("size", "channels", "spacing", "orientation", "frame", "slices", "allow_missing_geometry")


class Read(NamedTuple):
    """What a worker made of one file."""

    stamp: str
    content: str | None  # None: it can't be opened
    images: Array | None
    facts: Facts | None  # None: the content was known already


def chain_of(spec: ImageSpec, kind: str) -> dict[str, Any]:
    """All that a prepared image depends on beside its file.

    Args:
        spec: Its intensity is left out: the cache holds the values of the file.
        kind: ``image`` or ``mask``.
    """
    settings = {key: value for key, value in asdict(spec).items() if key in WHAT}
    versions = {name: library_version(name) for name in LIBRARIES}
    return {"format": FORMAT, "kind": kind, "spec": settings, "versions": versions}


def scan(
    cache: Cache, paths: list[Path], root: Path, spec: ImageSpec, kind: str, disk: int
) -> list[Entry]:
    """Looks at files, reading those that are new or were changed.

    Args:
        cache: Of `chain_of` the same spec and kind.
        paths: Absolute.
        root: Folder that every file has to lie in once symbolic links are followed.
        spec: How a file becomes an input.
        kind: ``image`` or ``mask``.
        disk: Bytes that the cache folder may hold.

    Returns:
        For each path what the cache has of it; ``facts["error"]`` tells why a file is refused.

    Raises:
        UserError: The cache is too small.
    """
    entries: dict[Path, Entry] = {}
    todo: list[Path] = []
    folders: dict[Path, Path] = {}
    for path in progress(dict.fromkeys(paths), "files looked up in the cache"):
        found = _look_up(cache, path, root, folders)
        if found is None:
            todo.append(path)
        else:
            entries[path] = found
    if todo:
        with cache.filling() as waited:
            if waited:  # another process may have added them
                again = {path: _look_up(cache, path, root, folders) for path in todo}
                entries |= {path: entry for path, entry in again.items() if entry is not None}
                todo = [path for path in todo if path not in entries]
            _fill(cache, todo, spec, kind, disk, entries)
    return [entries[path] for path in paths]


def _look_up(cache: Cache, path: Path, root: Path, folders: dict[Path, Path]) -> Entry | None:
    """What is known of a file that wasn't touched; what speaks against it; else None.

    Args:
        cache: Of the same chain.
        path: Of the file.
        root: Folder that it has to lie in.
        folders: Where the folders that were met so far lie, their links followed.
    """
    try:
        stamp = stamp_of(path)
        if not _followed(path, folders).is_relative_to(root):
            return _refusal("lies outside of dataset.root, through a symbolic link")
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode) and not any(child.is_file() for child in path.iterdir()):
            return _refusal("is an empty folder")
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):  # a named pipe would be waited for
            return _refusal("is special and no file")
    except FileNotFoundError:
        return _refusal("is missing")
    except OSError as error:
        return _refusal(f"can't be opened ({error.strerror})")
    content = cache.known(path, stamp)
    return cache.entry(content) if content else None


def _followed(path: Path, folders: dict[Path, Path]) -> Path:
    """Where a path leads once links are followed; a folder of many files is followed once."""
    if path.is_symlink() or path.name in ("", "..") or path.is_dir():
        return path.resolve()
    if path.parent not in folders:
        folders[path.parent] = path.parent.resolve()
    return folders[path.parent] / path.name


def _refusal(reason: str) -> Entry:
    return Entry(None, 0, 0, {"error": reason})


def _fill(
    cache: Cache,
    paths: list[Path],
    spec: ImageSpec,
    kind: str,
    disk: int,
    entries: dict[Path, Entry],
) -> None:
    """Reads files with as many threads as there are cores, and adds them to cache and entries."""
    saved = time.monotonic()
    room = False
    for path, read in progress(_read_all(cache, paths, spec, kind), "files read", len(paths)):
        if read.images is not None and not room:
            cache.make_room(read.images.nbytes * len(paths), disk)
            room = True
        entries[path] = _keep(cache, path, read)
        if time.monotonic() - saved > COMMIT_SECONDS:
            cache.commit()
            saved = time.monotonic()


def _keep(cache: Cache, path: Path, read: Read) -> Entry:
    """Adds what was read to the cache, but for a file that could not be opened at all."""
    if read.content is None:
        assert read.facts is not None
        return _refusal(read.facts["error"])
    entry: Entry | None
    if read.facts is None:
        entry = cache.entry(read.content)
    else:
        entry = cache.add(read.content, read.images, read.facts)
    assert entry is not None
    cache.remember(path, read.stamp, read.content)
    return entry


def _read_all(
    cache: Cache, paths: list[Path], spec: ImageSpec, kind: str
) -> Iterator[tuple[Path, Read]]:
    """Each path with what was read; little is in flight, so that memory stays bounded.

    The threads share the cores, so each of them has one for what torch does.
    """
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = max(1, min(len(paths), cores or 1))
    job = (iter(paths), spec, kind, cache.contents())
    before = torch.get_num_threads()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            running = {pool.submit(_read_some, *job) for _ in range(2 * workers)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                while done:
                    batch = done.pop().result()
                    yield from batch
                    if batch:
                        running.add(pool.submit(_read_some, *job))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            torch.set_num_threads(before)  # the threads set it for those that start later, too


def _read_some(
    paths: Iterator[Path], spec: ImageSpec, kind: str, known: set[str]
) -> list[tuple[Path, Read]]:
    """What can be read within `BATCH_SECONDS`, one file at least, of those that are left.

    Handing over file by file would take a third of the time that small pictures take.
    """
    batch = []
    until = time.monotonic() + BATCH_SECONDS
    for path in paths:
        batch.append((path, _read(path, spec, kind, known)))
        if time.monotonic() > until:
            break
    return batch


def _read(path: Path, spec: ImageSpec, kind: str, known: set[str]) -> Read:
    """One file, prepared; or why not."""
    try:
        stamp, content = stamp_of(path), content_of(path)
        refusal = f"{path.suffix.lower()} {content}"  # old DICOM files are known by their ending
        if content in known or refusal in known:
            return Read(stamp, content if content in known else refusal, None, None)
        try:
            images, facts = read_file(path, spec, kind)
        except UserError as error:
            return Read(stamp, refusal, None, {"error": str(error)})
        if stamp_of(path) != stamp:
            return Read(stamp, None, None, {"error": "was changed while it was read"})
    except OSError as error:
        return Read("", None, None, {"error": f"can't be read ({error.strerror})"})
    except MemoryError:
        return Read("", None, None, {"error": "is too large for this machine's memory"})
    return Read(stamp, content, images, facts)
