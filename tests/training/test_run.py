"""The same run twice, and one that is interrupted and goes on: the same to the bit."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jobs
import pandas as pd
import pytest
import torch
from disks import fill
from slurm import scontrol

import medcnn.train
from medcnn import nets
from medcnn.errors import UserError
from medcnn.training.module import TrainingModule

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

# A net with dropout and batch norm, augmented images, and a rate that falls with the validation
# AUROC: everything that has a state to lose.
STATEFUL = (
    *jobs.QUICK,
    "~model.name",
    f"model._target_={jobs.SMALL_NET}",
    "augment=standard",
    "batch_size=8",
    "trainer.max_epochs=3",
)
TRUST = [jobs.SMALL_NET]
PLATEAU = (
    "scheduler=plateau", "scheduler.patience=0", "scheduler.factor=0.5", "scheduler.warmup=0.4",
)  # fmt: skip
STOPS_EARLY = (
    "callbacks=early_stopping",
    "callbacks.early_stopping.patience=2",
    "trainer.max_epochs=6",
    "optimizer.lr=1.0e-9",
)


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Lightning ignores SIGINT once it was interrupted; the tests after this one must not."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture(scope="module")
def stateful_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jobs.train(tmp_path_factory.mktemp("stateful") / "run", *STATEFUL, trust=TRUST)


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jobs.train(tmp_path_factory.mktemp("quick") / "run", *jobs.QUICK)


@pytest.fixture(scope="module", params=[PLATEAU, STOPS_EARLY], ids=["plateau", "stops early"])
def changing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tuple[str, ...], Path]:
    """Settings under which something changes by the score, and a run with them in one go."""
    settings = (*jobs.QUICK, "trainer.max_epochs=4", *request.param)
    return settings, jobs.train(tmp_path_factory.mktemp("changing") / "run", *settings)


def assert_same_run(run: Path, other: Path) -> None:
    """To the bit: weights, predictions, figures, and the history but for the seconds."""
    for name in ("best", "last"):
        weights = (jobs.checkpoint(folder, name)["state_dict"] for folder in (run, other))
        assert jobs.same_weights(*weights), name
    for file in ("predictions.csv", "metrics.json", "samples.csv"):
        assert (run / file).read_bytes() == (other / file).read_bytes(), file
    histories = [pd.read_csv(f / "metrics.csv").drop(columns="seconds") for f in (run, other)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


def test_the_same_seed_gives_the_same_run_to_the_bit(stateful_run: Path, tmp_path: Path) -> None:
    torch.rand(7)  # whatever was drawn before
    assert_same_run(jobs.train(tmp_path / "again", *STATEFUL, trust=TRUST), stateful_run)


def test_another_seed_gives_another_run(stateful_run: Path, tmp_path: Path) -> None:
    other = jobs.train(tmp_path / "other", *STATEFUL, "seed=1", trust=TRUST)
    weights = (jobs.checkpoint(run)["state_dict"] for run in (stateful_run, other))
    assert not jobs.same_weights(*weights)


def interrupt(monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int) -> None:
    """Let Ctrl-C be pressed within a training step."""

    def press() -> None:
        raise KeyboardInterrupt

    jobs.call_at(monkeypatch, epoch, batch, press)


def interrupt_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ctrl-C be pressed after the training, before the test."""

    def interrupted(self: TrainingModule) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingModule, "on_test_epoch_start", interrupted)


def resume(run: Path) -> None:
    medcnn.train.train(jobs.compose("train", f"resume='{run}'"), TRUST)


def test_what_is_no_run_does_not_go_on(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^resume=.*nowhere holds no run of medcnn"):
        resume(tmp_path / "nowhere")


def test_a_frozen_trunk_gives_the_same_features_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nets.build("resnet", depth=18, in_channels=1, num_classes=3, width=0.125, stem="small")
    torch.save(net.state_dict(), tmp_path / "net.pt")
    options = (
        *jobs.QUICK,
        "model=resnet",
        "model.width=0.125",
        f"model.weights='{tmp_path / 'net.pt'}'",
        "transfer=head",
        "augment=none",
        "batch_size=10",  # of 48: the rows that an epoch leaves out are others in each
        "trainer.max_epochs=4",
    )
    whole, parts = jobs.train(tmp_path / "whole", *options), tmp_path / "parts"
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, 2, 1)
        with pytest.raises(KeyboardInterrupt):
            jobs.train(parts, *options)
    resume(parts)
    assert_same_run(whole, parts)


