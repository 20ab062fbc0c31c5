"""Notes to the person at the keyboard, and text that can't do anything to a terminal."""

import logging
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

log = logging.getLogger(__name__)
SHOWN = 8  # names that a line holds
_said: ContextVar[set[str] | None] = ContextVar("said", default=None)


def note(text: str) -> None:
    """Say something that isn't wrong, but should be known; within `once` each text only once."""
    if fresh(text):
        log.warning("note: %s", visible(text))


def fresh(text: str) -> bool:
    """Return whether a text wasn't said yet, within `once`; it counts as said from now on."""
    said = _said.get()
    if said is None:
        return True
    if text in said:
        return False
    said.add(text)
    return True


@contextmanager
def once() -> Iterator[None]:
    """Say each `note` once inside the block, as in the folds of one data set."""
    token = _said.set(set())
    try:
        yield
    finally:
        _said.reset(token)


def shortened(names: Sequence[str], between: str = " | ") -> str:
    """Return names on a line, the first of them where there are many.

    >>> shortened(["a", "b"]), shortened([str(k) for k in range(48)])
    ('a | b', '0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | … (48 in all)')
    """
    if len(names) <= SHOWN:
        return between.join(names)
    return f"{between.join(names[:SHOWN])}{between}… ({len(names)} in all)"


def visible(text: str) -> str:
    r"""Return a text with its control characters and direction marks as escapes.

    A file name or a label could otherwise colour, move or turn round what a terminal or a page
    shows. Line ends, tabs and the joiners that some scripts need stay as they are.

    >>> visible("a\x1b[31m\u202egnp.exe")
    'a\\x1b[31m\\u202egnp.exe'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(sign: str) -> str:
    if sign in "\n\t\u200c\u200d" or unicodedata.category(sign) not in ("Cc", "Cf", "Cs"):
        return sign
    if sign.isascii():
        return f"\\x{ord(sign):02x}"
    return sign.encode("ascii", "backslashreplace").decode()


def without_password(text: str) -> str:
    """Return a text without the users and passwords that stand in addresses.

    >>> without_password("at https://anna:sec@ret@mlflow.example.org/api")
    'at https://mlflow.example.org/api'
    """
    return re.sub(r"(?<=//)[^/\s'\"]*@", "", text)
