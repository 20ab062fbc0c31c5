"""Where a search keeps its trials: Optuna's journal in a file, a database, or a proxy."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import optuna
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from medcnn.errors import UserError
from medcnn.jobs import file_locks

JOURNAL = "journal.log"  # also what optuna-dashboard reads
optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class JournalLock:
    """The lock of a journal, which ends with its process; Optuna's own would stay for 30 s."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: IO[Any] | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        self.file = self.path.open("a")
        file_locks.lock(self.file)
        return True

    def release(self) -> None:
        """Give it back."""
        if self.file is not None:
            self.file.close()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep all other workers of a search waiting that ask for the same, inside the block."""
    with (folder / ".lock").open("a") as file:
        file_locks.lock(file)
        yield


def open_study(folder: Path, url: str | None, name: str) -> optuna.Study:
    """Return the study of a search, which is made where there is none; a higher score is better.

    Args:
        folder: Of the search.
        url: Of a database or proxy; None for a journal in the folder.
        name: Of the study.

    Raises:
        UserError: The storage can't be used.
    """
    try:
        return optuna.create_study(
            storage=_storage(folder, url),
            study_name=name,
            direction="maximize",
            load_if_exists=True,
        )
    except UserError:
        raise
    except Exception as error:  # each database has its own
        if url is None:
            raise
        text = " ".join(str(error).split())[:200].replace(url, "…")
        raise UserError(f"search.storage: it can't be used: {text}") from error


def _storage(folder: Path, url: str | None) -> BaseStorage:
    if url is None:
        path = folder / JOURNAL
        lock: Any = JournalLock(folder / f".{JOURNAL}.lock")
        storage = JournalFileBackend(str(path), lock_obj=lock)
        lock.acquire()
        _mend(path)
        lock.release()
        return JournalStorage(storage)
    if url.startswith("grpc://"):
        place = urlsplit(url)
        return GrpcStorageProxy(host=place.hostname or "localhost", port=place.port or 13000)
    if "://" not in url:
        raise UserError(
            "search.storage: give a URL such as sqlite:///search.db or grpc://host:13000"
        )
    return RDBStorage(url)


def _mend(path: Path) -> None:
    """Cut off what a machine that broke down, or a full disk, has left of a line at the end."""
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
            os.fsync(file.fileno())
