"""Sweeps of ``medcnn.train -m`` on an engine."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jobs
import pandas as pd
import pytest
import yaml

import medcnn.train
from medcnn.jobs.engines.job import LOST, End, Job
from medcnn.jobs.rundir import RunDir
from medcnn.training import sweep

Command = Callable[..., int]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """``python -m medcnn.train`` in this process."""
    monkeypatch.setenv("PYTHONPATH", str(jobs.ROOT))
    start = (medcnn.train.train, "train", lambda: None, sweep.run_what_was_left)
    yield lambda *words: jobs.exit_code(
        monkeypatch, lambda: medcnn.train.cli.main(*start), "train.py", *words
    )
    sweep._left.clear()


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that are left to an engine, which does nothing."""
    seen: list[Job] = []
    monkeypatch.setattr(sweep, "run_jobs", lambda jobs, *further: seen.extend(jobs) or [])
    return seen


def test_a_sweep_on_the_cores_of_this_machine(
    tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my sweep"
    job = ("-m", *jobs.QUICK, "trainer.max_epochs=1", f"paths.run={folder}")
    axes = ("seed=${hydra:job.num}", "augment.flip=[-1],[-3]")  # a film has no front and back
    assert command(*job, *axes, "engine=joblib", "engine.workers=2") == 2
    out, err = capsys.readouterr()
    assert "0-phantom-lenet: done (" in out
    assert "loading PyTorch" not in out  # which no job needs here
    assert "medcnn: 1-phantom-lenet: augment.flip" in err
    assert err.endswith("medcnn: 1 job(s) of the sweep failed; see its summary.csv\n")

    table = pd.read_csv(folder / "summary.csv")
    assert table["run"].tolist() == ["0-phantom-lenet", "1-phantom-lenet"]
    assert table["state"].tolist() == ["finished", "failed"]
    assert table["augment.flip"].tolist() == ["[-1]", "[-3]"]
    assert not {"engine", "engine.workers", "paths.run"} & set(table)
    done = folder / "0-phantom-lenet"
    assert table["test_auroc"][0] == jobs.metrics(done)["test/auroc"]["value"]
    assert "test AUROC" in (folder / "logs" / "0-phantom-lenet.log").read_text()
    config = yaml.safe_load((done / "config.yaml").read_text())
    assert (config["seed"], config["engine"]) == (0, {"name": "local"})
    assert config["paths"]["run"] == str(done)
    assert (folder / "multirun.yaml").exists()

    before = (done / "status.json").read_text()
    assert command(*job, *axes) == 2  # goes on here, without an engine
    assert f"{done}: finished before" in capsys.readouterr().out
    assert (done / "status.json").read_text() == before
    here = jobs.train(tmp_path / "here", *jobs.QUICK, "trainer.max_epochs=1", "augment.flip=[-1]")
    histories = [pd.read_csv(x / "metrics.csv").drop(columns="seconds") for x in (done, here)]
    pd.testing.assert_frame_equal(*histories)  # to the bit


def test_what_an_engine_gets(tmp_path: Path, command: Command, left: list[Job]) -> None:
    words = ("-m", "model=lenet,mlp", f"paths.run={tmp_path}", "overwrite=true")
    assert command(*words, "engine=ray", "engine.gpus=0.5") == 0
    assert [job.name for job in left] == ["0-phantom-lenet", "1-phantom-mlp"]
    job = left[1]
    assert job.arguments == (
        "hydra.job.num=1", "model=mlp", "overwrite=True", "engine=local",
        f"paths.run={tmp_path / '1-phantom-mlp'}",
    )  # fmt: skip
    assert (job.module, job.run, job.there) == ("medcnn.train", tmp_path / job.name, {})
    assert job.log == tmp_path / "logs" / "1-phantom-mlp.log"
    assert pd.read_csv(tmp_path / "summary.csv").empty


def test_a_run_of_something_else_is_not_gone_on_with(
    tmp_path: Path, command: Command, left: list[Job]
) -> None:
    for number, (seed, state) in enumerate([(7, "interrupted"), (8, "interrupted")]):
        run = RunDir(tmp_path / f"{number}-phantom-lenet")
        run.path.mkdir()
        overrides = ["model=lenet", f"seed={seed}", "paths.run=x", "engine=local"]
        run.set_status(state, overrides=overrides)
    words = ("-m", "model=lenet", "seed=7,9", f"paths.run={tmp_path}", "engine=ray")
    assert command(*words) == 0
    assert left[0].there == {}
    assert left[1].there["state"] == "interrupted"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("engine=joblib",), "engine=joblib runs the jobs of a sweep (-m) and the workers of a"),
        (("-m", "engine=joblib,ray"), "engine: all jobs of a sweep have the same one"),
        (("-m", "engine=ray", "seed=1,2", "hydra.sweep.subdir=x"), "an earlier job of this sweep"),
        (("-m", "engine=dask"), "engine=dask: there is no way to start jobs on other machines yet"),
        (
            ("-m", "engine=joblib", "engine.gpus=1"),
            "no key engine.gpus here; engine=ray, slurm hav",
        ),
        (("-m", "engine=ray", "engine.cpus=0"), "engine.cpus=0: give a number above 0"),
    ],
)
def test_what_can_t_be(
    tmp_path: Path,
    command: Command,
    left: list[Job],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*words) == 2
    assert says in capsys.readouterr().err


