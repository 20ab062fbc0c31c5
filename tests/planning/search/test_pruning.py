"""What a training reports to its search, without training."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pandas as pd
import pytest

from medcnn.errors import PrunedRunError
from medcnn.jobs.rundir import RunDir
from medcnn.planning.search.heartbeat import Stamp
from medcnn.planning.search.pruning import LostTrialError, ScoreReport
from medcnn.planning.search.trials import make_pruner


def report(folder: Path, trial: optuna.Trial, seconds_left: float = 9) -> ScoreReport:
    return ScoreReport(trial, RunDir(folder), Stamp(folder), lambda: seconds_left)


def after(epoch: int, score: float) -> Any:
    """A trainer after an epoch, from 1, of nine."""
    return SimpleNamespace(
        current_epoch=epoch - 1, max_epochs=9, callback_metrics={"val/score": score}
    )


def test_a_trial_that_is_behind_is_stopped_and_the_last_epoch_never(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner("asha", 9))
    ends = {}
    for score in (0.9, 0.8, 0.7):
        trial = study.ask()
        one = report(tmp_path, trial)
        for epoch in range(1, 10):
            try:
                one.on_train_epoch_end(after(epoch, score), None)  # type: ignore[arg-type]
            except PrunedRunError as stop:
                ends[score] = str(stop)
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, score)
    assert ends == dict.fromkeys((0.8, 0.7), "behind after epoch 1 of 9")


def test_a_trial_that_goes_on_reports_its_earlier_epochs(tmp_path: Path) -> None:
    table = pd.DataFrame({"epoch": [1, 2, 3], "val/score": [0.1, 0.3, 0.2]})
    table.to_csv(tmp_path / "metrics.csv", index=False)
    trial = optuna.create_study(direction="maximize").ask()
    one = report(tmp_path, trial)
    one.on_train_start(after(3, 0), None)  # type: ignore[arg-type]
    one.on_train_epoch_end(after(3, 0.25), None)  # type: ignore[arg-type]
    one.catch_up(9)
    (frozen,) = trial.study.trials
    assert frozen.intermediate_values == {1: 0.1, 2: 0.3, 3: 0.25}


def test_the_end_of_the_budget_and_of_the_claim(tmp_path: Path) -> None:
    trial = optuna.create_study(direction="maximize").ask()
    with pytest.raises(PrunedRunError, match=r"^search\.budget was spent after epoch 2 of 9$"):
        report(tmp_path, trial, 0).on_train_epoch_end(after(2, 0.5), None)  # type: ignore[arg-type]
    one = report(tmp_path, trial)
    one.stamp.lost = True
    with pytest.raises(LostTrialError):
        one.on_train_epoch_end(after(2, 0.5), None)  # type: ignore[arg-type]


def test_rungs_are_at_a_ninth_and_a_third_of_the_epochs() -> None:
    pruner: Any = make_pruner("asha", 90)
    assert (pruner._min_resource, pruner._reduction_factor) == (10, 3)
    assert isinstance(make_pruner("hyperband", 5), optuna.pruners.HyperbandPruner)
    assert isinstance(make_pruner("none", 5), optuna.pruners.NopPruner)
