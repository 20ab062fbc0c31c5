"""Trainings of processes that torchrun or srun has started: the figures are those of one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jobs
import pandas as pd
import psutil
import pytest
import torch


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    return (*jobs.uneven(tmp_path_factory.mktemp("data")), "cam.n=0", "trainer.max_epochs=2")


@pytest.fixture(scope="module")
def one(job: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jobs.train(tmp_path_factory.mktemp("one") / "run", *job)


def tasks(number: int, *options: str, **further: str) -> list[subprocess.Popen[str]]:
    """Start the tasks of a step of SLURM, as srun does."""
    step = {"JOB_ID": os.getpid(), "STEP_ID": 0, "STEP_NUM_TASKS": number, "STEP_NUM_NODES": 1}
    step |= {"NTASKS": number, "NODEID": 0, "STEP_NODELIST": "localhost"}
    command = [sys.executable, "-m", "medcnn.train", *options]
    found = []
    for rank in range(number):
        of_task = {f"SLURM_{key}": str(value) for key, value in step.items()}
        of_task |= {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
        env = {**os.environ, "PYTHONPATH": str(jobs.ROOT), **of_task, **further}
        found.append(
            subprocess.Popen(
                command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    return found


def check_same(one: Path, other: Path) -> None:
    """The loss curve within float error, and each test image once."""
    history = [pd.read_csv(run / "metrics.csv").drop(columns="seconds") for run in (one, other)]
    pd.testing.assert_frame_equal(*history, atol=1e-4)
    weights = [jobs.checkpoint(run, "last")["state_dict"] for run in (one, other)]
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], atol=1e-4, rtol=0)
    tables = [pd.read_csv(run / "predictions.csv") for run in (one, other)]
    assert tables[1]["row"].tolist() == tables[0]["row"].tolist()
    assert jobs.status(other)["state"] == "finished"


def torchrun(folder: Path, *options: str) -> str:
    """Train by two processes, and return what they print."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, "-m", "medcnn.train", *options],
        env={**os.environ, "PYTHONPATH": str(jobs.ROOT)},
        cwd=folder,
        timeout=300,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torchrun(one: Path, job: tuple[str, ...], tmp_path: Path) -> None:
    said = torchrun(tmp_path, *job, f"paths.run={tmp_path / 'run'}")
    assert said.count("2 processes on 1 machine(s) share each step's") == 1
    check_same(one, tmp_path / "run")


@pytest.mark.slow
def test_a_sweep_under_torchrun(one: Path, job: tuple[str, ...], tmp_path: Path) -> None:
    said = torchrun(tmp_path, "-m", *job, "seed=0,1", f"paths.run={tmp_path / 'sweep'}")
    assert said.count("2 processes on 1 machine(s) share each step's") == 2
    summary = pd.read_csv(tmp_path / "sweep" / "summary.csv")
    assert summary["state"].tolist() == ["finished"] * 2
    first = min(path.parent for path in (tmp_path / "sweep").glob("*/metrics.csv"))
    check_same(one, first)


def test_a_step_of_slurm(one: Path, job: tuple[str, ...], tmp_path: Path) -> None:
    run = tmp_path / "run"
    started = tasks(2, *job, f"paths.run={run}")
    said = [task.communicate(timeout=300) for task in started]
    assert [task.returncode for task in started] == [0, 0], said
    assert said[1] == ("", "")  # one process prints
    check_same(one, run)


@pytest.mark.slow
@pytest.mark.parametrize("whose", [0, 1])
def test_a_task_that_is_killed_takes_the_run_down(
    job: tuple[str, ...], tmp_path: Path, whose: int
) -> None:
    run = tmp_path / "run"
    started = tasks(2, *job, "trainer.max_epochs=100000", f"paths.run={run}")
    end = time.monotonic() + 200
    while not (run / "metrics.csv").exists() and time.monotonic() < end:
        time.sleep(0.1)
    parts = psutil.Process(started[1].pid).children()
    os.kill(started[whose].pid, signal.SIGKILL)
    _, error = started[1 - whose].communicate(timeout=90)
    assert started[1 - whose].returncode == 2, error
    assert error.splitlines()[-1].startswith("medcnn: ")
    assert ("first process of this job is gone", "isn't heard of any more")[whose] in error
    assert not any(part.is_running() for part in parts)
