"""The space of a search: which keys are drawn, and from what."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from medcnn.errors import UserError
from medcnn.jobs.lacking import nearest
from medcnn.jobs.settings.values import is_number

RANGE, CHOICES = ("low", "high", "log", "int", "step"), ("choices",)
WAYS = (
    "give a list of choices, or a range such as {low: 1e-4, high: 1e-1, log: true}, either with "
    "when: {key: value} where it is drawn in some trials only"
)
PLAIN = re.compile(r"[A-Za-z_][\w/-]*(\.[\w/-]+)*")  # text that Hydra reads as it is
WORDS = ("null", "true", "false", "nan", "inf")
DEFAULT = {
    "optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "optimizer.weight_decay": {"low": 1e-5, "high": 1e-1, "log": True},
}
Draws = dict[str, Any]  # what a trial draws, by key


@dataclass(frozen=True)
class Key:
    """A key of the config that is drawn.

    Attributes:
        name: Such as ``optimizer.lr``, or that of a group.
        drawn_from: What its values are.
        when: Values of other keys with which it is drawn; each has a tuple of those that do.
    """

    name: str
    drawn_from: BaseDistribution
    when: Mapping[str, tuple[Any, ...]]

    def is_drawn(self, others: Draws) -> bool:
        """Return whether it is drawn beside these values of other keys."""
        return all(key in others and others[key] in values for key, values in self.when.items())

    def suggested(self, trial: Trial) -> Any:
        """Return the value that Optuna's sampler suggests."""
        of, name = self.drawn_from, self.name
        if isinstance(of, CategoricalDistribution):
            return trial.suggest_categorical(name, of.choices)
        if isinstance(of, IntDistribution):
            return trial.suggest_int(name, of.low, of.high, step=of.step, log=of.log)
        assert isinstance(of, FloatDistribution)
        return trial.suggest_float(name, of.low, of.high, step=of.step, log=of.log)

    @property
    def extremes(self) -> tuple[Any, ...]:
        """The ends of a range, or all choices."""
        of: Any = self.drawn_from
        return of.choices if isinstance(of, CategoricalDistribution) else (of.low, of.high)


def read_space(node: Mapping[str, Any] | None) -> list[Key]:
    """Return the keys of ``search.space``, each after those that it depends on.

    Args:
        node: By key of the config a list of choices, a range, or ``choices`` with ``when``; None
            for `DEFAULT`.

    Raises:
        UserError: Anything else, or nothing to draw.
    """
    node = DEFAULT if node is None else node
    keys = [_read_key(str(name), of) for name, of in node.items()]
    if not keys:
        raise UserError("search.space={}: nothing to draw; " + WAYS)
    _check_conditions(keys)
    ordered: list[Key] = []
    while keys:
        ready = [key for key in keys if key.when.keys() <= {done.name for done in ordered}]
        if not ready:
            raise UserError(f"search.space.{keys[0].name}.when: it waits for itself")
        ordered += ready
        keys = [key for key in keys if key not in ready]
    return ordered


def _check_conditions(keys: Sequence[Key]) -> None:
    """Raise UserError at a condition that no trial can meet."""
    by_name = {key.name: key.drawn_from for key in keys}
    for key in keys:
        for other, values in key.when.items():
            where = f"search.space.{key.name}.when"
            if other not in by_name:
                raise UserError(f"{where}: {other} isn't drawn{nearest(other, list(by_name))}")
            of = by_name[other]
            for value in values:
                if not isinstance(of, CategoricalDistribution):
                    raise UserError(f"{where}: {other} has a range; only choices can be asked for")
                if value not in of.choices:
                    near = nearest(str(value), [str(one) for one in of.choices])
                    raise UserError(f"{where}: {other} is never {value}{near}")


def suggest(space: Sequence[Key], trial: Trial) -> Draws:
    """Return what is drawn for a trial."""
    draws: Draws = {}
    for key in space:
        if key.is_drawn(draws):
            draws[key.name] = key.suggested(trial)
    return draws


