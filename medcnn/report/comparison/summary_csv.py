"""One table that compares the runs of a sweep."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from medcnn.jobs.atomic_files import replacing
from medcnn.report.comparison.sweep import key_and_value
from medcnn.report.runs import read_json

METRICS = ("auroc", "accuracy", "sensitivity", "specificity")
REGRESSION = ("r2", "mae", "rmse")


def summary_table(run_dirs: Iterable[Path]) -> pd.DataFrame:
    """Return a table that compares runs, one row a run, sorted by folder name (2 before 10).

    Args:
        run_dirs: Folders with a ``status.json`` and, where the run got that far, a
            ``metrics.json``.

    Returns:
        ``run``, ``state`` ("unknown" without a readable ``status.json``), one column for each
        overridden key, ``test_auroc``, ``test_accuracy``, ``test_sensitivity``,
        ``test_specificity`` (of regressions ``test_r2``, ``test_mae``, ``test_rmse``), ``seconds``
        and ``error``. Unknown values are missing (NaN or None).
    """
    rows = [_row(run_dir) for run_dir in sorted(run_dirs, key=_natural_order)]
    keys = dict.fromkeys(key for _, overrides, _ in rows for key in overrides)
    found = dict.fromkeys(key for _, _, last in rows for key in last if key.startswith("test_"))
    results = found or [f"test_{name}" for name in METRICS]
    columns = ["run", "state", *keys, *results, "seconds", "error"]
    records = [{**overrides, **first, **last} for first, overrides, last in rows]
    return pd.DataFrame.from_records(records, columns=list(dict.fromkeys(columns)))


def write_summary(sweep_dir: Path) -> Path:
    """Write ``summary.csv`` with a row for every sub-folder of a sweep that has a status.json.

    Safe to call from several runs at the same moment: the file is replaced as a whole, and written
    again if a run changed meanwhile, so that the last to write leaves a table that is up to date.

    Returns:
        Path of the file.
    """
    out = sweep_dir / "summary.csv"
    written: pd.DataFrame | None = None
    while True:
        table = summary_table(status.parent for status in sweep_dir.glob("*/status.json"))
        if written is not None and table.equals(written):
            return out
        with replacing(out) as path:
            table.to_csv(path, index=False)
        written = table


def _row(run_dir: Path) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """Return the columns before the overrides, the overrides, and the columns after them."""
    status, metrics = (read_json(run_dir / name, {}) for name in ("status.json", "metrics.json"))
    names = REGRESSION if "test/r2" in metrics else METRICS if metrics else ()
    results = {f"test_{name}": metrics.get(f"test/{name}", {}).get("value") for name in names}
    overrides = dict(map(key_and_value, status.get("overrides") or []))
    overrides.pop("paths.run", None)  # which `run` says
    first = {"run": run_dir.name, "state": status.get("state", "unknown")}
    last = {"seconds": status.get("seconds"), "error": status.get("error")}
    return first, overrides, {**results, **last}


def _natural_order(path: Path) -> list[tuple[bool, int, str]]:
    """Return a key that sorts run2 before run10."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts]
