"""Prepared images on disk: each made once, found by its file's content, and never stale.

A folder holds one sub-folder a chain (how files are prepared, by which library versions):

    <chain>/index.sqlite   place and facts of each file's images, by its content
    <chain>/<kind>.bin     prepared images of one kind (data type and shape), one after the other
    <chain>/fill.lock      held by the one process that adds images
    <chain>/use.lock       shared by the processes that use them

An image counts from the moment that the index is committed, after its bytes have reached the disk;
bytes that a killed process wrote beyond are overwritten by the next. The index keeps a checksum of
each file's images. They are checked whenever a pack was touched by others (by its size and times);
damaged ones are forgotten, and so prepared anew. Paths are kept as hashes only, since they can
identify a patient.

Packed, as a batch of grey images of 64 × 64 is read in 8 µs an image; of one file each, as MONAI's
PersistentDataset keeps them, in 2.5 ms (`torch.load`; two busy cores, files in the page cache).
"""

import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from medcnn.data.identity import status_of
from medcnn.data.image import Array
from medcnn.data.prepared.cache_index import DamagedError, damaged, open_index
from medcnn.data.prepared.cache_room import in_use, make_room
from medcnn.data.prepared.cache_sent import fetch_chain, send_chain
from medcnn.data.prepared.facts import Facts
from medcnn.data.prepared.spool import Spool
from medcnn.errors import UserError, reason
from medcnn.jobs.copies import copy_folder
from medcnn.jobs.file_locks import lock
from medcnn.jobs.remote import is_address


@dataclass(frozen=True)
class Entry:
    """One file's prepared images in the cache."""

    kind: str | None  # pack that they lie in, such as uint8-1x64x64; None for a file refused
    slot: int  # place of the first one in the pack
    count: int  # their number: slices, else 1
    facts: Facts  # of the file, as plain values; {"error": reason} if refused


