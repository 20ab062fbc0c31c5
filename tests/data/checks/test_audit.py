import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medcnn.data.checks.audit import (
    CONTRADICTION,
    IDENTICAL,
    MISSING,
    NEAR,
    PATIENT,
    RELABELLED,
    Finding,
    audit,
)
from medcnn.data.checks.audit_report import findings_table, raise_errors, summary_lines
from medcnn.data.checks.duplicates import content_hashes, near_duplicates
from medcnn.data.samples import Samples
from medcnn.data.sources.medmnist import medmnist
from medcnn.errors import UserError

CLASSES = ("benign", "malignant")


def make(patients: str, splits: str, labels: list[int] | None = None) -> pd.DataFrame:
    """A table with a letter a row: of the patient, and of the split (r, v or t)."""
    names = {"r": "train", "v": "val", "t": "test"}
    return pd.DataFrame(
        {
            "image": [f"{k}.png" for k in range(len(patients))],
            "patient": list(patients),
            "split": [names[letter] for letter in splits],
            "label": labels if labels is not None else [0] * len(patients),
        }
    )


def look(table: pd.DataFrame, **options: Any) -> list[Finding]:
    return audit(table, "binary", ["label"], CLASSES, **options)


def near(*pairs: tuple[int, int], agreement: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """What `near_duplicates` gives."""
    return np.array(pairs, np.int64).reshape(-1, 2), np.full(len(pairs), agreement)


def of(findings: list[Finding], kind: str) -> list[Finding]:
    return [finding for finding in findings if finding.kind == kind]


def pairs(findings: list[Finding], kind: str) -> list[tuple[Any, ...]]:
    return [(f.row, f.split, f.other_row, f.other_split) for f in of(findings, kind)]


def of_samples(samples: Samples, **options: Any) -> list[Finding]:
    return audit(
        samples.table,
        samples.task,
        samples.label_columns,
        samples.class_names,
        content=content_hashes(samples.images),
        near=near_duplicates(samples.images, samples.table["split"].tolist()),
        **options,
    )


def test_a_clean_table_has_no_findings() -> None:
    table = make("aabbcd", "rrvvtt", [0, 1] * 3).assign(patient=list("abcdef"))
    assert look(table, content=list(range(6)), near=near()) == []


def test_a_holdout_is_looked_at_too() -> None:
    table = make("aab", "rvt").replace({"split": {"val": "holdout"}})
    findings = look(table, content=[0, 0, 1])
    assert pairs(findings, PATIENT) == [(1, "holdout", 0, "train")]
    assert pairs(findings, IDENTICAL) == [(1, "holdout", 0, "train")]


def test_an_unknown_label_contradicts_none() -> None:
    table = make("ab", "rr").assign(**{"label:x": [1, 1], "label:y": [-1, 0]})
    findings = audit(table, "multilabel", ["label:x", "label:y"], ("x", "y"), content=[0, 0])
    assert of(findings, RELABELLED) == []


def test_patients_in_two_splits() -> None:
    table = make("aabcbacd", "rrrrvvtt")
    found = of(look(table), PATIENT)
    # c in train and test, b in train and val, a in train and val.
    assert pairs(found, PATIENT) == [
        (4, "val", 2, "train"),
        (5, "val", 0, "train"),
        (6, "test", 3, "train"),
    ]
    assert {f.severity for f in found} == {"error"}
    assert found[1].detail == "images of the patient: 1 in val, 2 in train"


def test_a_patient_in_all_three_splits_is_three_findings() -> None:
    table = make("aaa", "tvr")
    assert pairs(look(table), PATIENT) == [
        (0, "test", 1, "val"),
        (0, "test", 2, "train"),
        (1, "val", 2, "train"),
    ]


def test_patients_given_as_numbers() -> None:
    table = make("ab", "rv").assign(patient=[7, 7])
    assert len(of(look(table), PATIENT)) == 1


def test_identical_images() -> None:
    table = make("abcdef", "rrvvtt")
    content = [b"x", b"x", b"x", b"y", b"y", b"x"]
    found = look(table, content=content)
    assert pairs(found, IDENTICAL) == [
        (2, "val", 0, "train"),
        (4, "test", 3, "val"),
        (5, "test", 0, "train"),
        (5, "test", 2, "val"),
    ]
    assert {f.severity for f in of(found, IDENTICAL)} == {"warning"}
    strict = look(table, content=content, strict=True)
    assert {f.severity for f in of(strict, IDENTICAL)} == {"error"}


def test_images_of_one_grey_are_nobodys_duplicates() -> None:
    table = make("abc", "rvt", [0, 1, 0])
    found = look(table, content=[None] * 3)
    assert {f.kind for f in found} == {MISSING}


def test_near_duplicates_are_named_with_their_agreement() -> None:
    table = make("abcde", "rrvtt")
    given = near((2, 0), (3, 2))
    found = of(look(table, near=given), NEAR)
    assert pairs(found, NEAR) == [(2, "val", 0, "train"), (3, "test", 2, "val")]
    assert found[0].detail == "laid over each other, their structures correlate by 0.90"
    assert {f.severity for f in found} == {"warning"}
    strict = look(table, near=given, strict=True)
    assert {f.severity for f in of(strict, NEAR)} == {"error"}
    assert not of(look(table), NEAR)


def test_identical_images_are_not_near_duplicates_too() -> None:
    table = make("abcd", "rrvt")
    found = look(table, content=[b"o", b"x", b"x", b"z"], near=near((2, 1), (3, 0)))
    assert pairs(found, IDENTICAL) == [(2, "val", 1, "train")]
    assert pairs(found, NEAR) == [(3, "test", 0, "train")]


def test_identical_images_with_other_labels() -> None:
    table = make("abcde", "rrrvt", [0, 1, -1, 0, 1])
    found = look(table, content=[b"x", b"x", b"x", b"x", b"y"])
    assert pairs(found, RELABELLED) == [(1, "train", 0, "train")]
    assert of(found, RELABELLED)[0].severity == "warning"


def test_unknown_labels_contradict_nothing() -> None:
    table = make("abc", "rrr", [-1, 0, 1])
    found = look(table, content=[b"x"] * 3)
    assert pairs(found, RELABELLED) == [(2, "train", 1, "train")]  # the first known label counts


@pytest.mark.parametrize(
    ("first", "second", "differ"), [(1.5, 1.5, False), (1.5, 2.0, True), (1.5, np.nan, False)]
)
def test_identical_images_with_other_targets(first: float, second: float, differ: bool) -> None:
    table = make("ab", "rr").assign(label=[first, second])
    found = audit(table, "regression", ["label"], ["age"], content=[b"x", b"x"])
    assert bool(of(found, RELABELLED)) == differ


def test_minus_one_is_a_number_in_regression() -> None:
    table = make("ab", "rr").assign(label=[-1.0, 2.0])
    found = audit(table, "regression", ["label"], ["age"], content=[b"x", b"x"])
    assert len(of(found, RELABELLED)) == 1


def test_patients_with_contradicting_labels() -> None:
    table = make("abacba", "rrrrrr", [0, 1, -1, 0, 1, 1])
    found = of(look(table), CONTRADICTION)
    assert pairs(found, CONTRADICTION) == [(0, "train", 5, "train")]
    assert found[0].severity == "note"
    assert found[0].detail == "the patient's images are labelled benign and malignant"
    line = summary_lines(found, table, None)[0]  # in every fold the same
    assert line.endswith("0.png and 5.png: the patient's images are labelled benign and malignant")


def test_findings_that_come_and_go_do_not_contradict_in_multilabel_data() -> None:
    table = make("aa", "rr").assign(**{"label:x": [0, 1]})
    assert not of(audit(table, "multilabel", ["label:x"], ["x"]), CONTRADICTION)


def test_classes_that_a_split_lacks() -> None:
    table = make("abcdef", "rrvvtt", [0, 1, 0, -1, 1, 1])
    found = of(look(table), MISSING)
    assert [f.detail for f in found] == [
        "no sample of class malignant in val",
        "no sample of class benign in test",
    ]
    assert {(f.severity, f.row, f.other_row) for f in found} == {("warning", None, None)}


def test_labels_that_are_all_alike_in_a_split() -> None:
    table = make("abcdef", "rrvvtt")
    table["label:x"] = [0, 1, 1, 1, -1, 0]
    found = audit(table, "multilabel", ["label:x"], ["x"])
    assert [f.detail for f in of(found, MISSING)] == [
        "no sample negative for x in val",
        "no sample positive for x in test",
    ]


def test_a_split_without_rows_lacks_every_class() -> None:
    found = of(look(make("ab", "rr", [0, 1])), MISSING)
    assert [f.split for f in found] == ["val", "val", "test", "test"]


def test_findings_table_puts_errors_first() -> None:
    table = make("abcda", "rrvvt", [0, 1, 0, 1, 1])
    findings = look(table, content=[b"x", b"y", b"x", b"z", b"q"])
    problems = findings_table(findings, table)
    assert problems.to_numpy().tolist() == [
        [
            "error",
            PATIENT,
            "4.png",
            "test",
            "0.png",
            "train",
            "images of the patient: 1 in test, 1 in train",
        ],
        ["warning", IDENTICAL, "2.png", "val", "0.png", "train", "every pixel is the same"],
        ["warning", MISSING, "", "test", "", "", "no sample of class benign in test"],
        [
            "note",
            CONTRADICTION,
            "0.png",
            "train",
            "4.png",
            "test",
            "the patient's images are labelled benign and malignant",
        ],
    ]
    assert list(findings_table([], table).columns) == list(problems.columns)
    assert len(findings_table([], table)) == 0


def test_summary_has_a_line_for_each_kind_and_counts_near_duplicates() -> None:
    table = make("abcde", "rrvtt", [0, 1, 0, 1, 0])
    findings = look(table, near=near((2, 0), (3, 0)))
    assert summary_lines(findings, table, near=True) == [
        f"warning: {NEAR}: 2, such as 2.png (val) and 0.png (train): "
        "laid over each other, their structures correlate by 0.90",
        f"warning: {MISSING}: 1, no sample of class malignant in val",
        "near-duplicates: 2 of the images of val and test are copies of one in an earlier split",
    ]
    assert summary_lines([], table, near=False) == ["near-duplicate images were not looked for"]


def test_errors_are_raised_in_one_line_with_what_to_do() -> None:
    table = make("abca", "rrvt", [0, 1, 0, 1])
    findings = look(table, content=[b"x", b"y", b"x", b"z"], strict=True)
    with pytest.raises(UserError) as error:
        raise_errors(findings, table)
    assert str(error.value) == (
        "the splits leak: patient in two splits: 1, 3.png (test) and 0.png (train): images of "
        "the patient: 1 in test, 1 in train; identical images in two splits: 1, 2.png (val) and "
        "0.png (train): every pixel is the same. To do: split by patient (splits=patient), or mend "
        "the table; leave out one of each pair of images, or set strict=false"
    )


def test_only_the_advice_that_helps() -> None:
    leak, copy = make("aa", "rv", [0, 1]), make("ab", "rv", [0, 1])
    with pytest.raises(UserError) as error:
        raise_errors(look(leak), leak)
    assert "strict" not in str(error.value)
    with pytest.raises(UserError) as error:
        raise_errors(look(copy, near=near((1, 0)), strict=True), copy)
    assert "splits=patient" not in str(error.value)


def test_warnings_and_notes_stop_nothing() -> None:
    table = make("aabc", "rrvt", [0, 1, 0, 1])
    findings = look(table, content=[b"x", b"y", b"x", b"z"])
    assert {f.severity for f in findings} == {"warning", "note"}
    raise_errors(findings, table)


def test_findings_name_no_patient() -> None:
    table = make("aab", "rvt", [0, 1, 0]).assign(patient=["Doe", "Doe", "Roe"])
    findings = look(table, content=[b"x", b"x", b"y"], near=near((2, 0)))
    text = " ".join(
        [*summary_lines(findings, table, near=True), findings_table(findings, table).to_csv()]
    )
    assert "oe" not in text


@pytest.fixture(scope="module")
def pneumonia(data_root: Path) -> Samples:
    logging.getLogger("medcnn.data.sources.medmnist").disabled = True  # that the file is rebuilt
    try:
        return medmnist("pneumoniamnist", root=data_root / "medmnist", size=28, download=False)
    finally:
        logging.getLogger("medcnn.data.sources.medmnist").disabled = False


def test_pneumoniamnist_has_eight_identical_images_in_train_and_val(pneumonia: Samples) -> None:
    flat = pneumonia.images[:].numpy().reshape(len(pneumonia), -1).astype(np.int32)
    splits = pneumonia.table["split"].to_numpy()
    expected = set()
    for later, earlier in (("val", "train"), ("test", "train"), ("test", "val")):
        others = np.flatnonzero(splits == earlier)
        for row in np.flatnonzero(splits == later):
            same = others[(flat[others] == flat[row]).all(axis=1)]
            if len(same):
                expected.add((int(row), later, int(same[0]), earlier))
    assert len(expected) == 8
    found = of_samples(pneumonia)
    assert set(pairs(found, IDENTICAL)) == expected
    assert len(of(found, IDENTICAL)) == 8
    assert of(found, NEAR) == []
    problems = findings_table(found, pneumonia.table)
    assert len(problems[problems["kind"] == IDENTICAL]) == 8
    assert "near-duplicates: 0 of" in summary_lines(found, pneumonia.table, near=True)[-1]
    with pytest.raises(UserError, match="identical images in two splits: 8, such as val/"):
        raise_errors(of_samples(pneumonia, strict=True), pneumonia.table)


def test_breastmnist_has_near_duplicates_in_its_official_splits(data_root: Path) -> None:
    samples = medmnist("breastmnist", root=data_root / "medmnist", size=28, download=False)
    found = of_samples(samples)
    assert len({f.row for f in found if f.kind in (IDENTICAL, NEAR)}) == 91
    images = samples.images[:].numpy().reshape(len(samples), -1).astype(float)
    alike = [np.corrcoef(images[f.row], images[f.other_row])[0, 1] for f in of(found, NEAR)]
    assert np.median(alike) > 0.95
