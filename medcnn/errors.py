"""The one error that is meant for the person at the keyboard."""

from pathlib import Path


class UserError(ValueError):
    """Something that the user can put right: what is wrong, where, and what to do, in one line.

    The command line prints the message alone and exits with code 2.
    """


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
