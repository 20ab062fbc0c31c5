"""Locks of open files, which end with the process that has them."""

from typing import IO, Any

from medcnn.errors import UserError


def lock(file: IO[Any], *, shared: bool = False, wait: bool = True) -> None:
    """Lock a file until it is closed.

    Raises:
        BlockingIOError: Another process has it, and `wait` is false.
        UserError: The system has no such locks.
    """
    try:
        import fcntl
    except ImportError:
        raise UserError(
            "run directories and prepared images need file locks, which Windows lacks: run medcnn "
            "in WSL"
        ) from None
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    fcntl.flock(file, how if wait else how | fcntl.LOCK_NB)
