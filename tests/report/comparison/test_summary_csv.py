import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medcnn.report.comparison import summary_csv as summary
from medcnn.report.comparison.summary_csv import summary_table, write_summary


def make_run(sweep: Path, name: str, auroc: float | None = None, **status: Any) -> Path:
    run = sweep / name
    run.mkdir(parents=True)
    plain = {"state": "finished", "error": None, "overrides": [], "seconds": 12.5}
    (run / "status.json").write_text(json.dumps({**plain, **status}))
    if status.get("state", "finished") == "finished":
        figure = {"value": auroc, "low": None, "high": None, "n": 9}
        metrics = {"test/auroc": figure, "test/accuracy": {**figure, "value": 0.5}, "val/auroc": {}}
        (run / "metrics.json").write_text(json.dumps(metrics))
    return run


def test_summary(tmp_path: Path) -> None:
    make_run(tmp_path, "10", 0.75, overrides=["model=resnet", "+model.depth=18"])
    make_run(tmp_path, "9", None, overrides=["model=lenet", "~logger", "note='a=b, c'"])
    make_run(
        tmp_path,
        "11",
        state="failed",
        error='images of 28 px, "too small"',
        overrides=["model=vgg"],
    )
    (tmp_path / "cams").mkdir()
    (tmp_path / "notes.txt").touch()
    out = write_summary(tmp_path)
    assert out == tmp_path / "summary.csv"
    table = pd.read_csv(out, keep_default_na=False)
    assert list(table.columns) == [
        "run", "state", "model", "logger", "note", "model.depth", "test_auroc", "test_accuracy",
        "test_sensitivity", "test_specificity", "seconds", "error",
    ]  # fmt: skip
    assert table["run"].tolist() == [9, 10, 11]
    assert table["state"].tolist() == ["finished", "finished", "failed"]
    assert table["model"].tolist() == ["lenet", "resnet", "vgg"]
    assert table["logger"].tolist() == ["(removed)", "", ""]
    assert table["note"].tolist() == ["a=b, c", "", ""]
    assert table["test_auroc"].tolist() == ["", "0.75", ""]
    assert table["test_sensitivity"].tolist() == ["", "", ""]
    assert table["error"].tolist() == ["", "", 'images of 28 px, "too small"']
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "notes.txt",
        "summary.csv",
    ]


def test_table_of_given_folders(tmp_path: Path) -> None:
    good = make_run(tmp_path, "b", 0.9)
    (tmp_path / "a").mkdir()
    damaged = make_run(tmp_path, "c", 0.9)
    for name in ("status.json", "metrics.json"):
        (damaged / name).write_text("[1" if name == "status.json" else "[1]")
    table = summary_table([good, tmp_path / "a", damaged])
    assert table["run"].tolist() == ["a", "b", "c"]
    assert table["state"].tolist() == ["unknown", "finished", "unknown"]
    assert table["test_auroc"].isna().tolist() == [True, False, True]
    assert table["test_auroc"][1] == 0.9


def test_regressions_have_columns_of_their_own(tmp_path: Path) -> None:
    def regression(name: str) -> Path:
        run = make_run(tmp_path, name)
        figures = {"test/r2": {"value": 0.5}, "test/mae": {"value": 3.0}, "test/rmse": {}}
        (run / "metrics.json").write_text(json.dumps(figures))
        return run

    failed = make_run(tmp_path, "0", state="failed")
    table = summary_table([failed, regression("1")])
    results = [column for column in table.columns if column.startswith("test_")]
    assert results == ["test_r2", "test_mae", "test_rmse"]
    assert table["test_mae"].tolist()[1:] == [3.0]
    mixed = summary_table([regression("2"), make_run(tmp_path, "3", 0.75)])
    assert mixed["test_r2"].isna().tolist() == [False, True]
    assert mixed["test_auroc"].isna().tolist() == [True, False]
    assert "test_auroc" in summary_table([failed]).columns


def test_no_runs(tmp_path: Path) -> None:
    assert len(pd.read_csv(write_summary(tmp_path))) == 0


def test_an_override_cannot_hide_a_result(tmp_path: Path) -> None:
    make_run(tmp_path, "0", 0.9, overrides=["seconds=1", "run=x"])
    table = summary_table([tmp_path / "0"])
    assert list(table.columns).count("seconds") == 1
    assert table["seconds"].tolist() == [12.5]
    assert table["run"].tolist() == ["0"]


def test_runs_that_end_at_the_same_moment(tmp_path: Path) -> None:
    def end(number: int) -> None:
        make_run(tmp_path, str(number), number / 100)
        write_summary(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(end, range(40)))
    table = pd.read_csv(tmp_path / "summary.csv")
    assert table["run"].tolist() == list(range(40))
    assert len(list(tmp_path.iterdir())) == 41


def test_a_run_that_ends_while_the_table_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path, "0", 0.9)
    original, calls = summary_table, []

    def late(run_dirs: Any) -> pd.DataFrame:
        table = original(run_dirs)
        if not calls:
            make_run(tmp_path, "1", 0.8)
        calls.append(table)
        return table

    monkeypatch.setattr(summary, "summary_table", late)
    assert len(pd.read_csv(write_summary(tmp_path))) == 2
