"""Figures by groups of patients, as forest plots."""

from collections.abc import Sequence
from typing import NamedTuple

from medcnn.report.svg import Span, floats, interval_mark, interval_scale, span
from medcnn.report.tables import Cell, Row, figure_cell
from medcnn.report.words import PERCENT, Record, bounds_of, interval, show, words_of


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
    keys = dict.fromkeys(key for group in groups for key in group["figures"])
    return [_forest(key, level, groups) for key in keys]


def _forest(key: str, level: Record, groups: Sequence[Record]) -> Forest:
    clinic = level.get("clinic") or {}
    overall = level.get("figures", {}).get(key) or clinic.get("figures", {}).get(key)
    every = [overall or {}, *(group["figures"].get(key, {}) for group in groups)]
    scale = span(floats([[f.get(k) for k in ("value", "low", "high")] for f in every]))
    if key in PERCENT or key in ("auroc", "average_precision", "f1"):
        scale = max(scale[0], 0.0), min(scale[1], 1.0)
    reference = overall.get("value") if overall else None
    columns: dict[str, list[Row]] = {}
    for group in groups:
        columns.setdefault(str(group["column"]), []).append(_group(key, group, scale, reference))
    whole = None
    if overall:
        cell = figure_cell(key, overall)._replace(mark=interval_mark(overall, scale, reference))
        whole = Row("all", [Cell(f"{level['n']:,}"), cell, Cell("")])
    differs = any(key in group["difference"] for group in groups)
    return Forest(words_of(key).title, whole, list(columns.items()), interval_scale(scale), differs)


def _group(key: str, group: Record, scale: Span, reference: float | None) -> Row:
    figure = group["figures"].get(key, {})
    cell = figure_cell(key, figure) if group["shown"] else Cell("too few")
    cell = cell._replace(mark=interval_mark(figure, scale, reference))
    difference = _difference(key, group["difference"].get(key, {}))
    return Row(str(group["group"]), [Cell(f"{group['n']:,}"), cell, difference])


def _difference(key: str, figure: Record) -> Cell:
    """Return a difference; of percentages in points."""
    if figure.get("value") is None:
        return Cell()
    sign = "+" if figure["value"] > 0 else ""
    value = f"{sign}{show(key, figure['value'])}".replace(" %", " points")
    bounds = bounds_of(figure)
    apart = bool(bounds) and (min(bounds) > 0 or max(bounds) < 0)
    return Cell(value, interval(key, figure), bold=apart)
