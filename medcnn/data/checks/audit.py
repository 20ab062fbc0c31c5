"""Faults of splits: patients and images in two of them, labels that contradict."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcnn.data.samples import ALL_SPLITS, SPLITS
from medcnn.objective import UNKNOWN, Task

Severity = Literal["error", "warning", "note"]

PATIENT = "patient in two splits"
IDENTICAL = "identical images in two splits"
NEAR = "near-duplicate images in two splits"
RELABELLED = "identical images with different labels"
CONTRADICTION = "patient with contradicting labels"
MISSING = "class missing in a split"
KINDS = (PATIENT, IDENTICAL, NEAR, RELABELLED, CONTRADICTION, MISSING)


@dataclass(frozen=True)
class Finding:
    """One finding of the audit: about a split, or a pair of samples, the later split first."""

    kind: str  # one of `KINDS`
    severity: Severity
    detail: str  # one line, without a patient or a file
    split: str
    row: int | None = None  # position in the table; None for a whole split
    other_split: str = ""
    other_row: int | None = None


@dataclass
class _Audited:
    """Columns of a sample table, as arrays of N rows."""

    patients: NDArray[np.int64]  # a number each
    splits: NDArray[np.object_]
    labels: NDArray[np.float64]  # (N, columns)
    known: NDArray[np.bool_]

    def pair(self, kind: str, severity: Severity, detail: str, row: int, other: int) -> Finding:
        """Return a finding about two samples."""
        return Finding(kind, severity, detail, self.splits[row], row, self.splits[other], other)


def audit(
    table: pd.DataFrame,
    task: Task,
    label_columns: Sequence[str],
    class_names: Sequence[str],
    *,
    content: Sequence[Hashable | None] | None = None,
    near: tuple[NDArray[np.int64], NDArray[np.float64]] | None = None,
    strict: bool = False,
) -> list[Finding]:
    """Find leaks between the splits, and labels that can't be right.

    - A patient in two splits: an error.
    - For each image of val and test, one with the same content in an earlier split, or one of
      which it is a copy: a warning, in strict mode an error.
    - Images of the same content with different labels, in whatever split: a warning.
    - Patients with several different labels where a sample has one class: a note, since patients
      recover and fall ill; not in multi-label data and regression.
    - A class without a sample in a split, or a label that is never (always) positive there: a
      warning.

    Args:
        table: Columns ``patient``, ``split`` and the label columns.
        task: What the labels mean.
        label_columns: As `medcnn.data.samples.Samples.label_columns`.
        class_names: Names of the classes, or of the targets.
        content: (N,) hashes of the images' content, None for an image of one grey, which is
            nobody's duplicate; see `medcnn.data.checks.duplicates.content_hashes`. None for no
            search.
        near: Of `medcnn.data.checks.duplicates.near_duplicates`; None for no search.
        strict: Duplicates in two splits are errors.

    Returns:
        In the order of `KINDS`.
    """
    labels = table[list(label_columns)].to_numpy(dtype=float)
    audited = _Audited(
        patients=pd.factorize(table["patient"].astype(str))[0].astype(np.int64),
        splits=table["split"].to_numpy(dtype=object),
        labels=labels,
        known=~np.isnan(labels) & ((labels != UNKNOWN) | (task == "regression")),
    )
    severity: Severity = "error" if strict else "warning"
    findings = _shared_patients(audited)
    if content is not None:
        findings += _identical(audited, content, severity)
    if near is not None:
        findings += _near(audited, near, severity, findings)
    if content is not None:
        findings += _relabelled(audited, content)
    if task not in ("multilabel", "regression"):
        findings += _contradictions(audited, class_names)
    if task != "regression":
        findings += _missing(audited, task, class_names)
    return findings


def _shared_patients(audited: _Audited) -> list[Finding]:
    """Return a finding for each patient and pair of splits, at the first image in each."""
    findings = []
    rows = {name: np.flatnonzero(audited.splits == name) for name in ALL_SPLITS}
    size = int(audited.patients.max(initial=-1)) + 1
    first = {name: _first(audited.patients, rows[name], size) for name in ALL_SPLITS}
    counts = {name: np.bincount(audited.patients[rows[name]], minlength=size) for name in rows}
    for earlier, later in combinations(ALL_SPLITS, 2):
        for patient in np.flatnonzero((first[later] >= 0) & (first[earlier] >= 0)).tolist():
            ours, others = counts[later][patient], counts[earlier][patient]
            detail = f"images of the patient: {ours} in {later}, {others} in {earlier}"
            row, other = int(first[later][patient]), int(first[earlier][patient])
            findings.append(audited.pair(PATIENT, "error", detail, row, other))
    return sorted(findings, key=lambda f: (f.row or 0, f.other_row or 0))


def _first(codes: NDArray[np.int64], rows: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return the first of some rows with each code 0 … size - 1; -1 where there is none."""
    first = np.full(size, -1)
    first[codes[rows[::-1]]] = rows[::-1]  # the last one that is set stays
    return first


