"""Files by address as copies on the disk that are never stale.

A copy has the size of what it was made from, and as its own time that file's last change and ETag;
what agrees in both isn't copied again.
"""

import glob
import hashlib
import os
import shutil
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from medcnn.jobs import file_locks
from medcnn.jobs.atomic_files import replacing
from medcnn.jobs.progress import progress
from medcnn.jobs.remote import in_one_line, opened, parent_of
from medcnn.jobs.terminal import say

ENSEMBLE = "ensemble.json"  # in the run directory of a cross-validation
OF_DISK = "file://"
CHANGED = ("LastModified", "last_modified", "updated", "mtime", "created")  # in fsspec's facts
TAGS = ("ETag", "etag", "md5Hash", "content_md5")
TRIES = 4  # of a file; s3fs itself tries each request five times
WAIT = 0.3  # seconds before the second of them; twice as long before each further one
AT_ONCE = 16  # files that are copied at a time
FEW = 4  # files of a folder, up to which they are asked for one by one, and not listed

Found = Mapping[str, Mapping[str, Any]]  # fsspec's facts of files, by their path from a root
COPIES = "remote"  # their folder in that of the data
_copies: ContextVar[Path] = ContextVar("copies", default=Path("data", COPIES))


@contextmanager
def copies_in(folder: str | Path) -> Iterator[None]:
    """Keep copies in a folder inside the block; else they are in data/remote."""
    token = _copies.set(Path(folder).expanduser())
    try:
        yield
    finally:
        _copies.reset(token)


def copy_folder(address: str, use: str = "") -> Path:
    """Return the folder that the copies of what lies below an address are kept in.

    Args:
        address: Of a folder.
        use: What sets the folder apart from that of copies to read, such as "run ".
    """
    address = address.rstrip("/")
    digest = hashlib.sha256(f"{use}{address}".encode()).hexdigest()[:16]
    return _copies.get().absolute() / digest / address.rpartition("/")[2]


def local_copy(address: str, key: str) -> Path:
    """Return a copy of the file or folder at an address, or of all that a pattern matches.

    Args:
        address: Of the kind ``file://`` it is the path itself that is returned, without a copy.
        key: Of the config, for messages.

    Raises:
        UserError: There is no such file, or it can't be read.
    """
    if address.startswith(OF_DISK):
        return Path(address.removeprefix(OF_DISK))
    with in_one_line(address, key):
        fs, path = opened(address)
        try:
            folder = fs.info(path)["type"] == "directory"
        except FileNotFoundError:
            if not glob.has_magic(path):
                raise
            return _matches(address)
    if folder:
        return fetch_folder(address, key)
    name = address.rpartition("/")[2]
    return fetch_files(parent_of(address), [name], key) / name


def local_checkpoint(address: str, key: str) -> Path:
    """Return a copy of a checkpoint, of an ensemble.json with the folder that its members are in.

    Raises:
        UserError: There is no such file, or it can't be read.
    """
    folder, _, name = address.rpartition("/")
    return local_copy(folder, key) / name if name == ENSEMBLE else local_copy(address, key)


def fetch_folder(address: str, key: str, target: Path | None = None) -> Path:
    """Return a copy of a folder, with all that is below it and nothing else.

    Args:
        address: Of the folder.
        key: Of the config, for messages.
        target: The folder of the copy; None for that of copies to read.
    """
    target = copy_folder(address) if target is None else target
    with in_one_line(address, key), _alone_at(target):
        fs, root = opened(address)
        found = _below(root, fs.find(root, detail=True))
        _clear(target, target.rglob("*"), found)
        _fetch(fs, found, target)
    return target


def fetch_files(address: str, names: Iterable[str], key: str) -> Path:
    """Return the folder with the copies of some files below an address.

    Args:
        address: Of a folder.
        names: Paths from there; of a folder all files in it are copied. What leads out of it is
            left out; so is what isn't there, nor is then a copy.
        key: Of the config, for messages.
    """
    target, by_folder = copy_folder(address), defaultdict[str, set[str]](set)
    for name in filter(_stays_inside, names):
        by_folder[name.rpartition("/")[0]].add(name)
    with in_one_line(address, key), _alone_at(target):
        fs, root = opened(address)
        found: dict[str, Mapping[str, Any]] = {}
        for folder, wanted in by_folder.items():
            there = _looked_up(fs, root, folder, wanted)
            found |= {name: fact for name, fact in there.items() if fact["type"] == "file"}
            for name in there.keys() - found.keys():
                found |= _below(root, fs.find(f"{root}/{name}", maxdepth=1, detail=True))
        asked = [target / name for some in by_folder.values() for name in some]
        within = (path for folder in asked if folder.is_dir() for path in folder.iterdir())
        _clear(target, [*asked, *within], found)
        _fetch(fs, found, target)
    return target


