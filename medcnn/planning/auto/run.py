"""A plan made and carried out within its budget."""

import json
from functools import partial
from math import ceil
from typing import Any

from medcnn.data.open_data import open_data
from medcnn.jobs.atomic_files import read_csv, write_json, write_text
from medcnn.jobs.by_hand import Settings, set_by_hand
from medcnn.jobs.progress import duration
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.jobs.settings.values import parse_duration
from medcnn.planning.auto.budget import DEFAULT, Budget, open_budget
from medcnn.planning.auto.plan import apply, make_plan
from medcnn.planning.auto.race import race
from medcnn.training.cross_validation import cross_validate
from medcnn.training.one_run import train_in

LENT = 0.25  # share of its time by which a training may be late that isn't the last one


def carry_out(cfg: Train, run: RunDir, trust: list[str]) -> float:
    """Plan a training, unless that is done, and train so, within the budget.

    The folder then holds, beside what the training leaves, ``plan.yaml`` (an experiment config of
    the choices), ``plan.json`` (the choices with their reasons) and ``budget.json`` (the seconds
    that are spent, by which a plan that was interrupted goes on).

    Returns:
        The highest validation figure; of folds their mean.

    Raises:
        UserError: Data or a budget with which it can't be done.
    """
    budget = open_budget(run / "budget.json", parse_duration("budget", cfg.budget or DEFAULT))
    if cfg.budget is None:
        print(f"plan=auto without a budget: it takes {duration(budget.seconds)}", flush=True)
    with budget.kept(run / "budget.json"):
        cfg = _planned(cfg, run, budget, trust)
        if cfg.fold == "all":
            parts = [RunDir(run / f"fold-{fold}") for fold in range(cfg.folds)]
            best = cross_validate(cfg, run, trust, partial(give_time, run, parts, budget))
        else:
            give_time(run, [run], budget, cfg)
            best = train_in(cfg, run, trust)
    print(f"{duration(budget.spent)} of {duration(budget.seconds)} spent", flush=True)
    return best


def _planned(cfg: Train, run: RunDir, budget: Budget, trust: list[str]) -> Train:
    """Return the settings of the plan, made now unless the run has them."""
    path = run / "plan.json"
    stored: dict[str, Any] = {}
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
    if "choices" in stored:
        return cfg
    by_hand: Settings = {k: (where, choice) for k, (where, choice) in stored.items()}
    if not path.exists():  # else the plan was interrupted, and the command line is another one
        by_hand = set_by_hand()
        write_json(path, by_hand)
    plan = make_plan(cfg, by_hand, budget, trust)
    for line in plan.table():
        print(line, flush=True)
    _read_files(plan.cfg, trust)
    if (told := race(plan, by_hand, run, budget, trust)) is not None:
        raced = {key: (value, told.reason) for key, value in told.values.items()}
        plan = apply(cfg, by_hand, plan.data, plan.machine, budget, plan.lines, raced)
        print(told.reason, flush=True)
    plan.write(run / "plan.yaml")
    write_text(run / "config.yaml", plan.cfg.yaml())
    plan.record(path)
    return plan.cfg


def _read_files(cfg: Train, trust: list[str]) -> None:
    """Make the files of a data set into images, so that the first training needn't."""
    if "path" in cfg.dataset:
        first = {"fold": 0} if cfg.fold == "all" else {}
        open_data(cfg.model_copy(update=first), trust, checked=False, quiet=True)


def give_time(run: RunDir, parts: list[RunDir], budget: Budget, cfg: Train) -> None:
    """Give a training its share of the time that is left, as its deadline.

    What it takes beside its epochs is taken to be what the one before took, or else what was
    planned; and what comes after all of them to be as much slower than planned. Where several are
    trained at once, those that are still to begin share the time in rounds.

    Args:
        run: Of the plan.
        parts: Of all its trainings, in the order in which they begin.
        budget: Its time.
        cfg: Of the training that is next; its deadline is set.
    """
    assert cfg.plan is not None
    planned = json.loads((run / "plan.json").read_text(encoding="utf-8"))["seconds"]
    taken = [seconds for part in parts if (seconds := _beside(part)) is not None]
    each = taken[-1] if taken else planned["fold"]
    slower = max(1.0, each / planned["fold"])
    to_begin = sum(not part.finished for part in parts[cfg.fold if len(parts) > 1 else 0 :])
    rounds = ceil(to_begin / cfg.folds_at_once)
    share = (budget.left - slower * planned["end"]) / rounds - each
    cfg.plan.deadline = budget.now() + share * (1 + LENT * (1 - 1 / rounds))


def _beside(part: RunDir) -> float | None:
    """Return the seconds that a finished training took beside its epochs."""
    if not part.finished or "seconds" not in part.status:
        return None
    epochs = read_csv(part / "metrics.csv")["seconds"].astype(float).sum()
    return float(part.status["seconds"] - epochs)
