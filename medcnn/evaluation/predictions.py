"""A table of predictions as arrays, from which every evaluation starts."""

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
    """The n samples of which it is known whether they are of a class."""

    probs: Floats  # (n,) of the class
    scores: Floats  # (n,) by which they are ranked, see `ranking_scores`
    truth: Bools  # (n,) True where they are of the class
    called: Bools  # (n,) True where that was decided
    groups: NDArray[Any] | None  # (n,) their patients, see `Predictions.groups`


@dataclass(frozen=True)
class Predictions:
    """A classifier's predictions of N samples.

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
        """Return the predictions of a table with the columns of ``predictions.csv``.

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
        else:
            probs = numbers(table, "prob", names, several=True)
            labels = classes(table, "label", names, task)
        patients = pd.Series([f"row {row}" for row in range(len(table))])
        if "patient" in table:
            patients = table["patient"].astype(object).where(table["patient"].notna(), patients)
        who = patients.astype(str).to_numpy()
        made = cls(probs, labels, labels, who, task, tuple(names), positive, table)
        column = f"decision:{names[0]}" if task == "multilabel" else "decision"
        if task != "regression" and column in table:
            return replace(made, decisions=classes(table, "decision", names, task))
        return replace(made, decisions=made._decided())

    @property
    def single(self) -> int | None:
        """The positive class, where there are two and a rate speaks of one."""
        return self.positive if len(self.class_names) == 2 and self.task != "multilabel" else None

    @property
    def arrays(self) -> tuple[Floats, NDArray[Any], NDArray[Any]]:
        """Probabilities, labels and decisions, as `medcnn.evaluation.evaluate` takes them."""
        return self.probs, self.labels, self.decisions

    @property
    def meaning(self) -> dict[str, Any]:
        """Task, class names and positive class, as `medcnn.evaluation.evaluate` takes them."""
        return {name: getattr(self, name) for name in ("task", "class_names", "positive")}

    @property
    def known(self) -> Bools:
        """(N,) True where a label of the sample is known."""
        if self.labels.dtype.kind == "f":
            return ~np.isnan(self.labels).all(1)
        return (self.labels != UNKNOWN).reshape(len(self), -1).any(1)

    @cached_property
    def clustered(self) -> bool:
        """True where a patient has several samples."""
        return len(np.unique(self.patients)) < len(self)

    @property
    def groups(self) -> NDArray[Any] | None:
        """(N,) the patients, None where each has one sample and all are independent."""
        return self.patients if self.clustered else None

    def where(self, chosen: NDArray[Any]) -> Self:
        """Return some of the samples, by a mask (N,) or by indices."""
        names = ("probs", "labels", "decisions", "patients")
        arrays = {name: getattr(self, name)[chosen] for name in names}
        return replace(self, **arrays, table=self.table.iloc[chosen])

    @cached_property
    def scores(self) -> Floats:
        """(N, K), by which samples are ranked, see `ranking_scores`."""
        return ranking_scores(self.probs, several=self.task == "multilabel")

    def at(self, point: Mapping[str, Any] | None) -> Self:
        """Return the same with the decisions of an operating point, see `thresholds_of`.

        A threshold in the table, of each row its own (as of pooled folds), goes before it. Without
        a point, and in tasks without thresholds, decisions stay as they are.
        """
        if point is None or not (self.single is not None or self.task == "multilabel"):
            return self
        judged = self if self.task == "multilabel" else replace(self, task="binary")
        return replace(self, decisions=judged._decided(point))

    def versus_rest(self, k: int) -> OneVsRest:
        """Return class k against the others, where that is known."""
        labels, decisions, value = self.labels, self.decisions, k
        if self.task == "multilabel":
            labels, decisions, value = labels[:, k], decisions[:, k], 1
        there = labels != UNKNOWN
        groups = None if self.groups is None else self.groups[there]
        return OneVsRest(
            self.probs[there, k],
            self.scores[there, k],
            truth=labels[there] == value,
            called=decisions[there] == value,
            groups=groups,
        )

    def by_patient(self, how: str = "mean") -> Self:
        """Return one prediction a patient, pooled as `medcnn.evaluation.studies.aggregate` does.

        Decisions are made at the thresholds of the table, where it has some (of the first row).

        Raises:
            UserError: A patient's samples have different labels, or an aggregation that doesn't
                fit.
        """
        names, numbers = np.unique(self.patients, return_inverse=True)
        labels = study_labels(self.labels, numbers, list(names), what="patient")
        probs = aggregate(self.probs, numbers, how, task=self.task, positive=self.positive)
        first = np.unique(numbers, return_index=True)[1]
        table = self.table.iloc[first].reset_index(drop=True)
        table = table.drop(columns=[c for c in table if str(c).startswith("quantile:")])
        pooled = replace(self, probs=probs, labels=labels, patients=names, table=table)
        return replace(pooled, decisions=pooled._decided())

    def _decided(self, point: Mapping[str, Any] | None = None) -> NDArray[Any]:
        """Return decisions at the thresholds of the table's rows, else of a point, else at 0.5."""
        several = self.task == "multilabel"
        columns = [f"threshold:{name}" for name in self.class_names] if several else ["threshold"]
        given = thresholds_of(point, self.class_names) or [np.nan] * len(columns)
        thresholds, table = np.array(given), self.table
        if any(column in table for column in columns):
            pairs = zip(columns, given, strict=True)
            thresholds = np.stack(
                [numbers_in(table, c) if c in table else np.full(len(self), t) for c, t in pairs],
                axis=1,
            )
        decisions = objective.decide(
            torch.from_numpy(self.probs),
            self.task,
            positive=1 if self.positive is None else self.positive,
            thresholds=torch.from_numpy(thresholds),
        )
        return decisions.numpy()


def read_predictions(
    path: str | Path,
    *,
    split: str | None = "test",
    task: Task | None = None,
    class_names: Sequence[str] | None = None,
    positive: str | None = None,
) -> Predictions:
    """Return the predictions of a file, with what it doesn't say taken from its columns.

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
