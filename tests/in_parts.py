"""Work in parts, without processes, and interrupted: what the tests of several commands share."""

from collections.abc import Callable
from typing import Any

import pytest

from medcnn.inference import several_processes
from medcnn.inference.parts import Parts

Begin = Callable[[dict[str, Any]], tuple[Parts, Any]]


def in_this_process(monkeypatch: pytest.MonkeyPatch, begin: Begin) -> None:
    """Let the first of several processes do all parts, in this one, on its threads."""

    def share(waiting: list[int], started: list[dict[str, Any]], advance: Any) -> None:
        parts, work = begin(started[0])
        for number in waiting:
            parts.do(number, work, advance)

    monkeypatch.setattr(several_processes, "start", lambda module, job: job)
    monkeypatch.setattr(several_processes, "share", share)
    monkeypatch.setitem(begin.__globals__, "set_threads", lambda *_: None)


def stop_after(monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    """Let Ctrl-C come once so many parts are done."""
    do = Parts.do

    def interrupted(self: Parts, number: int, *given: Any) -> None:
        if number == parts:
            raise KeyboardInterrupt
        do(self, number, *given)

    monkeypatch.setattr(Parts, "do", interrupted)
