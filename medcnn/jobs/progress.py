"""Progress of long work: a line redrawn on a terminal, a line now and then in a log."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from typing import Self, TypeVar

from medcnn.jobs.terminal import behind

SECONDS = 8.0  # between the lines in a log; short work says nothing
REDRAW_SECONDS = 0.5  # on a terminal

T = TypeVar("T")


class Progress:
    """The progress of a ``with`` block's work, said from a thread of its own.

    So it speaks while a single step takes long, too. Blocks should not be nested: both would speak.

    Args:
        what: What is done: ``files read`` gives "20 of 80 files read, 12 s left".
        total: Number of steps; None if that isn't known, which gives "files read: 16 s".
        before: Steps that were done before, and tell nothing of the time that others take.

    Example:
        >>> with Progress("files read", total=3) as progress:
        ...     for name in ("a", "b", "c"):
        ...         progress.advance()
        >>> progress.done
        3
    """

    def __init__(self, what: str, total: int | None = None, before: int = 0) -> None:
        self.what, self.total, self.done, self.before = what, total, before, before
        self._start = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._speak, daemon=True)

    def advance(self, steps: int = 1) -> None:
        """Count steps that are done."""
        self.done += steps

    def line(self) -> str:
        """Return the line to print now, without its end."""
        gone = time.monotonic() - self._start
        if self.total is None:
            return f"{self.what}: {duration(gone)}"
        text = f"{self.done} of {self.total} {self.what}"
        if own := self.done - self.before:
            text += f", {duration(gone / own * (self.total - self.done))} left"
        return text

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _speak(self) -> None:
        with suppress(OSError, ValueError):  # nobody reads any more: the work itself finds out
            if not sys.stdout.isatty():
                while not self._over.wait(SECONDS):
                    print(self.line(), flush=True)
            elif not self._over.wait(2 * REDRAW_SECONDS):
                out = behind(sys.stdout)
                while not self._over.wait(REDRAW_SECONDS):
                    # The rest of the line is cleared.
                    print(f"\r{self.line()}\x1b[K", end="", file=out, flush=True)
                print("\r\x1b[K", end="", file=out, flush=True)


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Give out items, each a step of a `Progress`; `total` is taken from those with a length."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(what, total) as counted:
        for item in items:
            yield item
            counted.advance()


@contextmanager
def saying(what: str) -> Iterator[None]:
    """Say, while a function that this decorates runs for long, what it does; see `Progress`."""
    with Progress(what):
        yield


def duration(seconds: float) -> str:
    """Return a time as a person says it.

    >>> duration(12.4), duration(192), duration(600), duration(7300)
    ('12 s', '3 min 12 s', '10 min', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    unit, small, parts = ("min", "s", 60) if whole < 3600 else ("h", "min", 3600)
    rest = whole % parts * 60 // parts
    return f"{whole // parts} {unit}" + (f" {rest} {small}" if rest else "")
