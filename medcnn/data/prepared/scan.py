"""A scan of all files of a data set, in parallel: each checked, prepared and cached once."""

import functools
import os
import stat
import time
from collections.abc import Callable, Iterator
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
COMMIT_SECONDS = 2.0  # of work that a killed process loses at most


class Read(NamedTuple):
    """One file, read by a worker."""

    stamp: str
    content: str | None  # None: it can't be opened
    images: Array | None
    facts: Facts  # none if the content was known already


def chain_of(spec: ImageSpec, kind: str) -> dict[str, Any]:
    """Return all that a prepared ``image`` or ``mask`` (`kind`) depends on beside its file.

    The spec's intensity is left out: the cache holds the values of the file.
    """
    settings = {key: value for key, value in asdict(spec).items() if key != "intensity"}
    versions = {name: library_version(name) for name in LIBRARIES}
    return {"format": FORMAT, "kind": kind, "spec": settings, "versions": versions}


def scan(
    cache: Cache, paths: list[Path], root: Path, spec: ImageSpec, kind: str, disk: int
) -> list[Entry]:
    """Return the entries of files, reading those that are new or were changed.

    Args:
        cache: Of `chain_of` the same spec and kind.
        paths: Absolute.
        root: Folder that every file has to lie in once symbolic links are followed.
        spec: How they become inputs.
        kind: ``image`` or ``mask``.
        disk: Bytes that the cache folder may hold.

    Returns:
        One a path; ``facts["error"]`` is the reason why a file is refused.

    Raises:
        UserError: The cache is too small.
    """
    resolved = functools.cache(Path.resolve)  # many files share few folders
    unique = progress(dict.fromkeys(paths), "files looked up in the cache")
    found = {path: _look_up(cache, path, root, resolved) for path in unique}
    if todo := [path for path, entry in found.items() if entry is None]:
        with cache.filling() as waited:
            if waited:  # another process may have added them
                found |= {path: _look_up(cache, path, root, resolved) for path in todo}
                todo = [path for path in todo if found[path] is None]
            found |= _fill(cache, todo, spec, kind, disk)
    return [entry for path in paths if (entry := found[path]) is not None]


def _look_up(
    cache: Cache, path: Path, root: Path, resolved: Callable[[Path], Path]
) -> Entry | None:
    """Return the entry of a file that wasn't touched, or a refusal; else None."""
    try:
        stamp = stamp_of(path)
        linked = path.is_symlink() or path.name in ("", "..") or path.is_dir()
        place = path.resolve() if linked else resolved(path.parent) / path.name
        if not place.is_relative_to(root):
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


def _refusal(reason: str) -> Entry:
    return Entry(None, 0, 0, {"error": reason})


def _fill(
    cache: Cache, paths: list[Path], spec: ImageSpec, kind: str, disk: int
) -> dict[Path, Entry]:
    """Read files with as many threads as there are cores; return their entries in the cache."""
    entries, room, saved = {}, False, time.monotonic()
    for path, read in progress(_read_all(cache, paths, spec, kind), "files read", len(paths)):
        if read.images is not None and not room:
            cache.make_room(read.images.nbytes * len(paths), disk)
            room = True
        if read.content is None:
            entries[path] = _refusal(read.facts["error"])
        else:
            entries[path] = cache.add(read.content, read.images, read.facts)
            cache.remember(path, read.stamp, read.content)
        if time.monotonic() - saved > COMMIT_SECONDS:
            cache.commit()
            saved = time.monotonic()
    return entries


def _read_all(
    cache: Cache, paths: list[Path], spec: ImageSpec, kind: str
) -> Iterator[tuple[Path, Read]]:
    """Yield each path with its reading; few are in flight, so that memory stays bounded.

    The threads share the cores, so torch has one in each of them.
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
    """Read files for `BATCH_SECONDS`, one at least: handing over each takes a third of the time."""
    batch = []
    until = time.monotonic() + BATCH_SECONDS
    for path in paths:
        batch.append((path, _read(path, spec, kind, known)))
        if time.monotonic() > until:
            break
    return batch


def _read(path: Path, spec: ImageSpec, kind: str, known: set[str]) -> Read:
    """Read and prepare one file."""
    try:
        stamp, content = stamp_of(path), content_of(path)
        refusal = f"{path.suffix.lower()} {content}"  # old DICOM files are known by their ending
        if content in known or refusal in known:
            return Read(stamp, content if content in known else refusal, None, {})
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
