import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jobs
import pandas as pd
import pytest

from medcnn.errors import UserError
from medcnn.jobs import on_ray
from medcnn.train import train


def trainer(**values: Any) -> Any:
    given = [f"trainer.{key}={value}" for key, value in values.items()]
    return jobs.compose("train", "trainer=ray", *given).trainer


def test_what_the_processes_take_of_a_cluster() -> None:
    small, large = {"CPU": 4.0}, {"CPU": 16.0, "GPU": 4.0}
    on_cpu = {"accelerator": "cpu", "devices": 2}
    assert on_ray.needed(trainer(**on_cpu), [small]) == (2, {"CPU": 2})
    assert on_ray.needed(trainer(**on_cpu, threads=1), [small]) == (2, {"CPU": 1})
    both = [large, small, large]
    assert on_ray.needed(trainer(num_nodes=2), both) == (8, {"CPU": 4, "GPU": 1})
    for given, known, message in (
        ({"accelerator": "cpu"}, [small], "trainer.devices=auto: with Ray a number of"),
        ({"accelerator": "gpu", "devices": 1}, [small], "1 machine\\(s\\), with 0 GPU"),
        (on_cpu | {"num_nodes": 2}, [small], "trainer.num_nodes=2: Ray's cluster has 1"),
        (on_cpu, [], "has 0 machine"),
    ):
        with pytest.raises(UserError, match=message):
            on_ray.needed(trainer(**given), known)


def test_the_processes_get_the_folder_of_a_run_by_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = SimpleNamespace(runtime=SimpleNamespace(config_sources=[]))
    monkeypatch.setattr(on_ray.HydraConfig, "get", lambda: config)
    for key, given in (("paths.run", "+paths.run='s3://b/r'"), ("resume", "resume='s3://b/r'")):
        arguments = on_ray._arguments(tmp_path, [given, "seed=1"])
        assert arguments == ["seed=1", f"{key}='{tmp_path}'", "trainer.launcher=null"]


def test_without_ray_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    run = f"paths.run={tmp_path / 'run'}"
    assert jobs.command(monkeypatch, train, "train", "trainer=ray", "trainer.devices=2", run) == 2
    assert 'trainer=ray needs Ray Train: pip install "medcnn[ray]"' in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_of_ray_train_as_one(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """On a real cluster of this machine alone; its processes are real, too."""
    pytest.importorskip("ray", reason="needs Ray")
    monkeypatch.setenv("PYTHONPATH", str(jobs.ROOT))
    monkeypatch.setenv("RAY_ADDRESS", "local")
    job = (*jobs.QUICK, "trainer.max_epochs=1")
    one, two = jobs.train(tmp_path / "one", *job), tmp_path / "two"
    command = (*job, "trainer=ray", "trainer.devices=2", f"paths.run={two}")
    assert jobs.command(monkeypatch, train, "train", *command) == 0, capfd.readouterr().err
    assert "2 processes on 1 machine(s)" in capfd.readouterr().out
    tables = [pd.read_csv(run / "metrics.csv").drop(columns="seconds") for run in (one, two)]
    pd.testing.assert_frame_equal(*tables, atol=1e-4)
    assert jobs.status(two)["state"] == "finished"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    # what fails says so in a line; Ray's processes end
    again = jobs.command(monkeypatch, train, "train", *command)
    assert again == 2
    assert "the training failed on Ray; its own line above says why" in capfd.readouterr().err


def test_a_part_that_fails_gives_its_exit_code(tmp_path: Path) -> None:
    command = {"arguments": ["trainer=none-such"], "folder": str(tmp_path), "environment": {}}
    with pytest.raises(RuntimeError, match="exit code 2"):
        on_ray.part(command)
