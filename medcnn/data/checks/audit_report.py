"""Findings of an audit in words: a table, a line for each kind, and the error that stops a run."""

from collections.abc import Sequence

import pandas as pd

from medcnn.data.checks.audit import IDENTICAL, KINDS, NEAR, PATIENT, Finding, Severity
from medcnn.errors import UserError

OF_SPLITS = (PATIENT, IDENTICAL, NEAR)  # of images in two splits
COLUMNS = ["severity", "kind", "image", "split", "other_image", "other_split", "reason"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


def findings_table(findings: Sequence[Finding], table: pd.DataFrame) -> pd.DataFrame:
    """Return the findings about a sample table as text in `COLUMNS`, the gravest first."""
    ordered = sorted(findings, key=lambda f: SEVERITIES.index(f.severity))
    images = table["image"].tolist()

    def image(row: int | None) -> str:
        return "" if row is None else str(images[row])

    rows = [
        (f.severity, f.kind, image(f.row), f.split, image(f.other_row), f.other_split, f.detail)
        for f in ordered
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def summary_lines(findings: Sequence[Finding], table: pd.DataFrame, near: bool) -> list[str]:
    """Return a line for each kind of finding, with the first one, and one on near-duplicates."""
    lines = []
    for kind in KINDS:
        of_kind = [f for f in findings if f.kind == kind]
        if of_kind:
            lines.append(f"{of_kind[0].severity}: {_count(of_kind, table)}")
    if not near:
        return [*lines, "near-duplicate images were not looked for"]
    found = len({f.row for f in findings if f.kind == NEAR})
    what = "of the images of val and test are copies of one in an earlier split"
    return [*lines, f"near-duplicates: {found} {what}"]


def _count(findings: Sequence[Finding], table: pd.DataFrame) -> str:
    """Return the number of findings of one kind, and the first of them."""
    one, images = findings[0], table["image"]
    where = ""
    if one.row is not None and one.other_row is not None:
        one_image, other_image = images.iloc[one.row], images.iloc[one.other_row]
        splits = (f" ({one.split})", f" ({one.other_split})") if one.kind in OF_SPLITS else ("", "")
        where = f"{one_image}{splits[0]} and {other_image}{splits[1]}: "
    such = "such as " if len(findings) > 1 else ""
    return f"{one.kind}: {len(findings)}, {such}{where}{one.detail}"


def raise_errors(findings: Sequence[Finding], table: pd.DataFrame) -> None:
    """Raise UserError where a finding is an error: count and example of each kind, and a remedy."""
    errors = [f for f in findings if f.severity == "error"]
    kinds = [kind for kind in KINDS if any(f.kind == kind for f in errors)]
    if not errors:
        return
    counts = "; ".join(_count([f for f in errors if f.kind == kind], table) for kind in kinds)
    advice = []
    if PATIENT in kinds:
        advice.append("split by patient (splits=patient), or mend the table")
    if len(kinds) > (PATIENT in kinds):
        advice.append("leave out one of each pair of images, or set strict=false")
    raise UserError(f"the splits leak: {counts}. To do: {'; '.join(advice)}")
