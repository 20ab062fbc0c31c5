"""The tables of a run's page, ready to be written down."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd

from medcnn.report.run_files import RunFiles
from medcnn.report.words import (
    NOTHING,
    Record,
    interval,
    mean_and_spread,
    number,
    percent,
    plural,
    show,
    split_of,
    thresholds_told,
    words_of,
)

SPLITS = ("train", "val", "test", "holdout", "new")
MOST_CELLS = 12  # classes of a confusion matrix whose cells are written out
MOST_ROWS = 200  # classes or labels of a table
MOST_GROUPS = 12  # values of a column such as site


class Cell(NamedTuple):
    """A value with what stands below it, small."""

    value: str
    below: str = ""


class Row(NamedTuple):
    """A name, what it means, and cells."""

    name: str
    cells: list[Cell]
    about: str = ""


class Table(NamedTuple):
    """Rows under a head."""

    caption: str
    head: list[str]
    rows: list[Row]

    @property
    def shortened(self) -> "Table":
        """The first `MOST_ROWS` rows, and that there are more."""
        if len(self.rows) <= MOST_ROWS:
            return self
        caption = f"{self.caption}: the first {MOST_ROWS} of {len(self.rows):,}"
        return self._replace(caption=f"{caption}; metrics.json has all", rows=self.rows[:MOST_ROWS])


def figure_cell(key: str, figure: Record | None) -> Cell:
    """Value and interval; a dash where there is none."""
    if not figure:
        return Cell(NOTHING)
    return Cell(show(key, figure.get("value")), interval(key, figure))


def data_table(files: RunFiles) -> Table | None:
    """Counts by split: images, patients, classes, and what is known of the patients."""
    table, evaluation = files.samples, files.evaluation
    if table is None or "split" not in table:
        return None
    parts = {name: table[table["split"] == name] for name in SPLITS}
    parts = {name: part for name, part in parts.items() if len(part)}
    if not parts:
        return None
    rows = [Row("images", [Cell(f"{len(part):,}") for part in parts.values()])]
    if "patient" in table:
        rows.append(Row("patients", [Cell(f"{p['patient'].nunique():,}") for p in parts.values()]))
    rows += _label_rows(parts, evaluation)
    if "age" in table:
        ages = [pd.to_numeric(part["age"], errors="coerce").dropna() for part in parts.values()]
        rows.append(Row("age, median", [_quartiles(values) for values in ages], "and quartiles"))
    for column in ("sex", "site"):
        if column in table:
            values = table[column].dropna().astype(str)
            for value in values.value_counts().index[:MOST_GROUPS]:
                cells = [_share(part[column].astype(str) == value) for part in parts.values()]
                rows.append(Row(f"{column} {value}", cells))
    return Table("Images by split", [split_of(name) for name in parts], rows)


def _label_rows(parts: Mapping[str, pd.DataFrame], evaluation: Record) -> list[Row]:
    names, first = evaluation["class_names"], next(iter(parts.values()))
    if evaluation["task"] == "regression":
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
    return [Row(str(name), [_share(there) for there in each]) for name, each in known.items()]


def _share(there: pd.Series) -> Cell:
    return Cell(f"{int(there.sum()):,}", percent(float(there.mean())))


def _quartiles(values: pd.Series) -> Cell:
    if not len(values):
        return Cell(NOTHING)
    quartiles = np.quantile(values, (0.25, 0.5, 0.75))
    texts = (f"{v:.3g}" if abs(v) < 1000 else f"{v:,.0f}" for v in quartiles)
    low, middle, high = (text.replace("-", "−") for text in texts)
    return Cell(middle, f"{low} … {high}")


def problems_table(files: RunFiles) -> Table | None:
    """What the audit found, counted by kind and splits; no image is named."""
    table, keys = files.problems, ["severity", "kind", "split", "other_split"]
    if table is None or not set(keys) <= set(table.columns) or not len(table):
        return None
    found = Counter(table[keys].fillna("").astype(str).itertuples(index=False, name=None))
    order = {"error": 0, "warning": 1, "note": 2}
    rows = []
    for key in sorted(found, key=lambda key: (order.get(key[0], 3), key)):
        severity, kind, split, other = key
        where = " and ".join(split_of(name) for name in (split, other) if name) or NOTHING
        rows.append(Row(kind, [Cell(severity), Cell(where), Cell(f"{found[key]:,}")]))
    return Table("What the audit found", ["severity", "splits", "count"], rows)


def overall_table(level: Record, methods: Record, folds: Record | None = None) -> Table | None:
    """All figures but those of single classes, with how their intervals were made.

    Args:
        level: With ``figures``.
        methods: How intervals were made, by the figures' names.
        folds: Of a cross-validation, by a figure's name the value in each fold.
    """
    rows, folds = [], folds or {}
    by_key = {key: how for keys, how in methods.items() for key in keys.split(", ")}
    for key, figure in level.get("figures", {}).items():
        if "/" not in key:
            words, cell = words_of(key), figure_cell(key, figure)
            how = by_key.get(key, by_key.get("*", "")) if cell.below else ""
            cells = [
                Cell(cell.value),
                Cell(cell.below or NOTHING),
                Cell(f"{figure.get('n', 0):,}"),
                *([Cell(*mean_and_spread(folds.get(key, []), key))] if folds else []),
                Cell(how or NOTHING),
            ]
            rows.append(Row(words.title, cells, words.what))
    over = [f"mean ± SD over {len(next(iter(folds.values())))} folds"] if folds else []
    head = ["value", "95 % interval", "n", *over, "interval by"]
    return Table("Of all cases", head, rows) if rows else None


def class_table(level: Record, names: Sequence[str]) -> Table | None:
    """Figures of single classes, a row a class."""
    figures = level.get("figures", {})
    keys = list(dict.fromkeys(key.split("/", 1)[0] for key in figures if "/" in key))
    found = [name for name in names if any(f"{key}/{name}" in figures for key in keys)]
    rows = [
        Row(str(name), [figure_cell(key, figures.get(f"{key}/{name}")) for key in keys])
        for name in found
    ]
    head = [words_of(key).title for key in keys]
    return Table("By class", head, rows).shortened if rows else None


def clinic_table(level: Record) -> Table | None:
    """What a clinic asks of a test at its operating point."""
    clinic = level.get("clinic")
    if not clinic or not clinic.get("figures"):
        return None
    if clinic.get("labels"):
        return _clinic_by_label(clinic["labels"])
    rows = []
    for key, figure in clinic["figures"].items():
        words, cell = words_of(key), figure_cell(key, figure)
        cells = [Cell(cell.value), Cell(cell.below or NOTHING), Cell(f"{figure.get('n', 0):,}")]
        rows.append(Row(words.title, cells, words.what))
    threshold = thresholds_told(clinic)
    several = f" at the folds' own thresholds {threshold}"
    at = several if clinic.get("thresholds") else f" at the threshold {threshold}" * bool(threshold)
    return Table(f"The test in the clinic{at}", ["value", "95 % interval", "n"], rows)


def _clinic_by_label(labels: Record) -> Table:
    """A row a label, each at a threshold of its own."""
    keys = ("sensitivity", "specificity", "ppv", "npv", "lr_positive", "lr_negative", "prevalence")
    rows = [
        Row(
            str(name),
            [
                Cell(thresholds_told(one) or NOTHING),
                *(figure_cell(key, one["figures"].get(key)) for key in keys),
            ],
        )
        for name, one in labels.items()
    ]
    head = ["threshold", *(words_of(key).title for key in keys)]
    return Table("The test in the clinic, each label at its own threshold", head, rows).shortened


def errors_table(
    errors: Sequence[Record], level: str, names: Mapping[int, str] = MappingProxyType({})
) -> Table | None:
    """The most confident mistakes; `names` says which image a row is."""
    rows = []
    for error in errors:
        confidence = error.get("confidence")
        sure = NOTHING if confidence is None else number(confidence)
        cells = [
            Cell(str(error.get("true", "?"))),
            Cell(str(error.get("predicted", "?"))),
            Cell(sure),
        ]
        row = error.get("row", NOTHING)
        rows.append(Row(names.get(row, str(row)), cells))
    caption = f"{plural(len(rows), level)} with the most confident mistakes"
    return Table(caption, ["true", "predicted", "confidence"], rows) if rows else None
