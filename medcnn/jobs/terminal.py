"""Text on a terminal, which any can show, and which can't pass for something else."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from medcnn.jobs.notes import visible


class Gate:
    """A stream that makes all it is given `medcnn.jobs.notes.visible`.

    What draws with escape sequences goes round it, by `behind`; Rich does so of itself.
    """

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)

    def write(self, text: str) -> int:
        """Write a text."""
        self.rich_proxied_file.write(visible(text))
        return len(text)


def behind(stream: TextIO) -> TextIO:
    """Return a stream itself, out of its gate, to draw on a terminal."""
    inner: TextIO = getattr(stream, "rich_proxied_file", stream)
    return inner


@contextmanager
def terminal() -> Iterator[None]:
    """Print safely inside the block.

    What the terminal's encoding lacks becomes "?", what is not to be seen an escape. A reader that
    goes away, as of ``| head``, ends the block without an error.
    """
    streams = sys.stdout, sys.stderr
    for stream in streams:
        if getattr(stream, "errors", None) in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    if None not in streams:  # closed by the shell
        sys.stdout, sys.stderr = map(Gate, streams)
    try:
        with suppress(BrokenPipeError):
            yield
    finally:
        sys.stdout, sys.stderr = streams
        nobody_reads_on()


def nobody_reads_on() -> None:
    """Flush stdout; if its reader is gone, let the rest go nowhere, as Python flushes it again."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def say(message: str, code: int = 0) -> int:
    """Print one line on stderr; the exit code comes back."""
    print(visible(f"medcnn: {' '.join(message.split())}"), file=sys.stderr, flush=True)
    return code
