"""Jobs on an engine, and what is said of their ends."""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import small_jobs
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from pydantic import ValidationError
from test_engine_job import wait_for

from medcnn.errors import UserError
from medcnn.jobs.engines.arguments import arguments_of_job
from medcnn.jobs.engines.job import LOST, End
from medcnn.jobs.engines.run import PACKAGES, check_engine, reason, run_jobs
from medcnn.jobs.settings.groups import Engine


def engine(name: str, **keys: Any) -> Engine:
    return Engine.model_validate({"name": name, "retries": 1, **keys})


@pytest.mark.parametrize("workers", [1, 3])
def test_jobs_on_the_cores_of_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    jobs = [small_jobs.job(what, tmp_path) for what in ("works", "refused", "killed once")]
    seen: list[End] = []
    failed = run_jobs(jobs, engine("joblib", workers=workers), seen.append)
    assert failed == [End("refused", 2, "there is no such thing")]
    assert {(end.name, end.again) for end in seen} == {
        ("works", 0), ("refused", 0), ("killed-once", 1),
    }  # fmt: skip
    out, err = capsys.readouterr()
    first, *lines = out.splitlines()
    assert first == f"3 jobs by joblib; what they print goes to {tmp_path / 'logs'}"
    assert sorted(line.partition(" (")[0] for line in lines) == ["killed-once: done", "works: done"]
    assert any(line.endswith("of 3), started again 1 time(s)") for line in lines)
    assert err == "medcnn: refused: there is no such thing\n"


def test_the_cores_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medcnn.jobs.engines import by_joblib

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(by_joblib, "cpu_count", lambda: 6)
    jobs = [small_jobs.job(what, tmp_path) for what in ("works", "works too")]
    assert run_jobs(jobs, engine("joblib")) == []  # two at once, as there are no more
    assert (tmp_path / "works" / "begun").read_text() == "3\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_stops_all(tmp_path: Path, workers: int) -> None:
    jobs = [small_jobs.job("waits", tmp_path / name) for name in "abc"]

    def interrupt() -> None:
        wait_for(lambda: sum(small_jobs.begun(tmp_path / x / "waits") for x in "ab") == workers)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, engine("joblib", workers=workers))
    assert not small_jobs.begun(tmp_path / "c" / "waits")


def test_reasons() -> None:
    assert "lost with its machine" in reason(End("x", LOST))
    assert reason(End("x", 130)) == "it was interrupted"


def test_the_command_line_of_one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "task": ["seed=1", "engine=ray", "+engine.cpus=2", "paths.run='x'", "+trust=[a.B]"],
        "hydra": ["hydra.searchpath=[file://y]", "hydra.sweep.dir=z"],
    }
    node = OmegaConf.create({"hydra": {"overrides": given, "job": {"num": 3}}})
    monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda: node.hydra))
    monkeypatch.setattr("sys.argv", ["train", "-m", "--config-dir", "mine", "seed=1,2"])
    assert arguments_of_job("paths.run=z/3", without=("paths.run",)) == (
        "--config-dir", "mine", "hydra.searchpath=[file://y]", "hydra.job.num=3",
        "seed=1", "+trust=[a.B]", "engine=local", "paths.run=z/3",
    )  # fmt: skip
    node.hydra.job.num = "???"
    monkeypatch.setattr("sys.argv", ["train"])
    assert arguments_of_job()[:2] == ("hydra.searchpath=[file://y]", "seed=1")


def test_slurm_gives_whole_cores() -> None:
    with pytest.raises(ValidationError, match=r"\.gpus=0\.5: give a whole number"):
        engine("slurm", cpus=1, gpus=0.5)
    assert engine("ray", cpus=0.5, gpus=0.5).plain()["gpus"] == 0.5


@pytest.mark.parametrize("name", PACKAGES)
def test_an_engine_whose_package_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_engine("local")
    monkeypatch.setitem(sys.modules, PACKAGES[name], None)
    with pytest.raises(UserError, match=rf'engine={name} .* pip install "medcnn\[{name}\]"'):
        check_engine(name)
