"""Prepared images on disk: each made once, found by what went into it, and never stale.

A folder holds one sub-folder a chain (how files are prepared, by which library versions):

    <chain>/index.sqlite   which file content lies where, and what was found out about it
    <chain>/<kind>.bin     prepared images of one kind (data type and shape), one after the other
    <chain>/fill.lock      held by the one process that adds images
    <chain>/use.lock       shared by the processes that use them

An image counts from the moment that the index is committed, after its bytes have reached the disk;
what a killed process wrote beyond is overwritten by the next. Paths and their names are kept as
hashes only, since they can tell who a patient is.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from medcnn.data.formats import data_file
from medcnn.data.image import Array
from medcnn.errors import UserError

TABLES = """
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, stamp TEXT, content TEXT);
CREATE TABLE IF NOT EXISTS images (
    content TEXT PRIMARY KEY, kind TEXT, slot INTEGER, count INTEGER, facts TEXT
);
"""
Facts = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One file's prepared images in the cache.

    Args:
        kind: Which pack they lie in, such as ``uint8-1x64x64``; None for a file that is refused.
        slot: Place of the first one in the pack.
        count: How many there are: slices, else 1.
        facts: What was found out about the file, as plain values; ``{"error": reason}`` if refused.
    """

    kind: str | None
    slot: int
    count: int
    facts: Facts


