"""Labels in the cells of a table: the task, the classes and each row's label."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from medcnn.data.keys import tidy
from medcnn.data.sources.class_names import (
    index_by_name,
    numbers,
    positive_class,
    sorted_names,
    text_of,
)
from medcnn.data.sources.delimited import at_lines
from medcnn.errors import UserError
from medcnn.jobs.notes import note
from medcnn.objective import TASKS, UNKNOWN, Task

MOST_NUMBERS = 20  # classes named by numbers; more look like a quantity
YES_OR_NO = {"1": 1, "true": 1, "yes": 1, "0": 0, "false": 0, "no": 0}
YES_OR_NO |= {"": UNKNOWN, "-1": UNKNOWN}  # -1 as CheXpert has it


@dataclass
class Labels:
    """Labels as `medcnn.data.samples.Samples` has them; `columns` has a row a row of the cells."""

    task: Task
    class_names: tuple[str, ...]
    columns: pd.DataFrame
    positive: int | None = None


@dataclass(frozen=True)
class LabelOptions:
    """A config's options of labels.

    Args:
        task: A task, or auto: several columns and a separator mean multilabel, two classes
            binary, more multiclass.
        classes: Names of the classes in their order; None for sorted (numbers by value). In
            regression and with several columns these are the columns' names in another order; one
            target can have any name.
        positive: Name of the class that is sought, of two.
        separator: Sign between the labels in a cell that holds several.
        no_finding: The label that means none of the others, in such a cell.
    """

    task: str = "auto"
    classes: Sequence[Any] | None = None
    positive: Any = None
    separator: str | None = None
    no_finding: str | None = None

    @property
    def names(self) -> list[str] | None:
        """`classes` as text; raises UserError unless it is a list of different names."""
        if self.classes is None:
            return None
        given = self.classes
        listed = isinstance(given, Sequence) and not isinstance(given, str)
        names = list(map(text_of, given)) if listed else []
        if not names or "" in names or len({name.casefold() for name in names}) < len(names):
            raise UserError(f"dataset.classes={given}: give a list of different names, or null")
        return names


def read_labels(cells: pd.DataFrame, options: LabelOptions, *, several: bool = False) -> Labels:
    """Read labels from text: class indices, 0 and 1, or numbers; -1 or NaN for unknown.

    Args:
        cells: The columns that hold labels, as text; "" where a label isn't known.
        options: Of the config.
        several: Whether the columns are labels (or targets) of their own.

    Raises:
        UserError: Options that don't go together, or with these cells, or cells that don't fit.
    """
    _check_options(options, several)
    cells = cells.map(tidy)
    if (cells == "").to_numpy().all():
        raise UserError(f"dataset.columns.label: {', '.join(cells.columns)} holds no label at all")
    if options.task == "regression":
        return _targets(cells, options)
    if several:
        return _label_columns(cells, options)
    if options.separator is not None:
        return _label_sets(cells.iloc[:, 0], options, options.separator)
    return _classes(cells.iloc[:, 0], options)


def no_labels(options: LabelOptions, rows: pd.Index) -> Labels:
    """Return labels that are all unknown, of rows that are to be predicted.

    Raises:
        UserError: `options` don't say what is predicted.
    """
    names = options.names
    if names is None or options.task == "auto":
        raise UserError(
            "dataset.columns.label=null: without labels give dataset.task and dataset.classes"
        )
    task = cast(Task, options.task)
    several = task == "multilabel" or (task == "regression" and len(names) > 1)
    unknown = float("nan") if task == "regression" else UNKNOWN
    columns = [f"label:{name}" for name in names] if several else ["label"]
    positive = positive_class(task, names, options.positive)
    return Labels(task, tuple(names), pd.DataFrame(unknown, rows, columns), positive)


def _check_options(options: LabelOptions, several: bool) -> None:
    task, separator = options.task, options.separator
    if task not in ("auto", *TASKS):
        raise UserError(f"dataset.task={task}: choose one of {', '.join(('auto', *TASKS))}")
    if separator is not None and (not isinstance(separator, str) or not separator.strip()):
        raise UserError(f"dataset.separator={separator}: give a sign that is no space, or null")
    if several and separator is not None:
        raise UserError("dataset.separator is for one label column, but several are named")
    multilabel = several or separator is not None
    allowed = ("auto", "multilabel", *(["regression"] if several else []))
    if multilabel and task not in allowed:
        what = "several label columns" if several else "dataset.separator"
        raise UserError(f"dataset.task={task} doesn't go with {what}")
    if task == "multilabel" and not multilabel:
        raise UserError(
            "dataset.task=multilabel: name several columns, dataset.columns.label=[a,b], or the "
            "sign between the labels in one, dataset.separator"
        )
    if options.no_finding is not None and separator is None:
        raise UserError("dataset.no_finding goes with dataset.separator only")
    if options.positive is not None and (multilabel or task not in ("auto", "binary")):
        raise UserError("dataset.positive is for two classes only (task binary)")


def _classes(cells: pd.Series, options: LabelOptions) -> Labels:
    """Read one class a row."""
    names = options.names
    meant = set(cells) - {"", "-1"} if names is None else set(names)
    if options.task in ("auto", "binary") and meant == {"0", "1"}:
        _note_unsure(cells, "; dataset.classes=[-1,0,1] makes it a class")
        cells = cells.where(cells != "-1", "")  # as in a column of several labels
    elif options.task in ("auto", "binary") and names is None and set(cells) - {""} == {"0", "-1"}:
        raise UserError(
            f"{_name(cells)} holds 0 and -1 alone: give dataset.classes=[0,1] if -1 means unknown, "
            "[-1,0] if it is a class"
        )
    found = [name for name in cells.unique() if name]
    if names is None:
        _check_not_numbers(found, cells, options)
        names = sorted_names(found)
        if options.task == "ordinal" and numbers(names) is None:
            raise UserError("dataset.task=ordinal: give the order of the classes, dataset.classes")
    index = index_by_name(names)
    values = [index.get(cell.casefold(), UNKNOWN) for cell in cells]
    _refuse((cells != "") & (np.array(values) == UNKNOWN), cells, "none of dataset.classes")
    if len(names) < 2:
        raise UserError(
            f"{_name(cells)} holds one class only, {names[0]}: give all in dataset.classes"
        )
    task: Task = "binary" if len(names) == 2 else "multiclass"
    if options.task != "auto":
        task = cast(Task, options.task)
    if task == "binary" and len(names) != 2:
        raise UserError(f"dataset.task=binary, but {_name(cells)} has {len(names)} classes")
    columns = pd.DataFrame({"label": np.array(values, np.int64)}, index=cells.index)
    return Labels(task, tuple(names), columns, positive_class(task, names, options.positive))


def _note_unsure(cells: pd.Series, advice: str = "") -> None:
    """Note labels of -1, which CheXpert has where the radiologist wasn't sure."""
    if count := (cells == "-1").sum():
        note(f"{count} cells of {_name(cells)} are -1, unknown as in CheXpert{advice}")


