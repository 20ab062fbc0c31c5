"""A scan of all files of a data set, in parallel: each checked, prepared and cached once."""

import functools
import os
import stat
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medcnn.data.formats import data_file
from medcnn.data.identity import content_of, stamp_in, stamp_of
from medcnn.data.image import Array, ImageSpec
from medcnn.data.prepared.cache import Cache, Entry
from medcnn.data.prepared.entries import Entries
from medcnn.data.prepared.facts import Facts
from medcnn.data.prepared.one_file import Place, read_file
from medcnn.data.prepared.spool import Spool
from medcnn.data.prepared.tiled_file import read_tiles
from medcnn.data.prepared.tiles import KEYS as OF_TILES
from medcnn.data.prepared.tiles import TileGrid
from medcnn.errors import UserError
from medcnn.jobs.environment import library_version
from medcnn.jobs.progress import progress

FORMAT = 4  # raised whenever the same file is prepared in another way
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
OF_SLIDES = ("imagecodecs", "openslide-bin", "openslide-python")
BATCH_SECONDS = 0.05  # of reading that a thread hands over at once
COMMIT_SECONDS = 2.0  # of work that a killed process loses at most


class Job(NamedTuple):
    """A file to be read, and where in it: see `medcnn.data.prepared.one_file.read_file`."""

    path: Path
    place: Place | TileGrid | None

    @property
    def key(self) -> str:
        """What is added to the file's content to find the images that were made of that place."""
        return "" if self.place is None else f" {self.place}"


Numbered = tuple[int, Job]  # among those of a scan


class Read(NamedTuple):
    """One file, read by a worker."""

    stamp: str
    content: str | None  # None: it can't be opened
    images: Array | Spool | None
    facts: Facts  # none if the content was known already


def chain_of(spec: ImageSpec, kind: str) -> dict[str, Any]:
    """Return all that a prepared ``image`` or ``mask`` (`kind`) depends on beside its file.

    The spec's intensity is left out: the cache holds the values of the file. So are a crop of none,
    what goes with tiles where there are none, and what becomes of several files together.
    """
    left_out = {"intensity", "columns", "missing_channel", "mask_as"}
    left_out |= {"crop", "crop_margin"} if spec.crop == "none" else set()
    left_out |= set(OF_TILES) if spec.tiles is None else set()
    settings = {key: value for key, value in asdict(spec).items() if key not in left_out}
    libraries = LIBRARIES if spec.tiles is None else (*LIBRARIES, *OF_SLIDES)
    versions = {name: library_version(name) for name in libraries}
    return {"format": FORMAT, "kind": kind, "spec": settings, "versions": versions}


def scan(
    cache: Cache,
    paths: Sequence[str | Path],
    root: Path,
    spec: ImageSpec,
    kind: str,
    disk: int,
    places: Sequence[Place | TileGrid | None] | None = None,
) -> Entries:
    """Return the entries of files, reading those that are new or were changed.

    Args:
        cache: Of `chain_of` the same spec and kind.
        paths: Absolute, or from `root`.
        root: Folder that every file has to lie in once symbolic links are followed, absolute.
        spec: How they become inputs.
        kind: ``image``, ``mask`` or ``extent``.
        disk: Bytes that the cache folder may hold.
        places: One a path, see `medcnn.data.prepared.one_file.read_file`; None for none.

    Returns:
        One a path, in columns; ``facts["error"]`` is the reason why a file is refused.

    Raises:
        UserError: The cache is too small.
    """

    @functools.cache  # many files share few folders
    def inside(folder: Path) -> bool:
        return folder.resolve().is_relative_to(root)

    first, of_row = _different(paths, places)
    found = Entries()
    at = np.empty(len(first), np.int64)  # where in `found` each one is

    def numbered(number: int) -> Numbered:
        row = first[number]
        return number, Job(root / paths[row], None if places is None else places[row])

    def looked_up(numbers: Iterable[int]) -> "array[int]":
        """Add the entries that there are; return the numbers of the others."""
        rest = array("q")
        for number in numbers:
            entry = _look_up(cache, numbered(number)[1], root, inside)
            if entry is None:
                rest.append(number)
            else:
                at[number] = found.append(entry)
        return rest

    if todo := looked_up(progress(range(len(first)), "files looked up in the cache")):
        with cache.filling() as waited:
            if waited:  # another process may have added them
                todo = looked_up(todo)
            jobs = map(numbered, todo)  # unlike a generator's, its items may go to several threads
            for number, entry in _fill(cache, jobs, len(todo), spec, kind, disk):
                at[number] = found.append(entry)
    return found.take(at[of_row])