def _codes(content: Sequence[Hashable | None]) -> NDArray[np.int64]:
    """Return a number for each image (N,), the same for the same content; -1 for None."""
    values = np.empty(len(content), object)
    values[:] = content
    return pd.factorize(values)[0].astype(np.int64)


def _identical(
    audited: _Audited, content: Sequence[Hashable | None], severity: Severity
) -> list[Finding]:
    """Find for each image and earlier split the first image there with the same content."""
    findings = []
    codes = _codes(content)
    first: list[NDArray[np.int64]] = []  # of each split, by code
    for split in ALL_SPLITS:
        rows = np.flatnonzero((audited.splits == split) & (codes >= 0))
        others = (
            np.array([earlier[codes[rows]] for earlier in first]).reshape(len(first), len(rows)).T
        )
        for k in np.flatnonzero((others >= 0).any(1)).tolist():
            findings += [
                audited.pair(IDENTICAL, severity, "every pixel is the same", int(rows[k]), other)
                for other in others[k].tolist()
                if other >= 0
            ]
        first.append(_first(codes, rows, codes.max(initial=-1) + 1))
    return findings


def _near(
    audited: _Audited,
    near: tuple[NDArray[np.int64], NDArray[np.float64]],
    severity: Severity,
    before: Sequence[Finding],
) -> list[Finding]:
    """Return the near-duplicates, but for images that have an identical one in that split."""
    identical = {(f.row, f.other_split) for f in before if f.kind == IDENTICAL}
    findings = []
    for (row, other), agreement in zip(near[0].tolist(), near[1].tolist(), strict=True):
        if (row, audited.splits[other]) not in identical:
            detail = f"laid over each other, their structures correlate by {agreement:.2f}"
            findings.append(audited.pair(NEAR, severity, detail, row, other))
    return findings


def _relabelled(audited: _Audited, content: Sequence[Hashable | None]) -> list[Finding]:
    """Find images that are the same as an earlier row's, but labelled otherwise."""
    codes = _codes(content)
    rows = np.flatnonzero((codes >= 0) & audited.known.any(1))
    others = _first(codes, rows, codes.max(initial=-1) + 1)[codes[rows]]
    both = audited.known[rows] & audited.known[others]
    differ = (both & (audited.labels[rows] != audited.labels[others])).any(1)
    detail = "every pixel is the same, the label is not"
    return [
        audited.pair(RELABELLED, "warning", detail, row, other)
        for row, other in zip(rows[differ].tolist(), others[differ].tolist(), strict=True)
    ]


def _contradictions(audited: _Audited, class_names: Sequence[str]) -> list[Finding]:
    """Return a finding a patient: the first image, and the first with another class."""
    rows = np.flatnonzero(audited.known[:, 0])
    columns = {"patient": audited.patients[rows], "label": audited.labels[rows, 0], "row": rows}
    distinct = pd.DataFrame(columns).drop_duplicates(["patient", "label"])
    several = distinct[distinct.duplicated("patient", keep=False)]
    findings = []
    for _, group in several.groupby("patient", sort=False):
        first, other = group["row"].tolist()[:2]
        names = " and ".join(str(class_names[int(label)]) for label in group["label"])
        detail = f"the patient's images are labelled {names}"
        findings.append(audited.pair(CONTRADICTION, "note", detail, first, other))
    return findings


def _missing(audited: _Audited, task: Task, class_names: Sequence[str]) -> list[Finding]:
    """Find classes, or in multi-label data values of a label, that a split has no sample of."""
    findings = []
    for split in SPLITS:
        part = audited.labels[audited.splits == split]
        for k, name in enumerate(class_names):
            if task == "multilabel":
                wanted = {f"positive for {name}": 1, f"negative for {name}": 0}
                lacking = [what for what, value in wanted.items() if value not in part[:, k]]
            else:
                lacking = [] if k in part[:, 0] else [f"of class {name}"]
            for what in lacking:
                findings.append(Finding(MISSING, "warning", f"no sample {what} in {split}", split))
    return findings
