"""Files that can't be used, and leaks between the splits."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from open_tables import KEPT, config, leaking, noise, opened, pictures, save, table

from medcnn.data.checks.audit import IDENTICAL, NEAR, PATIENT
from medcnn.data.checks.problems import problems_table
from medcnn.errors import UserError

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines


def damaged(folder: Path, bad: int) -> None:
    """The first images are empty files."""
    pictures(folder)
    table(folder)
    for k in range(bad):
        (folder / f"{k}.png").write_bytes(b"")


def test_stops_at_bad_files_and_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged(tmp_path, 7)
    with pytest.raises(UserError) as stop:
        opened(tmp_path, problems=tmp_path / "run" / "problems.csv")
    problems = tmp_path / "run" / "problems.csv"
    assert str(stop.value) == (
        f"7 of 12 images can't be used, all listed in {problems}; mend them, or leave them out "
        "with on_error=skip"
    )
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"medcnn: {k}.png is an empty file" for k in range(5)]
    listed = pd.read_csv(problems)
    assert listed["image"].tolist() == [f"{k}.png" for k in range(7)]
    assert set(listed["reason"]) == {"is an empty file"}
    assert set(listed["severity"]) == {"error"}


def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    damaged(tmp_path, 1)
    with pytest.raises(UserError, match=r"^1 of 12 images can't be used; mend them"):
        opened(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"table.csv", "data"}
    assert not list(tmp_path.rglob("problems.csv"))


def test_bad_files_are_left_out_if_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged(tmp_path, 2)
    data = opened(tmp_path, "on_error=skip", problems=tmp_path / "run" / "problems.csv")
    assert data.samples.table["patient"].tolist() == [f"p{k}" for k in range(2, 12)]
    assert len(data.facts) == len(data.slices) == len(data.samples.images[torch.arange(10)]) == 10
    assert [problem.image for problem in data.problems] == ["0.png", "1.png"]
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "medcnn: 2 of 12 images can't be used, all listed in problems.csv: left out"
    assert not (tmp_path / "run").exists()  # whoever opens them writes the whole table
    assert problems_table(data, config(tmp_path))["image"].tolist() == ["0.png", "1.png"]


def test_none_that_can_be_used(tmp_path: Path) -> None:
    damaged(tmp_path, 12)
    with pytest.raises(UserError, match="data set table: none of 12 files can be used"):
        opened(tmp_path, "on_error=skip", problems=tmp_path / "problems.csv")
    assert len(pd.read_csv(tmp_path / "problems.csv")) == 12


def test_an_image_with_two_faults_counts_once(tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    save(tmp_path / "mask.png", noise(1, 8, 9))
    table(tmp_path, 1, mask="mask.png")
    with pytest.raises(UserError, match=r"^1 of 1 images can't be used"):
        opened(tmp_path, "dataset.classes=[a,b]", "dataset.intensity=header")


def copied(folder: Path) -> None:
    """The last image, of test, is the first one, of train; the one before nearly the second."""
    values = pictures(folder)
    smooth = np.add.outer(np.arange(8) ** 2, 3 * np.arange(8)).astype(np.uint8)
    save(folder / "1.png", smooth)
    save(folder / "10.png", smooth + np.uint8(20))
    save(folder / "11.png", values[0])
    table(folder, label=np.resize(["a", "a", "b", "b"], 12), split=KEPT)


def test_a_patient_in_two_splits_stops_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaking(tmp_path)
    with pytest.raises(UserError, match=r"the splits leak: patient in two splits: 1, 11\.png"):
        opened(tmp_path, problems=tmp_path / "run" / "problems.csv")
    assert "audit: error: patient in two splits: 1" in capsys.readouterr().out
    problems = pd.read_csv(tmp_path / "run" / "problems.csv")
    found = problems[problems["kind"] == PATIENT]
    assert found[["image", "split", "other_image", "other_split"]].to_numpy().tolist() == [
        ["11.png", "test", "0.png", "train"]
    ]


def test_unchecked_data_may_leak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leaking(tmp_path)
    data = opened(tmp_path, checked=False, problems=tmp_path / "run" / "problems.csv")
    assert data.findings == []
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "run").exists()


def test_copies_are_warnings_or_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied(tmp_path)
    data = opened(tmp_path, problems=tmp_path / "run" / "problems.csv")
    kinds = {(f.kind, f.severity, f.row, f.other_row) for f in data.findings}
    assert {(IDENTICAL, "warning", 11, 0), (NEAR, "warning", 10, 1)} <= kinds
    assert "audit: warning: identical images in two splits: 1, 11.png" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=r"identical .* near-duplicate .* or set strict=false"):
        opened(tmp_path, "strict=true")


def test_near_duplicates_are_looked_for_unless_told_not_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(tmp_path)
    data = opened(tmp_path, "near_duplicates=false")
    assert {IDENTICAL} == {f.kind for f in data.findings} & {IDENTICAL, NEAR}
    assert "audit: near-duplicate images were not looked for" in capsys.readouterr().out
