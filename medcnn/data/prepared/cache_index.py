"""The index of a chain in the cache: its tables, and its damaged entries."""

import sqlite3
import zlib
from pathlib import Path
from typing import IO

from medcnn.jobs.progress import progress

TABLES = """
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, stamp TEXT, content TEXT);
CREATE TABLE IF NOT EXISTS images (
    content TEXT PRIMARY KEY, kind TEXT, slot INTEGER, count INTEGER, checksum INTEGER, facts TEXT
);
CREATE TABLE IF NOT EXISTS packs (kind TEXT PRIMARY KEY, stamp TEXT);
"""


PIECE = 2**25  # bytes of a pack that are read at a time


class DamagedError(Exception):
    """An index that was cut off or overwritten."""


def open_index(path: Path) -> sqlite3.Connection:
    """Open an index with all its tables, new if there is none.

    Raises:
        DamagedError: It can't be read as a whole.
        sqlite3.OperationalError: It can't be written to.
    """
    index = sqlite3.connect(path, timeout=60)
    try:
        index.executescript(TABLES)
        (verdict,) = index.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        index.close()
        if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
            raise
        raise DamagedError(error) from error
    if verdict != "ok":
        index.close()
        raise DamagedError(verdict)
    return index


def damaged(index: sqlite3.Connection, kind: str, pack: Path, size: int) -> list[tuple[str, int]]:
    """Return content and slot of the entries of a pack whose images, of so many bytes, changed."""
    query = "SELECT content, slot, count, checksum FROM images WHERE kind = ? ORDER BY slot"
    entries = index.execute(query, (kind,)).fetchall()
    if not pack.exists():
        return [(content, slot) for content, slot, *_ in entries]
    lost = []
    with pack.open("rb") as file:
        for content, slot, count, checksum in progress(entries, "cached files checked"):
            file.seek(slot * size)
            if _checksum(file, count * size) != checksum:
                lost.append((content, slot))
    return lost


def _checksum(file: IO[bytes], size: int) -> int | None:
    """Return the checksum of the next bytes of a file, read piece by piece; None of fewer."""
    checksum = 0
    while size:
        held = file.read(min(size, PIECE))
        if not held:
            return None
        checksum = zlib.crc32(held, checksum)
        size -= len(held)
    return checksum
