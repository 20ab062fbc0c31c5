"""A race of a plan against its rivals, on the validation split, by successive halving."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import pytorch_lightning as pl

from medcnn.classifier.build import make_classifier
from medcnn.classifier.card import make_card
from medcnn.data.open_data import in_memory, open_data
from medcnn.data.samples import Samples
from medcnn.jobs.by_hand import Settings
from medcnn.jobs.hardware import processes, set_threads
from medcnn.jobs.progress import duration
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.planning.auto.budget import Budget
from medcnn.planning.auto.choices import changed, fixed
from medcnn.planning.auto.nets import WIDTHS
from medcnn.planning.auto.plan import Plan
from medcnn.planning.auto.time_needed import Needs
from medcnn.training.fit import guarded
from medcnn.training.from_config import make_data, make_module
from medcnn.training.trainer import make_trainer
from medcnn.training.transfer import settle

# A plan is raced against its rivals in longer budgets only: in a short one each second of training
# is worth more than the choice.
RACED_FROM, SHARE_RACED = 1200, 0.15  # seconds of the budget; share of what is left for the race
FEWEST_RACED = 5  # epochs of the first round
MARGIN_RACED = 0.01  # of the validation figure, by which a rival has to be better
START = 2.0  # seconds of a training before its first epoch
LATE = 1.3  # times the time that it is given, after which a candidate has to be done
Score = Callable[[dict[str, Any], int, float], float]


@dataclass(frozen=True)
class Race:
    """What a race has told.

    Args:
        values: Of the winner, by the keys in which the candidates differ.
        reason: In words.
    """

    values: dict[str, Any]
    reason: str


def race(
    plan: Plan[Any], by_hand: Settings, run: RunDir, budget: Budget, trust: list[str]
) -> Race | None:
    """Let a plan and its rivals train for a while; None where there is nothing or no time to race.

    They see the training images of one fold, or of the one split, and are judged on its validation
    images; no test image is looked at.

    Args:
        plan: It has made its choices.
        by_hand: Keys that rivals leave alone.
        run: Of the plan; its folder ``race`` is used, and removed.
        budget: Of which a share is taken.
        trust: Names that the config may hold beside medcnn's own.
    """
    field = candidates(plan, fixed(by_hand))
    if budget.seconds < RACED_FROM or len(field) < 2 or processes(plan.cfg.trainer) > 1:
        return None
    folder = RunDir(run / "race")
    try:
        return decide(plan, field, budget, _trained(plan.cfg, by_hand, folder, trust))
    finally:
        shutil.rmtree(folder.path, ignore_errors=True)


def candidates(plan: Plan[Any], there: dict[str, str]) -> list[dict[str, Any]]:
    """Return the plan's own values, first, and those of each rival, all of the same keys."""
    rivals = [values for one in RIVALS if (values := one(plan.needs)) and not {*values} & {*there}]
    keys = dict.fromkeys(key for values in rivals for key in values)
    chosen = {line.key: line.value for line in plan.lines}
    own = {key: chosen[key] for key in keys if key in chosen}
    return [own, *(own | values for values in rivals if {*values} <= {*own})]


def decide(
    plan: Plan[Any], field: list[dict[str, Any]], budget: Budget, score: Score
) -> Race | None:
    """Race by successive halving (K. Jamieson, A. Talwalkar 2016): the better ones twice as long.

    Each has the same time, so that a smaller net has more passes. A rival has to be better by a
    margin, since a validation split is small.

    Args:
        plan: Whose time model says what an epoch takes.
        field: Values of each candidate, the plan's own first.
        budget: Of which a share is taken.
        score: From values, epochs and a deadline to a validation figure.

    Returns:
        The winner; None where there is no time for `FEWEST_RACED` epochs.
    """
    rounds = [len(field), 2] if len(field) > 2 else [len(field)]
    slot = SHARE_RACED * budget.left / sum(2**k * count for k, count in enumerate(rounds)) - START
    alone = plan.needs.given({"folds_at_once": 1})
    each = [alone.epoch(values) for values in field]
    if slot / max(each) < FEWEST_RACED:
        return None
    scores, ahead = [0.0] * len(field), [*range(len(field))]
    for k, count in enumerate(rounds):
        ahead = sorted(ahead, key=lambda one: -scores[one])[:count]
        for one in ahead:
            seconds = 2**k * slot
            deadline = budget.now() + START + LATE * seconds
            found = score(field[one], int(seconds / each[one]), deadline)
            scores[one] = found if isfinite(found) else -inf
    best = max(ahead, key=lambda one: scores[one] - MARGIN_RACED * (one > 0))
    if 0 not in ahead and scores[best] < scores[0] + MARGIN_RACED:
        best = 0
    shown = [f"{scores[0]:.3f} as planned"]
    shown += [f"{scores[k]:.3f} with {_named(field[k], field[0])}" for k in range(1, len(field))]
    return Race(field[best], f"raced for {duration(slot)} each on validation: {', '.join(shown)}")


def lighter(n: Needs) -> dict[str, Any]:
    """Return the same with less augmentation."""
    if n.chosen.get("augment") != "standard":
        return {}
    return {"augment": "light"} | {k: v for k, v in n.chosen.items() if k == "augment.flip"}


def narrower(n: Needs) -> dict[str, Any]:
    """Return the same with a narrower net."""
    width = n.chosen.get("model.width")
    return {"model.width": width / 2} if width is not None and width > WIDTHS[-1] else {}


RIVALS: tuple[Callable[[Needs], dict[str, Any]], ...] = (lighter, narrower)


def _named(values: dict[str, Any], own: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items() if value != own[key])


def _trained(cfg: Train, by_hand: Settings, folder: RunDir, trust: list[str]) -> Score:
    """Return the function that trains a candidate, and gives its validation figure."""
    first = cfg.model_copy(deep=True, update={"fold": 0 if cfg.fold == "all" else cfg.fold})
    samples = open_data(first, trust, checked=False, quiet=True).samples
    in_memory(samples, cfg.cache.memory)

    def score(values: dict[str, Any], epochs: int, deadline: float) -> float:
        short = {"trainer.max_epochs": epochs, "logger": "none", "cam.n": 0}
        own = changed(first, values | short, by_hand)
        assert own.plan is not None
        own.plan.deadline = deadline
        return fit(own, folder, trust, samples)

    return score


def fit(cfg: Train, run: RunDir, trust: list[str], samples: Samples) -> float:
    """Train in this process, and return the highest validation figure; nothing is tested."""
    shutil.rmtree(run.path, ignore_errors=True)
    run.best.parent.mkdir(parents=True)
    cfg.paths.run = str(run.path)
    set_threads(cfg.trainer.threads, 1)
    settle(cfg, samples, trust)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    classifier = make_classifier(make_card(cfg, samples), trust, fresh=True)
    module, data = make_module(cfg, classifier, samples, trust), make_data(cfg, samples, trust)
    trainer = make_trainer(cfg, run, trust)
    guarded(trainer.fit, module, data)
    score = trainer.checkpoint_callback.best_model_score  # type: ignore[union-attr]
    return float("nan") if score is None else float(score)
