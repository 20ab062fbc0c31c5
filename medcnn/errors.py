"""The one error that is meant for the person at the keyboard."""

import errno
from pathlib import Path

OF_THE_USER = (  # errors of the system that somebody at this machine can put right
    "EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "ENAMETOOLONG", "ENOTDIR", "EISDIR",
    "EIO", "ESTALE", "EMFILE", "ENFILE",
)  # fmt: skip


class UserError(ValueError):
    """An error that the user can put right: one line on what is wrong, where, and what to do.

    The command line prints the message alone and exits with code 2.
    """


class InterruptedRunError(UserError):
    """A run that something outside has stopped, and that can go on: its checkpoint is whole."""


class PrunedRunError(Exception):
    """A training that was stopped as its further epochs aren't worth their time; it says why."""


def disk_full(error: OSError) -> bool:
    """Return True if a disk has no more space, or none for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def reason(error: OSError) -> str:
    """Return the system's reason in its own words, as ``no space left on device``."""
    words = error.strerror or str(error)
    return words[:1].lower() + words[1:]


def system_error(error: OSError) -> UserError | None:
    """Return a line about an error of the system; None where nobody at this machine can help it.

    >>> print(system_error(PermissionError(13, "Permission denied", "table.csv")))
    table.csv: permission denied
    """
    if errno.errorcode.get(error.errno or 0) not in OF_THE_USER:
        return None
    name = error.filename if error.filename is not None else "a file"
    way = ": make room, and run the same command again" if disk_full(error) else ""
    return UserError(f"{name}: {reason(error)}{way}")


def check_path(key: str, value: object) -> None:
    """Raise UserError unless a config's value is a path: null is none."""
    if not isinstance(value, str | Path) or not str(value):
        raise UserError(f"{key}={value}: give a path")


def check_checkpoint(path: str | Path) -> None:
    """Raise UserError if there is nothing where a checkpoint should be."""
    if not Path(path).exists():
        raise UserError(f"checkpoint={path}: there is no such file")


def check_whole_number(key: str, value: object, least: int, most: int | None = None) -> None:
    """Raise UserError unless a config's value is a whole number in a range, ends included.

    >>> check_whole_number("batch_size", 0, least=1)
    Traceback (most recent call last):
    medcnn.errors.UserError: batch_size=0: give a whole number, at least 1
    """
    whole = value if isinstance(value, int) and not isinstance(value, bool) else None
    if whole is None or whole < least or (most is not None and whole > most):
        limits = f"at least {least}" if most is None else f"{least} … {most}"
        raise UserError(f"{key}={value}: give a whole number, {limits}")