class Cache(AbstractContextManager["Cache"]):
    """The part of a cache folder that belongs to one chain.

    Args:
        folder: The cache folder; or its address, such as s3://bucket/cache, from which a chain is
            fetched that isn't on the disk, and to which it is sent once it was added to.
        chain: Of `medcnn.data.prepared.scan.chain_of`.

    Raises:
        UserError: The folder can't be made or written to.
    """

    def __init__(self, folder: str | Path, chain: Any) -> None:
        text = json.dumps(chain, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:24]
        self.address = f"{str(folder).rstrip('/')}/{name}" if is_address(folder) else None
        self.root = copy_folder(str(folder)) if self.address else Path(folder).expanduser()
        self.folder = self.root / name
        self._packs: dict[str, IO[bytes]] = {}
        self._ends: dict[str, int] = {}
        self._unsent = self.folder / "unsent"  # a mark that stands until what was added is sent
        with self._writing():
            self._use = in_use(self.folder)
            if self.address and not self._index_file.exists():
                with self._locked() as waited:
                    if not waited:
                        fetch_chain(self.address, self.folder)
            os.utime(self.folder)  # when it was last used
            self._index = self._open_index()
            self._forget_damaged()
            if self._unsent.exists():
                with suppress(BlockingIOError), self._locked(wait=False):  # who has it sends it
                    self._send()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Raise UserError where the disk can't be written to."""
        try:
            yield
        except (OSError, sqlite3.OperationalError) as error:
            why = reason(error) if isinstance(error, OSError) else error
            raise UserError(
                f"cache.folder={self.root} can't be written to: {why}; choose another folder, "
                "or make room"
            ) from error

    @property
    def _index_file(self) -> Path:
        return self.folder / "index.sqlite"

    def _open_index(self) -> sqlite3.Connection:
        """Return the index; a new one, without any image, in place of a damaged one."""
        path = self._index_file
        with suppress(DamagedError):
            return open_index(path)
        with self._locked():
            with suppress(DamagedError):  # another process may have replaced it meanwhile
                return open_index(path)
            print(f"the cache's {path} is damaged: images are prepared anew", flush=True)
            for file in (*self.folder.glob("*.bin"), *self.folder.glob("index.sqlite*")):
                file.unlink()  # whoever uses it still has it
            return open_index(path)

    def _forget_damaged(self) -> None:
        """Forget images whose bytes are no longer those that were written."""
        stamps = dict(self._index.execute("SELECT kind, stamp FROM packs"))
        for kind, stamp in stamps.items():
            now, pack, size = self._pack_stamp(kind), self.path(kind), kind_of(kind).itemsize
            if stamp == now:
                continue
            lost = damaged(self._index, kind, pack, size)
            if lost:
                print(f"the cache's {pack} is damaged: {len(lost)} files are read anew", flush=True)
            with suppress(BlockingIOError), self._locked(wait=bool(lost)):
                if lost:  # another process may have mended it meanwhile
                    lost = damaged(self._index, kind, pack, size)
                query = "DELETE FROM images WHERE content = ? AND slot = ?"
                self._index.executemany(query, lost)
                self._index.execute("UPDATE packs SET stamp = ? WHERE kind = ?", (now, kind))
                self._index.commit()

    def _pack_stamp(self, kind: str) -> str | None:
        return status_of(self.path(kind)) if self.path(kind).exists() else None

    def close(self) -> None:
        """Let go of the folder, which may then be cleared."""
        for pack in self._packs.values():
            with suppress(OSError):  # of a full disk, which was said when it was written to
                pack.close()
        self._packs.clear()
        self._index.close()
        self._use.close()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def known(self, path: Path, stamp: str) -> str | None:
        """Return the content of a file that was not touched since it was last read; else None."""
        query = "SELECT content FROM files WHERE path = ? AND stamp = ?"
        found = self._index.execute(query, (_path_key(path), stamp)).fetchone()
        return found[0] if found else None

    def entry(self, content: str) -> Entry | None:
        """Return the entry of a content; None without."""
        query = "SELECT kind, slot, count, facts FROM images WHERE content = ?"
        found = self._index.execute(query, (content,)).fetchone()
        if found is None:
            return None
        kind, slot, count, facts = found
        return Entry(kind, slot, count, json.loads(facts))

    def contents(self) -> set[str]:
        """Return all contents that have an entry."""
        return {content for (content,) in self._index.execute("SELECT content FROM images")}

    def remember(self, path: Path, stamp: str, content: str) -> None:
        """Store the content of a file."""
        values = (_path_key(path), stamp, content)
        with self._writing():
            self._index.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", values)

    def add(self, content: str, images: Array | Spool | None, facts: Facts) -> Entry:
        """Store prepared images (S, C, *size), or with None that the file is refused.

        Only within `filling`. Returns the entry of the content, also one that was there before.
        """
        known = self.entry(content)
        if known is not None:
            return known
        if self.address:
            with self._writing():
                self._unsent.touch()
        kind, slot, count, checksum = None, 0, 0, 0
        if images is not None:
            count = len(images)
            kind = f"{images.dtype}-{'x'.join(map(str, images.shape[1:]))}"
            slot = self._end(kind)
            self._ends[kind] = slot + count
            at = slot
            for part in images.parts() if isinstance(images, Spool) else [images]:
                part = np.ascontiguousarray(part)
                checksum = zlib.crc32(part.data.cast("B"), checksum)
                with self._writing():
                    self._write(kind, at, part)
                at += len(part)
        values = (content, kind, slot, count, checksum, json.dumps(facts))
        with self._writing():
            self._index.execute("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?)", values)
        return Entry(kind, slot, count, facts)

    def _end(self, kind: str) -> int:
        """Return the number of images of a kind; asked once each time that `filling` begins."""
        if kind not in self._ends:
            query = "SELECT COALESCE(MAX(slot + count), 0) FROM images WHERE kind = ?"
            self._ends[kind] = int(self._index.execute(query, (kind,)).fetchone()[0])
        return self._ends[kind]

    def _write(self, kind: str, slot: int, images: Array) -> None:
        if kind not in self._packs:
            self.path(kind).touch()
            self._packs[kind] = self.path(kind).open("r+b")
        self._packs[kind].seek(slot * images[0].nbytes)
        self._packs[kind].write(images.data)

    def commit(self) -> None:
        """Make added images count: first the bytes, then the index."""
        with self._writing():
            for kind, pack in self._packs.items():
                pack.flush()
                os.fsync(pack.fileno())
                values = (kind, self._pack_stamp(kind))
                self._index.execute("INSERT OR REPLACE INTO packs VALUES (?, ?)", values)
            self._index.commit()

    def pack(self, kind: str) -> Array:
        """Map all images of a kind (n, C, *size) from the disk, to read only."""
        path, item = self.path(kind), kind_of(kind)
        count = path.stat().st_size // item.itemsize
        return np.memmap(path, item.base, "r", shape=(count, *item.shape))

    def path(self, kind: str) -> Path:
        """Return the file of a `pack`."""
        return self.folder / f"{kind}.bin"

    @contextmanager
    def filling(self) -> Iterator[bool]:
        """Hold the right to add images; wait for another process that has it, and yield if so.

        The images are committed when the block ends, also by an exception.

        Raises:
            UserError: The disk is full, or can't be written to.
        """
        with self._locked() as waited:
            self._ends.clear()  # another process may have added some
            try:
                yield waited
            finally:
                self.commit()
            self._send()

    def _send(self) -> None:
        """Send what was added and isn't at the address yet, be it by an earlier process."""
        if self.address and self._unsent.exists():
            send_chain(self.folder, self.address)
            self._unsent.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, wait: bool = True) -> Iterator[bool]:
        """Yield whether another process had the lock before; BlockingIOError instead of a wait."""
        with self._writing():
            file = (self.folder / "fill.lock").open("w")
        with file:
            try:
                lock(file, wait=False)
                waited = False
            except BlockingIOError:
                if not wait:
                    raise
                print("another process prepares images with the same settings: waiting", flush=True)
                lock(file)
                waited = True
            yield waited

    def make_room(self, needed: int, most: int) -> None:
        """Clear chains that no process uses; see `medcnn.data.prepared.cache_room.make_room`."""
        with self._writing():
            make_room(self.folder, needed, most)


def kind_of(kind: str) -> np.dtype[Any]:
    """Return the data type and shape in a kind's name.

    >>> kind_of("int16-1x64x64").shape
    (1, 64, 64)
    """
    dtype, _, shape = kind.partition("-")
    return np.dtype((dtype, tuple(int(side) for side in shape.split("x"))))


def _path_key(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
