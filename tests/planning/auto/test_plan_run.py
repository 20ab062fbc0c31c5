"""Plans carried out: by a clock of our own, and on small data."""

import json
from pathlib import Path
from typing import Any

import jobs
import jsonschema
import pandas as pd
import pytest
from hydra.core.hydra_config import HydraConfig

from medcnn.jobs.arguments import recipe_file
from medcnn.jobs.rundir import RunDir
from medcnn.plan import plan
from medcnn.planning.auto import budget as budgets
from medcnn.planning.auto import run as module
from medcnn.planning.auto.budget import Budget
from medcnn.planning.auto.run import give_time
from medcnn.train import train

SCHEMA = jobs.ROOT / "docs" / "reference" / "schemas" / "plan.schema.json"
SMALL = (*jobs.PHANTOM, *jobs.PLAIN, "model=lenet", "cam.n=0")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """A command line in this process; gives its code, output and errors back."""
    monkeypatch.setattr(budgets, "_start", lambda: budgets.time.time())

    def run(task: Any, root: str, *arguments: str) -> tuple[int, str, str]:
        code = jobs.command(monkeypatch, task, root, *arguments)
        return code, *capfd.readouterr()

    yield run
    HydraConfig.instance().cfg = None


@pytest.mark.parametrize(("slow", "at_once"), [(1.0, 1), (2.0, 1), (6.0, 1), (2.0, 2), (2.0, 5)])
def test_an_hour_ends_in_time_on_a_machine_that_slows_down(
    tmp_path: Path, slow: float, at_once: int
) -> None:
    times = [0.0]
    budget = Budget(3600, now=lambda: times[0])
    run, parts = RunDir(tmp_path), [RunDir(tmp_path / f"fold-{k}") for k in range(5)]
    seconds = {"fold": 10.0, "end": 20.0}
    (tmp_path / "plan.json").write_text(json.dumps({"choices": [], "seconds": seconds}))
    free = [30.0] * at_once  # when the folds end that are trained side by side; 30 s of planning
    rounds = -(-5 // at_once)
    epochs = 0.9 * (3600 - 30 - 20 - rounds * 10) / rounds  # seconds of a fold's, as planned
    cfg = jobs.compose("train", "plan=auto", "fold=all", f"folds_at_once={at_once}")
    for k, part in enumerate(parts):
        times[0], cfg.fold = min(free), k
        factor = slow if k >= 2 else 1.0
        give_time(run, parts, budget, cfg)
        assert cfg.plan is not None
        assert cfg.plan.deadline is not None
        begun = times[0]
        times[0] += 3 * factor
        trained = max(1.0, min(epochs * factor, cfg.plan.deadline - times[0]))
        times[0] += trained + 7 * factor
        part.path.mkdir()
        pd.DataFrame({"seconds": [trained]}).to_csv(part / "metrics.csv", index=False)
        part.set_status("finished", seconds=times[0] - begun)
        free[free.index(begun)] = times[0]
    times[0] = max(free) + 20 * slow
    assert times[0] <= 1.1 * 3600
    assert times[0] > 0.8 * 3600


def test_a_plan_trains_the_same_again_without_the_planner(tmp_path: Path, command: Any) -> None:
    run, again = tmp_path / "run", tmp_path / "again"
    options = (*SMALL, "budget=10min", "model.width=0.5", f"paths.run={run}")
    code, out, err = command(train, "train", *options, "plan=auto")
    assert (code, err) == (0, "") or "note:" in err
    assert "set by hand (command line)" in out
    record = json.loads((run / "plan.json").read_text())
    jsonschema.validate(record, json.loads(SCHEMA.read_text()))
    assert {"fold", "batch_size", "augment"} <= {one["key"] for one in record["choices"]}
    assert json.loads((run / "budget.json").read_text())["seconds"] == 600
    assert "How it configured itself" in (run / "report.html").read_text()
    assert jobs.status(run)["state"] == "finished"
    folds = sorted(run.glob("fold-*"))
    assert len(folds) > 1
    code, _, _ = command(
        train, "train", *SMALL[:3], f"experiment={run / 'plan.yaml'}", f"paths.run={again}"
    )
    assert code == 0
    for fold in folds:
        weights = [jobs.checkpoint(one)["state_dict"] for one in (fold, again / fold.name)]
        assert jobs.same_weights(*weights)


def test_an_interrupted_plan_goes_on(
    tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        jobs.call_at(patched, 1, 0, interrupt)
        code, _, err = command(train, "train", *SMALL, "plan=auto", f"paths.run={run}")
        assert code == 130
        assert f"resume={run}" in err
    spent = json.loads((run / "budget.json").read_text())["spent"]
    planned = (run / "plan.yaml").read_text()
    code, out, _ = command(train, "train", f"resume={run}")
    assert code == 0
    assert "plan of" not in out
    assert (run / "plan.yaml").read_text() == planned
    assert json.loads((run / "budget.json").read_text())["spent"] > spent
    assert jobs.status(run)["state"] == "finished"


@pytest.mark.parametrize(("task", "options"), [("numbers", {"targets": 2}), ("toy", {})])
def test_a_data_set_of_the_users_own(
    task: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("model", "trainer.max_epochs", "fold", "folds")
    by_hand = {key: ("here", "lenet" if key == "model" else None) for key in keys}
    monkeypatch.setattr(module, "set_by_hand", lambda: by_hand)
    monkeypatch.setattr(budgets, "_start", lambda: budgets.time.time())
    dataset = {"_target_": f"jobs.{task}", "sizes": [24, 8, 8], **options}
    run = jobs.train(
        *(tmp_path / "run", *jobs.PLAIN, "plan=auto", "model=lenet", "trainer.max_epochs=1"),
        *("fold=all", "folds=3"),
        trust=[f"jobs.{task}"],
        dataset=dataset,
    )
    assert jobs.status(run)["state"] == "finished"
    assert any(key.startswith("ensemble/test/") for key in jobs.metrics(run))


def test_the_command_shows_a_plan_and_writes_it(tmp_path: Path, command: Any) -> None:
    file = tmp_path / "my plan.yaml"
    code, out, _ = command(plan, "plan", *SMALL, f"output={file}", "budget=3min")
    assert code == 0
    assert "plan of phantom in 3 min" in out
    assert list(tmp_path.iterdir()) == [file]
    cfg = jobs.compose("train", *SMALL[:3], recipe_file(f"experiment={file}"))
    assert (cfg.fold, cfg.model["name"], cfg.batch_size) == ("all", "lenet", 16)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plan=auto", "budget=5"), "budget=5: give a time with its unit"),
        (("plan=auto", "budget=1min"), "budget=1min: a plan needs at least 3min"),
        (("plan=auto", "budget=tomorrow"), "budget=tomorrow: give a time"),
        (("budget=10min",), "budget=10min: the time of plan=auto; add that"),
        (("plan=auto", "plan.without=[wdith]"), "plan.without=wdith: choose of crop, folds"),
        (("experiment=none.yaml",), "experiment=none.yaml: there is no such file"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, command: Any, arguments: tuple[str, ...], words: str
) -> None:
    code, _, err = command(train, "train", *SMALL, f"paths.run={tmp_path / 'run'}", *arguments)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert words in err
