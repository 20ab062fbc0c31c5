"""Hardware settings, and two real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jobs
import numpy as np
import pandas as pd
import psutil
import pytest
import pytorch_lightning as pl
import torch

import medcnn
from medcnn.errors import UserError
from medcnn.inference.results import table_file
from medcnn.inference.tta import bare_trainer
from medcnn.jobs.hardware import (
    autocast,
    device,
    device_of,
    processes,
    resolve_precision,
    set_threads,
    uses_gpu,
)
from medcnn.jobs.rundir import RunDir
from medcnn.training.trainer import make_trainer

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines


def settings(**options: Any) -> Any:
    usual = {"devices": 1, "num_nodes": 1, "accelerator": "cpu", "strategy": "auto"}
    return SimpleNamespace(**{**usual, **options})


def test_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes(settings(devices=3)) == 3
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert processes(settings(devices="auto", accelerator="auto", strategy="ddp")) == 4
    assert processes(settings(devices="auto")) == 1
    with pytest.raises(UserError, match="counts GPUs and there is none; on the CPU set it"):
        processes(settings(devices="auto", strategy="ddp"))
    for devices in (0, -1, "all", True):
        with pytest.raises(UserError, match=r"a number of processes, GPUs as \[0,1\], or auto"):
            processes(settings(devices=devices))


def test_gpus_by_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    picked = settings(devices=[2, 0], accelerator="auto")
    assert processes(picked) == 2
    assert device(picked) == torch.device("cuda", 2)
    assert device(settings(devices=2, accelerator="gpu")) == torch.device("cuda", 0)
    for devices in ([], [1, 1], ["a"], [True]):
        with pytest.raises(UserError, match="name each GPU once by its number"):
            processes(settings(devices=devices, accelerator="gpu"))
    for devices, accelerator, has in (
        ([4], "gpu", "has 4"),
        ([-1], "gpu", "has 4"),
        ([0], "cpu", "has none"),
    ):
        with pytest.raises(UserError, match=f"picks GPUs, of which this job {has}"):
            processes(settings(devices=devices, accelerator=accelerator))
    asked: dict[str, Any] = {}
    monkeypatch.setattr(pl, "Trainer", lambda **options: asked.update(options))
    options = (*jobs.QUICK, "trainer.devices=[1]", "trainer.accelerator=gpu")
    make_trainer(jobs.compose("train", *options), RunDir(tmp_path), [])
    assert asked["devices"] == [1]
    assert asked["accelerator"] == "gpu"


@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_hardware_that_is_not_there(accelerator: str) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for ask in (lambda: device_of(accelerator), lambda: bare_trainer(accelerator, "32-true")):
        with pytest.raises(UserError, match=f"^accelerator={accelerator}: torch finds no"):
            ask()


@pytest.mark.parametrize(
    ("gpu", "bf16", "cpu", "accelerator", "expected"),
    [
        (True, True, "avx512_f", "auto", "bf16-mixed"),
        (True, False, "avx512_f", "gpu", "16-mixed"),
        (True, True, "avx512_f", "cpu", "32-true"),
        (False, False, "amx_bf16", "auto", "bf16-mixed"),
        (False, False, "avx512_bf16", "auto", "bf16-mixed"),
        (False, False, "avx512_f", "auto", "32-true"),
    ],
)
def test_automatic_precision(
    gpu: bool,
    bf16: bool,
    cpu: str,
    accelerator: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {cpu: True}, raising=False)
    assert resolve_precision("auto", accelerator) == expected
    assert uses_gpu(accelerator) == (gpu and accelerator != "cpu")


def test_precision_by_name() -> None:
    assert resolve_precision("32-true", "auto") == "32-true"


def test_threads_are_shared_by_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    set_threads(None, 1)
    assert calls == []
    set_threads(None, 3)
    set_threads(None, 16)
    set_threads(5, 3)
    assert calls == [2, 1, 5]


@pytest.mark.parametrize(
    ("precision", "dtype"), [("32-true", None), ("bf16-mixed", torch.bfloat16)]
)
def test_autocast_as_in_training(precision: str, dtype: torch.dtype | None) -> None:
    with autocast(precision, torch.device("cpu")):
        product = torch.rand(4, 4) @ torch.rand(4, 4)
    assert product.dtype == (dtype or torch.float32)


TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    return (*jobs.uneven(tmp_path_factory.mktemp("data")), "cam.n=2", "trainer.max_epochs=3")


@pytest.fixture(scope="module")
def two(job: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of two real processes."""
    run = tmp_path_factory.mktemp("two") / "run"
    settings = (*TWO, *(option for option in job if option != "trainer.accelerator=cpu"))
    command = [sys.executable, "-m", "medcnn.train", *settings, f"paths.run={run}"]
    environment = {**os.environ, "PYTHONPATH": str(jobs.ROOT)}
    slurm = {"NTASKS": 2, "NTASKS_PER_NODE": 2, "JOB_ID": 1, "PROCID": 0, "LOCALID": 0}
    environment |= {f"SLURM_{name}": str(value) for name, value in slurm.items()}  # of a batch job
    subprocess.run(command, check=True, cwd=run.parent, env=environment, timeout=300)
    return run


