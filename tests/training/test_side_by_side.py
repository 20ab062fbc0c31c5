"""Folds trained side by side, in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jobs
import psutil
import pytest
import torch

from medcnn.errors import InterruptedRunError, UserError
from medcnn.jobs.atomic_files import write_text
from medcnn.jobs.rundir import RunDir
from medcnn.training import fold as one_fold
from medcnn.training.side_by_side import _with_share as with_share
from medcnn.training.side_by_side import train_side_by_side

FOLDS = (*jobs.QUICK, "fold=all", "folds=2", "diagnosis=none")
PATIENCE = 300  # s


@pytest.fixture(autouse=True)
def path_of_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(jobs.ROOT))


def assert_same_bits(run: Path, other: Path) -> None:
    for fold in range(2):
        first, second = (
            torch.load(RunDir(one / f"fold-{fold}").last, weights_only=True)["state_dict"]
            for one in (run, other)
        )
        assert first.keys() == second.keys()
        assert all(torch.equal(value, second[name]) for name, value in first.items())
    tables = [(one / "predictions.csv").read_bytes() for one in (run, other)]
    assert tables[0] == tables[1]


@pytest.mark.no_cover
def test_they_are_the_same_to_the_bit_as_one_by_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one_by_one = jobs.train(tmp_path / "one by one", *FOLDS)
    capfd.readouterr()
    run = jobs.train(tmp_path / "run", *FOLDS, "folds_at_once=2")
    out, err = capfd.readouterr()
    assert_same_bits(run, one_by_one)
    assert "fold 0: epoch   2/2  train loss" in out
    assert "fold 1: epoch   2/2  train loss" in out
    assert out.count("note: the validation split has few images") == 1
    assert "note:" not in err
    assert {one["state"] for one in statuses(run)} == {"finished"}


def statuses(run: Path) -> list[dict[str, object]]:
    return [jobs.status(one) for one in (run, run / "fold-0", run / "fold-1")]


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "medcnn.train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(there: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < end
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.no_cover
def test_stopped_or_killed_they_go_on_to_the_same_bits(tmp_path: Path) -> None:
    """The command is stopped by SIGTERM, then killed, then one of its folds is."""
    options = (*FOLDS, "trainer.max_epochs=60")
    one_by_one, run = jobs.train(tmp_path / "one by one", *options), tmp_path / "run"
    parts = [RunDir(run / f"fold-{k}") for k in range(2)]

    def epochs() -> list[int]:
        files = [part / "metrics.csv" for part in parts]
        return [len(file.read_text().splitlines()) if file.exists() else 0 for file in files]

    with command(*options, "folds_at_once=2", f"paths.run={run}") as process:
        wait_for(lambda: min(epochs()) >= 3, process)
        process.send_signal(signal.SIGTERM)
        out = process.communicate()[0]
    assert process.returncode == 130
    assert out.splitlines()[-1].endswith(f"go on with: python -m medcnn.train resume={run}")
    assert "Traceback" not in out
    assert {one["state"] for one in statuses(run)} == {"interrupted"}
    before = epochs()
    with command(f"resume={run}") as process:
        wait_for(lambda: all(now > then for now, then in zip(epochs(), before, strict=True)))
        children = psutil.Process(process.pid).children()
        assert len(children) == 2
        process.kill()
        psutil.wait_procs(children, timeout=PATIENCE)
    assert {one["state"] for one in statuses(run)[1:]} <= {"interrupted", "failed"}
    before = epochs()
    assert max(before) < 60
    with command(f"resume={run}") as process:
        wait_for(lambda: all(now > then for now, then in zip(epochs(), before, strict=True)))
        os.kill(int(parts[1].status["pid"]), signal.SIGKILL)
        out = process.communicate()[0]
    assert process.returncode == 2
    ended = "medcnn: the process of fold 1 was ended by SIGKILL; go on with: "
    assert out.splitlines()[-1].startswith(ended)
    with command(f"resume={run}", "folds_at_once=1") as process:
        out = process.communicate()[0]
    assert process.returncode == 0, out
    assert "fold 0:" not in out
    assert_same_bits(run, one_by_one)


@pytest.mark.parametrize(
    ("end", "error", "message"),
    [
        ("echo medcnn: no such label; exit 2", UserError, "fold 1: no such label"),
        ("echo medcnn: disk full; exit 3", InterruptedRunError, "fold 1: disk full"),
        ("exit 130", InterruptedRunError, "fold 1 was interrupted"),
        ("kill -9 $$", InterruptedRunError, "the process of fold 1 was ended by SIGKILL"),
        ("echo ValueError: 0; exit 1", RuntimeError, "fold 1 failed with exit code 1, see above"),
    ],
)
def test_a_fold_that_ends_badly_ends_the_others_and_is_told_once(
    end: str,
    error: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    script = tmp_path / "python"
    script.write_text(
        f"#!/bin/sh\ncase $3 in *fold-1) echo begun; {end};; esac\n"
        "cat; touch $3/stopped; exit 130\n"  # once stdin is closed
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    parts = [RunDir(tmp_path / f"fold-{k}") for k in range(3)]
    cfg = jobs.compose("train", *FOLDS, "folds_at_once=2")
    with pytest.raises(error, match=f"^{message}$"):
        train_side_by_side(cfg, parts, [], lambda own: None)
    assert (tmp_path / "fold-0" / "stopped").exists()
    assert not parts[2].path.exists()
    out, err = capfd.readouterr()
    assert "fold 1: begun" in out
    assert "medcnn:" not in out + err


def test_the_process_of_a_fold_says_in_one_line_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cfg, part = jobs.compose("train", *FOLDS, "cam.n=1", "cam.stage=nowhere"), RunDir(tmp_path)
    one_fold.begin(cfg, part, 0, lambda own: None)
    monkeypatch.setattr(one_fold, "_stop_once_stdin_is_closed", lambda: None)
    assert jobs.exit_code(monkeypatch, one_fold.main, "fold", str(tmp_path), "[]", "train") == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == "medcnn: stage=nowhere: choose one of c1, c3, last"
    assert jobs.status(tmp_path)["state"] == "failed"


def test_threads_are_shared_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = RunDir(tmp_path)

    def share(threads: str) -> int | None:
        own = with_share(jobs.compose("train", *FOLDS, f"trainer.threads={threads}"), part, 2)
        write_text(part / "config.yaml", own.yaml())
        return own.trainer.threads

    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert share("5") == 5
    assert share("null") == 3
    part.last.parent.mkdir()
    part.last.touch()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    assert share("null") == 3
    assert share("2") == 2


def test_a_fold_has_one_process() -> None:
    cfg = jobs.compose("train", *FOLDS, "folds_at_once=2", "trainer.devices=2")
    with pytest.raises(UserError, match=r"folds_at_once=2: .* add trainer.devices=1"):
        train_side_by_side(cfg, [], [], lambda own: None)