def test_a_launcher_is_refused(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep.launched, "others", object())
    assert command("-m", "engine=ray") == 2
    assert "leave torchrun or srun out" in capsys.readouterr().err


def test_a_run_that_was_lost_is_said_to_be_interrupted(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(jobs: list[Job], engine: Any, ended: Callable[[End], None]) -> list[End]:
        end = End(jobs[0].name, LOST)
        RunDir(jobs[0].run or "").set_status("running", overrides=["seed=1"])
        ended(end)
        table = pd.read_csv(tmp_path / "summary.csv")
        assert (table["state"].tolist(), table["seed"].tolist()) == (["interrupted"], [1])
        return [end]

    monkeypatch.setattr(sweep, "run_jobs", lose)
    assert command("-m", "seed=1", f"paths.run={tmp_path}", "engine=ray") == 2
    status = json.loads((tmp_path / "0-phantom-resnet" / "status.json").read_text())
    assert status["error"] == "its process was lost"


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*given: Any) -> list[End]:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "run_jobs", interrupt)
    assert command("-m", "seed=1", f"paths.run={tmp_path}", "engine=ray") == 130
    said = capsys.readouterr().err
    assert f"go on with the same command and paths.run={tmp_path}; jobs that" in said


def test_logs_that_would_tell_where_the_data_lie(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(jobs: list[Job], *further: Any) -> list[End]:
        jobs[0].log.parent.mkdir()
        jobs[0].log.touch()
        return []

    monkeypatch.setattr(sweep, "run_jobs", write)
    for hidden in (False, True):
        words = (f"paths.run={tmp_path / str(hidden)}", f"pseudonymise={hidden}", "engine=ray")
        assert command("-m", "seed=1", *words) == 0
        assert (tmp_path / str(hidden) / "logs").exists() is not hidden


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-m", "engine=joblib", "trainer=ray"), "engine=joblib starts whole trainings; leave"),
        (
            ("logger=mlflow", "logger.mlflow.tracking_uri=http://a:secret@127.0.0.1:9"),
            "logger.mlflow.tracking_uri has a user or a password",
        ),
    ],
)
def test_what_is_refused_before_anything_is_written(
    tmp_path: Path,
    command: Command,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    says: str,
) -> None:
    plain = [one for one in jobs.QUICK if one != "logger=none"]
    assert command(*words[:1], *plain, *words[1:], f"paths.run={tmp_path / 'run'}") == 2
    error = capsys.readouterr().err
    assert says in error
    assert "secret" not in error
    assert "secret" not in "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())
