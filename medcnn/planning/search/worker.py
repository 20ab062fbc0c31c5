"""A worker of a search: it takes trial after trial, and one of them finishes the search."""

import shlex
import sys
import time
from pathlib import Path

from optuna.trial import TrialState

from medcnn.errors import InterruptedRunError, PrunedRunError, UserError
from medcnn.jobs.atomic_files import for_spreadsheets
from medcnn.jobs.interruption import raise_if_received, requeue
from medcnn.jobs.notes import once, without_password
from medcnn.jobs.private import with_pseudonyms
from medcnn.jobs.settings.commands import Search
from medcnn.planning.search.begin import begin
from medcnn.planning.search.compose import Composer
from medcnn.planning.search.finish import finish, is_finished, note_progress
from medcnn.planning.search.keep import keep_the_best
from medcnn.planning.search.one_trial import train_trial
from medcnn.planning.search.pruning import LostTrialError, ScoreReport
from medcnn.planning.search.space import overrides_of
from medcnn.planning.search.storage import locked
from medcnn.planning.search.table import write_table
from medcnn.planning.search.trials import Taken, Trials

WAIT = 2  # seconds between two looks at what other workers do
HOPELESS = 5  # trials that fail before any has come to a score


def work(cfg: Search, trust: list[str]) -> None:
    """Take part in a search until its last trial has ended, then finish it.

    Args:
        cfg: See conf/search.yaml.
        trust: Names that a ``_target_`` may hold beside medcnn's own.

    Raises:
        KeyboardInterrupt: With a message that says how to go on.
        UserError: Settings or data with which no trial can begin.
    """
    for_spreadsheets(cfg.spreadsheet)
    with once():  # what is said of the data holds for all trials
        _work(cfg, trust)


def _work(cfg: Search, trust: list[str]) -> None:
    composer, trials = begin(cfg, trust)
    try:
        if not is_finished(trials.folder):
            _take_all(composer, trials, trust)
        finish(cfg, composer, trials, trust)
    except KeyboardInterrupt:
        queued = requeue() if cfg.trainer.requeue else None
        more = "" if queued is None else f"; {queued}"
        raise KeyboardInterrupt(f"interrupted; {how_to_go_on(trials.folder)}{more}") from None
    except InterruptedRunError as stop:
        raise UserError(f"{stop}; {how_to_go_on(trials.folder)}") from stop


def _take_all(composer: Composer, trials: Trials, trust: list[str]) -> None:
    """Work on trials as long as there are any."""
    waited_for: list[int] = []
    while True:
        taken = trials.take()
        if taken is not None:
            _note(trials)
            _work_on(taken, composer, trials, trust)
            _note(trials)
            _refuse_if_hopeless(trials)
            continue
        if not (under_way := trials.under_way()):
            return
        if under_way != waited_for:
            names = ", ".join(str(number) for number in under_way)
            print(f"waiting for trial {names} of other workers", flush=True)
            waited_for = under_way
        time.sleep(WAIT)
        raise_if_received()


def _work_on(taken: Taken, composer: Composer, trials: Trials, trust: list[str]) -> None:
    """Train one trial, and tell how it ended."""
    overrides = overrides_of(taken.draws)
    print(f"trial {taken.number}: {' '.join(overrides)}", flush=True)
    report = ScoreReport(taken.trial, taken.run, taken.stamp, trials.seconds_left)
    whole = [*composer.of_training(), *overrides]
    try:
        with taken.stamp.beating(trials.settings.stale):
            cfg = composer.training(taken.draws)
            score = train_trial(cfg, taken.run, whole, trust, report)
    except PrunedRunError as stop:
        report.catch_up(cfg.trainer.max_epochs)  # where another worker had pruned it
        there = trials.tell(taken, TrialState.PRUNED, reason=str(stop))
        print(f"trial {taken.number}: {stop}", flush=True)
    except (KeyboardInterrupt, InterruptedRunError):
        taken.stamp.let_go()
        raise
    except LostTrialError:
        there = False
    except Exception as error:  # whatever it is, the other trials go on
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        reason = with_pseudonyms(kind + " ".join(str(error).split()))[:500]
        there = trials.tell(taken, TrialState.FAIL, reason=reason)
        print(f"trial {taken.number} failed: {reason}", flush=True)
    else:
        report.catch_up(cfg.trainer.max_epochs)  # where another worker had trained to the end
        there = trials.tell(taken, TrialState.COMPLETE, score)
        print(f"trial {taken.number}: validation score {score:.4f}", flush=True)
    if not there:
        print(f"trial {taken.number}: another worker goes on with it", flush=True)


def _note(trials: Trials) -> None:
    """Bring the files of a search up to date."""
    with locked(trials.folder):
        keep_the_best(trials)
        write_table(trials)
        note_progress(trials)


def _refuse_if_hopeless(trials: Trials) -> None:
    """Raise UserError if all trials so far have failed, and not just a few."""
    every = [one for one in trials.numbered().values() if one.state.is_finished()]
    if len(every) >= HOPELESS and all(one.state == TrialState.FAIL for one in every):
        raise UserError(
            f"all of {len(every)} trials have failed; the last one: "
            f"{every[-1].user_attrs.get('reason')}; see {trials.folder / 'summary.csv'}"
        )


def how_to_go_on(folder: Path) -> str:
    """Return the command that goes on with a search, as the end of a line."""
    words = [one for one in sys.argv[1:] if not one.startswith("output=")]
    command = without_password(shlex.join([*words, f"output={folder}"]))
    return f"go on with: python -m medcnn.search {command}"
