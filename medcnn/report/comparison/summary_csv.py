"""One table that compares the runs of a sweep."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from medcnn.errors import UserError
from medcnn.jobs.atomic_files import replacing
from medcnn.report.comparison.sweep import key_and_value
from medcnn.report.runs import read_json

METRICS = ("auroc", "accuracy", "sensitivity", "specificity")
REGRESSION = ("r2", "mae", "rmse")


def summary_table(run_dirs: Iterable[Path]) -> pd.DataFrame:
    """Return a table that compares runs.

    Args:
        run_dirs: Folders with a ``status.json`` and, where the run got that far, a
            ``metrics.json``.

    Returns:
        One row a run, sorted by folder name (2 before 10): ``run``, ``state``, one column for each
        overridden key, ``test_auroc``, ``test_accuracy``, ``test_sensitivity``,
        ``test_specificity``, ``seconds`` and ``error``. Unknown values are missing (NaN or None).
        Regressions have ``test_r2``, ``test_mae`` and ``test_rmse`` instead.
        A folder without a readable ``status.json`` has the state "unknown".
    """
    rows = [_row(run_dir) for run_dir in sorted(run_dirs, key=_natural_order)]
    keys = dict.fromkeys(key for _, overrides, _ in rows for key in overrides)
    found = dict.fromkeys(key for _, _, last in rows for key in last if key.startswith("test_"))
    results = found or [f"test_{name}" for name in METRICS]
    columns = ["run", "state", *keys, *results, "seconds", "error"]
    records = [{**overrides, **first, **last} for first, overrides, last in rows]
    return pd.DataFrame.from_records(records, columns=list(dict.fromkeys(columns)))


def write_summary(sweep_dir: Path) -> Path:
    """Write ``summary.csv`` with a row for every run in the sub-folders of a sweep.

    Safe to call from several runs at the same moment: the file is replaced as a whole, and written
    again if a run changed meanwhile, so that the last to write leaves a table that is up to date.

    Args:
        sweep_dir: Folder of the sweep; its sub-folders with a ``status.json`` are the runs.

    Returns:
        Path of the file.

    Raises:
        UserError: The folder doesn't exist.
    """
    if not sweep_dir.is_dir():
        raise UserError(f"{sweep_dir} isn't a folder; a summary needs the folder of a sweep")
    out = sweep_dir / "summary.csv"
    written, table = None, _sweep_table(sweep_dir)
    while written is None or not table.equals(written):
        with replacing(out) as path:
            table.to_csv(path, index=False)
        written, table = table, _sweep_table(sweep_dir)
    return out


def _sweep_table(sweep_dir: Path) -> pd.DataFrame:
    return summary_table(status.parent for status in sweep_dir.glob("*/status.json"))


def _row(run_dir: Path) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """Return the columns before the overrides, the overrides, and the columns after them."""
    status, metrics = (read_json(run_dir / name, {}) for name in ("status.json", "metrics.json"))
    names = REGRESSION if "test/r2" in metrics else METRICS if metrics else ()
    results = {f"test_{name}": _value(metrics, f"test/{name}") for name in names}
    overrides = dict(map(key_and_value, status.get("overrides") or []))
    first = {"run": run_dir.name, "state": status.get("state", "unknown")}
    last = {"seconds": status.get("seconds"), "error": status.get("error")}
    return first, overrides, {**results, **last}


def _value(metrics: Mapping[str, Any], key: str) -> float | None:
    figure = metrics.get(key)
    return figure.get("value") if isinstance(figure, dict) else None


def _natural_order(path: Path) -> list[tuple[bool, int, str]]:
    """Return a key that sorts run2 before run10."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts]