def _check_not_numbers(found: list[str], cells: pd.Series, options: LabelOptions) -> None:
    """Raise UserError where labels may be a quantity, or several in one cell."""
    if options.task != "auto":
        return
    values = numbers(found)
    if values is not None and (len(found) > MOST_NUMBERS or any(v % 1 for v in values)):
        raise UserError(
            f"{_name(cells)} holds {len(found)} different numbers: say whether they are a quantity "
            "or classes, dataset.task=regression, ordinal or multiclass"
        )
    for sign in "|;":
        if any(sign in name for name in found):
            raise UserError(
                f"{_name(cells)} holds labels with {sign!r}: say dataset.separator='{sign}' if it "
                "stands between several labels, else dataset.task=multiclass"
            )


def _label_columns(cells: pd.DataFrame, options: LabelOptions) -> Labels:
    """Read a column of yes and no for each label."""
    cells = cells[_ordered_columns(cells, options)]
    columns = {}
    for name, column in cells.items():
        _note_unsure(column)
        values = column.str.lower().map(YES_OR_NO)
        _refuse(values.isna(), column, "neither 0 nor 1 (nor empty or -1, for unknown)")
        columns[f"label:{name}"] = values.astype(np.int64)
    return Labels("multilabel", tuple(cells.columns), pd.DataFrame(columns, index=cells.index))


def _label_sets(cells: pd.Series, options: LabelOptions, separator: str) -> Labels:
    """Read all labels of a row from one cell."""
    sets = [[tidy(part) for part in cell.split(separator)] for cell in cells]
    held = [{part.casefold(): part for part in parts if part} for parts in sets]
    none = None if options.no_finding is None else text_of(options.no_finding).casefold()
    contradicting = [none in part and len(part) > 1 for part in held]
    _refuse(contradicting, cells, f"{options.no_finding} together with a finding", show=False)
    if none is not None and options.classes is None and not any(none in part for part in held):
        raise UserError(f"dataset.no_finding={options.no_finding}: no row of {_name(cells)} has it")
    found = {name for part in held for key, name in part.items() if key != none}
    names = options.names or sorted_names(sorted(found))
    if not names:
        raise UserError(f"{_name(cells)} holds no label but {options.no_finding}")
    index = index_by_name(names)
    if none in index:
        raise UserError(f"dataset.no_finding={options.no_finding}: leave it out of dataset.classes")
    strange = [part.keys() - index.keys() - {none} for part in held]
    _refuse(strange, cells, "none of dataset.classes")
    values = np.zeros((len(cells), len(names)), np.int64)
    for row, part in enumerate(held):
        values[row, [index[key] for key in part if key != none]] = 1
        values[row] = values[row] if part else UNKNOWN
    columns = [f"label:{name}" for name in names]
    return Labels("multilabel", tuple(names), pd.DataFrame(values, cells.index, columns))


def _targets(cells: pd.DataFrame, options: LabelOptions) -> Labels:
    """Read numbers to be predicted."""
    single, names = cells.shape[1] == 1, options.names
    if not single or names is None or len(names) > 1:  # one target can have any name
        names = _ordered_columns(cells, options)
        cells = cells[names]
    columns = {}
    for name, column in cells.items():
        values = pd.to_numeric(column.where(column != ""), errors="coerce").astype(np.float64)
        _refuse((column != "") & ~np.isfinite(values), column, "no number")
        columns["label" if single else f"label:{name}"] = values
    return Labels("regression", tuple(names), pd.DataFrame(columns, index=cells.index))


def _ordered_columns(cells: pd.DataFrame, options: LabelOptions) -> list[str]:
    """Return the label columns in the order of the classes, if these are given."""
    own, given = list(cells.columns), options.names
    if given is not None and sorted(given) != sorted(own):
        raise UserError(
            f"dataset.classes={given} has to hold the names of the label columns, {', '.join(own)}"
        )
    return given or own


def _refuse(bad: Iterable[object], cells: pd.Series, what: str, *, show: bool = True) -> None:
    """Raise UserError if any row is bad."""
    if rows := [row for row, wrong in enumerate(bad) if wrong]:
        shown = f" {cells.iloc[rows[0]]!r}," if show else ""
        raise UserError(f"{_name(cells)}, {at_lines(cells.index[rows])}:{shown} {what}")


def _name(cells: pd.Series) -> str:
    return f"label column {cells.name}"
