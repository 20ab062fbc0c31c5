"""Decisions by truth: the confusion matrices of a run's page."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medcnn.report.run.tables import MOST_CELLS
from medcnn.report.svg import Floats, floats, heat_map
from medcnn.report.tables import Cell, Row, Table, headed
from medcnn.report.words import Record, percent

MOST_CONFUSIONS = 10


class Confusion(NamedTuple):
    """Decisions by truth: cells (text, share of the row), or a picture where there are many."""

    caption: str
    names: list[str]
    rows: list[tuple[str, list[tuple[str, float]], str]]
    picture: str
    most: Table | None


def confusion_of(level: Record) -> Confusion | None:
    """Return the matrix of K classes, at the operating point of a ``clinic``; None without one."""
    values = level.get("confusion")
    if not values or "counts" not in values:
        return None
    names, counts = values["names"], floats(values["counts"])
    at = ", at the operating point" if level.get("clinic") else ""
    caption = f"Counts, and shares of each true class{at}"
    sizes = counts.sum(1, keepdims=True)
    shares = np.divide(counts, sizes, out=np.zeros_like(counts), where=sizes > 0)
    if len(names) <= MOST_CELLS:
        cells = [
            [(f"{int(c):,}", float(s)) for c, s in zip(*row, strict=True)]
            for row in zip(counts, shares, strict=True)
        ]
        totals = [f"{int(size):,}" for size in sizes[:, 0]]
        return Confusion(caption, names, list(zip(names, cells, totals, strict=True)), "", None)
    right = percent(float(np.trace(counts) / max(counts.sum(), 1)))
    most = _most_confused(counts, shares, names)
    label = f"Confusion matrix of {len(names)} classes, {right} on the diagonal; " + "; ".join(
        f"{row.name} called {row.cells[0].value}: {row.cells[1].value}" for row in most.rows[:5]
    )
    return Confusion(caption, names, [], heat_map(shares, label), most)


def _most_confused(counts: Floats, shares: Floats, names: Sequence[str]) -> Table:
    """Return the most frequent confusions."""
    wrong = counts * (1 - np.eye(len(counts)))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    rows = []
    for truth, call in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[truth, call] > 0:
            count = Cell(
                f"{int(wrong[truth, call]):,}", f"{percent(shares[truth, call])} of the class"
            )
            rows.append(Row(names[truth], [Cell(names[call]), count]))
    return Table("Most frequent confusions", headed("called", "count"), rows)


def label_table(values: Record | None, labels: Record | None = None) -> Table | None:
    """Return the right and wrong calls of each of several labels.

    Args:
        values: The ``confusion`` of a level.
        labels: The ``labels`` of its ``clinic``, whose thresholds made the calls.
    """
    if not values or "per_label" not in values:
        return None
    rows = []
    for name, ((tn, fp), (fn, tp)) in values["per_label"].items():
        pairs = ((tp, tp + fn), (fn, tp + fn), (tn, tn + fp), (fp, tn + fp))
        cells = [Cell(f"{c:,}", percent(c / total) if total else "") for c, total in pairs]
        rows.append(Row(str(name), cells))
    head = headed("present, found", "present, missed", "absent, cleared", "absent, called")
    where = " at its operating point (0.5 where there is none)" if labels else ""
    caption = f"Calls by label{where}, in counts and in shares of those present or absent"
    return Table(caption, head, rows).shortened
