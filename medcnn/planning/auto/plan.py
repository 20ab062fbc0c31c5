"""A plan: the rules applied round what is set by hand, with the reason of each choice."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from medcnn.data.studies import learns_studies
from medcnn.errors import UserError
from medcnn.jobs.atomic_files import write_json, write_text
from medcnn.jobs.by_hand import Settings
from medcnn.jobs.notes import visible
from medcnn.jobs.progress import duration
from medcnn.jobs.settings.commands import Train
from medcnn.planning.auto.budget import Budget
from medcnn.planning.auto.choices import (
    ELSEWHERE,
    OF_IMAGES,
    changed,
    check_names,
    experiment,
    fixed,
    is_group,
    shown,
    value_of,
)
from medcnn.planning.auto.fingerprint import Fingerprint, fingerprint
from medcnn.planning.auto.machine import Machine, Work, measure, work_of
from medcnn.planning.auto.nets import SIZES, finer, takes_strides
from medcnn.planning.auto.rule import Choice, Rule
from medcnn.planning.auto.rules import RULES
from medcnn.planning.auto.time_needed import Needs

Made = TypeVar("Made", bound=Train)
SECOND_SIZE = {2: 64, 3: 0}  # px that speed is measured at, too, where files can be made so large


@dataclass(frozen=True)
class Line:
    """One choice: a key, its value, and why."""

    key: str
    value: Any
    reason: str
    rule: str  # its name; empty of what is set by hand


@dataclass(frozen=True)
class Plan(Generic[Made]):
    """Settings that were chosen, with the reasons.

    Args:
        cfg: The settings of the training, ready.
        lines: Each choice, and what is set by hand.
        data: Facts of the data.
        machine: Facts of the machine.
        budget: Seconds.
        needs: What the rules saw last.
    """

    cfg: Made
    lines: list[Line]
    data: Fingerprint
    machine: Machine
    budget: float
    needs: Needs

    def table(self) -> list[str]:
        """Return the plan as lines to print."""
        facts = [f"{name}: {text}" for name, text in self.data.lines()]
        cells = [(line.key, shown(line.value), line.reason) for line in self.lines]
        widths = [max(len(one[k]) for one in cells) for k in (0, 1)]
        rows = [f"  {k:{widths[0]}}  {v:{widths[1]}}  {why}" for k, v, why in cells]
        head = f"plan of {self.data.name} in {duration(self.budget)}"
        return [visible(one) for one in (head, *facts, f"machine: {self.machine.line()}", *rows)]

    def write(self, path: Path) -> None:
        """Write it as an experiment config, which a training takes by ``experiment=PATH``."""
        values = {line.key: (line.value, line.reason) for line in self.lines}
        facts = [f"{name}: {text}" for name, text in self.data.lines()]
        head = [
            f"Planned for {self.data.name} and a budget of {duration(self.budget)}.",
            *facts,
            f"machine: {self.machine.line()}",
        ]
        write_text(path, experiment(values, [visible(line) for line in head]))

    def record(self, path: Path) -> None:
        """Write what the page of the run shows."""
        choices = [
            {"key": line.key, "value": line.value, "reason": line.reason, "rule": line.rule}
            for line in self.lines
        ]
        content = {
            "budget": self.budget,
            "data": dict(self.data.lines()),
            "machine": self.machine.line(),
            "choices": choices,
            "seconds": {"fold": self.needs.fold({}), "end": self.needs.end({})},
        }
        write_json(path, content)


def make_plan(cfg: Made, by_hand: Settings, budget: Budget, trust: list[str]) -> Plan[Made]:
    """Look at the data and the machine, and choose.

    Args:
        cfg: With what is set by hand, and defaults.
        by_hand: Which keys are; see `medcnn.jobs.by_hand`.
        budget: Of which the planning takes a part.
        trust: Names that the config may hold beside medcnn's own.

    Raises:
        UserError: A rule to leave out that there is not; data or a budget with which it can't be
            done.
    """
    assert cfg.plan is not None
    if learns_studies(cfg.model):
        raise UserError(
            f"plan=auto counts images one by one, and model.aggregate={cfg.model['aggregate']} "
            "takes studies of several: train without a plan"
        )
    check_names(cfg.plan.without, [one.name for one in RULES])
    data = fingerprint(cfg, trust)
    there = fixed(by_hand)
    first = cfg if "model" in there else changed(cfg, {"model": "resnet"}, by_hand)
    first = first if "augment" in there else changed(first, {"augment": "standard"}, by_hand)
    sizes = [data.size or _size(cfg, data, there)]
    if data.size is None and "dataset.size" not in there and (second := SECOND_SIZE[data.dims]):
        sizes.append((second,) * data.dims)
    keeps = "strides" in cfg.plan.without or "model.strides" in there
    cases = [(first if keeps else _finer(first, size), size) for size in sizes]
    if (
        cases[0][0] is not first
    ):  # which has its published strides where there is no time for others
        cases.append((first, sizes[0]))
    return apply(cfg, by_hand, data, measure(cases, data, trust), budget)


def apply(
    cfg: Made,
    by_hand: Settings,
    data: Fingerprint,
    machine: Machine,
    budget: Budget,
    before: Sequence[Line] = (),
    raced: Mapping[str, tuple[Any, str]] = MappingProxyType({}),
) -> Plan[Made]:
    """Choose by the rules.

    Args:
        cfg: With what is set by hand, and defaults.
        by_hand: Which keys are.
        data: Facts of the data.
        machine: Facts of the machine.
        budget: The time.
        before: Choices of the plan that was raced, which stand; but for the number of epochs, which
            follows from the time that is left.
        raced: Values that a race has told, by their keys, each with the reason, which stand in the
            place of what a rule says.

    Raises:
        UserError: Data or a budget with which it can't be done.
    """
    there = fixed(by_hand)
    works = _works(cfg, data)
    left_out = {one.main for one in RULES if cfg.plan is None or one.name in cfg.plan.without}
    kept = {*there, *left_out}
    needs = Needs(data, machine, budget.seconds, budget.left, cfg, works, _cpus(), kept)
    lines = _set_by_hand(cfg, by_hand)
    for one in RULES:
        if one.main in kept or (choice := _asked(one, needs, before)) is None:
            continue
        values = {k: v for k, v in choice.values.items() if k not in there}
        values |= {k: raced[k][0] for k in values if k in raced}
        needs.cfg = changed(needs.cfg, values, by_hand)
        needs.work = _works(needs.cfg, data)
        needs.chosen |= values
        for k, (key, value) in enumerate(values.items()):
            reason = raced[key][1] if key in raced else choice.reason if k == 0 else ""
            lines.append(Line(key, value, reason, one.name))
    planned: Any = needs.cfg
    return Plan(planned, lines, data, machine, budget.seconds, needs)


def _asked(rule: Rule, needs: Needs, before: Sequence[Line]) -> Choice | None:
    """Return what a rule says, or what it has said before a race."""
    if not before or rule.main == "trainer.max_epochs":
        return rule.ask(needs)
    lines = [line for line in before if line.rule == rule.name]
    return Choice({line.key: line.value for line in lines}, lines[0].reason) if lines else None


def _finer(cfg: Made, size: tuple[int, ...]) -> Made:
    """Return a config with the strides that images of a size get, if its net has such."""
    found = finer(size) if takes_strides(cfg) else None
    return cfg if found is None else changed(cfg, {"model.strides": found})


def _size(cfg: Train, data: Fingerprint, there: dict[str, str]) -> tuple[int, ...]:
    """Return the size that speed is measured at of files: that which is set, else the smallest."""
    if "dataset.size" not in there:
        return (SIZES[0],) * data.dims
    given = cfg.dataset["size"]
    return tuple(given) if isinstance(given, list) else (given,) * data.dims


def _works(cfg: Train, data: Fingerprint) -> Any:
    """Return the function from changed values to what the net of a config does for an image."""

    def work(values: dict[str, Any]) -> Work:
        given: Any = values.get("dataset.size", cfg.dataset.get("size"))
        side = tuple(given) if isinstance(given, list) else (given,) * data.dims
        net = {key: value for key, value in values.items() if key.startswith("model.")}
        return work_of(changed(cfg, net) if net else cfg, data, data.size or side)

    return work


def _set_by_hand(cfg: Train, by_hand: Settings) -> list[Line]:
    """Return the lines of what is set by hand and belongs to how a training is done."""
    lines = []
    for key, (where, choice) in by_hand.items():
        if key.split(".")[0] in ELSEWHERE and key not in OF_IMAGES:
            continue
        value = choice if is_group(key) else value_of(cfg, key)
        lines.append(Line(key, value, f"set by hand ({where})", ""))
    return lines


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
