"""Figures by groups of patients, as forest plots."""

from collections.abc import Sequence
from typing import NamedTuple

from medcnn.report.svg import Span, floats, interval_mark, interval_scale, span
from medcnn.report.tables import Cell, Row, figure_cell
from medcnn.report.words import NOTHING, PERCENT, Record, interval, show, words_of


class Forest(NamedTuple):
    """One figure by groups of patients: rows with n, the figure and its difference, bold or not."""

    title: str
    overall: Row | None
    columns: list[tuple[str, list[Row]]]
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
    columns: dict[str, list[Row]] = {}
    for group in groups:
        columns.setdefault(str(group["column"]), []).append(_group(key, group, scale, reference))
    whole = None
    if overall:
        n = f"{level['n']:,}" if "n" in level else NOTHING
        cell = figure_cell(key, overall)._replace(mark=interval_mark(overall, scale, reference))
        whole = Row("all", [Cell(n), cell, Cell("")])
    differs = any(key in (g.get("difference") or {}) for g in groups)
    return Forest(words_of(key).title, whole, list(columns.items()), interval_scale(scale), differs)


def _group(key: str, group: Record, scale: Span, reference: float | None) -> Row:
    shown = group.get("shown", True)
    figure = (group.get("figures", {}).get(key) if shown else None) or {}
    cell = figure_cell(key, figure) if shown else Cell("too few")
    cell = cell._replace(mark=interval_mark(figure, scale, reference))
    difference = (group.get("difference") or {}).get(key) if figure else None
    n = Cell(f"{group.get('n', 0):,}")
    return Row(str(group["group"]), [n, cell, _difference(key, difference or {})])


def _difference(key: str, figure: Record) -> Cell:
    """Return a difference; of percentages in points."""
    if figure.get("value") is None:
        return Cell()
    sign = "+" if figure["value"] > 0 else ""
    value = f"{sign}{show(key, figure['value'])}".replace(" %", " points")
    low, high = figure.get("low"), figure.get("high")
    apart = low is not None and high is not None and (low > 0 or high < 0)
    return Cell(value, interval(key, figure), bold=apart)
