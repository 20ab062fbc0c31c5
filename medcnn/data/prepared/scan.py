"""Opens every file of a data set once, in parallel: checked, prepared, and kept in the cache."""

import os
import stat
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medcnn.data.identity import content_of, stamp_of
from medcnn.data.image import Array, Image, ImageSpec
from medcnn.data.prepared.cache import Cache, Entry, Facts
from medcnn.data.prepared.intensity import percentiles
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
    if read.facts is not None:
        cache.add(read.content, read.images, read.facts)
    cache.remember(path, read.stamp, read.content)
    entry = cache.entry(read.content)
    assert entry is not None
    return entry


def _read_all(
    cache: Cache, paths: list[Path], spec: ImageSpec, kind: str
) -> Iterator[tuple[Path, Read]]:
    """Each path with what was read; few are in flight, so that memory stays bounded.

    The threads share the cores, so each of them has one for what torch does.
    """
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = max(1, min(len(paths), cores or 1))
    known = cache.contents()
    running: dict[Future[Read], Path] = {}
    before = torch.get_num_threads()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for path in paths:
                running[pool.submit(_read, path, spec, kind, known)] = path
                if len(running) < 2 * workers:
                    continue
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
            for future in as_completed(list(running)):
                yield running.pop(future), future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            torch.set_num_threads(before)  # the threads set it for those that start later, too


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


def read_file(path: Path, spec: ImageSpec, kind: str = "image") -> tuple[Array, Facts]:
    """One file as network inputs in stored units, and what was found out about it.

    Args:
        path: A file, or the folder of a DICOM series.
        spec: How it becomes an input.
        kind: ``image``; or ``mask``, of which every value above 0 is the lesion.

    Returns:
        Images (S, C, *size) with S slices (1 if it isn't cut into slices), or masks (S, *size)
        uint8 of 0 and 1 with C left out; and facts for JSON: ``shape`` (of the file, spatial),
        ``channels``, ``dtype``, ``spacing``, ``affine`` (of a volume, see `Image`),
        ``modality``, ``value_range``, ``window``, ``notes`` (see `Image`), ``extremes`` and
        ``percentiles`` (of what was measured, not of padding), and for each slice ``digests``.

    Raises:
        UserError: The reason why the file can't be used, without its path.
    """
    from medcnn.data.formats import decode

    image = decode(path, allow_missing_geometry=spec.allow_missing_geometry, frame=spec.frame)
    return prepare_image(image, spec, kind)


def prepare_image(image: Image, spec: ImageSpec, kind: str = "image") -> tuple[Array, Facts]:
    """What `read_file` gives, of an image that was decoded already."""
    from medcnn.data.prepared.geometry import prepare, prepare_mask

    if image.values.dtype.kind == "f" and not np.isfinite(image.values).all():
        bad = ~np.isfinite(image.values)
        raise UserError(f"holds NaN or infinite values ({int(bad.sum())} of {bad.size})")
    if kind == "mask":
        masks = prepare_mask(image, spec).astype(np.uint8)
        return masks, {"shape": list(image.values.shape[1:]), "affine": _listed(image.affine)}
    images = np.ascontiguousarray(prepare(image, spec))
    values, measured = image.values, images
    if image.padding is not None:  # which is no measurement, and tells nothing of the others
        values = values[:, ~image.padding]
        padded = prepare_mask(replace(image, values=image.padding[None]), spec)
        measured = images.swapaxes(0, 1)[:, ~padded]
    facts = _facts(image, images)
    facts["extremes"] = _pair((values.min(), values.max()))
    facts["percentiles"] = _pair(percentiles(measured if measured.size else images))
    return images, facts


def _facts(image: Image, images: Array) -> Facts:
    values = image.values
    flat = images.reshape(len(images), -1)
    constant = flat.min(1) == flat.max(1)
    return {
        "shape": list(values.shape[1:]),
        "channels": int(values.shape[0]),
        "dtype": str(values.dtype),
        "spacing": None if image.spacing is None else [float(s) for s in image.spacing],
        "affine": _listed(image.affine),
        "modality": image.modality,
        "value_range": _pair(image.value_range),
        "window": _pair(image.window),
        "notes": list(image.notes),
        "digests": [
            None if c else sha256(s).hexdigest() for s, c in zip(images, constant, strict=True)
        ],
    }


def _listed(affine: Array | None) -> list[list[float]] | None:
    return None if affine is None else affine.tolist()


def _pair(pair: Iterable[Any] | None) -> list[float] | None:
    return None if pair is None else [float(value) for value in pair]
