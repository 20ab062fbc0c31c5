"""A table of predictions as arrays: what every evaluation starts from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from medcnn import objective
from medcnn.errors import UserError
from medcnn.evaluation.columns import classes, names_of, numbers, numbers_in, read_table, task_of
from medcnn.evaluation.operating_point import thresholds_of
from medcnn.evaluation.ranking import Bools, Floats, ranking_scores
from medcnn.evaluation.studies import aggregate, study_labels
from medcnn.objective import TASKS, UNKNOWN, Task


class OneVsRest(NamedTuple):
    """Samples of which it is known whether they are of a class.

    Args:
        probs: (n,) its probability.
        scores: (n,) what they are ranked by, see `ranking_scores`.
        truth: (n,) whether they are of the class.
        called: (n,) whether they were said to be.
        patients: (n,) text.
    """

    probs: Floats
    scores: Floats
    truth: Bools
    called: Bools
    patients: NDArray[Any]


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
            table: ``prob:<class>`` … and ``label`` (names of classes), or of several labels
                ``label:<class>`` (0 or 1); in regression ``label`` and ``prediction``, with several
                targets with ``:<target>``. An unknown label is empty. Without ``decision`` (of
                several labels ``decision:<class>``) decisions are made of the probabilities, at
                ``threshold`` (``threshold:<class>``) where there is such a column. Without
                ``patient`` each row is a patient.
            task: One of `medcnn.objective.TASKS`.
            class_names: In the order that the probabilities shall have.
            positive: See `Predictions`.

        Raises:
            UserError: A column is missing, or a label names no class.
        """
        table, names = table.reset_index(drop=True), list(class_names)
        if task == "regression":
            probs, labels = (numbers(table, column, names) for column in ("prediction", "label"))
            decisions: NDArray[Any] = probs
        else:
            probs = numbers(table, "prob", names, several=True)
            labels = classes(table, "label", names, task)
            column = f"decision:{names[0]}" if task == "multilabel" else "decision"
            if column in table:
                decisions = classes(table, "decision", names, task)
            else:
                decisions = _decided(probs, table, task, names, positive)
        alone = pd.Series([f"row {row}" for row in range(len(table))])
        patients = alone
        if "patient" in table:
            patients = table["patient"].astype(object).where(table["patient"].notna(), alone)
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

    @cached_property
    def scores(self) -> Floats:
        """(N, K) what samples are ranked by, see `ranking_scores`."""
        return ranking_scores(self.probs, several=self.task == "multilabel")

    def at(self, point: Mapping[str, Any] | None) -> Self:
        """The same with the decisions of an operating point.

        Args:
            point: See `thresholds_of`; a threshold in the table, of each row its own (as of pooled
                folds), goes before it. None, and of tasks without thresholds: as they are.
        """
        if point is None or not (self.single is not None or self.task == "multilabel"):
            return self
        task: Task = "multilabel" if self.task == "multilabel" else "binary"
        names = list(self.class_names)
        decisions = _decided(self.probs, self.table, task, names, self.single, point)
        return replace(self, decisions=decisions)

    def versus_rest(self, k: int) -> OneVsRest:
        """Class k against the others, where that is known."""
        if self.task == "multilabel":
            truth, there = self.labels[:, k] == 1, self.labels[:, k] != UNKNOWN
            called = self.decisions[:, k] == 1
        else:
            truth, there = self.labels == k, self.labels != UNKNOWN
            called = self.decisions == k
        parts = (self.probs[:, k], self.scores[:, k], truth, called, self.patients)
        return OneVsRest(*(part[there] for part in parts))

    def by_patient(self, how: str = "mean") -> Self:
        """One prediction a patient; decisions are those of the pooled probabilities.

        They are made at the thresholds of the table, where it has some (of a patient's first row).

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
        table = self.table.iloc[first].reset_index(drop=True)
        decisions = _decided(probs, table, self.task, list(self.class_names), self.positive)
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
        path: A CSV file with the columns of ``predictions.csv``, made by medcnn or elsewhere; see
            `Predictions.of` for those that it needs.
        split: Take these rows alone, if the file has splits; None for all.
        task: None: by the columns, regression, multilabel, binary (two classes) or multiclass.
        class_names: None: in the order of the columns.
        positive: Name of the positive class, of two; None for the second.

    Raises:
        UserError: It can't be read, has no such columns, or no row of the split.
    """
    try:
        table = read_table(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read as a table of predictions: {error}") from None
    if split is not None and "split" in table:
        table = table[table["split"] == split]
    if not len(table):
        raise UserError(f"{path} holds no prediction of the split {split}")
    names = list(class_names or names_of(table))
    task = task or task_of(list(table.columns), len(names))
    if task not in TASKS:
        raise UserError(f"task={task}: choose one of {', '.join(TASKS)}")
    if positive is not None and positive not in names:
        raise UserError(f"positive={positive}: {path} has the classes {', '.join(names)}")
    chosen = names.index(positive) if positive is not None else 1
    return Predictions.of(
        table, task=task, class_names=names, positive=chosen if task == "binary" else None
    )


def _decided(
    probs: Floats,
    table: pd.DataFrame,
    task: Task,
    names: list[str],
    positive: int | None,
    point: Mapping[str, Any] | None = None,
) -> NDArray[Any]:
    """Decisions at the thresholds of each row of a table, else at those of a point, else at 0.5."""
    several = task == "multilabel"
    given = thresholds_of(point, names) or [np.nan] * (len(names) if several else 1)
    columns = [f"threshold:{name}" for name in names] if several else ["threshold"]
    thresholds = np.array(given)
    if any(column in table for column in columns):
        pairs = zip(columns, given, strict=True)
        thresholds = np.stack(
            [numbers_in(table, c) if c in table else np.full(len(table), t) for c, t in pairs],
            axis=1,
        )
    decisions = objective.decide(
        torch.from_numpy(probs),
        task,
        positive=1 if positive is None else positive,
        thresholds=torch.from_numpy(thresholds),
    )
    return decisions.numpy()
