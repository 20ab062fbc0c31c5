"""Jobs on a Ray cluster of one machine."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_jobs
from refusals import refused
from test_engine_job import wait_for

from medcnn.jobs import file_locks
from medcnn.jobs.engines import by_ray
from medcnn.jobs.engines.job import LOST, End
from medcnn.jobs.engines.run import run_jobs
from medcnn.jobs.settings.groups import Engine


def engine(**keys: Any) -> Engine:
    return Engine.model_validate({"name": "ray", "retries": 1, "cpus": 1, **keys})


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster, joined for all tests."""
    ray = pytest.importorskip("ray", reason="Ray isn't installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        handler = signal.getsignal(signal.SIGTERM)
        assert by_ray._join(ray, engine(address="local"))
        assert signal.getsignal(signal.SIGTERM) == handler  # not Ray's
        yield ray
        ray.shutdown()


def test_jobs(tmp_path: Path, cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
    whats = ("works", "refused", "killed once", "lost once")
    failed = run_jobs([small_jobs.job(what, tmp_path) for what in whats], engine(cpus=0.5))
    assert failed == [End("refused", 2, "there is no such thing")]
    assert small_jobs.begun(tmp_path / "lost-once") == 2  # with what had started it
    assert (tmp_path / "works" / "begun").read_text() == "1\n"
    assert capsys.readouterr().out.count(": done (") == 3
    assert cluster.is_initialized()  # as it was before


def test_a_job_that_is_lost_is_given_up_at_last(tmp_path: Path, cluster: Any) -> None:
    (end,) = by_ray.by_ray([small_jobs.job("lost", tmp_path)], engine(retries=1))
    assert end == End("lost", LOST)
    assert small_jobs.begun(tmp_path / "lost") == 2


def test_a_fault_on_the_cluster_is_told(tmp_path: Path, cluster: Any) -> None:
    (tmp_path / "file").touch()
    job = small_jobs.job("works", tmp_path, log=tmp_path / "file" / "log")
    (end,) = by_ray.by_ray([job], engine())
    assert end.code == 1
    assert "FileExistsError" in end.said or "NotADirectoryError" in end.said


def test_ctrl_c_stops_jobs(tmp_path: Path, cluster: Any) -> None:
    job = small_jobs.job("waits", tmp_path)

    def interrupt() -> None:
        wait_for(lambda: small_jobs.begun(tmp_path / "waits"))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job], engine())
    with job.log.open("ab") as log:
        file_locks.lock(log, wait=False)  # which its process had


def test_jobs_that_no_machine_has_room_for(cluster: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert not by_ray._join(cluster, engine(cpus=1000))
    assert "no machine of the cluster has 1000 core(s) and 0 GPU(s)" in caplog.text


def test_a_cluster_that_is_not_there() -> None:
    def init(**options: Any) -> None:
        raise ConnectionError("could not find\nany")

    nothing = SimpleNamespace(is_initialized=lambda: False, init=init)
    with refused("engine.address=auto: could not find any"):
        by_ray._join(nothing, engine(address="auto"))


def test_what_joined_a_cluster_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = []
    ray = SimpleNamespace(
        remote=lambda **options: (
            lambda function: SimpleNamespace(
                options=lambda **more: SimpleNamespace(remote=lambda *given: "task")
            )
        ),
        wait=lambda tasks, **options: (tasks, []),
        get=lambda task: End("works", 0),
        shutdown=lambda: left.append(True),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)  # type: ignore[arg-type]
    monkeypatch.setattr(by_ray, "_join", lambda *given: True)
    assert list(by_ray.by_ray([small_jobs.job("works", tmp_path)], engine())) == [End("works", 0)]
    assert left == [True]