def _look_up(cache: Cache, job: Job, root: Path, inside: Callable[[Path], bool]) -> Entry | None:
    """Return the entry of a file that wasn't touched, or a refusal; else None."""
    path = job.path
    try:
        status = path.lstat()  # of most files all that is asked of the system
        if plain := stat.S_ISREG(status.st_mode) and data_file(path) is None:
            stamp, within = stamp_in(status), inside(path.parent)
        else:
            stamp, within = stamp_of(path), path.resolve().is_relative_to(root)
        if not within:
            return _refusal("lies outside of dataset.root, through a symbolic link")
        mode = status.st_mode if plain else path.stat().st_mode
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


def _different(
    paths: Sequence[str | Path], places: Sequence[Place | TileGrid | None] | None
) -> tuple[list[int], NDArray[np.int64]]:
    """Return the first row of each different job, and the number of its job for each row."""
    keys = paths if places is None else zip(paths, places, strict=True)
    known: dict[Any, int] = {}
    of_row = np.fromiter((known.setdefault(key, len(known)) for key in keys), np.int64)
    return np.unique(of_row, return_index=True)[1].tolist(), of_row


def _fill(
    cache: Cache, jobs: Iterator[Numbered], count: int, spec: ImageSpec, kind: str, disk: int
) -> Iterator[tuple[int, Entry]]:
    """Read files with as many threads as there are cores; yield their entries in the cache."""
    room, saved = False, time.monotonic()
    read_all = _read_all(cache, jobs, count, spec, kind)
    for (number, job), read in progress(read_all, "files read", count):
        if read.images is not None and not room:
            cache.make_room(read.images.nbytes * count, disk)
            room = True
        if read.content is None:
            yield number, _refusal(read.facts["error"])
        else:
            entry = cache.add(read.content + job.key, read.images, read.facts)
            cache.remember(job.path, read.stamp, read.content)
            yield number, entry
        if time.monotonic() - saved > COMMIT_SECONDS:
            cache.commit()
            saved = time.monotonic()


def _read_all(
    cache: Cache, jobs: Iterator[Numbered], count: int, spec: ImageSpec, kind: str
) -> Iterator[tuple[Numbered, Read]]:
    """Yield each job with its reading; few are in flight, so that memory stays bounded.

    The threads share the cores, so torch has one in each of them.
    """
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = max(1, min(count, cores or 1))
    some = (jobs, spec, kind, cache.contents(), cache.folder)
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
    jobs: Iterator[Numbered], spec: ImageSpec, kind: str, known: set[str], folder: Path
) -> list[tuple[Numbered, Read]]:
    """Read files for `BATCH_SECONDS`, one at least: handing over each takes a third of the time."""
    batch = []
    until = time.monotonic() + BATCH_SECONDS
    for numbered in jobs:
        batch.append((numbered, _read(numbered[1], spec, kind, known, folder)))
        if time.monotonic() > until:
            break
    return batch


def _read_as(
    job: Job, spec: ImageSpec, kind: str, folder: Path
) -> tuple[Array | Spool | None, Facts]:
    place: Any = job.place
    if spec.tiles is not None:
        return read_tiles(job.path, spec, kind, place, folder)
    return read_file(job.path, spec, kind, place)


def _read(job: Job, spec: ImageSpec, kind: str, known: set[str], folder: Path) -> Read:
    """Read and prepare one file; `folder` is for what is too large for memory."""
    path = job.path
    try:
        stamp, content = stamp_of(path), content_of(path)
        refusal = f"{path.suffix.lower()} {content}"  # old DICOM files are known by their ending
        for one in (content, refusal):
            if one + job.key in known:
                return Read(stamp, one, None, {})
        try:
            images, facts = _read_as(job, spec, kind, folder)
        except UserError as error:
            return Read(stamp, refusal, None, {"error": str(error)})
        if stamp_of(path) != stamp:
            return Read(stamp, None, None, {"error": "was changed while it was read"})
    except OSError as error:
        return Read("", None, None, {"error": f"can't be read ({error.strerror})"})
    except MemoryError:
        return Read("", None, None, {"error": "is too large for this machine's memory"})
    return Read(stamp, content, images, facts)
