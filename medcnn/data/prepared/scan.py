"""A scan of all files of a data set, in parallel: each checked, prepared and cached once."""

import functools
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from medcnn.data.identity import content_of, stamp_of
from medcnn.data.image import Array, Crop, ImageSpec
from medcnn.data.prepared.cache import Cache, Entry, Facts
from medcnn.data.prepared.crop import Marked
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


class Job(NamedTuple):
    """A file to be read, and where in it: see `medcnn.data.prepared.one_file.read_file`."""

    path: Path
    place: Marked | Crop | None

    @property
    def key(self) -> str:
        """What is added to the file's content to find the images that were made of that place."""
        return "" if self.place is None else f" {self.place}"


class Read(NamedTuple):
    """One file, read by a worker."""

    stamp: str
    content: str | None  # None: it can't be opened
    images: Array | None
    facts: Facts  # none if the content was known already


def chain_of(spec: ImageSpec, kind: str) -> dict[str, Any]:
    """Return all that a prepared ``image`` or ``mask`` (`kind`) depends on beside its file.

    The spec's intensity is left out: the cache holds the values of the file. So is a crop of none.
    """
    left_out = {"intensity"} | ({"crop", "crop_margin"} if spec.crop == "none" else set())
    settings = {key: value for key, value in asdict(spec).items() if key not in left_out}
    versions = {name: library_version(name) for name in LIBRARIES}
    return {"format": FORMAT, "kind": kind, "spec": settings, "versions": versions}


def scan(
    cache: Cache,
    paths: list[Path],
    root: Path,
    spec: ImageSpec,
    kind: str,
    disk: int,
    places: Sequence[Marked | Crop | None] | None = None,
) -> list[Entry]:
    """Return the entries of files, reading those that are new or were changed.

    Args:
        cache: Of `chain_of` the same spec and kind.
        paths: Absolute.
        root: Folder that every file has to lie in once symbolic links are followed.
        spec: How they become inputs.
        kind: ``image``, ``mask`` or ``extent``.
        disk: Bytes that the cache folder may hold.
        places: One a path, see `medcnn.data.prepared.one_file.read_file`; None for none.

    Returns:
        One a path; ``facts["error"]`` is the reason why a file is refused.

    Raises:
        UserError: The cache is too small.
    """
    resolved = functools.cache(Path.resolve)  # many files share few folders
    jobs = [Job(*one) for one in zip(paths, places or [None] * len(paths), strict=True)]
    unique = progress(dict.fromkeys(jobs), "files looked up in the cache")
    found = {job: _look_up(cache, job, root, resolved) for job in unique}
    if todo := [job for job, entry in found.items() if entry is None]:
        with cache.filling() as waited:
            if waited:  # another process may have added them
                found |= {job: _look_up(cache, job, root, resolved) for job in todo}
                todo = [job for job in todo if found[job] is None]
            found |= _fill(cache, todo, spec, kind, disk)
    return [entry for job in jobs if (entry := found[job]) is not None]


def _look_up(cache: Cache, job: Job, root: Path, resolved: Callable[[Path], Path]) -> Entry | None:
    """Return the entry of a file that wasn't touched, or a refusal; else None."""
    path = job.path
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
    return cache.entry(content + job.key) if content else None


def _refusal(reason: str) -> Entry:
    return Entry(None, 0, 0, {"error": reason})


def _fill(cache: Cache, jobs: list[Job], spec: ImageSpec, kind: str, disk: int) -> dict[Job, Entry]:
    """Read files with as many threads as there are cores; return their entries in the cache."""
    entries, room, saved = {}, False, time.monotonic()
    for job, read in progress(_read_all(cache, jobs, spec, kind), "files read", len(jobs)):
        if read.images is not None and not room:
            cache.make_room(read.images.nbytes * len(jobs), disk)
            room = True
        if read.content is None:
            entries[job] = _refusal(read.facts["error"])
        else:
            entries[job] = cache.add(read.content + job.key, read.images, read.facts)
            cache.remember(job.path, read.stamp, read.content)
        if time.monotonic() - saved > COMMIT_SECONDS:
            cache.commit()
            saved = time.monotonic()
    return entries


def _read_all(
    cache: Cache, jobs: list[Job], spec: ImageSpec, kind: str
) -> Iterator[tuple[Job, Read]]:
    """Yield each job with its reading; few are in flight, so that memory stays bounded.

    The threads share the cores, so torch has one in each of them.
    """
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = max(1, min(len(jobs), cores or 1))
    some = (iter(jobs), spec, kind, cache.contents())
    before = torch.get_num_threads()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            running = {pool.submit(_read_some, *some) for _ in range(2 * workers)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                while done:
                    batch = done.pop().result()
                    yield from batch
                    if batch:
                        running.add(pool.submit(_read_some, *some))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            torch.set_num_threads(before)  # the threads set it for those that start later, too


def _read_some(
    jobs: Iterator[Job], spec: ImageSpec, kind: str, known: set[str]
) -> list[tuple[Job, Read]]:
    """Read files for `BATCH_SECONDS`, one at least: handing over each takes a third of the time."""
    batch = []
    until = time.monotonic() + BATCH_SECONDS
    for job in jobs:
        batch.append((job, _read(job, spec, kind, known)))
        if time.monotonic() > until:
            break
    return batch


def _read(job: Job, spec: ImageSpec, kind: str, known: set[str]) -> Read:
    """Read and prepare one file."""
    path = job.path
    try:
        stamp, content = stamp_of(path), content_of(path)
        refusal = f"{path.suffix.lower()} {content}"  # old DICOM files are known by their ending
        for one in (content, refusal):
            if one + job.key in known:
                return Read(stamp, one, None, {})
        try:
            images, facts = read_file(path, spec, kind, job.place)
        except UserError as error:
            return Read(stamp, refusal, None, {"error": str(error)})
        if stamp_of(path) != stamp:
            return Read(stamp, None, None, {"error": "was changed while it was read"})
    except OSError as error:
        return Read("", None, None, {"error": f"can't be read ({error.strerror})"})
    except MemoryError:
        return Read("", None, None, {"error": "is too large for this machine's memory"})
    return Read(stamp, content, images, facts)
