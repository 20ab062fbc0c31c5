"""What a tracker is told of a run: all of it is in the run directory."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from medcnn.jobs.rundir import RunDir
from medcnn.report import privacy

CURVES = {  # files of a run: what a row counts, and how the names of its columns begin
    "metrics.csv": ("epoch", ""),
    "health.csv": ("step", "health/"),
}
OF_A_ROW = ("epoch", "step")


class Point(NamedTuple):
    """A value of a curve.

    Attributes:
        name: Of the curve.
        value: Finite.
        at: Epoch, from 1 on, or optimiser step.
    """

    name: str
    value: float
    at: int


def settings(run: RunDir) -> dict[str, str]:
    """Return the settings of a run, by their keys; without paths, loggers, persons and secrets."""
    content = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    return {key: str(value) for key, value in _leaves(privacy.config(content))}


def _leaves(node: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def curve(run: RunDir, file: str, after: int) -> list[Point]:
    """Return the values of a file of `CURVES` in the rows after one, where they are finite."""
    counted, begin = CURVES[file]
    if not (run / file).exists():
        return []
    table = pd.read_csv(run / file)
    rows = table[table[counted] > after].to_dict("records")
    return [
        Point(f"{begin}{name}", float(value), int(row[counted]))
        for row in rows
        for name, value in row.items()
        if name not in OF_A_ROW and math.isfinite(value)
    ]


def figures(run: RunDir) -> dict[str, float]:
    """Return the final figures of a run.

    These are ``test/auroc``, ``test/auroc/low``, ``test/auroc/high`` and the like. What metrics.csv
    has by the epoch, such as ``val/auroc``, is ``best/val/auroc`` here: of the checkpoint that was
    tested.
    """
    path, history = run / "metrics.json", run / "metrics.csv"
    if not path.exists():
        return {}
    curves = pd.read_csv(history, nrows=0).columns if history.exists() else ()
    found: dict[str, float] = {}
    for name, figure in json.loads(path.read_text(encoding="utf-8")).items():
        own = f"best/{name}" if name in curves else name
        values = {own: figure["value"]}
        values |= {f"{own}/{end}": figure.get(end) for end in ("low", "high")}
        found |= {key: float(value) for key, value in values.items() if value is not None}
    return found


def files(run: RunDir, predictions: bool) -> list[Path]:
    """Return the files of a run that are sent: the page and the figures, predictions if wanted."""
    names = ["report.html", "metrics.json"]
    tables = sorted(run.path.glob("predictions*.csv")) if predictions else []
    return [*(run / name for name in names if (run / name).exists()), *tables]
