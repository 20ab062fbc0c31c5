"""Storage by address, such as s3://bucket/films: its file system, and errors in one line.

fsspec reads and writes there, with the credentials of the storage's own environment variables and
files: an address that holds a password is refused, as a run keeps its settings.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

from medcnn.errors import UserError
from medcnn.jobs.notes import without_password

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(?P<place>[^/]*)")
PASSWORD = re.compile(r":(?!\d*$)")  # what follows isn't a port; it may have a slash before its @
SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD")  # in the names of environment variables
LEAST = 4  # characters of what may be a secret
CREDENTIALS = (
    "the credentials are those of the storage's own environment variables and files, such as "
    "AWS_PROFILE"
)


def is_address(value: object) -> TypeGuard[str]:
    """Return whether a value of a config is an address and no path.

    >>> is_address("s3://bucket/table.csv"), is_address("C:/table.csv")
    (True, False)
    """
    return isinstance(value, str) and ADDRESS.match(value) is not None


def check_address(address: str) -> None:
    """Raise UserError for an address with a user, a password or a signature; it isn't repeated."""
    match = ADDRESS.match(address)
    signed = address.startswith("http") and "?" in address
    if match is None or "@" in match["place"] or PASSWORD.search(match["place"]) or signed:
        raise UserError(
            f"an address ({address[: address.find(':')]}://…) holds a user, a password or a "
            f"signature, which the run would keep: leave it out; {CREDENTIALS}"
        )


def check_secret(key: str, address: str) -> None:
    """Raise UserError for an address in a config that holds a secret; it isn't repeated.

    Of a tracker's server that is a user or a password; a search's database may have them, and hides
    them itself.
    """
    name = key.rpartition(".")[2]
    if name == "tracking_uri":
        if without_password(address) != address:
            raise UserError(
                f"{key} has a user or a password, which config.yaml would keep: set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in its place"
            )
    elif name != "storage":
        check_address(address)


def refuse_address(key: str, value: object, instead: str) -> None:
    """Raise UserError for an address where a path is needed; `instead` says what to do."""
    if is_address(value):
        check_address(value)
        raise UserError(f"{key}={value}: an address can't be taken here; {instead}")


def parent_of(address: str) -> str:
    """Return the address of the folder that a file lies in."""
    return address.rstrip("/").rpartition("/")[0]


def opened(address: str) -> tuple[Any, str]:
    """Return fsspec's file system of an address, without what it remembers, and the path in it.

    Raises:
        UserError: The address holds a user, a password or a signature; it isn't repeated.
    """
    check_address(address)
    import fsspec

    fs, path = fsspec.core.url_to_fs(address)
    if hasattr(fs, "auto_mkdir"):  # of a disk, which unlike other storage wants folders made
        fs.auto_mkdir = True
    fs.invalidate_cache()
    return fs, path.rstrip("/")


@contextmanager
def in_one_line(address: str, key: str, what: str = "read") -> Iterator[None]:
    """Raise UserError, in one line without any credential, for what fails in the block."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{key}={address}: there is no such file") from None
    except ImportError as error:
        way = 'pip install "medcnn[s3]"' if address.startswith("s3:") else _plain(error)
        raise UserError(f"{key}={address} can't be {what}: a package is missing; {way}") from None
    except Exception as error:
        denied = isinstance(error, PermissionError) or "redentials" in type(error).__name__
        hint = f"; {CREDENTIALS}" if denied else ""
        raise UserError(f"{key}={address} can't be {what} ({_plain(error)}){hint}") from None


def _plain(error: Exception) -> str:
    """Return what an error says in one line, without the values of secret variables."""
    text = " ".join(str(error).split()) or type(error).__name__
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value) >= LEAST:
            text = text.replace(value, "…")
    return text
