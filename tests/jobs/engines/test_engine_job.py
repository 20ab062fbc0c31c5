"""A job in a process of its own."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_jobs

from medcnn.jobs import file_locks
from medcnn.jobs.engines import job as of_jobs
from medcnn.jobs.engines.job import Children, End, Job, run_job
from medcnn.jobs.rundir import RunDir


def wait_for(happened: Callable[[], object]) -> None:
    """Wait until something is so, for a minute at most."""
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_job_that_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    job = small_jobs.job("works", tmp_path)
    assert run_job(job, 3, 2) == End("works", 0)
    assert (tmp_path / "works" / "begun").read_text() == "3\n"
    first, last = job.log.read_text().splitlines()
    assert first.endswith(f": python -m small_jobs works {tmp_path / 'works'}")
    assert last == "done"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")  # set by somebody
    assert run_job(job, 3, 2).code == 0
    assert (tmp_path / "works" / "begun").read_text() == "3\n5\n"


def test_a_job_that_fails_by_itself_is_not_started_again(tmp_path: Path) -> None:
    end = run_job(small_jobs.job("refused", tmp_path), None, 2)
    assert end == End("refused", 2, "there is no such thing")
    assert small_jobs.begun(tmp_path / "refused") == 1


def test_a_job_whose_process_is_killed_is_started_again(tmp_path: Path) -> None:
    assert run_job(small_jobs.job("killed once", tmp_path), None, 2).again == 1
    end = run_job(small_jobs.job("killed", tmp_path), None, 2)
    assert (end.code, end.again) == (-signal.SIGKILL, 2)
    assert small_jobs.begun(tmp_path / "killed") == 3


def test_jobs_are_stopped_together(tmp_path: Path) -> None:
    children, ends = Children(), []
    job = small_jobs.job("waits", tmp_path)
    thread = threading.Thread(target=lambda: ends.append(run_job(job, None, 2, children)))
    thread.start()
    wait_for(lambda: small_jobs.begun(tmp_path / "waits"))
    children.stop()
    thread.join()
    assert (ends[0].code, ends[0].again) == (130, 0)
    assert run_job(job, None, 2, children).code == 130  # nothing is started any more
    assert small_jobs.begun(tmp_path / "waits") == 1


def test_ctrl_c_stops_a_job(tmp_path: Path) -> None:
    job = small_jobs.job("waits", tmp_path)

    def interrupt() -> None:
        wait_for(lambda: small_jobs.begun(tmp_path / "waits"))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_job(job, None, 2)
    with job.log.open("ab") as log:
        file_locks.lock(log, wait=False)  # which its process had


def test_a_second_ctrl_c_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stubborn:
        stdin, killed = None, False

        def wait(self) -> int:
            raise KeyboardInterrupt

        def kill(self) -> None:
            self.killed = True

    children, child = Children(), Stubborn()
    monkeypatch.setattr(children, "_living", {child})
    with pytest.raises(KeyboardInterrupt):
        children.stop()
    assert child.killed


def test_one_process_at_a_time_is_at_work_on_a_job(tmp_path: Path) -> None:
    job = small_jobs.job("works", tmp_path)
    job.log.parent.mkdir()
    thread = threading.Thread(target=run_job, args=(job, None, 0))
    with job.log.open("ab") as log:
        file_locks.lock(log)
        thread.start()
        time.sleep(0.5)
        assert not small_jobs.begun(tmp_path / "works")
    thread.join()
    assert small_jobs.begun(tmp_path / "works") == 1


def arguments(run: Path, there: dict[str, Any] | None = None) -> list[str] | None:
    begin = ("seed=3", "trust=[a.B]", "engine=local")
    return of_jobs._arguments(Job("x", "medcnn.train", begin, run / "log", run, there or {}))


def test_a_job_goes_on_with_the_run_that_it_has_begun(tmp_path: Path) -> None:
    begin, run = ["seed=3", "trust=[a.B]", "engine=local"], RunDir(tmp_path)
    assert arguments(tmp_path) == begin
    run.set_status("running")
    assert arguments(tmp_path) == begin  # killed before it had a config.yaml
    (run / "config.yaml").write_text("trainer: {}\npaths: {}\n")
    go_on = [f"resume={tmp_path}", "engine=local", "trust=[a.B]"]
    assert arguments(tmp_path) == go_on
    assert arguments(tmp_path, there=run.status) == begin  # of another run, which it replaces
    run.set_status("failed")
    assert arguments(tmp_path) == begin
    run.last.parent.mkdir()
    run.last.touch()
    assert arguments(tmp_path) == go_on
    run.set_status("finished")
    assert arguments(tmp_path) is None
    assert run_job(Job("x", "nothing", (), tmp_path / "log", tmp_path), None, 0) == End("x", 0)


def test_a_job_without_a_run_begins_anew(tmp_path: Path) -> None:
    job = small_jobs.job("works", tmp_path)
    assert of_jobs._arguments(job) == ["works", str(tmp_path / "works")]


def test_the_last_word(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("of before\nhost: python\nmedcnn: one\nmedcnn: two\nof another program\n\n")
    assert of_jobs._last_word(log, 10) == "two"
    log.write_text("host: python\nTraceback\nKeyError: 3\n")
    assert of_jobs._last_word(log, 0) == "KeyError: 3"
    log.write_text("host: python\n")
    assert of_jobs._last_word(log, 0) == ""


def test_jobs_are_told_to_other_machines_as_they_are(tmp_path: Path) -> None:
    import pickle

    job = Job(
        "x", "m", ("a",), tmp_path / "log", tmp_path, json.loads('{"started": 1795977202.78}')
    )
    assert pickle.loads(pickle.dumps(job)) == job