@pytest.mark.parametrize("at", [(0, 1), (1, 0), (1, 2)])
def test_an_interrupted_run_goes_on_to_the_same_weights(
    at: tuple[int, int], stateful_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "a run"
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, *at)
        with pytest.raises(KeyboardInterrupt, match=re.escape(f"resume={shlex.quote(str(run))}")):
            jobs.train(run, *STATEFUL, trust=TRUST)
    assert jobs.status(run)["state"] == "interrupted"
    assert not (run / "metrics.json").exists()
    torch.rand(11)  # another process, other random numbers before
    resume(run)
    assert jobs.status(run)["state"] == "finished"
    assert_same_run(run, stateful_run)


@pytest.mark.parametrize("at", [(2, 1), None], ids=["in an epoch", "before the test"])
def test_schedule_and_early_stopping_go_on(
    changing: tuple[tuple[str, ...], Path], at: tuple[int, int] | None, tmp_path: Path
) -> None:
    settings, whole = changing
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, *at) if at else interrupt_test(patch)
        with pytest.raises(KeyboardInterrupt, match="resume="):
            jobs.train(run, *settings)
    resume(run)
    assert_same_run(run, whole)


AVERAGED = {
    "ema": ("average=ema", "average.start=1", "optimizer=sam", "scheduler=cosine_restarts"),
    "soup": ("average=soup", "average.k=2", "average.how=uniform"),
    "swa": ("average=swa", "average.start=0.4", "average.anneal=0.5", "augment=standard"),
}


@pytest.mark.parametrize("options", AVERAGED.values(), ids=AVERAGED)
def test_averages_go_on(options: tuple[str, ...], tmp_path: Path) -> None:
    settings = (*STATEFUL, *options)
    whole = jobs.train(tmp_path / "whole", *settings, trust=TRUST)
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, 2, 1)
        with pytest.raises(KeyboardInterrupt, match="resume="):
            jobs.train(run, *settings, trust=TRUST)
    resume(run)
    assert_same_run(run, whole)


def test_images_drawn_by_class_are_drawn_again(tmp_path: Path) -> None:
    options = (*STATEFUL, "sampler=weights", "sampler.weights=[1,2,6]", "sampler.per_patient=2")
    whole = jobs.train(tmp_path / "whole", *options, trust=TRUST)
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, 1, 2)
        with pytest.raises(KeyboardInterrupt):
            jobs.train(tmp_path / "run", *options, trust=TRUST)
    resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


def test_resume_of_a_finished_run(phantom_run: Path) -> None:
    with pytest.raises(UserError, match="this run is finished"):
        resume(phantom_run)


@pytest.mark.parametrize("there", [True, False])
def test_resume_of_a_folder_that_is_no_run(tmp_path: Path, there: bool) -> None:
    folder = tmp_path if there else tmp_path / "nothing"
    with pytest.raises(UserError, match="holds no run of medcnn"):
        resume(folder)
    assert not (tmp_path / "nothing").exists()


def test_resume_takes_only_what_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, 1, 0)
        with pytest.raises(KeyboardInterrupt):
            jobs.train(run, *jobs.QUICK)
    capsys.readouterr()
    for override in ("optimizer.lr=0.1", "model=mlp", "trainer=cpu", "trainer.max_epochs=3"):
        code = jobs.command(monkeypatch, medcnn.train.train, "train", f"resume={run}", override)
        error = capsys.readouterr().err
        assert code == 2
        assert error.count("\n") == 1
        assert f"not {override.partition('=')[0]}" in error
    more = ("trainer.log_every_n_steps=3", "cam.n=2", "logger=csv")
    assert jobs.command(monkeypatch, medcnn.train.train, "train", f"resume={run}", *more) == 0
    assert pd.read_csv(run / "metrics.csv")["epoch"].tolist() == [1, 2]
    assert len(list((run / "cams").glob("*.npy"))) == 2
    assert (run / "csv").is_dir()  # as where the server of a tracker is gone


