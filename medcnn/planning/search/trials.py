"""The trials of a search: taken one by one by its workers, told when they end, none lost."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings import groups
from medcnn.planning.search.heartbeat import Stamp, is_worked_on, last_sign
from medcnn.planning.search.samplers import make_sampler
from medcnn.planning.search.space import Draws, Key, suggest
from medcnn.planning.search.storage import locked

# What is known of one of Optuna's trials beside its draws. One that was taken over has a number of
# Optuna's own for each worker that it had; `NUMBER` stays, and its run directory.
NUMBER, REPEATS, REASON, ENDED, LOST = "number", "repeats", "reason", "ended", "lost"
SPENT = "search.budget was spent"
PATIENCE = 5  # workers that may be lost at one epoch of a trial
RUNG = 3  # pruning keeps one of so many at each rung; the first is at a ninth of the epochs


@dataclass
class Taken:
    """A trial that this worker is at work on."""

    number: int
    trial: Trial
    draws: Draws
    stamp: Stamp
    run: RunDir


class Trials:
    """The trials of a search as all its workers see them.

    Args:
        folder: Of the search.
        study: Optuna's, see `medcnn.planning.search.storage.open_study`.
        settings: Of the search.
        seed: Of the draws.
        space: That they are from.
    """

    def __init__(
        self, folder: Path, study: Study, settings: groups.Search, seed: int, space: Sequence[Key]
    ) -> None:
        self.folder, self.study, self.settings = folder, study, settings
        self.seed, self.space = seed, space

    def run(self, number: int) -> RunDir:
        """Return a trial's run directory."""
        return RunDir(self.folder / "trials" / f"{number:04d}")

    def numbered(self) -> dict[int, FrozenTrial]:
        """Return by number the trial of Optuna's that counts: the last one with that number."""
        every = self.study.get_trials(deepcopy=False)
        return {t.user_attrs[NUMBER]: t for t in every if NUMBER in t.user_attrs}

    def take(self) -> Taken | None:
        """Return a trial to work on: one that another worker has left, or a new one; else None."""
        with locked(self.folder):
            self._leave_to_others()
            while True:
                there = self.numbered()
                waiting = [
                    number
                    for number, one in sorted(there.items(), key=lambda pair: pair[1].number)
                    if one.state == TrialState.WAITING  # which Optuna takes in this order
                ]
                spent = self.seconds_left() <= 0
                if not waiting and (spent or len(there) >= self.settings.trials):
                    return None
                taken = self._asked(waiting[0] if waiting else len(there), there)
                lost = taken.trial.user_attrs.get(LOST, {}).get("workers", 0)
                if not spent and lost < PATIENCE:
                    return taken
                epochs = taken.trial.user_attrs.get(LOST, {}).get("epochs")
                reason = f"{lost} workers in turn were lost after epoch {epochs}; out of memory?"
                self._tell(taken, TrialState.FAIL, None, SPENT if lost < PATIENCE else reason)

    def tell(
        self, taken: Taken, state: TrialState, score: float | None = None, reason: str = ""
    ) -> bool:
        """Tell how a trial ended; False if another worker has it by now."""
        with locked(self.folder):
            if not taken.stamp.held:
                return False
            self._tell(taken, state, score, reason)
            return True

    def under_way(self) -> list[int]:
        """Return the numbers of trials that haven't ended."""
        ended = {n for n, one in self.numbered().items() if one.state.is_finished()}
        return [n for n in self.numbered() if n not in ended]

    def ranked(self) -> list[int]:
        """Return the numbers of trials that ran to their end, the best first."""
        done = [(n, t) for n, t in self.numbered().items() if t.state == TrialState.COMPLETE]
        return [n for n, t in sorted(done, key=lambda pair: (-(pair[1].value or 0.0), pair[0]))]

    def seconds_spent(self) -> float:
        """Return for how long any worker was at work on a trial."""
        every = self.study.get_trials(deepcopy=False)
        left = {
            t.user_attrs[REPEATS]: t.user_attrs[ENDED] for t in every if REPEATS in t.user_attrs
        }
        spans = []
        for one in every:
            if one.datetime_start is not None:
                end = left.get(one.number, (one.datetime_complete or datetime.now()).timestamp())
                spans.append((one.datetime_start.timestamp(), end))
        seconds, until = 0.0, 0.0
        for start, end in sorted(spans):
            seconds += max(end - max(start, until), 0.0)
            until = max(until, end)
        return seconds

    def seconds_left(self) -> float:
        """Return what is left of the budget; infinite without one."""
        budget = self.settings.seconds
        return float("inf") if budget is None else budget - self.seconds_spent()

    def _asked(self, number: int, there: dict[int, FrozenTrial]) -> Taken:
        """Return the next trial with its draws; one that waits comes before a new one."""
        finished = [
            (one.params, one.value if one.state == TrialState.COMPLETE else None)
            for one in there.values()
            if one.state.is_finished()
        ]
        self.study.sampler = make_sampler(self.settings, self.seed, number, finished)
        trial = self.study.ask()
        trial.set_user_attr(NUMBER, trial.user_attrs.get(NUMBER, number))
        run = self.run(trial.user_attrs[NUMBER])
        draws, stamp = suggest(self.space, trial), Stamp(run.path)
        stamp.take()
        return Taken(trial.user_attrs[NUMBER], trial, draws, stamp, run)

    def _tell(self, taken: Taken, state: TrialState, score: float | None, reason: str) -> None:
        if reason:
            taken.trial.set_user_attr(REASON, reason)
        self.study.tell(taken.trial, score, state)
        taken.stamp.let_go()

    def _leave_to_others(self) -> None:
        """Tell trials without a living worker as failed, and queue them again with their draws."""
        there = self.numbered()
        for one in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            number = one.user_attrs.get(NUMBER)
            if number is not None and there[number].number == one.number:
                run = self.run(number)
                if is_worked_on(run.path, self.settings.stale):
                    continue
                epochs = len(one.intermediate_values)
                lost = one.user_attrs.get(LOST, {"epochs": -1})
                workers = lost["workers"] + 1 if lost["epochs"] == epochs else 1
                if run.status.get("state") == "interrupted":  # by its user, not for a fault of its
                    workers = 0
                facts = {
                    NUMBER: number,
                    REPEATS: one.number,
                    ENDED: last_sign(run.path) or _ended(run) or time.time(),
                    LOST: {"epochs": epochs, "workers": workers},
                }
                self.study.enqueue_trial(one.params, user_attrs=facts)
            self.study.tell(one.number, state=TrialState.FAIL)  # it had no draws yet, or goes on


def _ended(run: RunDir) -> float | None:
    try:
        return (run / "status.json").stat().st_mtime
    except OSError:
        return None


def make_pruner(name: str, epochs: int) -> BasePruner:
    """Return Optuna's pruner of that name, for trainings of so many epochs."""
    first = max(1, round(epochs / RUNG**2))
    if name == "asha":
        return SuccessiveHalvingPruner(min_resource=first, reduction_factor=RUNG)
    if name == "hyperband":
        return HyperbandPruner(min_resource=first, max_resource=epochs, reduction_factor=RUNG)
    return NopPruner()
