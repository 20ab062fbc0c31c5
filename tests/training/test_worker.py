import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jobs
import pytest

import medcnn.data.open_data
import medcnn.training.fit
from medcnn.jobs import processes
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.training import worker


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def test_the_others_end_when_the_first_is_gone(run: RunDir) -> None:
    waiting = "from medcnn.training.worker import _end_with_the_first as end; end()"
    environment = {**os.environ, "PYTHONPATH": str(jobs.ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", waiting], stdin=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(60) == processes.GONE


def test_what_another_process_does(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "config.yaml").write_text(
        "trainer: {max_epochs: 3}\npaths: {run: x}\ndataset: {name: d}\n"
    )
    seen: list[tuple[Train, Path, list[str]]] = []
    monkeypatch.setattr(sys, "argv", ["worker", str(run.path), "val", "a.B", "c.D"])
    monkeypatch.setattr(
        medcnn.training.fit,
        "fit_and_test",
        lambda cfg, run, trust, samples, split: seen.append(
            (cfg, run.path, [split, *trust, samples])
        ),
    )
    monkeypatch.setattr(
        medcnn.data.open_data,
        "open_data",
        lambda cfg, trust, checked, quiet: SimpleNamespace(
            samples=f"{cfg.dataset['name']} {trust}"
        ),
    )
    worker.main()
    ((cfg, path, trust),) = seen
    assert cfg.trainer.max_epochs == 3
    assert (path, trust) == (run.path, ["val", "a.B", "c.D", "d ['a.B', 'c.D']"])
