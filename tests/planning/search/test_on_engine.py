"""The workers of a search on an engine."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jobs
import pandas as pd
import pytest
import yaml

import medcnn.search
from medcnn.jobs.engines.job import LOST, End, Job
from medcnn.planning.search import on_engine

SPACE = "search.space={optimizer.lr:[0.001,0.003]}"
SMALL = (*jobs.QUICK, "++dataset.patients=60", "trainer.max_epochs=1", "search=random", SPACE)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setenv("PYTHONPATH", str(jobs.ROOT))
    return lambda *words: jobs.command(monkeypatch, medcnn.search.search, "search", *words)


@pytest.mark.slow
def test_two_workers_on_this_machine(tmp_path: Path, command: Callable[..., int]) -> None:
    out = tmp_path / "my search"
    words = (*SMALL, "search.pruner=none", "search.trials=2", f"output={out}")
    assert command(*words, "engine=joblib", "engine.workers=2") == 0
    assert pd.read_csv(out / "summary.csv")["state"].tolist() == ["finished"] * 2
    assert json.loads((out / "search.json").read_text())["finished"]
    logs = [(out / "logs" / f"worker-{k}.log").read_text() for k in (0, 1)]
    assert sum(len(re.findall(r"trial \d: validation score", text)) for text in logs) == 2
    status = json.loads((out / "trials" / "0000" / "status.json").read_text())
    assert not any("engine" in one or "output" in one for one in status["overrides"])
    best = yaml.safe_load((out / "best.yaml").read_text())
    assert "engine" not in str(best)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("engine=joblib",), 2, "2 of 2 worker(s) failed; see "),
        (("engine=slurm", "engine.workers=3"), 2, "3 of 3 worker(s) failed; see "),
        (("engine=ray",), 2, "engine.workers=null: say how many workers the search is to have"),
        (("engine=ray", "engine.workers=1"), 130, "interrupted; go on with: python -m medcnn.sear"),
    ],
)
def test_how_it_ends(
    tmp_path: Path,
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    seen: list[Job] = []

    def run(jobs: list[Job], engine: Any) -> list[End]:
        seen.extend(jobs)
        if code == 130:
            raise KeyboardInterrupt
        return [End(job.name, LOST) for job in jobs]

    monkeypatch.setattr(on_engine, "run_jobs", run)
    monkeypatch.setattr(on_engine, "begin", lambda cfg, trust: None)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    assert command(*words, "seed=3", f"output={tmp_path / 'out'}") == code
    assert says in capsys.readouterr().err
    if seen:
        assert seen[0].arguments == ("seed=3", "engine=local", f"output={tmp_path / 'out'}")
        assert seen[0].run is None
