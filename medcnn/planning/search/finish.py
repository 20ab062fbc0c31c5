"""The end of a search: its winner, ensemble, files and page."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from medcnn.errors import UserError
from medcnn.jobs import file_locks
from medcnn.jobs.atomic_files import write_json
from medcnn.jobs.settings.commands import Search
from medcnn.planning.search.compose import Composer
from medcnn.planning.search.ensemble import write_best_ensemble
from medcnn.planning.search.keep import keep_the_best
from medcnn.planning.search.space import overrides_of
from medcnn.planning.search.storage import locked
from medcnn.planning.search.trials import Trials
from medcnn.planning.search.winner import test_once, train_further, write_experiment
from medcnn.report.search.page import write_search_page

OUTCOME, BEST = "search.json", "best.yaml"
FEWEST = 5  # trials for an importance


def note_progress(trials: Trials) -> None:
    """Write ``search.json`` and the page of a search that goes on."""
    if not is_finished(trials.folder):
        write_json(trials.folder / OUTCOME, {"finished": False, **_facts(trials)})
        write_search_page(trials.folder)


def finish(cfg: Search, composer: Composer, trials: Trials, trust: list[str]) -> None:
    """Choose the winner, test it once, put an ensemble together, and write all that there is.

    Of several workers one does so. What was done before is not done again.

    Raises:
        UserError: No trial ran to its end.
    """
    folder = trials.folder
    with (folder / ".finish").open("a") as file:
        try:
            file_locks.lock(file, wait=False)
        except BlockingIOError:
            print("another worker finishes the search", flush=True)
            return
        if is_finished(folder) and cfg.search.final in ("none", _outcome(folder)["final"]):
            print(f"{folder / 'search.html'}: this search is finished", flush=True)
            return
        kept = keep_the_best(trials)
        if not kept:
            raise UserError(f"no trial ran to its end; see {folder / 'summary.csv'}")
        _finish(cfg, composer, trials, kept, trust)


def _finish(
    cfg: Search, composer: Composer, trials: Trials, kept: list[int], trust: list[str]
) -> None:
    folder, winner = trials.folder, kept[0]
    one = trials.numbered()[winner]
    draws, score = dict(one.params), one.value
    overrides = [*composer.of_training(), *overrides_of(draws)]
    about = (
        f"The best of {len(trials.numbered())} trials: {winner:04d}, validation score {score:.4g}"
    )
    write_experiment(folder / BEST, composer, draws, about)
    print(f"{about}: {' '.join(overrides_of(draws))}", flush=True)
    runs = [trials.run(number) for number in kept]
    ensemble = write_best_ensemble(folder, runs, cfg.evaluation.operating_point, trust)
    test_once(cfg, trials.run(winner), folder / "test", draws, trust)
    train_further(cfg, composer.training(draws), folder / "final", overrides, trust)
    content = {
        "finished": True,
        **_facts(trials),
        "winner": winner,
        "kept": kept,
        "importance": importance(trials.study),
        "ensemble": ensemble,
        "final": cfg.search.final,
    }
    with locked(folder):
        write_json(folder / OUTCOME, content)
        page = write_search_page(folder)
    print(f"{page}; train with the winner's settings: experiment={folder / BEST}", flush=True)


def importance(study: optuna.Study) -> dict[str, float]:
    """Return how much each key matters for the score, in all 1: by Optuna's fANOVA.

    F. Hutter, H. Hoos, K. Leyton-Brown, "An efficient approach for assessing hyperparameter
    importance", 2014. Of keys that are drawn in some trials only nothing is known. It is empty for
    fewer than `FEWEST` trials, or scores that are all the same.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < FEWEST or len({one.value for one in done}) < 2:
        return {}
    with suppress(ValueError, RuntimeError):  # such as no key that all trials have
        found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
        return {name: float(share) for name, share in found.items()}
    return {}


def _facts(trials: Trials) -> dict[str, Any]:
    settings = trials.settings
    return {
        "sampler": settings.sampler,
        "pruner": settings.pruner,
        "trials": settings.trials,
        "budget": settings.seconds,
        "seconds": round(trials.seconds_spent(), 1),
        "keys": [key.name for key in trials.space],
    }


def is_finished(folder: Path) -> bool:
    """Return whether the winner of a search was chosen and tested, after which no trial follows."""
    return (folder / OUTCOME).exists() and bool(_outcome(folder)["finished"])


def _outcome(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
    return content
