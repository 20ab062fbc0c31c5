"""Names of classes: their order, and the one that is sought."""

from math import isfinite
from typing import Any

from medcnn.data.keys import look_alikes, tidy
from medcnn.errors import UserError
from medcnn.jobs.notes import note
from medcnn.objective import Task

# Pairs of classes, of which the second is the finding beyond doubt.
OBVIOUS = ({"0", "1"}, {"false", "true"}, {"no", "yes"}, {"negative", "positive"})


def positive_class(task: Task, names: list[str], given: Any) -> int | None:
    """Return the index of the class that is sought, None if no one is."""
    if given is not None:
        index = index_by_name(names).get(text_of(given).casefold())
        if task != "binary" or index is None:
            raise UserError(
                f"dataset.positive={given}: give one of two classes; they are {', '.join(names)}"
            )
        return index
    folded = [name.casefold() for name in names]
    if task == "binary" and set(folded) in OBVIOUS:
        return folded.index(max(folded))  # the words are such that the finding sorts last
    return None


def sorted_names(found: list[str]) -> list[str]:
    """Return names in alphabetical order, or by value if all are numbers."""
    folded: dict[str, str] = {}
    for name in found:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            raise UserError(
                f"the labels {other} and {name} differ in capitals only: make them one, or give "
                "the names in dataset.classes"
            )
    if groups := look_alikes(found):
        more = f", and {len(groups) - 1} others" if len(groups) > 1 else ""
        note(f"the labels {' and '.join(groups[0])} look alike{more}; they are different classes")
    return sorted(found) if numbers(found) is None else sorted(found, key=lambda n: (float(n), n))


def numbers(names: list[str]) -> list[float] | None:
    """Return the values of names that are all finite numbers, else None."""
    try:
        values = [float(name) for name in names]
    except ValueError:
        return None
    return values if all(map(isfinite, values)) else None


def index_by_name(names: list[str]) -> dict[str, int]:
    """Return the number of each class by its name, in small letters."""
    return {name.casefold(): index for index, name in enumerate(names)}


def text_of(value: Any) -> str:
    """Return a name from a config, where it may be a number or a truth value."""
    return "" if value is None else tidy(str(value))
