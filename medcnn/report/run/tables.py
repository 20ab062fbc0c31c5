"""The tables of a run's page."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medcnn.data.row_names import names_of_rows
from medcnn.report.runs import Run
from medcnn.report.tables import Cell, Column, Row, Table, figure_cell, headed
from medcnn.report.words import (
    NOTHING,
    Record,
    digits,
    mean_and_spread,
    number,
    percent,
    plural,
    split_of,
    thresholds_of,
    words_of,
)

SPLITS = ("train", "val", "test", "holdout", "new")
MOST_CELLS = 12  # classes of a confusion matrix whose cells are written out
MOST_GROUPS = 12  # values of a column such as site


def data_table(run: Run) -> Table | None:
    """Return counts by split: images, patients, classes, and what is known of the patients."""
    table = run.samples
    if table is None or "split" not in table:
        return None
    parts = {name: table[table["split"] == name] for name in SPLITS}
    parts = {name: part for name, part in parts.items() if len(part)}
    if not parts:
        return None
    rows = [Row("images", [Cell(f"{len(part):,}") for part in parts.values()])]
    if "patient" in table:
        rows.append(Row("patients", [Cell(f"{p['patient'].nunique():,}") for p in parts.values()]))
    rows += _label_rows(parts, run)
    if "age" in table:
        ages = [pd.to_numeric(part["age"], errors="coerce").dropna() for part in parts.values()]
        rows.append(Row("age, median", [_quartiles(values) for values in ages], "and quartiles"))
    for column in ("sex", "site"):
        if column in table:
            values = table[column].dropna().astype(str)
            for value in values.value_counts().index[:MOST_GROUPS]:
                cells = [_share(part[column].astype(str) == value) for part in parts.values()]
                rows.append(Row(f"{column} {value}", cells))
    return Table("Images by split", headed(*map(split_of, parts)), rows)


def _label_rows(parts: Mapping[str, pd.DataFrame], run: Run) -> list[Row]:
    names, first = run.class_names, next(iter(parts.values()))
    if run.task == "regression":
        columns = [c for c in map(str, first) if c == "label" or c.startswith("label:")]
        cells = {c: [_quartiles(part[c].dropna()) for part in parts.values()] for c in columns}
        return [Row(f"{c}, median", each, "and quartiles") for c, each in cells.items()]
    if "label" in first:
        known = {
            name: [part["label"].isin([k, str(k), name]) for part in parts.values()]
            for k, name in enumerate(names)
        }
    else:
        found = [name for name in names if f"label:{name}" in first]
        known = {name: [part[f"label:{name}"] == 1 for part in parts.values()] for name in found}
    if len(known) > MOST_CELLS:
        sizes = np.array([[int(there.sum()) for there in each] for each in known.values()])
        counts = {"classes there": (sizes > 0).sum(0), "fewest of a class": sizes.min(0)}
        counts["most of a class"] = sizes.max(0)
        return [Row(name, [Cell(f"{n:,}") for n in row]) for name, row in counts.items()]
    return [Row(name, [_share(there) for there in each]) for name, each in known.items()]


def _share(there: pd.Series) -> Cell:
    return Cell(f"{int(there.sum()):,}", percent(float(there.mean())))


def _quartiles(values: pd.Series) -> Cell:
    if not len(values):
        return Cell()
    quartiles = np.quantile(values, (0.25, 0.5, 0.75))
    low, middle, high = (digits(v) if abs(v) < 1000 else number(v) for v in quartiles)
    return Cell(middle, f"{low} … {high}")


def problems_table(run: Run) -> Table | None:
    """Return the problems of the data, counted by kind and splits; no image is named."""
    table, keys = run.problems, ["severity", "kind", "split", "other_split"]
    if table is None or not len(table):
        return None
    found = Counter(table[keys].fillna("").astype(str).itertuples(index=False, name=None))
    order = {"error": 0, "warning": 1, "note": 2}
    rows = []
    for key in sorted(found, key=lambda key: (order.get(key[0], 3), key)):
        severity, kind, split, other = key
        where = " and ".join(split_of(name) for name in (split, other) if name) or NOTHING
        rows.append(Row(kind, [Cell(severity), Cell(where), Cell(f"{found[key]:,}")]))
    return Table("What the audit found", headed("severity", "splits", "count"), rows)


def overall_table(
    level: Record, folds: Record | None = None, methods: Record | None = None
) -> Table | None:
    """Return all figures but those of single classes.

    Args:
        level: With ``figures``.
        folds: Of a cross-validation, by a figure's name the value in each fold.
        methods: The ways in which intervals were made, by the figures' names; None for no column
            of them.
    """
    folds, titles = folds or {}, ["value", "95 % interval", "n"]
    figures = {key: one for key, one in level.get("figures", {}).items() if "/" not in key}
    rows = [_in_columns(key, figure) for key, figure in figures.items()]
    if folds:
        titles.append(f"mean ± SD over {len(next(iter(folds.values())))} folds")
        for key, row in zip(figures, rows, strict=True):
            row.cells.append(Cell(*mean_and_spread(folds.get(key, []), key)))
    if methods is not None:
        titles.append("interval by")
        by_key = {key: how for keys, how in methods.items() for key in keys.split(", ")}
        for key, row in zip(figures, rows, strict=True):
            known = row.cells[1].value != NOTHING
            row.cells.append(Cell(by_key.get(key, by_key.get("*", NOTHING)) if known else NOTHING))
    return Table("Of all cases", headed(*titles), rows) if rows else None


def _titles(keys: Sequence[str]) -> list[Column]:
    """Return a column for each figure, by its title alone."""
    return headed(*(words_of(key).title for key in keys))


def _in_columns(key: str, figure: Record) -> Row:
    """Return a row with value, interval and n of a figure."""
    words, cell = words_of(key), figure_cell(key, figure)
    cells = [Cell(cell.value), Cell(cell.below or NOTHING), Cell(f"{figure.get('n', 0):,}")]
    return Row(words.title, cells, words.what)


def class_table(level: Record, names: Sequence[str]) -> Table | None:
    """Return the figures of single classes, a row a class."""
    figures = level.get("figures", {})
    keys = list(dict.fromkeys(key.split("/", 1)[0] for key in figures if "/" in key))
    found = [name for name in names if any(f"{key}/{name}" in figures for key in keys)]
    rows = [
        Row(name, [figure_cell(key, figures.get(f"{key}/{name}")) for key in keys])
        for name in found
    ]
    return Table("By class", _titles(keys), rows).shortened if rows else None


def clinic_table(level: Record) -> Table | None:
    """Return the figures that a clinic asks of a test, at its operating point."""
    clinic = level.get("clinic")
    if not clinic:
        return None
    if clinic.get("labels"):
        return _clinic_by_label(clinic["labels"])
    rows = [_in_columns(key, figure) for key, figure in clinic["figures"].items()]
    threshold = thresholds_of(clinic)
    several = f" at the folds' own thresholds {threshold}"
    at = several if clinic.get("thresholds") else f" at the threshold {threshold}" * bool(threshold)
    return Table(f"The test in the clinic{at}", headed("value", "95 % interval", "n"), rows)


def _clinic_by_label(labels: Record) -> Table:
    """Return a row a label, each at a threshold of its own."""
    keys = ("sensitivity", "specificity", "ppv", "npv", "lr_positive", "lr_negative", "prevalence")
    rows = []
    for name, one in labels.items():
        cells = [figure_cell(key, one["figures"].get(key)) for key in keys]
        rows.append(Row(str(name), [Cell(thresholds_of(one) or NOTHING), *cells]))
    columns = [*headed("threshold"), *_titles(keys)]
    return Table("The test in the clinic, each label at its own threshold", columns, rows).shortened


def errors_table(errors: Sequence[Record], level: str, names: Mapping[int, str]) -> Table | None:
    """Return the most confident mistakes; `names` says which image a row is."""
    rows = []
    for error in errors:
        cells = [error["true"], error["predicted"], number(error["confidence"])]
        rows.append(Row(names.get(error["row"], str(error["row"])), list(map(Cell, cells))))
    caption = f"{plural(len(rows), level)} with the most confident mistakes"
    columns = headed("true", "predicted", "confidence")
    head = "image" if names else "number"
    return Table(caption, columns, rows, head) if rows else None


def label_issues_table(run: Run) -> Table | None:
    """Return the labels that are likeliest wrong, of a cross-validation; none of another run."""
    issues, samples = run.label_issues, run.samples
    if issues is None:
        return None
    rows = issues["row"].tolist()
    names = [f"row {row}" for row in rows]
    if samples is not None and "image" in samples and max(rows) < len(samples):
        names = names_of_rows(samples, rows)
    shown = [name for name in ("of", "label", "suggested", "score", "fold") if name in issues]
    numeric = ("label", "suggested", "score") if run.task == "regression" else ("score",)
    cells = [
        [Cell(number(float(one[k])) if k in numeric else str(one[k])) for k in shown]
        for one in issues[shown].to_dict("records")
    ]
    caption = f"{plural(len(rows), 'label')} that may be wrong"
    lines = [Row(name, line) for name, line in zip(names, cells, strict=True)]
    return Table(caption, headed(*shown), lines, "image")


def subgroup_table(level: Record) -> Table | None:
    """Return the figures by group of patients, a row a group."""
    groups = [group for group in level.get("subgroups") or [] if group["shown"]]
    keys = list(dict.fromkeys(key for group in groups for key in group["figures"]))
    rows = []
    for group in groups:
        cells = [figure_cell(key, group["figures"].get(key)) for key in keys]
        rows.append(Row(f"{group['column']} {group['group']}", [Cell(f"{group['n']:,}"), *cells]))
    return Table("By group", [*headed("n"), *_titles(keys)], rows) if rows else None
