"""summary.csv: a row a trial."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from medcnn.jobs.atomic_files import write_csv
from medcnn.jobs.rundir import RunDir
from medcnn.planning.search.space import Key
from medcnn.planning.search.trials import REASON, Trials

WORDS = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def write_table(trials: Trials) -> None:
    """Write ``summary.csv`` into the folder of a search.

    Its columns are the trial's number, its state, score (of a trial that was pruned that of its
    last epoch), epochs, seconds, a column for each key that is drawn, and the reason of its end
    where it didn't run to the last epoch.
    """
    rows = [
        _row(number, one, trials.run(number), trials.space)
        for number, one in sorted(trials.numbered().items())
    ]
    columns = ["number", "state", "score", "epochs", "seconds"]
    columns += [*(key.name for key in trials.space), "reason"]
    write_csv(trials.folder / "summary.csv", pd.DataFrame(rows, columns=columns))


def _row(number: int, one: FrozenTrial, run: RunDir, space: Sequence[Key]) -> dict[str, Any]:
    seconds = run.status.get("seconds")
    return {
        "number": number,
        "state": WORDS[one.state],
        "score": one.value,
        "epochs": _epochs(run),
        "seconds": None if seconds is None else round(seconds, 1),
        **{key.name: one.params.get(key.name) for key in space},
        "reason": one.user_attrs.get(REASON),
    }


def _epochs(run: RunDir) -> int:
    """Return the number of epochs that a trial has trained."""
    try:
        return len((run / "metrics.csv").read_text(encoding="utf-8").splitlines()) - 1
    except FileNotFoundError:
        return 0