class Cache:
    """The part of a cache folder that belongs to one chain.

    Args:
        folder: The cache folder.
        chain: What makes an image beside its file: settings and versions, as plain values.

    Raises:
        UserError: The folder can't be made or written to.
    """

    def __init__(self, folder: str | Path, chain: Any) -> None:
        text = json.dumps(chain, sort_keys=True)
        self.root = Path(folder).expanduser()
        self.folder = self.root / hashlib.sha256(text.encode()).hexdigest()[:24]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._use = (self.folder / "use.lock").open("w")
        except OSError as error:
            raise UserError(
                f"cache.folder={folder} can't be written to: {error.strerror}"
            ) from error
        fcntl.flock(self._use, fcntl.LOCK_SH)
        os.utime(self.folder)  # when it was last used
        self._index = sqlite3.connect(self.folder / "index.sqlite", timeout=60)
        self._index.executescript(TABLES)
        self._packs: dict[str, IO[bytes]] = {}
        self._ends: dict[str, int] = {}

    def close(self) -> None:
        """Let go of the folder, which may then be cleared."""
        for pack in self._packs.values():
            pack.close()
        self._packs.clear()
        self._index.close()
        self._use.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def known(self, path: Path, stamp: str) -> str | None:
        """The content of a file that has not been touched since it was last read; else None."""
        query = "SELECT content FROM files WHERE path = ? AND stamp = ?"
        found = self._index.execute(query, (_path_key(path), stamp)).fetchone()
        return found[0] if found else None

    def entry(self, content: str) -> Entry | None:
        """What is stored of a content; None if nothing is."""
        query = "SELECT kind, slot, count, facts FROM images WHERE content = ?"
        found = self._index.execute(query, (content,)).fetchone()
        if found is None:
            return None
        kind, slot, count, facts = found
        return Entry(kind, slot, count, json.loads(facts))

    def contents(self) -> set[str]:
        """Every content that something is stored of."""
        return {content for (content,) in self._index.execute("SELECT content FROM images")}

    def remember(self, path: Path, stamp: str, content: str) -> None:
        """Note which content a file has."""
        values = (_path_key(path), stamp, content)
        self._index.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", values)

    def add(self, content: str, images: Array | None, facts: Facts) -> None:
        """Store prepared images (S, C, *size), or with None that the file is refused.

        Only within `filling`.
        """
        if self.entry(content) is not None:
            return
        kind, slot, count = None, 0, 0
        if images is not None:
            count = len(images)
            kind = f"{images.dtype}-{'x'.join(map(str, images.shape[1:]))}"
            slot = self._end(kind)
            self._ends[kind] = slot + count
            self._write(kind, slot, np.ascontiguousarray(images))
        values = (content, kind, slot, count, json.dumps(facts))
        self._index.execute("INSERT INTO images VALUES (?, ?, ?, ?, ?)", values)

    def _end(self, kind: str) -> int:
        """How many images of a kind there are; looked up once each time that `filling` begins."""
        if kind not in self._ends:
            query = "SELECT COALESCE(MAX(slot + count), 0) FROM images WHERE kind = ?"
            self._ends[kind] = int(self._index.execute(query, (kind,)).fetchone()[0])
        return self._ends[kind]

    def _write(self, kind: str, slot: int, images: Array) -> None:
        if kind not in self._packs:
            path = self.folder / f"{kind}.bin"
            path.touch()
            self._packs[kind] = path.open("r+b")
        self._packs[kind].seek(slot * images[0].nbytes)
        self._packs[kind].write(images.data)

    def commit(self) -> None:
        """Make what was added count: first the bytes, then the index."""
        for pack in self._packs.values():
            pack.flush()
            os.fsync(pack.fileno())
        self._index.commit()

    def pack(self, kind: str) -> Array:
        """All images of a kind (n, C, *size), mapped from the disk, not to be written to."""
        dtype, shape = kind_of(kind)
        item = np.dtype(dtype).itemsize * int(np.prod(shape))
        path = self.folder / f"{kind}.bin"
        count = path.stat().st_size // item
        return np.memmap(path, dtype, "r", shape=(count, *shape))

    def file(self, kind: str) -> IO[bytes]:
        """The file of a `pack`, opened for reading."""
        return (self.folder / f"{kind}.bin").open("rb")

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Hold the right to add images; waits for another process that has it.

        Commits when the block ends, also by an exception: what is done is done.
        """
        with (self.folder / "fill.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("another process prepares images with the same settings: waiting", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            self._ends.clear()  # another process may have added some
            try:
                yield
            finally:
                self.commit()

    def make_room(self, needed: int, most: int) -> None:
        """Clear chains that no process uses, the least recently used first.

        Args:
            needed: Bytes that this chain is going to hold.
            most: Bytes that the whole cache folder may hold.

        Raises:
            UserError: There is not enough room, in the cache or on the disk.
        """
        if needed > most:
            raise UserError(
                f"cache.disk={most / 1e9:.3g}GB is too small: the prepared images take "
                f"{needed / 1e9:.3g} GB; allow more, or take a smaller dataset.size"
            )
        others = [child for child in self.root.iterdir() if child.is_dir() and child != self.folder]
        others.sort(key=lambda child: child.stat().st_mtime)
        sizes = {child: _bytes_in(child) for child in others}
        for child in others:
            if needed + sum(sizes.values()) <= most:
                break
            if _clear(child):
                del sizes[child]
        free = shutil.disk_usage(self.folder).free + _bytes_in(self.folder)
        if needed > free:
            raise UserError(
                f"cache.folder={self.root}: {free / 1e9:.3g} GB are free, the prepared images take "
                f"{needed / 1e9:.3g} GB; choose another folder, or a smaller dataset.size"
            )


def kind_of(kind: str) -> tuple[str, tuple[int, ...]]:
    """Data type and shape that a kind's name tells.

    >>> kind_of("int16-1x64x64")
    ('int16', (1, 64, 64))
    """
    dtype, _, shape = kind.partition("-")
    return dtype, tuple(int(side) for side in shape.split("x"))


def stamp_of(path: Path) -> str:
    """Size and times of a file, or of the files in a folder: changes whenever they do.

    Raises:
        OSError: It isn't there or can't be looked at.
    """
    if path.is_dir():
        inside = sorted(child for child in path.iterdir() if child.is_file())
        stamps = [f"{child.name}:{stamp_of(child)}" for child in inside]
        return hashlib.sha256("\n".join(stamps).encode()).hexdigest()
    beside = data_file(path)
    if beside is not None:
        return f"{_stat(path)} {_stat(beside)}"
    return _stat(path)


def _stat(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


def content_of(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files, as 64 hexadecimal digits.

    Raises:
        OSError: It can't be read.
    """
    if path.is_dir():
        inside = [child for child in path.iterdir() if child.is_file()]
        return _digest(sorted(content_of(child) for child in inside))
    beside = data_file(path)
    if beside is not None:
        return _digest([_sha256(path), _sha256(beside)])
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(["several files", *texts]).encode()).hexdigest()


def _path_key(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()


def _bytes_in(folder: Path) -> int:
    return sum(child.stat().st_size for child in folder.iterdir() if child.is_file())


def _clear(folder: Path) -> bool:
    """Delete a chain's folder unless a process uses it, or it isn't a chain's folder."""
    lock = folder / "use.lock"
    if not lock.is_file():
        return False
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(folder, ignore_errors=True)
    return True