def test_two_processes_finish_one_run(two: Path) -> None:
    assert jobs.status(two)["state"] == "finished"
    assert (two / "cams" / "gallery.png").exists()
    assert (two / "logs" / "rank1.log").exists()
    assert pd.read_csv(two / "metrics.csv")["epoch"].tolist() == [1, 2, 3]
    assert [path.name for path in two.rglob(".*")] == []


@pytest.mark.parametrize(
    ("number", "whose", "when"),
    [
        (signal.SIGKILL, "second", "training"),
        pytest.param(signal.SIGTERM, "second", "training", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, "second", "starting", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "first", "training", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "first", "starting", marks=pytest.mark.slow),
    ],
)
def test_a_run_of_two_processes_ends_when_one_does(
    number: int, whose: str, when: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    options = (*jobs.QUICK, *TWO, "trainer.max_epochs=100000", f"paths.run={run}")
    first = subprocess.Popen(
        [sys.executable, "-m", "medcnn.train", *options],
        env={**os.environ, "PYTHONPATH": str(jobs.ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = {"training": run / "metrics.csv", "starting": run / "logs" / "rank1.log"}[when]
    end = time.monotonic() + 200
    while not until.exists() and time.monotonic() < end:
        time.sleep(0.1)
    (second,) = psutil.Process(first.pid).children()
    os.kill({"first": first, "second": second}[whose].pid, number)
    _, error = first.communicate(timeout=60)
    assert not second.is_running()
    name = signal.Signals(number).name
    says, code = {
        "first": ("interrupted", 130),
        "second": (
            f"a process of this run was ended by {name}; see {run / 'logs' / 'rank1.log'}",
            2,
        ),
    }[whose]
    assert first.returncode == code
    *notes, last = error.splitlines()
    assert last == f"medcnn: {says}; go on with: python -m medcnn.train resume={run}"
    assert all(line.startswith("note: ") for line in notes)
    assert jobs.status(run)["state"] == "interrupted"
    if when == "training":
        assert jobs.checkpoint(run, "last")["epoch"] >= 0


def test_two_processes_see_each_row_once(two: Path) -> None:
    files = ("predictions_val.csv", "predictions.csv")
    table = pd.concat([pd.read_csv(two / name) for name in files])
    assert table["row"].tolist() == list(range(48, 48 + 21 + 61))
    assert jobs.metrics(two)["test/accuracy"]["n"] == 61


def test_two_processes_give_the_figures_of_one(two: Path, tmp_path: Path) -> None:
    """The weights that two processes trained, tested by one."""
    for split in ("val", "test"):
        checkpoint = f"checkpoint='{two / 'checkpoints' / 'best.ckpt'}'"
        figures = jobs.evaluate(tmp_path / split, checkpoint, f"split={split}")
        trained = {k: v for k, v in jobs.metrics(two).items() if k.startswith(f"{split}/")}
        assert len(trained) > 10
        for name, figure in trained.items():
            assert figures[name]["value"] == pytest.approx(figure["value"], abs=1e-6), name
            assert figures[name]["n"] == figure["n"]
        table = pd.read_csv(tmp_path / split / "predictions.csv")
        told = pd.read_csv(two / table_file(other="val" if split == "val" else None))
        assert table["decision"].tolist() == told["decision"].tolist()
        probs = (t.filter(like="prob:").to_numpy() for t in (table, told))
        np.testing.assert_allclose(*probs, atol=1e-6)


def test_two_processes_train_the_net_of_one(
    two: Path, job: tuple[str, ...], tmp_path: Path
) -> None:
    one = jobs.train(tmp_path / "one", *job)
    weights = [jobs.checkpoint(run, "last")["state_dict"] for run in (one, two)]
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], atol=1e-4, rtol=0)
    fresh = medcnn.classifier.build.make_classifier(jobs.checkpoint(one)["medcnn"]).state_dict()
    moved = [(weights[0][name] - fresh[name]).abs().max() for name in weights[0]]
    assert max(moved) > 0.01  # so that 1e-4 means something
    history = [pd.read_csv(run / "metrics.csv").drop(columns="seconds") for run in (one, two)]
    pd.testing.assert_frame_equal(*history, atol=1e-3)


def test_one_process_under_ddp_leaves_nothing_behind(tmp_path: Path) -> None:
    options = (*jobs.QUICK, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1")
    for name in ("first", "second"):  # as in a sweep
        run = jobs.train(tmp_path / name, *options, "trainer.max_epochs=1")
        assert jobs.status(run)["state"] == "finished"
        assert not {"LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"} & os.environ.keys()
    assert not torch.distributed.is_initialized()


def test_a_failure_under_ddp_does_not_fail_the_next_run(tmp_path: Path) -> None:
    options = (*jobs.QUICK, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1")
    diverging = ("optimizer=sgd", "optimizer.lr=1.0e+30", "scheduler=none")
    with pytest.raises(UserError, match="diverged"):
        jobs.train(tmp_path / "first", *options, *diverging)
    assert not torch.distributed.is_initialized()
    jobs.train(tmp_path / "second", *options, "trainer.max_epochs=1")