def test_a_signal_of_slurm_interrupts(
    quick_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a checkpoint of Lightning's own in the run directory, which nothing may load."""
    run = tmp_path / "run"
    asked = scontrol(tmp_path, monkeypatch)
    slurm = {"NTASKS": 2, "NTASKS_PER_NODE": 2, "JOB_ID": 17, "JOB_NAME": "x", "PROCID": 0}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    run.mkdir()
    (run / "hpc_ckpt_1.ckpt").write_text("of another training")
    with monkeypatch.context() as patch:
        jobs.call_at(patch, 1, 0, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        options = (*jobs.QUICK, "trainer.requeue=true", f"paths.run={run}")
        assert jobs.command(monkeypatch, medcnn.train.train, "train", *options) == 130
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == (
        f"medcnn: interrupted; go on with: python -m medcnn.train resume={shlex.quote(str(run))}; "
        "SLURM job 17 is back in the queue"
    )
    assert asked.read_text() == "requeue 17\n"
    assert jobs.status(run)["state"] == "interrupted"
    resume(run)
    monkeypatch.chdir(run)  # where evaluate would look for one
    checkpoint = f"checkpoint={run / 'checkpoints' / 'best.ckpt'}"
    assert (
        jobs.evaluate(tmp_path / "again", checkpoint)["test/auroc"]
        == (jobs.metrics(run)["test/auroc"])
    )
    assert [path.name for path in tmp_path.rglob("hpc_ckpt*")] == ["hpc_ckpt_1.ckpt"]
    assert_same_run(run, quick_run)


TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


@pytest.mark.parametrize(
    "devices", [(), pytest.param(TWO, marks=pytest.mark.slow)], ids=["one", "two"]
)
def test_ctrl_c(devices: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    options = (*jobs.QUICK, *devices, "trainer.max_epochs=100000", f"paths.run={run}")
    process = subprocess.Popen(
        [sys.executable, "-m", "medcnn.train", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(jobs.ROOT)},
        stderr=subprocess.PIPE,
        start_new_session=True,  # a terminal sends SIGINT to all processes of the job
        text=True,
    )
    deadline = time.monotonic() + 200
    try:
        while not (run / "metrics.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        error = process.communicate(timeout=100)[1]
    finally:
        process.kill()  # where it went on, as a shell's background jobs do: they ignore SIGINT
    assert process.returncode == 130
    assert error.splitlines()[-1] == (
        f"medcnn: interrupted; go on with: python -m medcnn.train resume={shlex.quote(str(run))}"
    )
    assert "Traceback" not in error
    assert jobs.status(run)["state"] == "interrupted"
    done = pd.read_csv(run / "metrics.csv")["epoch"].tolist()
    assert done == list(range(1, len(done) + 1))


def test_a_full_disk_interrupts(
    small_disk: Path, quick_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_disk / "run"
    ballast: list[Path] = []
    with monkeypatch.context() as patch:
        jobs.call_at(patch, 1, 0, lambda: ballast.append(fill(small_disk)))
        with pytest.raises(UserError, match=r"no space left on device; go on with: .* resume="):
            jobs.train(run, *jobs.QUICK)
    assert jobs.status(run)["state"] == "interrupted"
    assert "no space left on device" in jobs.status(run)["error"]
    assert jobs.checkpoint(run, "last")["epoch"] == 0  # whole
    with pytest.raises(UserError, match=r"resume=.* can't be written to: No space left on device"):
        resume(run)
    ballast[0].unlink()
    resume(run)
    assert_same_run(run, quick_run)
    assert not list(run.rglob(".*"))


def test_a_damaged_checkpoint_is_not_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt(patch, 1, 0)
        with pytest.raises(KeyboardInterrupt):
            jobs.train(run, *jobs.QUICK)
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    best = run / "checkpoints" / "best.ckpt"
    with pytest.raises(UserError, match=rf"last\.ckpt is damaged.*best\.ckpt can be used.*{best}"):
        resume(run)
    jobs.evaluate(tmp_path / "as said", f"checkpoint={best}")
    best.unlink()
    with pytest.raises(UserError, match=r"is damaged.*there is no best\.ckpt"):
        resume(run)


def files(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}


def test_a_run_is_replaced_only_by_one_that_trains(tmp_path: Path) -> None:
    run = jobs.train(tmp_path / "run", *jobs.QUICK, "trainer.max_epochs=1")
    before = files(run)
    for bad in ("trainer.precision=8", "dataset.patients=2", "optimizer.lr=-1"):
        with pytest.raises(UserError):
            jobs.train(run, *jobs.QUICK, "overwrite=true", bad)
        assert files(run) == before
    jobs.train(run, *jobs.QUICK, "overwrite=true", "trainer.max_epochs=1", "seed=5")
    assert jobs.status(run)["state"] == "finished"
    assert set(files(run)) == set(before)
    assert files(run)["predictions.csv"] != before["predictions.csv"]


def test_a_bad_setting_beside_resume_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt(patch, 1, 0)
        with pytest.raises(KeyboardInterrupt):
            jobs.train(run, *jobs.QUICK, "trainer.max_epochs=2")
    stored = (run / "config.yaml").read_text()
    for override, code in (("trainer.precision=8", 2), ("cam.n=2", 0)):
        resume = (f"resume={run}", override)
        assert jobs.command(monkeypatch, medcnn.train.train, "train", *resume) == code
        assert ((run / "config.yaml").read_text() == stored) == (code == 2)
