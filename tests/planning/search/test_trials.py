"""The trials of a search, without training."""

import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState

from medcnn.jobs.atomic_files import write_json
from medcnn.planning.search.heartbeat import FILE
from medcnn.planning.search.space import read_space
from medcnn.planning.search.storage import open_study
from medcnn.planning.search.trials import PATIENCE, REASON, Taken, Trials

SPACE = {"optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True}, "model": ["lenet", "resnet"]}


def worker(folder: Path, **settings: Any) -> Trials:
    """A worker's view of a search of eight trials."""
    usual = {
        "sampler": "random", "trials": 8, "first": 3, "stale": 60.0, "seconds": None, "keep": 2,
    }  # fmt: skip
    study = open_study(folder, None, "x")
    return Trials(folder, study, SimpleNamespace(**usual | settings), 0, read_space(SPACE))  # type: ignore[arg-type]


def lose(taken: Taken) -> None:
    """Make a trial that of a worker elsewhere, which gives no sign of life for long."""
    write_json(taken.run / FILE, {"host": "elsewhere", "pid": 1, "token": "x"})
    then = time.time() - 1000
    os.utime(taken.run / FILE, (then, then))


def take(trials: Trials) -> Taken:
    taken = trials.take()
    assert taken is not None
    return taken


def test_each_trial_is_taken_once_by_several_workers(tmp_path: Path) -> None:
    seen: list[tuple[int, dict[str, Any]]] = []

    def work() -> None:
        trials = worker(tmp_path)
        while (taken := trials.take()) is not None:
            seen.append((taken.number, taken.draws))
            trials.tell(taken, TrialState.COMPLETE, taken.number / 10)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(number for number, _ in seen) == list(range(8))
    (tmp_path / "alone").mkdir()
    alone = worker(tmp_path / "alone")
    assert dict(seen) == {n: take(alone).draws for n in range(8)}
    trials = worker(tmp_path)
    assert trials.ranked() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert (trials.take(), trials.under_way()) == (None, [])


def test_a_trial_whose_worker_is_gone_goes_on_with_its_draws(tmp_path: Path) -> None:
    mine, other = worker(tmp_path, trials=2), worker(tmp_path, trials=2)
    first, second = take(mine), take(mine)
    assert other.take() is None  # both are worked on
    lose(first)
    again = take(other)
    assert (again.number, again.draws, again.run.path) == (0, first.draws, first.run.path)
    assert not mine.tell(first, TrialState.COMPLETE, 0.5)  # it is the other's by now
    assert other.tell(again, TrialState.COMPLETE, 0.7)
    assert mine.tell(second, TrialState.PRUNED)
    assert [one.state.name for one in mine.study.trials] == ["FAIL", "PRUNED", "COMPLETE"]
    assert {n: one.value for n, one in mine.numbered().items()} == {0: 0.7, 1: None}
    assert mine.ranked() == [0]


def test_a_worker_that_was_killed_while_it_took_a_trial_loses_none(tmp_path: Path) -> None:
    trials = worker(tmp_path, trials=2)
    trials.study.ask()  # and no more: it has neither number nor draws
    half = trials.study.ask()
    half.set_user_attr("number", 0)
    half.suggest_float("optimizer.lr", 1e-4, 1e-1, log=True)
    lr = half.params["optimizer.lr"]
    taken = [take(trials), take(trials)]
    assert [one.number for one in taken] == [0, 1]
    assert taken[0].draws["optimizer.lr"] == lr
    assert taken[0].draws["model"] in ("lenet", "resnet")
    assert trials.take() is None


def test_a_trial_that_costs_each_worker_its_life_ends(tmp_path: Path) -> None:
    trials = worker(tmp_path, trials=1)
    for _ in range(PATIENCE):
        lose(take(trials))
    assert trials.take() is None
    assert trials.numbered()[0].user_attrs[REASON] == (
        f"{PATIENCE} workers in turn were lost after epoch 0; out of memory?"
    )
    assert trials.under_way() == []


def test_one_that_gets_on_between_goes_on(tmp_path: Path) -> None:
    trials = worker(tmp_path, trials=1)
    for epoch in range(2 * PATIENCE):
        taken = take(trials)
        for earlier in range(epoch + 1):  # as `ScoreReport` does
            taken.trial.report(0.5, earlier + 1)
        lose(taken)
    assert take(trials).number == 0


def test_the_budget_counts_the_time_in_which_any_worker_was_at_work(tmp_path: Path) -> None:
    trials = worker(tmp_path, seconds=0.5)
    one, other = take(trials), take(trials)
    time.sleep(0.2)
    trials.tell(one, TrialState.COMPLETE, 0.5)
    trials.tell(other, TrialState.COMPLETE, 0.6)
    assert 0.2 <= trials.seconds_spent() < 0.4  # at the same time, so once
    left = take(trials)
    time.sleep(0.4)
    assert trials.seconds_left() <= 0
    (left.run / FILE).unlink()  # its worker was interrupted
    assert trials.take() is None
    assert trials.numbered()[2].user_attrs[REASON] == "search.budget was spent"
    assert trials.ranked() == [1, 0]


@pytest.mark.parametrize("sampler", ["coarse_to_fine", "tpe", "cma_es"])
def test_other_samplers_take_what_has_ended_into_account(tmp_path: Path, sampler: str) -> None:
    trials = worker(tmp_path, sampler=sampler, first=3)
    draws = []
    while (taken := trials.take()) is not None:
        draws.append(taken.draws)
        trials.tell(taken, TrialState.COMPLETE, -abs(taken.draws["optimizer.lr"] - 0.01))
    assert len({one["optimizer.lr"] for one in draws}) == 8
