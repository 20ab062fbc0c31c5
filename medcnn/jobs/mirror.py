"""A run directory by address: it lies on the disk, and what changes is sent to the storage."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from medcnn.errors import UserError
from medcnn.jobs.copies import TRIES, WAIT, copy_folder, fetch_folder
from medcnn.jobs.remote import in_one_line, opened
from medcnn.jobs.rundir import RunDir, mirrored_at
from medcnn.jobs.terminal import say

SECONDS = 30.0  # between two looks at what has changed


class Mirror:
    """What was sent of a folder to an address.

    Args:
        folder: Whose files are sent; those that begin with a dot are not, nor what is in such
            folders.
        address: Where to; only this process writes there.
        key: Of the config, for messages.
        nothing_sent: Whether to send all of it; else the files are at the address as they are.
    """

    def __init__(self, folder: Path, address: str, key: str, *, nothing_sent: bool = False) -> None:
        self.folder, self.address, self.key = folder, address.rstrip("/"), key
        self.sent = {} if nothing_sent else self._there()

    def _there(self) -> dict[str, tuple[int, int]]:
        """Return the files of the folder with size and time (ns), in the order of their change."""
        found = {}
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder)
            with suppress(FileNotFoundError):  # renamed or deleted meanwhile
                if path.is_file() and not any(part.startswith(".") for part in name.parts):
                    status = path.stat()
                    found[name.as_posix()] = (status.st_size, status.st_mtime_ns)
        return dict(sorted(found.items(), key=lambda item: item[1][1]))

    def send(self) -> None:
        """Send what has changed since the last time, oldest first, and delete what is gone.

        Raises:
            UserError: The storage can't be written to.
        """
        there = self._there()
        with in_one_line(self.address, self.key, "written"):
            fs, root = opened(self.address)
            for name, state in there.items():
                if self.sent.get(name) != state:
                    with suppress(FileNotFoundError):  # here, since it was listed
                        _put(fs, self.folder / name, f"{root}/{name}")
                        self.sent[name] = state
            for name in self.sent.keys() - there.keys():
                with suppress(FileNotFoundError):
                    fs.rm_file(f"{root}/{name}")
                del self.sent[name]


def _put(fs: Any, file: Path, path: str) -> None:
    """Send one file; a connection that breaks is made again."""
    for tried in range(1, TRIES + 1):
        try:
            fs.put_file(str(file), path)
            return
        except (FileNotFoundError, PermissionError):
            raise
        except Exception:
            if tried == TRIES:
                raise
            time.sleep(WAIT * 2 ** (tried - 1))


@contextmanager
def mirrored(address: str, key: str) -> Iterator[str]:
    """Give the folder of a run for its address, and send all that the block changes there.

    The folder is first made as it is at the address; but one that wasn't sent to its end, as the
    process was killed or the storage couldn't be reached, is gone on with as it is. It is sent
    every `SECONDS`, and when the block ends, however it does.

    Raises:
        UserError: The storage can't be read or written to, a process on this machine is at work in
            the folder, or another machine at the address.
    """
    folder = copy_folder(address)
    RunDir(folder).refuse_if_busy()
    unsent = folder.with_name(f"{folder.name}.unsent")  # a mark that stands until all is sent
    whole = unsent.exists() and _unsent_part(folder, address, key)
    if not whole:
        fetch_folder(address, key)
    mirror, over = Mirror(folder, address, key, nothing_sent=whole), threading.Event()
    unsent.parent.mkdir(parents=True, exist_ok=True)
    unsent.touch()
    thread = threading.Thread(target=_send_now_and_then, args=(mirror, over), daemon=True)
    thread.start()
    try:
        with mirrored_at(folder, address):
            yield str(folder)
    except BaseException:
        over.set()
        thread.join()
        try:
            _send_the_rest(mirror, unsent)
        except UserError as error:  # beside what has ended the block
            say(str(error))
        raise
    over.set()
    thread.join()
    _send_the_rest(mirror, unsent)


def _unsent_part(folder: Path, address: str, key: str) -> bool:
    """Return whether a folder that wasn't sent to its end holds a run, which this machine has.

    Raises:
        UserError: Another machine has worked at the address since.
    """
    ours = RunDir(folder).status
    if not ours:
        return False
    with in_one_line(address, key):
        fs, root = opened(address)
        try:
            there = json.loads(fs.cat_file(f"{root}/status.json"))
        except FileNotFoundError:  # nothing was sent yet
            return True
    if there.get("host") != ours.get("host"):
        raise UserError(
            f"{key}={address}: another machine has worked there since, and {folder} holds what "
            f"this one didn't send: go on with resume={folder}, or delete that folder"
        )
    return True


def _send_now_and_then(mirror: Mirror, over: threading.Event) -> None:
    """Send what has changed, again and again; say once that it can't be sent."""
    said = False
    while not over.wait(SECONDS):
        try:
            mirror.send()
            said = False
        except UserError as error:
            if not said:
                say(f"{error}; it is tried again")
            said = True


def _send_the_rest(mirror: Mirror, unsent: Path) -> None:
    try:
        mirror.send()
    except UserError as error:
        raise UserError(
            f"{error}; all of it is in {mirror.folder}, with which {mirror.key}={mirror.address} "
            "goes on here"
        ) from None
    unsent.unlink()
