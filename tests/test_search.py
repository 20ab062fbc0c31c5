"""``python -m medcnn.search``: its files, lines and exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import yaml
from html_page import Page
from PIL import Image
from pytorch_lightning.callbacks import Callback

from medcnn.classifier.ensemble import load
from medcnn.jobs.rundir import RunDir
from medcnn.planning.search import worker
from medcnn.search import search

pytestmark = pytest.mark.no_cover
SMALL = (*jobs.QUICK, "++dataset.patients=60")
SPACE = "search.space={optimizer.lr:{low:0.001,high:0.01,log:true},augment:[light,none]}"
RANDOM = ("search=random", "search.pruner=none")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    return lambda *arguments: jobs.command(monkeypatch, search, "search", *arguments)


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "summary.csv").set_index("number")


def test_a_search_from_its_first_trial_to_its_page(
    tmp_path: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my search"
    settings = (*SMALL, *RANDOM, SPACE, "search.trials=4", "search.keep=2", f"output={out}")
    assert command(*settings) == 0
    rows = table(out)
    assert rows["state"].tolist() == ["finished"] * 4
    assert rows["epochs"].tolist() == [2] * 4
    ranked = rows["score"].sort_values(ascending=False, kind="stable").index.tolist()
    kept = {int(path.parts[-3]) for path in out.glob("trials/*/checkpoints/best.ckpt")}
    assert kept == set(ranked[:2])
    assert list(out.glob("trials/*/checkpoints/last.ckpt")) == []
    for run in sorted(out.glob("trials/*")):
        predicted = pd.read_csv(run / "predictions.csv")
        assert set(predicted["split"]) == {"val"}  # no trial looks at the test split
        assert not any("test" in key for key in json.loads((run / "metrics.json").read_text()))
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert config["optimizer"]["lr"] == rows["optimizer.lr"][int(run.name)]
    outcome = json.loads((out / "search.json").read_text())
    assert (outcome["finished"], outcome["winner"]) == (True, ranked[0])
    tested = json.loads((out / "test" / "metrics.json").read_text())
    assert 0 <= tested["test/auroc"]["value"] <= 1
    page = Page((out / "search.html").read_text())
    assert page.of("h1") == ["Search: phantom"]
    assert page.of("h2") == [
        "How far the winner can be trusted", "The course of the search", "What mattered",
        "Score by each key", "All trials",
    ]  # fmt: skip
    assert f"The best is trial {ranked[0]} (validation score" in page.text
    capsys.readouterr()

    before = {path: path.stat().st_mtime for path in out.rglob("*") if path.is_file()}
    assert command(*settings) == 0  # which finds that nothing is left to do
    assert capsys.readouterr().out.splitlines()[-1].endswith("search.html: this search is finished")
    assert command(*settings, "batch_size=8") == 2
    assert "holds a search with batch_size=16, not 8" in capsys.readouterr().err
    changed = {path.name for path, time in before.items() if path.stat().st_mtime != time}
    assert changed <= {".lock", "journal.log"}


def test_best_yaml_trains_as_the_winner_did(
    tmp_path: Path, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcnn.train import train

    out = tmp_path / "experiment"  # so that Hydra finds best.yaml by its name
    settings = (*SMALL, *RANDOM, SPACE, "search.trials=2", "seed=5", f"output={out}")
    assert command(*settings) == 0
    winner = json.loads((out / "search.json").read_text())["winner"]
    config = yaml.safe_load((out / "trials" / f"{winner:04d}" / "config.yaml").read_text())
    run = tmp_path / "run"
    again = ("--config-dir", str(tmp_path), "experiment=best", f"paths.run={run}")
    assert jobs.command(monkeypatch, train, "train", *again) == 0
    found = yaml.safe_load((run / "config.yaml").read_text())
    for key in ("dataset", "optimizer", "augment", "model", "batch_size", "seed", "scheduler"):
        assert found[key] == config[key]
    scores = [
        pd.read_csv(folder / "metrics.csv")["val/score"].tolist()
        for folder in (run, out / "trials" / f"{winner:04d}")
    ]
    assert scores[0] == scores[1]


class Interrupt(Callback):
    """Ctrl-C after an epoch, once."""

    done = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1 and not Interrupt.done:
            Interrupt.done = True
            raise KeyboardInterrupt


def test_an_interrupted_search_goes_on_where_it_was(
    tmp_path: Path,
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, report = tmp_path / "out", worker.ScoreReport
    settings = (*SMALL, *RANDOM, SPACE, "search.trials=2", f"output={out}")

    class Both(report, Interrupt):  # type: ignore[valid-type, misc]
        """What reports scores, with a Ctrl-C."""

    monkeypatch.setattr(worker, "ScoreReport", Both)
    assert command(*settings) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("medcnn: interrupted; go on with: python -m medcnn.search")
    assert said.endswith(f"output={out}")
    assert RunDir(out / "trials" / "0000").status["state"] == "interrupted"
    assert command(*settings) == 0
    rows = table(out)
    assert rows["state"].tolist() == ["finished", "finished"]
    assert pd.read_csv(out / "trials" / "0000" / "metrics.csv")["epoch"].tolist() == [1, 2]
    alone = tmp_path / "alone"
    assert command(*settings[:-1], f"output={alone}") == 0
    assert table(alone)["score"].tolist() == rows["score"].tolist()


def test_a_failed_trial_has_its_reason_and_the_others_go_on(
    tmp_path: Path, command: Callable[..., int]
) -> None:
    out = tmp_path / "out"
    space = "search.space={optimizer.lr:[0.003,1e30]}"
    assert command(*SMALL, *RANDOM, space, "search.trials=5", f"output={out}") == 0
    rows = table(out)
    assert set(rows["state"]) == {"finished", "failed"}
    failed = rows[rows["state"] == "failed"]
    assert (failed["optimizer.lr"] == 1e30).all()
    assert failed["reason"].str.contains("the loss is|gives NaN").all()
    page = Page((out / "search.html").read_text())
    assert f"Trial {failed.index[0]}:" in page.text


def test_hopeless_trials_are_pruned(tmp_path: Path, command: Callable[..., int]) -> None:
    out = tmp_path / "out"
    space = "search.space={optimizer.lr:[0.003,1e-9]}"
    settings = ("search=random", space, "trainer.max_epochs=6", "search.trials=6")
    assert command(*SMALL, *settings, f"output={out}") == 0
    pruned = table(out).query("state == 'pruned'")
    assert len(pruned) > 0
    assert (pruned["epochs"] < 6).all()
    assert pruned["reason"].str.fullmatch(r"behind after epoch \d of 6").all()
    status = RunDir(out / "trials" / f"{pruned.index[0]:04d}").status
    assert (status["state"], status["reason"]) == ("pruned", pruned["reason"].iloc[0])


@pytest.mark.slow  # a training for each seed
def test_the_winner_with_several_seeds_and_an_ensemble(
    tmp_path: Path, command: Callable[..., int]
) -> None:
    out = tmp_path / "out"
    settings = (*SMALL, *RANDOM, SPACE, "search.trials=3", "search.final=seeds", "search.seeds=2")
    assert command(*settings, f"output={out}") == 0
    for seed in (0, 1):
        run = out / "final" / f"seed-{seed}"
        assert yaml.safe_load((run / "config.yaml").read_text())["seed"] == seed
        assert "test/auroc" in json.loads((run / "metrics.json").read_text())
    if (found := json.loads((out / "search.json").read_text())["ensemble"]) is not None:
        count = sum(found["members"].values())
        assert len(load(out).members) == count


@pytest.mark.slow  # two trainings more, one a fold
def test_no_file_of_a_search_tells_a_hidden_path(
    tmp_path: Path, command: Callable[..., int]
) -> None:
    data, out = tmp_path / "anna's films", tmp_path / "out"
    data.mkdir()
    generator, rows = np.random.default_rng(0), ["image,label,patient"]
    for number in range(40):
        image = generator.integers(0, 160 + 80 * (number % 2), (28, 28)).astype(np.uint8)
        Image.fromarray(image).save(data / f"{number}.png")
        rows.append(f"{number}.png,{'ill' if number % 2 else 'well'},p{number}")
    (data / "table.csv").write_text("\n".join(rows))
    settings = (
        *jobs.PLAIN, "model=lenet", "cam.n=0", "dataset=csv", f"dataset.path={data / 'table.csv'}",
        "++dataset.size=28", "pseudonymise=true", f"paths.pseudonym_key={tmp_path / 'key'}",
        "folds=2", "search.final=folds", *RANDOM, SPACE, "search.trials=2", f"output={out}",
    )  # fmt: skip
    assert command(*settings) == 0
    assert json.loads((out / "final" / "status.json").read_text())["state"] == "finished"
    told = [path for path in out.rglob("*") if path.is_file() and b"anna" in path.read_bytes()]
    assert told == []
    assert command(*settings) == 0  # nor is it taken for other data


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("search.space={optimizer.momentun:[1]}",), "no key optimizer.momentun"),
        (("search.space={model:[lenet,vggg]}",), "model=vggg: no such model"),
        (("search.space={batch_size:[0]}",), "batch_size=0: give a whole number"),
        (("search.space={optimizer.lr:[0.1]}", "optimizer.lr=0.2"), "leave one of the two out"),
        (("search.budget=10",), "search.budget=10: give a time with its unit"),
        (("search.pruner=median",), "search.pruner=median: choose one of none, asha, hyperband"),
        (("search=grid",), "search=grid: no such search"),
        (("fold=all",), "fold=all: a trial is of one fold"),
        (("plan=auto",), "plan=auto: a search has a space in the place of a plan"),
        (("budget=1h",), "budget=1h: that of a search is search.budget"),
        (("resume=x",), "resume=x: a search goes on by the command that began it"),
        (("overwrite=true",), "overwrite=true: a search replaces nothing"),
        (("-m", "seed=1,2"), "-m: a search tries many settings by itself"),
    ],
)
def test_what_can_t_be_is_refused_before_the_first_trial(
    tmp_path: Path,
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    says: str,
) -> None:
    base: tuple[Any, ...] = jobs.PHANTOM
    assert command(*arguments, *base, f"output={tmp_path / 'out'}") == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_search_without_optuna(
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    assert command() == 2
    assert 'a search needs Optuna: pip install "medcnn[search]"' in capsys.readouterr().err
