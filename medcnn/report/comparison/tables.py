"""The tables of the page that compares runs: figures, and differences between pairs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from medcnn.report.comparison.figures import STYLES
from medcnn.report.comparison.paired_tests import TESTED, Difference
from medcnn.report.runs import Run
from medcnn.report.svg import Span, floats, interval_mark, interval_scale, span
from medcnn.report.tables import Cell, Column, Row, Table, best_of, figure_cell, headed
from medcnn.report.words import FIGURES, in_words, number, tested_on, words_of

SURE = 0.05  # a p-value below it is marked


def figure_table(runs: Sequence[Run], names: Sequence[str], level: str) -> Table:
    """Return the figures over all classes, a row a run; the one to decide by first and drawn."""
    primary, figures = TESTED[runs[0].task][0], figures_there(runs, [level])
    columns = {name: [run.figure(level, name) for run in runs] for name in figures}
    drawn = columns.get(primary, [])
    scale = span(floats([[one.get(key) for key in ("value", "low", "high")] for one in drawn]))
    best = {name: best_of(column, words_of(name).way) for name, column in columns.items()}
    rows = []
    for place, (run, name) in enumerate(zip(runs, names, strict=True)):
        own = {key: column[place] for key, column in columns.items()}
        cells = [figure_cell("", one)._replace(bold=one is best[key]) for key, one in own.items()]
        if drawn:
            cells[0] = cells[0]._replace(mark=interval_mark(drawn[place], scale, None))
        below = tested_on(run.levels[level], level)
        rows.append(Row(name, cells, below, place if place < STYLES else None))
    foot = interval_scale(scale) if drawn else ""
    heads = [Column(words_of(name)) for name in figures]
    return Table(f"By {level}", heads, rows, "run", foot)


def difference_table(found: Sequence[Difference], names: Sequence[str]) -> Table | None:
    """Return a row a pair, a column a figure; None where no pair could be tested."""
    if not found:
        return None
    figures = list(dict.fromkeys(one.figure for one in found))
    primary = [one for one in found if one.figure == figures[0]]
    scale = span([0.0, *(v for d in primary for v in (d.difference, d.low, d.high))])
    rows = []
    for first, second in dict.fromkeys((one.first, one.second) for one in found):
        own = {one.figure: one for one in found if (one.first, one.second) == (first, second)}
        cells = [
            difference_cell(own[figure], scale if figure == figures[0] else None)
            for figure in figures
        ]
        rows.append(Row(names[first], cells, f"minus {names[second]}"))
    columns = [Column(words_of(name)._replace(better=None)) for name in figures]
    return Table("First run minus second", columns, rows, "runs", interval_scale(scale))


def setting_table(settings: Mapping[str, Sequence[Any]], names: Sequence[str]) -> Table | None:
    """Return a row a setting, a column a run; None without settings."""
    rows = [Row(key, [Cell(in_words(v)) for v in values]) for key, values in settings.items()]
    return Table("", headed(*names), rows, "setting") if rows else None


def figures_there(runs: Sequence[Run], levels: Sequence[str]) -> list[str]:
    """Return the figures over all classes that a run has, the one to decide by first."""
    found = dict.fromkeys(
        name
        for run in runs
        for level in levels
        for name in run.levels[level].get("figures") or {}
        if "/" not in name
    )
    order = [TESTED[runs[0].task][0], *FIGURES, *found]
    return [name for name in dict.fromkeys(order) if name in found]


def signed(value: float) -> str:
    """Return a difference as text.

    >>> signed(0.0216), signed(-0.5), signed(-1e-9)
    ('+0.022', '−0.500', '0.000')
    """
    size = number(abs(value))
    return size if float(size.replace(",", "")) == 0 else f"{'−' if value < 0 else '+'}{size}"


def p_value(p: float) -> str:
    """Return a p-value as text; empty of NaN.

    >>> p_value(0.0123), p_value(1e-5)
    ('p = 0.012', 'p < 0.001')
    """
    if math.isnan(p):
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def difference_cell(one: Difference, scale: Span | None) -> Cell:
    """Return a difference with its interval and corrected p-value, drawn where there is a scale."""
    if math.isnan(one.difference):
        return Cell()
    known = not math.isnan(one.low + one.high)
    ends = {"low": one.low, "high": one.high} if known else {}
    mark = "" if scale is None else interval_mark({"value": one.difference, **ends}, scale, 0.0)
    bounds = f"[{signed(one.low)}, {signed(one.high)}]" if known else ""
    below = "\n".join(filter(None, [bounds, p_value(one.corrected)]))
    return Cell(signed(one.difference), below, mark, one.corrected < SURE)
