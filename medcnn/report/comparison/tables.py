"""The tables of the page that compares runs: figures, and differences between pairs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from medcnn.report.comparison.figures import STYLES
from medcnn.report.comparison.paired_tests import TESTED, Difference
from medcnn.report.runs import Run
from medcnn.report.svg import Span, floats, interval_mark, interval_scale, span
from medcnn.report.words import FIGURES, Record, Words, number, plural, words_of

SURE = 0.05  # a p-value below it is marked
LOWER_IS_BETTER = {
    "brier", "ece", "ece_mass", "log_loss", "loss", "lr_negative", "mae", "rmse",
}  # fmt: skip
NO_DIRECTION = {
    "bias", "calibration_intercept", "calibration_slope", "limit_high", "limit_low", "prevalence",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A figure as text: value, what stands below it, an SVG, and whether it stands out."""

    value: str = "–"
    below: str = ""
    mark: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Row:
    """The cells of one run or of a pair of them; `style` is that of its lines, if it has one."""

    name: str
    below: str
    cells: list[Cell]
    style: int | None = None


@dataclass(frozen=True)
class Table:
    """Figures, a column each; the first is drawn too, on a scale that stands at the foot."""

    caption: str
    head: str
    columns: list[tuple[Words, str]]
    rows: list[Row]
    scale: str

    @property
    def has_bold(self) -> bool:
        """Whether a figure stands out."""
        return any(cell.bold for row in self.rows for cell in row.cells)


def better(name: str) -> int:
    """Which way a figure is better: 1 upwards, -1 downwards, 0 neither.

    >>> better("auroc"), better("ece_classwise"), better("bias")
    (1, -1, 0)
    """
    name = name.removesuffix("_classwise")
    return -1 if name in LOWER_IS_BETTER else 0 if name in NO_DIRECTION else 1


def figure_table(runs: Sequence[Run], names: Sequence[str], level: str) -> Table:
    """The figures over all classes, a row a run; the one to decide by first.

    Args:
        runs: Of one task.
        names: What they are called.
        level: image, study or patient.
    """
    primary = TESTED[runs[0].task][0]
    figures = figures_there(runs, [level])
    columns = {name: [run.figure(level, name) for run in runs] for name in figures}
    bounds: Any = [one.get(key) for one in columns.get(primary, []) for key in _BOUNDS]
    scale = span(floats(bounds))
    rows = []
    for place, (run, name) in enumerate(zip(runs, names, strict=True)):
        cells = [_cell(place, columns[figure], better(figure)) for figure in figures]
        if primary in columns:
            value, low, high = (columns[primary][place].get(key) for key in _BOUNDS)
            cells[0] = replace(cells[0], mark=interval_mark(value, low, high, scale, None))
        below = _tested(run.levels[level], level)
        rows.append(Row(name, below, cells, place if place < STYLES else None))
    foot = interval_scale(scale) if primary in columns else ""
    return Table(f"By {level}", "run", columns_of(figures), rows, foot)


def difference_table(found: Sequence[Difference], names: Sequence[str]) -> Table | None:
    """A row a pair, a column a figure; None where no pair could be tested."""
    if not found:
        return None
    figures = list(dict.fromkeys(one.figure for one in found))
    primary = [one for one in found if one.figure == figures[0]]
    scale = span([0.0, *(v for d in primary for v in (d.difference, d.low, d.high))])
    rows = []
    for first, second in dict.fromkeys((one.first, one.second) for one in found):
        own = {one.figure: one for one in found if (one.first, one.second) == (first, second)}
        cells = [
            _difference_cell(own[figure], scale if figure == figures[0] else None)
            for figure in figures
        ]
        rows.append(Row(names[first], f"minus {names[second]}", cells))
    columns = [(words, "") for words, _ in columns_of(figures)]
    return Table("First run minus second", "runs", columns, rows, interval_scale(scale))


def figures_there(runs: Sequence[Run], levels: Sequence[str]) -> list[str]:
    """Names of the figures over all classes that a run has, the one to decide by first."""
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
    """A difference as text.

    >>> signed(0.0216), signed(-0.5), signed(-1e-9)
    ('+0.022', '−0.500', '0.000')
    """
    size = number(abs(value))
    return size if float(size.replace(",", "")) == 0 else f"{'−' if value < 0 else '+'}{size}"


def in_brackets(figure: Record) -> str:
    """The interval of a figure as text; empty where there is none."""
    low, high = figure.get("low"), figure.get("high")
    return "" if low is None or high is None else f"[{number(low)}, {number(high)}]"


def p_value(p: float) -> str:
    """A p-value as text; empty of NaN.

    >>> p_value(0.0123), p_value(1e-5)
    ('p = 0.012', 'p < 0.001')
    """
    if math.isnan(p):
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


_BOUNDS = ("value", "low", "high")


def columns_of(figures: Sequence[str]) -> list[tuple[Words, str]]:
    """Heads of columns: what a figure is called, and which way it is better."""
    ways = {1: "higher", -1: "lower", 0: ""}
    return [(words_of(name), ways[better(name)]) for name in figures]


def _tested(level: Record, name: str) -> str:
    """On how many it was tested."""
    if "n" not in level:
        return ""
    several = level.get("patients", level["n"]) < level["n"]
    patients = f" of {plural(level['patients'], 'patient')}" if several else ""
    return plural(level["n"], name) + (patients if name != "patient" else "")


def _cell(place: int, column: Sequence[Record], way: int) -> Cell:
    figure = column[place]
    if figure.get("value") is None:
        return Cell()
    return Cell(number(figure["value"]), in_brackets(figure), bold=_stands_out(place, column, way))


def _stands_out(place: int, column: Sequence[Record], way: int) -> bool:
    """Whether the interval of one run lies beyond those of all others."""
    bounds = [one.get(key) for one in column for key in ("low", "high")]
    if way == 0 or None in bounds:
        return False
    near, far = ("low", "high") if way > 0 else ("high", "low")
    others = [one for k, one in enumerate(column) if k != place]
    return all(way * column[place][near] > way * other[far] for other in others)


def _difference_cell(one: Difference, scale: Span | None) -> Cell:
    if math.isnan(one.difference):
        return Cell()
    low, high = (None if math.isnan(value) else value for value in (one.low, one.high))
    mark = "" if scale is None else interval_mark(one.difference, low, high, scale, reference=0.0)
    bounds = "" if low is None or high is None else f"[{signed(low)}, {signed(high)}]"
    return Cell(
        signed(one.difference),
        "\n".join(filter(None, [bounds, p_value(one.corrected)])),
        mark,
        one.corrected < SURE,
    )
