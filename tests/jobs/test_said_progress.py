"""Long work says how far it is, short work nothing."""

import io
import sys
import time

import pytest

import medcnn.jobs.progress
from medcnn.jobs.progress import Progress, progress, saying


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress([1, 2, 3], "files read")) == [1, 2, 3]
    assert capsys.readouterr().out == ""


def test_a_log_gets_a_line_now_and_then_also_during_one_long_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(medcnn.jobs.progress, "SECONDS", 0.02)
    for item in progress(iter("abc"), "files read", total=3):
        time.sleep(0.1 if item == "b" else 0)
    assert "1 of 3 files read, 0 s left" in capsys.readouterr().out.splitlines()


def test_time_left_follows_from_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    counted = Progress("images drawn", total=40)
    assert counted.line() == "0 of 40 images drawn"
    counted.advance(10)
    now[0] += 30
    assert counted.line() == "10 of 40 images drawn, 1 min 30 s left"
    assert Progress("page made").line() == "page made: 0 s"
    gone_on = Progress("images drawn", total=40, before=20)
    assert gone_on.line() == "20 of 40 images drawn"
    gone_on.advance(10)
    now[0] += 30
    assert gone_on.line() == "30 of 40 images drawn, 30 s left"


def test_a_terminal_gets_one_line_that_is_redrawn_and_cleared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(medcnn.jobs.progress, "REDRAW_SECONDS", 0.01)
    with Progress("files read", total=2) as counted:
        counted.advance()
        time.sleep(0.1)
    shown = sys.stdout.getvalue()  # type: ignore[attr-defined]
    assert shown.startswith("\r1 of 2 files read, 0 s left\x1b[K\r")
    assert shown.endswith("\r\x1b[K")
    assert "\n" not in shown


def test_a_function_says_what_it_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(medcnn.jobs.progress, "SECONDS", 0.02)

    @saying("intervals")
    def twice(number: int) -> int:
        time.sleep(0.1)
        return 2 * number

    assert twice(4) == 8
    assert "intervals: 0 s" in capsys.readouterr().out.splitlines()
