"""The other processes of a run; that they train together is tested with the training."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from medcnn.errors import InterruptedRunError, UserError
from medcnn.jobs import processes
from medcnn.jobs.processes import other_processes
from medcnn.jobs.rundir import RunDir

NAMES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
PRINT = "import os; print([os.environ.get(n) for n in ('LOCAL_RANK', 'MASTER_ADDR')])"
HANG = "import time; time.sleep(100)"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    return RunDir(tmp_path)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes of a run that are started; `play` sets the program that they run instead."""
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def start(command: list[str], **options: Any) -> Any:
        child = real(command, **options)
        if "medcnn.training.worker" in command:
            started.append(child)
        return child

    monkeypatch.setattr(subprocess, "Popen", start)
    return started


def play(monkeypatch: pytest.MonkeyPatch, *programs: str) -> None:
    """Let the processes 1, 2, … run these programs."""
    first = processes.start

    def start(rank: int, task: list[str], environment: dict[str, str]) -> Any:
        run = Path(task[0])
        script = run / f"program{rank}.py"
        script.write_text(programs[rank - 1])
        monkeypatch.setattr(sys, "executable", str(run / f"python{rank}"))
        Path(sys.executable).write_text(f"#!/bin/sh\nexec {python} {script}\n")
        Path(sys.executable).chmod(0o755)
        return first(rank, task, environment)

    python = sys.executable
    monkeypatch.setattr(processes, "start", start)


def clean() -> bool:
    return not any(name in os.environ for name in NAMES)


def test_one_process_starts_no_other(run: RunDir, children: list[object]) -> None:
    with other_processes(run, 1, []):
        assert clean()
    assert children == []
    assert list(run.path.iterdir()) == []


def test_the_others_get_their_rank_and_where_to_meet(
    run: RunDir, children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, PRINT, PRINT)
    with other_processes(run, 3, ["a.B"]):
        assert os.environ["LOCAL_RANK"] == "0"
        assert os.environ["MASTER_ADDR"] == "127.0.0.1"
        assert 1024 < int(os.environ["MASTER_PORT"]) < 65536
    assert clean()
    assert [child.returncode for child in children] == [0, 0]
    for rank in (1, 2):
        log = (run / "logs" / f"rank{rank}.log").read_text()
        assert log == f"['{rank}', '127.0.0.1']\n"
    assert children[0].args[1:] == ["-m", "medcnn.training.worker", str(run.path), "test", "a.B"]  # type: ignore[index]


def test_a_failed_process_is_named(
    run: RunDir, children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, "pass", "import sys; sys.exit('out of memory')")
    with (
        pytest.raises(UserError, match=r"failed with exit code 1; see .*rank2\.log"),
        other_processes(run, 3, []),
    ):
        pass
    assert (run / "logs" / "rank2.log").read_text() == "out of memory\n"
    assert clean()


def test_a_process_that_hangs_is_stopped(
    run: RunDir, children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 0.2)
    play(monkeypatch, HANG)
    with (
        pytest.raises(UserError, match=r"doesn't end; see .*rank1\.log"),
        other_processes(run, 2, []),
    ):
        pass
    assert children[0].returncode < 0
    assert clean()


DIE = "import os; os.kill(os.getpid(), 9)"


def test_a_process_that_is_killed_ends_the_run(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, HANG, DIE)
    with (
        pytest.raises(InterruptedRunError, match=r"was ended by SIGKILL; see .*rank2\.log"),
        other_processes(run, 3, []),
    ):
        raise RuntimeError("connection closed by peer")
    assert clean()


def test_waiting_for_a_process_that_is_gone_ends(
    run: RunDir,
    children: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """As torch waits, within which no exception of ours is heard of."""
    ended = threading.Event()
    codes: list[int] = []
    monkeypatch.setattr(processes, "GRACE", 0)
    monkeypatch.setattr(os, "_exit", lambda code: (codes.append(code), ended.set()))
    run.set_status("running", overrides=["seed=1"])
    play(monkeypatch, HANG, DIE)
    with pytest.raises(InterruptedRunError), other_processes(run, 3, []):
        ended.wait(20)
    assert children[0].returncode < 0
    assert codes == [2]
    assert run.status["state"] == "interrupted"
    assert "ended by SIGKILL" in run.facts["error"]
    assert run.facts["overrides"] == ["seed=1"]
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert said.endswith(f"go on with: python -m medcnn.train resume={run.path}\n")


def fail_among(run: RunDir, error: BaseException) -> None:
    with other_processes(run, 3, []):
        os.environ["WORLD_SIZE"] = "3"  # as Lightning sets it
        raise error


@pytest.mark.parametrize("error", [UserError("x"), RuntimeError("x"), KeyboardInterrupt("x")])
def test_the_others_are_stopped_when_this_one_fails(
    run: RunDir,
    children: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    monkeypatch.setattr(processes, "DYING", 0.2)
    play(monkeypatch, HANG, HANG)
    with pytest.raises(type(error), match="x"):
        fail_among(run, error)
    assert [child.returncode < 0 for child in children] == [True, True]
    assert clean()


def test_a_failed_run_leaves_its_process_group(run: RunDir) -> None:
    def fail() -> None:
        with other_processes(run, 1, []):
            group = {"rank": 0, "world_size": 1, "store": torch.distributed.HashStore()}
            torch.distributed.init_process_group("gloo", **group)
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        fail()
    assert not torch.distributed.is_initialized()
