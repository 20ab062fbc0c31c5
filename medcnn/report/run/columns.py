"""What the columns of a table do for a net, and what its images add to them."""

import pandas as pd

from medcnn.jobs.rundir import COLUMNS_ALONE
from medcnn.report.comparison.paired_tests import TESTED, paired_tests
from medcnn.report.comparison.tables import difference_cell, signed
from medcnn.report.runs import Run, read_run
from medcnn.report.svg import floats, interval_mark, interval_scale, span
from medcnn.report.tables import Cell, Column, Row, Table, figure_cell, headed
from medcnn.report.words import words_of

NAMES = {"columns-linear": "columns alone, linear", "columns-boosting": "columns alone, boosting"}


def importance_table(run: Run) -> Table | None:
    """Return how far the score falls where each column is permuted, the highest first."""
    table = run.columns
    if table is None:
        return None
    found = table.sort_values("importance", ascending=False, kind="stable").to_dict("records")
    scale = span(floats([[0.0, one["importance"], one["low"], one["high"]] for one in found]))
    rows = []
    for one in found:
        ends = {"low": one["low"], "high": one["high"]}
        known = not pd.isna(one["low"] + one["high"])
        values = {"value": one["importance"], **(ends if known else {})}
        cell = Cell() if pd.isna(one["importance"]) else Cell(signed(one["importance"]))
        if known:
            cell = cell._replace(
                below=f"[{signed(one['low'])}, {signed(one['high'])}]",
                mark=interval_mark(values, scale, 0.0),
            )
        rows.append(Row(str(one["column"]), [cell]))
    title = words_of(str(found[0]["score"])).title
    caption = f"Loss of {title} where a column is permuted"
    return Table(caption, headed(f"loss of {title}"), rows, "column", interval_scale(scale))


def added_table(run: Run) -> Table | None:
    """Return the figures of a net beside those of models of its columns alone, and what it adds."""
    folders = [run.path / name for name in COLUMNS_ALONE]
    if not all((folder / "evaluation.json").exists() for folder in folders):
        return None
    runs = [run, *map(read_run, folders)]
    names = ["image and columns", *(NAMES[name] for name in COLUMNS_ALONE)]
    level = next(iter(run.levels))  # images, or studies
    figures = [name for name in TESTED[run.task] if run.figure(level, name)]
    if not figures:
        return None
    adds = {
        one.second: difference_cell(one, None)
        for one in paired_tests(runs, names).differences
        if (one.first, one.figure) == (0, figures[0])
    }
    columns = [Column(words_of(name)) for name in figures]
    columns.insert(1, Column(words_of(figures[0])._replace(title="image adds", better=None)))
    rows = []
    for place, (one, name) in enumerate(zip(runs, names, strict=True)):
        first, *others = [figure_cell("", one.figure(level, key)) for key in figures]
        rows.append(Row(name, [first, adds.get(place, Cell()), *others]))
    return Table("Images and columns", columns, rows, "inputs")
