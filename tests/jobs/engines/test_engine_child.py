"""The process of a job, which ends with the one that has started it."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jobs
import pytest
import small_jobs
from test_engine_job import wait_for

from medcnn.jobs.engines import child


def test_a_job_stops_with_what_has_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "medcnn.jobs.engines.child", "small_jobs", "waits"]
    environment = {**os.environ, "PYTHONPATH": str(jobs.ROOT)}
    with subprocess.Popen(
        [*command, str(tmp_path)], stdin=subprocess.PIPE, cwd=jobs.ROOT / "tests", env=environment
    ) as process:
        wait_for(lambda: small_jobs.begun(tmp_path))
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == child.STOPPED


def test_the_command_runs_as_by_python_m(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends, signals = threading.Event(), []
    out, into = os.pipe()
    monkeypatch.setattr(sys, "argv", ["child", "small_jobs", "works", str(tmp_path)])
    monkeypatch.setattr(sys, "stdin", os.fdopen(out))
    monkeypatch.setattr(child, "GRACE", 0)
    monkeypatch.setattr(os, "_exit", lambda code: ends.set())
    before = signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    try:
        child.main()
        assert (small_jobs.begun(tmp_path), signals) == (1, [])
        os.close(into)
        assert ends.wait(10)
        assert signals == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().out == "done\n"
