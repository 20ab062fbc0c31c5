"""A data set: one table with one row a sample, and the images behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medcnn.data.image import ImageSpec
from medcnn.data.layout import Layout
from medcnn.data.originals import Originals
from medcnn.data.studies import Studies
from medcnn.errors import UserError
from medcnn.evaluation.studies import study_labels
from medcnn.objective import UNKNOWN, Task, known

SPLITS = ("train", "val", "test")
HOLDOUT = "holdout"  # official test images, which stay out of the folds of a cross-validation
NEW = "new"  # images that a data set has got since a checkpoint was trained on it
MARKER_COLUMNS = ("marker_top", "marker_left", "marker_bottom", "marker_right")
ALL_SPLITS = (*SPLITS, HOLDOUT)  # in an order in which the later of two with one image has the leak


class Images(Protocol):
    """Images, or masks, given out for a batch of rows; a tensor is one."""

    @property
    def shape(self) -> Sequence[int]:
        """(N, C, *spatial); of masks (N, *spatial)."""

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return images (B, C, *spatial) of the rows (B,) int64, in the stored data type."""


@dataclass
class Samples:
    """A sample table with its images and labels: the form of every source of data.

    Args:
        name: Name of the data set, for titles and file names.
        table: One row a sample, indexed 0 … N-1. Columns: ``image`` (a path, or the row of an
            array), ``patient``, ``split`` (train, val, test or holdout), the label column(s) (see
            `label_columns`), and any others (``site``, ``sex``, ``age``, …), which are kept.
            ``study``, where there is one, joins the slices of a volume; `MARKER_COLUMNS` tell where
            a film marker lies.
        images: (N, C, *spatial), any real data type; `intensity_range` says what its values mean.
        task: binary, multiclass, multilabel, ordinal or regression.
        class_names: Names of the K classes, into which a label is an index, -1 for unknown. In
            regression the names of the K targets, whose labels are numbers, NaN for unknown.
        positive: Index of the class of sensitivity and specificity (binary tasks), or None.
        intensity_range: The stored values that stand for 0 and 1 at the network's input: a pair,
            or where every image has its own, (N, 2) float32, or every channel, (N, C, 2).
        masks: (N, *spatial) bool, True on the lesion (all False where there is none), or None.
        spec: How the files were made into images, as plain values; None where there are no files.
        originals: The files, for pictures of them; None where there are none.
        orientation: Of volumes without files the directions in which their axes run, as of
            `medcnn.data.image.ImageSpec`; None where nobody knows.
        features: Columns of the table that are inputs of the network beside the images.
        feature_values: Of these (N, F) float32, encoded as the network takes them; None before.
        studies: Of a network that takes the images of a study together; it is then the study that
            is trained on and tested, named by its first row. None: each row is one by itself.
    """

    name: str
    table: pd.DataFrame
    images: Images
    task: Task
    class_names: tuple[str, ...]
    positive: int | None = None
    intensity_range: tuple[float, float] | Tensor = (0.0, 255.0)
    masks: Images | None = None
    spec: dict[str, Any] | None = None
    originals: Originals | None = None
    orientation: str | None = None
    features: tuple[str, ...] = ()
    feature_values: Tensor | None = None
    studies: Studies | None = None

    def __post_init__(self) -> None:
        self.table = self.table.reset_index(drop=True)
        if problem := self._problem():
            raise UserError(f"data set {self.name}: {problem}")

    def __len__(self) -> int:
        return len(self.table)

    @property
    def label_columns(self) -> list[str]:
        """``["label"]``, or of several labels or targets one column each, ``label:<name>``."""
        several = self.task == "multilabel"
        if several or (self.task == "regression" and len(self.class_names) > 1):
            return [f"label:{name}" for name in self.class_names]
        return ["label"]

    @property
    def labels(self) -> Tensor:
        """(N,) int64 class indices; multi-label (N, K) int64; regression (N, K) float32."""
        kind = np.float32 if self.task == "regression" else np.int64
        values = torch.tensor(self.table[self.label_columns].to_numpy(dtype=kind))
        return values if self.task in ("multilabel", "regression") else values[:, 0]

    @property
    def units(self) -> tuple[str, str]:
        """What a label belongs to, one and several: image, images, or with `studies` study."""
        return ("image", "images") if self.studies is None else ("study", "studies")

    @property
    def in_channels(self) -> int:
        """Channels of an image."""
        return int(self.images.shape[1])

    @property
    def input_size(self) -> tuple[int, ...]:
        """Spatial size of an image: (H, W) or (D, H, W)."""
        return tuple(int(s) for s in self.images.shape[2:])

    @property
    def layout(self) -> Layout | None:
        """What the channels are; None where they are those of one file or array."""
        return None if self.spec is None else ImageSpec.of(self.spec).layout

    @property
    def markers(self) -> Tensor | None:
        """Boxes (N, 4) int64 of a marker beside the body, as `MARKER_COLUMNS`; None if unknown.

        In pixels, bottom and right exclusive; all 0 where an image has none.
        """
        if not set(MARKER_COLUMNS) <= set(self.table):
            return None
        return torch.from_numpy(self.table[list(MARKER_COLUMNS)].to_numpy(dtype=np.int64))

    def ranges(self, rows: Tensor) -> Tensor:
        """Return the stored values that stand for 0 and 1 in images of rows (B,).

        (B, 2) float32, or where every channel has its own, (B, C, 2).
        """
        if isinstance(self.intensity_range, Tensor):
            return self.intensity_range[rows]
        return torch.tensor(self.intensity_range).expand(len(rows), 2)

    def rows(self, split: str) -> Tensor:
        """Return the rows (n,) int64 of a split, in order; raise UserError if there are none.

        With `studies` the first row of each.
        """
        chosen = (self.table["split"] == split).to_numpy()
        rows = np.flatnonzero(chosen)
        if self.studies is not None:
            first = self.studies.first.numpy()
            rows = first[chosen[first]]
        if len(rows) == 0:
            raise UserError(
                f"data set {self.name}: the {split} split is empty; "
                f"column split holds {sorted(self.table['split'].unique())}"
            )
        return torch.from_numpy(rows)

    def instances(self, rows: Tensor) -> Tensor:
        """Return the rows (n,) of all images of rows (B,): with `studies` of all their images."""
        return rows if self.studies is None else self.studies.instances(rows)[0]

    def spread(self, rows: Tensor, n: int) -> Tensor:
        """Return at most `n` of some rows (m,), evenly from their classes and evenly within each.

        Unknown is a class here, of several labels the first positive one, in regression all.
        """
        labels = self.labels[rows]
        if self.task == "regression":
            labels = torch.zeros(len(rows))
        elif self.task == "multilabel":
            labels = torch.where(known(labels).any(1), labels.argmax(1), UNKNOWN)
        classes = labels.unique().tolist()
        chosen = [rows[:0]]
        for k, value in enumerate(classes):
            of_class = rows[labels == value]
            share = min(n // len(classes) + (k < n % len(classes)), len(of_class))
            at = np.linspace(0, len(of_class) - 1, share).round().astype(int)
            chosen.append(of_class[torch.from_numpy(at)])
        return torch.cat(chosen)

    def shuffle_labels(self, seed: int) -> None:
        """Shuffle the labels of the training split; the other splits keep theirs.

        A net trained on them can only have learned the images by heart: what its maps have in
        common with those of a net trained on the truth doesn't come from learning (J. Adebayo et
        al., "Sanity checks for saliency maps", 2018, section 3.3).
        """
        rows = self.rows("train").numpy()
        mixed = np.random.default_rng(seed).permutation(rows)
        labels = self.table[self.label_columns].to_numpy().copy()
        labels[rows] = labels[mixed]
        if self.studies is not None:
            labels = labels[self.studies.first[self.studies.number].numpy()]
        self.table[self.label_columns] = labels

    def join_studies(self, studies: Studies) -> None:
        """Take the images of each study together; its label is that of those that have one.

        Raises:
            UserError: Images of a study contradict each other.
        """
        names = self.table["study"].iloc[studies.first.numpy()].tolist()
        labels = study_labels(self.labels.numpy(), studies.number, names)
        columns = labels.reshape(len(labels), -1)[studies.number.numpy()]
        self.table[self.label_columns] = columns
        self.studies = studies

    def _problem(self) -> str | None:
        """Return why the table can't be used, if so."""
        table, classes = self.table, self.class_names
        needed = ("image", "patient", "split", *self.label_columns)
        if lacking := [column for column in needed if column not in table]:
            return f"its sample table lacks column {lacking[0]!r}"
        if unknown := set(table["split"]) - set(ALL_SPLITS):
            names = ", ".join(sorted(map(str, unknown)))
            return f"split {names} in its sample table is none of {', '.join(SPLITS)}"
        if self.positive is not None and not 0 <= self.positive < len(classes):
            return f"positive={self.positive} is none of its classes"
        if len(table) != self.images.shape[0]:
            return f"{len(table)} rows in the sample table, but {self.images.shape[0]} images"
        highest = 1 if self.task == "multilabel" else len(classes) - 1
        for column in [] if self.task == "regression" else self.label_columns:
            bad = ~table[column].isin(range(UNKNOWN, highest + 1)).to_numpy()
            if bad.any():
                row = int(bad.argmax())
                return (
                    f"label {table[column].iloc[row]} in row {row} of column {column!r} is outside "
                    f"0 … {highest} ({bad.sum()} such rows); the classes are {', '.join(classes)}"
                )
        return None