def overrides_of(draws: Draws) -> list[str]:
    """Return draws as Hydra's overrides.

    >>> overrides_of({"model": "resnet", "optimizer.lr": 1e-05, "cam.stage": None, "x": "a b"})
    ['model=resnet', 'optimizer.lr=1e-05', 'cam.stage=null', "x='a b'"]
    """
    return [f"{name}={_as_text(value)}" for name, value in draws.items()]


def corners(space: Sequence[Key]) -> list[Draws]:
    """Return draws that have every choice and the ends of every range at least once.

    Beside the one that is looked at, each key has the first value with which that one is drawn.
    """
    by_name = {key.name: key for key in space}

    def fixed(name: str, value: Any) -> Draws:
        others: Draws = {name: value}
        for above, values in by_name[name].when.items():
            others |= fixed(above, values[0])
        return others

    found: list[Draws] = []
    for key in space:
        for value in key.extremes:
            wanted = fixed(key.name, value)
            draws: Draws = {}
            for one in space:
                if one.is_drawn(draws):
                    draws[one.name] = wanted.get(one.name, one.extremes[0])
            if draws not in found:
                found.append(draws)
    return found


def _read_key(name: str, of: Any) -> Key:
    where = f"search.space.{name}"
    of = {"choices": of} if isinstance(of, list) else of
    if not isinstance(of, Mapping) or not {"choices", "low"} & of.keys():
        raise UserError(f"{where}={of}: {WAYS}")
    known = ("when", *(CHOICES if "choices" in of else RANGE))
    for key in of:
        if key not in known:
            raise UserError(f"{where}.{key}: there is no such key{nearest(str(key), known)}")
    when = of.get("when") or {}
    if not isinstance(when, Mapping):
        raise UserError(f"{where}.when={when}: give keys and their values, as {{model: resnet}}")
    conditions = {
        str(key): tuple(value) if isinstance(value, list) else (value,)
        for key, value in when.items()
    }
    drawn_from = _choices(where, of["choices"]) if "choices" in of else _range(where, of)
    return Key(name, drawn_from, conditions)


def _choices(where: str, values: Any) -> BaseDistribution:
    plain = isinstance(values, list) and values
    if not plain or not all(isinstance(one, str | int | float | None) for one in values):
        raise UserError(f"{where}={values}: give choices in brackets, words or numbers")
    if len({repr(one) for one in values}) < len(values):
        raise UserError(f"{where}={values}: a choice is there twice")
    return CategoricalDistribution(values)


def _range(where: str, of: Mapping[str, Any]) -> BaseDistribution:
    low, high, step = of.get("low"), of.get("high"), of.get("step")
    log, whole = of.get("log", False), of.get("int", False)
    for key, value in (("log", log), ("int", whole)):
        if not isinstance(value, bool):
            raise UserError(f"{where}.{key}={value}: choose one of true, false")
    kind = int if whole else (int, float)
    for key, value in (("low", low), ("high", high), ("step", 1 if step is None else step)):
        if not is_number(value) or not isinstance(value, kind):
            raise UserError(f"{where}.{key}={value}: give a {'whole ' * whole}number")
    assert low is not None  # as it is a number
    assert high is not None
    if low >= high:
        raise UserError(f"{where}: low={low} has to be below high={high}")
    if log and (low <= 0 or step is not None):
        raise UserError(f"{where}: with log=true low is above 0, and there is no step")
    if step is not None and not 0 < step <= high - low:
        raise UserError(f"{where}.step={step}: give a number above 0, up to high - low")
    if whole:
        return IntDistribution(low, high, log=log, step=step or 1)
    return FloatDistribution(float(low), float(high), log=log, step=step)


def _as_text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str) or (PLAIN.fullmatch(value) and value.lower() not in WORDS):
        return str(value)
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + m[2].replace("'", "\\'"), value)
    return f"'{escaped}'"
