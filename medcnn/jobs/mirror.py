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
from medcnn.jobs.remote import check_address, in_one_line, opened
from medcnn.jobs.rundir import OURS, RunDir, mirrored_at
from medcnn.jobs.terminal import say

RUN = "run "  # sets the folder that is sent apart from copies to read, which are replaced
UNKNOWN = (-1, -1)  # size and time of a file that is at the address, whatever it holds
SECONDS = 30.0  # between two looks at what has changed


class Mirror:
    """What was sent of a folder to an address.

    Args:
        folder: Whose files are sent; those that begin with a dot are not, nor what is in such
            folders.
        address: Where to; only this process writes there.
        key: Of the config, for messages.
        nothing_sent: Whether to send all of it, and of a run that is there to leave nothing else;
            else the files are at the address as they are.
    """

    def __init__(self, folder: Path, address: str, key: str, *, nothing_sent: bool = False) -> None:
        self.folder, self.address, self.key = folder, address.rstrip("/"), key
        self.sent = self._at_the_address() if nothing_sent else self._there()

    def _at_the_address(self) -> dict[str, tuple[int, int]]:
        """Return the files of a run that are at the address, whatever is in them."""
        with in_one_line(self.address, self.key):
            fs, root = opened(self.address)
            names = [path[len(root) :].strip("/") for path in fs.find(root)]
        return {name: UNKNOWN for name in names if name.partition("/")[0] in OURS}

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

        While a run that is replaced may come back, it stays at the address as it is.

        Raises:
            UserError: The storage can't be written to.
        """
        if RunDir(self.folder).may_give_back:
            return
        there = self._there()
        with in_one_line(self.address, self.key, "written"):
            fs, root = opened(self.address)
            for name, state in there.items():
                changed = self.sent.get(name) != state
                if changed and self._send_one(fs, name, f"{root}/{name}"):
                    self.sent[name] = state
            for name in self.sent.keys() - there.keys():
                with suppress(FileNotFoundError):
                    fs.rm_file(f"{root}/{name}")
                del self.sent[name]

    def _send_one(self, fs: Any, name: str, path: str) -> bool:
        """Send one file; return False if it is gone here, since it was listed."""
        try:
            _put(fs, self.folder / name, path)
        except FileNotFoundError:
            if (self.folder / name).exists():
                raise UserError(
                    f"{self.key}={self.address} can't be written: there is no such bucket or folder"
                ) from None
            return False
        return True


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
    check_address(address)
    folder = copy_folder(address, RUN)
    unsent = folder.with_name(f"{folder.name}.unsent")  # a mark that stands until all is sent
    with mirrored_at(folder, address):
        RunDir(folder).refuse_if_busy()
        whole = unsent.exists() and _unsent_part(folder, address, key)
        if not whole:
            fetch_folder(address, key, folder)
        mirror, over = Mirror(folder, address, key, nothing_sent=whole), threading.Event()
        unsent.touch()
        thread = threading.Thread(target=_send_now_and_then, args=(mirror, over), daemon=True)
        thread.start()
        with _sent_at_the_end(mirror, over, thread, unsent):
            yield str(folder)


@contextmanager
def _sent_at_the_end(
    mirror: Mirror, over: threading.Event, thread: threading.Thread, unsent: Path
) -> Iterator[None]:
    """End the thread that sends, and send the rest, when the block ends, however it does."""
    try:
        yield
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
    replaced = RunDir(folder).replaced.status  # which is still there until the new run has trained
    if there.get("host") not in (ours.get("host"), replaced.get("host", ours.get("host"))):
        raise UserError(
            f"{key}={address}: another machine has worked there since, and {folder} holds what "
            "this one didn't send: move that folder elsewhere to keep it (resume= goes on with it "
            "there), or delete it"
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
    if not RunDir(mirror.folder).may_give_back:  # else nothing was sent
        unsent.unlink(missing_ok=True)
