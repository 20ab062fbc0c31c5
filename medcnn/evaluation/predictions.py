"""A table of predictions as arrays: what every evaluation starts from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcnn.errors import UserError
from medcnn.evaluation.ranking import Bools, Floats
from medcnn.evaluation.studies import aggregate, study_labels
from medcnn.files import read_csv
from medcnn.objective import TASKS, UNKNOWN, Task

TEXT = ("label", "decision", "patient", "study", "image")  # columns that aren't numbers


@dataclass(frozen=True)
class Predictions:
    """What a classifier said of N samples.

    Args:
        probs: (N, K) probabilities in the order of ``class_names``; in regression predictions.
        labels: (N,) class indices, or for multi-label data (N, K) of 0 and 1; -1 for unknown. In
            regression (N, K) numbers, NaN for unknown.
        decisions: As ``labels``, but all known.
        patients: (N,) text, whose samples belong together.
        task: One of `medcnn.objective.TASKS`.
        class_names: K names of classes or targets.
        positive: The class that is sought, of two; None for figures that are means over classes.
        table: N rows, all columns of the file.
    """

    probs: Floats
    labels: NDArray[Any]
    decisions: NDArray[Any]
    patients: NDArray[Any]
    task: Task
    class_names: tuple[str, ...]
    positive: int | None
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.probs)

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        *,
        task: Task,
        class_names: Sequence[str],
        positive: int | None,
    ) -> Self:
        """From a table with the columns of ``predictions.csv``.

        Args:
            table: ``prob:<class>`` …, ``label`` and ``decision`` (names of classes), or of several
                labels ``label:<class>`` and ``decision:<class>`` (0 or 1); in regression ``label``
                and ``prediction``, with several targets with ``:<target>``. An unknown label is
                empty. Without ``patient`` each row is a patient.
            task: One of `medcnn.objective.TASKS`.
            class_names: In the order that the probabilities shall have.
            positive: See `Predictions`.

        Raises:
            UserError: A column is missing, or a label names no class.
        """
        table, names = table.reset_index(drop=True), list(class_names)
        if task == "regression":
            probs, labels = (_numbers(table, column, names) for column in ("prediction", "label"))
            decisions: NDArray[Any] = probs
        else:
            probs = _numbers(table, "prob", names, several=True)
            labels, decisions = (_classes(table, c, names, task) for c in ("label", "decision"))
        alone = pd.Series([f"row {row}" for row in range(len(table))])
        patients = (
            table["patient"].astype(object).where(table["patient"].notna(), alone)
            if ("patient" in table)
            else alone
        )
        return cls(
            probs,
            labels,
            decisions,
            patients.astype(str).to_numpy(),
            task,
            tuple(names),
            positive,
            table,
        )

    @property
    def single(self) -> int | None:
        """The positive class, where there are two and a rate speaks of one."""
        return self.positive if len(self.class_names) == 2 and self.task != "multilabel" else None

    @property
    def known(self) -> Bools:
        """(N,) whether a label of the sample is known."""
        if self.labels.dtype.kind == "f":
            return ~np.isnan(self.labels).all(1)
        return (self.labels != UNKNOWN).reshape(len(self), -1).any(1)

    @property
    def clustered(self) -> bool:
        """Whether a patient has several samples."""
        return len(np.unique(self.patients)) < len(self)

    def where(self, chosen: NDArray[Any]) -> Self:
        """Some of the samples, by a mask (N,) or by indices."""
        arrays = {name: getattr(self, name)[chosen] for name in _ARRAYS}
        return replace(
            self,
            **arrays,
            table=self.table[chosen] if chosen.dtype == bool else self.table.iloc[chosen],
        )

    def versus_rest(self, k: int) -> tuple[Floats, Bools, NDArray[Any]]:
        """Scores, truth and patients of class k against the others, where that is known."""
        if self.task == "multilabel":
            truth, there = self.labels[:, k] == 1, self.labels[:, k] != UNKNOWN
        else:
            truth, there = self.labels == k, self.labels != UNKNOWN
        return self.probs[there, k], truth[there], self.patients[there]

    def by_patient(self, how: str = "mean") -> Self:
        """One prediction a patient; decisions are those of the pooled probabilities.

        Args:
            how: See `medcnn.evaluation.studies.aggregate`.

        Raises:
            UserError: A patient's samples have different labels, or an aggregation that doesn't
                fit.
        """
        names, numbers = np.unique(self.patients, return_inverse=True)
        labels = study_labels(self.labels, numbers, list(names), what="patient")
        probs = aggregate(self.probs, numbers, how, task=self.task, positive=self.positive)
        first = np.unique(numbers, return_index=True)[1]
        decisions = decide(probs, self.task)
        table = self.table.iloc[first].reset_index(drop=True)
        return replace(
            self, probs=probs, labels=labels, decisions=decisions, patients=names, table=table
        )


_ARRAYS = ("probs", "labels", "decisions", "patients")


def read_predictions(
    path: str | Path,
    *,
    split: str | None = "test",
    task: Task | None = None,
    class_names: Sequence[str] | None = None,
    positive: str | None = None,
) -> Predictions:
    """Predictions of a file; what it doesn't say is taken from its columns.

    Args:
        path: A CSV file with the columns of ``predictions.csv``.
        split: Take these rows alone, if the file has splits; None for all.
        task: None: by the columns, regression, multilabel, binary (two classes) or multiclass.
        class_names: None: in the order of the columns.
        positive: Name of the positive class, of two; None for the second.

    Raises:
        UserError: It can't be read, has no such columns, or no row of the split.
    """
    try:
        table = read_csv(path, TEXT)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read as a table of predictions: {error}") from None
    if split is not None and "split" in table:
        table = table[table["split"] == split]
    if not len(table):
        raise UserError(f"{path} holds no prediction of the split {split}")
    names = list(class_names or _names(table))
    task = task or _task(list(table.columns), len(names))
    if task not in TASKS:
        raise UserError(f"task={task}: choose one of {', '.join(TASKS)}")
    if positive is not None and positive not in names:
        raise UserError(f"positive={positive}: {path} has the classes {', '.join(names)}")
    chosen = names.index(positive) if positive is not None else 1
    return Predictions.of(
        table, task=task, class_names=names, positive=chosen if task == "binary" else None
    )


def decide(probs: NDArray[Any], task: Task) -> NDArray[Any]:
    """As `medcnn.objective.Objective.decide`, of probabilities (N, K)."""
    if task == "regression":
        return probs
    if task == "multilabel":
        return (probs >= 0.5).astype(np.int64)
    if task == "ordinal":
        return (probs.cumsum(1)[:, :-1] < 0.5).sum(1)
    return probs.argmax(1)


def _task(columns: list[str], classes: int) -> Task:
    """What columns of predictions are those of."""
    if not any(column.startswith("prob:") for column in columns):
        return "regression"
    if any(column.startswith("label:") for column in columns):
        return "multilabel"
    return "binary" if classes == 2 else "multiclass"


def _names(table: pd.DataFrame) -> list[str]:
    """Classes, or targets, in the order of the columns."""
    for kind in ("prob", "prediction"):
        names = [c.partition(":")[2] for c in table.columns if c.startswith(f"{kind}:")]
        if names:
            return names
    return ["prediction"]


def _classes(table: pd.DataFrame, column: str, names: list[str], task: Task) -> NDArray[Any]:
    """Labels or decisions as numbers: (N,) or (N, K), unknown ones -1."""
    if task == "multilabel":
        values = _numbers(table, column, names, several=True)
        return np.nan_to_num(values, nan=UNKNOWN).astype(np.int64)
    index = {"": UNKNOWN, **{name: k for k, name in enumerate(names)}}
    texts = _column(table, column).fillna("").astype(str)
    strange = ~texts.isin(list(index))
    if strange.any():
        raise UserError(
            f"column {column}: {texts[strange].iloc[0]!r} is none of the classes {', '.join(names)}"
        )
    return texts.map(index).to_numpy(np.int64)


def _numbers(
    table: pd.DataFrame, column: str, names: list[str], several: bool = False
) -> NDArray[np.float64]:
    """(N, K) of the columns ``<column>:<name>``, or of the only column; NaN where empty."""
    columns = [f"{column}:{name}" for name in names] if several or len(names) > 1 else [column]
    found = [pd.to_numeric(_column(table, name), errors="coerce") for name in columns]
    return np.stack([one.to_numpy(float, na_value=np.nan) for one in found], axis=1)


def _column(table: pd.DataFrame, name: str) -> "pd.Series[Any]":
    if name not in table:
        raise UserError(f"the table of predictions has no column {name}")
    return table[name]