def _matches(address: str) -> Path:
    """Return the pattern of an address as one of copies, of all files that it matches."""
    root = "/".join(takewhile(lambda part: not glob.has_magic(part), address.split("/")))
    target, pattern = copy_folder(root), address[len(root) + 1 :]
    fs, path = opened(address)
    _, top = opened(root)
    with _alone_at(target):
        found = _below(top, fs.glob(path, detail=True))
        here = glob.iglob(pattern, root_dir=target, recursive=True)  # noqa: PTH207 (also of a**)
        _clear(target, [target / name for name in here], found)
        _fetch(fs, found, target)
    return target / pattern


@contextmanager
def _alone_at(target: Path) -> Iterator[None]:
    """Keep other processes that copy to the same folder waiting, inside the block."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("w") as file:
        try:
            file_locks.lock(file, wait=False)
        except BlockingIOError:
            say("another process copies files from the same address: waiting")
            file_locks.lock(file)
        yield


def _clear(target: Path, copies: Iterable[Path], found: Found) -> None:
    """Delete those of some copies whose files are gone; a folder in the place of a file, too."""
    for path in list(copies):
        name = path.relative_to(target).as_posix()
        if name in found and path.is_dir():
            shutil.rmtree(path)
        elif name not in found and path.is_file():
            path.unlink()


def _looked_up(fs: Any, root: str, folder: str, names: set[str]) -> Found:
    """Return the facts of files and folders in a folder, as far as they are there."""
    found = {}
    if len(names) > FEW:
        with suppress(FileNotFoundError):
            listed = fs.ls(f"{root}/{folder}".rstrip("/"), detail=True)
            there = _below(root, {one["name"]: one for one in listed}, ("file", "directory"))
            found = {name: fact for name, fact in there.items() if name in names}
        return found
    for name in names:
        with suppress(FileNotFoundError):
            found[name] = fs.info(f"{root}/{name}")
    return found


def _below(root: str, facts: Found, kinds: tuple[str, ...] = ("file",)) -> Found:
    """Return facts by the path from a root; without what would lead out of it."""
    named = {path[len(root) :].strip("/"): fact for path, fact in facts.items()}
    marks = {name for name, fact in named.items() if fact["name"].endswith("/")}  # of folders
    return {
        name: fact
        for name, fact in named.items()
        if _stays_inside(name) and fact["type"] in kinds and name not in marks
    }


def _stays_inside(name: str) -> bool:
    """Return whether a path stays below where it starts."""
    return "\\" not in name and not {"", ".", ".."} & {*name.split("/")}


def _fetch(fs: Any, found: Found, target: Path) -> None:
    """Copy files that are not there yet, some at a time."""
    todo = [name for name, fact in found.items() if not _fresh(target / name, fact)]
    if not todo:
        return
    with ThreadPoolExecutor(min(AT_ONCE, len(todo))) as pool:
        try:
            copied = pool.map(partial(_copy, fs, found, target), todo)
            for _ in progress(copied, "files fetched", len(todo)):
                pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _copy(fs: Any, found: Found, target: Path, name: str) -> None:
    """Copy one file; a connection that breaks is made again."""
    fact, stamp = found[name], _stamp(found[name])
    for tried in range(1, TRIES + 1):
        try:
            with replacing(target / name) as temporary:
                fs.get_file(fact["name"], str(temporary))
                if temporary.stat().st_size != fact["size"]:
                    raise OSError("the connection was cut, or the file is being written")
                os.utime(temporary, ns=(stamp, stamp))
            return
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:
            if tried == TRIES:
                raise OSError(f"{error}; what was copied is kept: try the same again") from error
            time.sleep(WAIT * 2 ** (tried - 1))


def _fresh(copy: Path, fact: Mapping[str, Any]) -> bool:
    """Return whether a copy is of the file as it is now."""
    try:
        status = copy.stat()
    except OSError:
        return False
    return status.st_size == fact["size"] and status.st_mtime_ns == _stamp(fact)


def _stamp(fact: Mapping[str, Any]) -> int:
    """Return the time (ns) of a copy: whole seconds of the last change, the rest of the ETag."""
    changed = next((fact[name] for name in CHANGED if fact.get(name) is not None), 0)
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed)
    seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed)
    tag = next((str(fact[name]) for name in TAGS if fact.get(name) is not None), str(seconds))
    return int(seconds) * 10**9 + zlib.crc32(tag.encode()) % 10**6 * 1000
