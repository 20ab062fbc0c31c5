"""What reaches the terminal: any encoding, no escape sequences, no reader."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jobs
import pytest
from rich.console import Console

from medcnn.jobs.terminal import Gate, behind, say, terminal


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A Python process that can import medcnn."""
    settings = {**os.environ, "PYTHONPATH": str(jobs.ROOT), **environment}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=settings, capture_output=True, timeout=120)


def test_the_gate_keeps_lines_and_lets_rich_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with terminal():
        print("a\tb\x1b[31m\nc")
        Console(force_terminal=True, color_system="standard").print("[red]bar")
        assert say("one\nline \x1b]0;title\x07", 2) == 2
    assert out.getvalue() == "a\tb\\x1b[31m\nc\n\x1b[31mbar\x1b[0m\n"
    assert err.getvalue() == "medcnn: one line \\x1b]0;title\\x07\n"
    assert sys.stdout is out
    monkeypatch.setattr(sys, "stdout", None)  # as the shell's >&- leaves it
    with terminal():
        print("nobody")


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", b"1?32?32"), ("latin-1", b"1\xd732\xd732"), ("cp437", b"?")]
)
def test_no_encoding_is_too_small(encoding: str, shown: bytes) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        with terminal():
            print("1×32×32")
    assert shown in raw.getvalue()


def test_a_locale_without_file_names_says_so(tmp_path: Path) -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}
    done = run("-m", "medcnn.train", "paths.run=é", cwd=tmp_path, **locale)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"set PYTHONUTF8=1" in done.stderr


def test_head_of_a_pipe(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    settings: dict[str, Any] = {"cwd": tmp_path, "stdout": writer, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": str(jobs.ROOT)}
    command = [sys.executable, "-m", "medcnn.predict", "--help"]
    done = subprocess.run(command, env=environment, timeout=120, **settings)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_stream_behind_is_asked_for_all_else() -> None:
    stream = io.StringIO("a")
    assert Gate(stream).getvalue() == "a"
    assert behind(Gate(stream)) is behind(stream) is stream
