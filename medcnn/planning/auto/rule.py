"""A rule of a plan, and the list of all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from medcnn.planning.auto.time_needed import Needs


@dataclass(frozen=True)
class Choice:
    """What a rule chooses: values by their keys (a group by its name), and why."""

    values: dict[str, Any]
    reason: str


@dataclass(frozen=True)
class Rule:
    """One of `RULES`, by its name; `main` is the key without which it isn't asked."""

    name: str
    main: str
    ask: Callable[[Needs], Choice | None]


RULES: list[Rule] = []


def rule(main: str) -> Callable[[Callable[[Needs], Choice | None]], Callable[..., Choice | None]]:
    """Put a function into `RULES`, under its own name."""

    def register(ask: Callable[[Needs], Choice | None]) -> Callable[..., Choice | None]:
        RULES.append(Rule(ask.__name__, main, ask))
        return ask

    return register
