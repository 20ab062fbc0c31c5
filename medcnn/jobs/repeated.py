"""Something that is done again and again beside other work."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(act: Callable[[], None], every: float) -> Iterator[None]:
    """Call a function every so many seconds inside the block, in a thread of its own."""
    done = threading.Event()

    def go_on() -> None:
        while not done.wait(every):
            act()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
