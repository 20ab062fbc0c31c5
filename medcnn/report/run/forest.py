"""Figures by groups of patients, as forest plots."""

from collections.abc import Sequence
from typing import NamedTuple

from medcnn.report.svg import Span, floats, interval_mark, interval_scale, span
from medcnn.report.tables import Cell, figure_cell
from medcnn.report.words import NOTHING, PERCENT, Record, interval, show, words_of


class ForestRow(NamedTuple):
    """A group in a forest plot."""

    name: str
    n: str
    cell: Cell
    mark: str
    difference: Cell
    apart: bool


class Forest(NamedTuple):
    """One figure by groups of patients."""

    title: str
    overall: ForestRow | None
    columns: list[tuple[str, list[ForestRow]]]
    scale: str
    differs: bool


def forests(level: Record) -> list[Forest]:
    """Return a forest plot for each figure that any subgroup has."""
    groups = level.get("subgroups") or []
    keys = dict.fromkeys(key for group in groups for key in group.get("figures", {}))
    return [_forest(key, level, groups) for key in keys]


def _forest(key: str, level: Record, groups: Sequence[Record]) -> Forest:
    overall = level.get("figures", {}).get(key) or (level.get("clinic") or {}).get(
        "figures", {}
    ).get(key)
    figures = [g["figures"][key] for g in groups if key in g.get("figures", {})]
    every = [*figures, *([overall] if overall else [])]
    scale = span(floats([[f.get(k) for k in ("value", "low", "high")] for f in every]))
    if key in PERCENT or key in ("auroc", "average_precision", "f1"):
        scale = max(scale[0], 0.0), min(scale[1], 1.0)
    reference = overall.get("value") if overall else None
    columns: dict[str, list[ForestRow]] = {}
    for group in groups:
        columns.setdefault(str(group["column"]), []).append(_group(key, group, scale, reference))
    whole = None
    if overall:
        n = f"{level['n']:,}" if "n" in level else NOTHING
        mark = interval_mark(overall, scale, reference)
        whole = ForestRow("all", n, figure_cell(key, overall), mark, Cell(""), False)
    differs = any(key in (g.get("difference") or {}) for g in groups)
    return Forest(words_of(key).title, whole, list(columns.items()), interval_scale(scale), differs)


def _group(key: str, group: Record, scale: Span, reference: float | None) -> ForestRow:
    figure, shown = group.get("figures", {}).get(key), group.get("shown", True)
    name, n = str(group["group"]), f"{group.get('n', 0):,}"
    if not shown or not figure:
        cell = Cell(NOTHING if shown else "too few")
        return ForestRow(name, n, cell, interval_mark({}, scale, reference), Cell(), False)
    difference = (group.get("difference") or {}).get(key) or {}
    low, high = difference.get("low"), difference.get("high")
    apart = low is not None and high is not None and (low > 0 or high < 0)
    mark = interval_mark(figure, scale, reference)
    return ForestRow(name, n, figure_cell(key, figure), mark, _difference(key, difference), apart)


def _difference(key: str, figure: Record) -> Cell:
    """Return a difference; of percentages in points."""
    if figure.get("value") is None:
        return Cell()
    sign = "+" if figure["value"] > 0 else ""
    value = f"{sign}{show(key, figure['value'])}".replace(" %", " points")
    return Cell(value, interval(key, figure).replace("-", "−"))
