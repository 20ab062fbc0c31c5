"""Jobs by submitit: on its stand-ins for SLURM, and with programs that stand for SLURM's."""

import os
from pathlib import Path
from typing import Any

import pytest
import small_jobs
from refusals import refused
from test_engine_job import wait_for

from medcnn.jobs.engines import by_slurm
from medcnn.jobs.engines.job import LOST, End
from medcnn.jobs.engines.run import run_jobs
from medcnn.jobs.settings.groups import Engine

pytest.importorskip("submitit", reason="submitit isn't installed")


def engine(cluster: str, **keys: Any) -> Engine:
    usual = {"retries": 1, "time": "90min", "requeues": 1, "cpus": 2}
    return Engine.model_validate({"name": "slurm", "cluster": cluster, **usual, **keys})


def test_jobs_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    jobs = [small_jobs.job(what, tmp_path) for what in ("works", "refused", "killed once")]
    failed = run_jobs(jobs, engine("debug", workers=2))
    assert failed == [End("refused", 2, "there is no such thing")]
    assert (tmp_path / "works" / "begun").read_text() == "2\n"


def test_a_job_that_is_lost_is_submitted_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from submitit.core.core import Job as Task

    jobs = [small_jobs.job(what, tmp_path) for what in ("lost once", "works")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Task, "_results_timeout_s", 1)
        assert run_jobs(jobs, engine("local")) == []
    assert small_jobs.begun(tmp_path / "lost-once") == 2
    out = capsys.readouterr().out
    assert "lost-once: lost, submitted again" in out
    assert "lost-once: done (2 of 2), started again 1 time(s)" in out


@pytest.mark.slow  # a job's time is at least a minute
def test_a_job_whose_time_is_up_goes_on(tmp_path: Path) -> None:
    assert run_jobs([small_jobs.job("waits once", tmp_path)], engine("local", time="1min")) == []
    assert small_jobs.begun(tmp_path / "waits-once") == 2


class Taken:
    """A job of SLURM that is over."""

    def __init__(self, state: str) -> None:
        self.state = state

    def done(self) -> bool:
        return True

    def result(self) -> End:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        if self.state == "FAILED":
            raise FailedJobError("with trace:\nOSError: no disk\n")
        raise UncompletedJobError("no result")


@pytest.mark.parametrize(("state", "times"), [("CANCELLED by 0", 1), ("NODE_FAIL", 2)])
def test_what_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, times: int
) -> None:
    begun = []
    monkeypatch.setattr(by_slurm, "_submit", lambda *given: begun.append(given) or Taken(state))
    (end,) = by_slurm.by_slurm([small_jobs.job("works", tmp_path)], engine("debug"))
    assert (end.code, end.again, len(begun)) == (LOST, times - 1, times)


def test_a_fault_on_the_cluster_is_told(tmp_path: Path) -> None:
    end = by_slurm._end(small_jobs.job("works", tmp_path), Taken("FAILED"))
    assert end == End("works", 1, "OSError: no disk")


def test_jobs_that_still_run_are_cancelled(tmp_path: Path) -> None:
    jobs = [small_jobs.job("works", tmp_path), small_jobs.job("waits", tmp_path)]
    ends = by_slurm.by_slurm(jobs, engine("local"))
    assert next(ends) == End("works", 0)
    wait_for(lambda: small_jobs.begun(tmp_path / "waits"))
    ends.close()
    with jobs[1].log.open("ab") as log:
        by_slurm_lock(log)


def by_slurm_lock(log: Any) -> None:
    """Wait for the process of a job to be gone."""
    from medcnn.jobs import file_locks

    file_locks.lock(log)


def test_what_is_called_again_after_a_job_s_time_was_up(tmp_path: Path) -> None:
    task = by_slurm.Task(small_jobs.job("works", tmp_path), 1, 0)
    assert task.checkpoint().function is task
    assert task() == End("works", 0)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that stand for SLURM's; gives the file with which sbatch was called."""
    programs, script = tmp_path / "bin", tmp_path / "script"
    programs.mkdir()
    for name, does in (("srun", ""), ("sbatch", f'cp "$1" {script}; echo Submitted batch job 7')):
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    return script


def test_what_slurm_is_asked_for(tmp_path: Path, slurm: Path) -> None:
    asks = {"partition": "gpu", "gpus": 1, "memory": "16GB", "options": {"account": "radiology"}}
    settings = engine("slurm", **asks)
    executor = by_slurm._executor(tmp_path / "submitit", settings)
    assert by_slurm._submit(executor, small_jobs.job("works", tmp_path), settings).job_id == "7"
    lines = [line for line in slurm.read_text().splitlines() if line.startswith("#SBATCH")]
    wanted = ("partition=gpu", "cpus-per-task=2", "gpus-per-node=1", "mem=16GB", "time=90")
    for word in (*wanted, "account=radiology", f"signal=USR2@{by_slurm.FAREWELL}"):
        assert f"#SBATCH --{word}" in lines, lines


def test_what_slurm_refuses(tmp_path: Path, slurm: Path) -> None:
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'invalid partition specified: x' >&2\nexit 1\n")
    with refused("works can't be submitted: .*invalid partition specified: x"):
        list(by_slurm.by_slurm([small_jobs.job("works", tmp_path)], engine("slurm")))


def test_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with refused(r"this machine has no SLURM \(no srun\); engine.cluster=local does without"):
        by_slurm._executor(tmp_path, engine("slurm"))
