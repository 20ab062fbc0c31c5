"""What the files of a run directory say, as far as they are there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from medcnn.errors import UserError
from medcnn.jobs.atomic_files import read_csv, read_sample_table
from medcnn.jobs.instantiate import check_yaml
from medcnn.objective import TASKS

FORMAT = 1
FIRST = "fold-0"  # of a cross-validation
SAMPLES = 16  # of all folds, whose maps are shown


class RunFiles(NamedTuple):
    """A run directory, read; empty or None for what isn't there.

    Args:
        evaluation: Of evaluation.json.
        samples: Of samples.csv.
        problems: Of problems.csv.
        epochs: Of metrics.csv, one row an epoch and indexed by it.
        environment: Of environment.json; of a cross-validation that of its first fold.
        status: Of status.json.
        config: Of config.yaml.
        layers: Of cams/layers.json; of a cross-validation of its folds. ``folder`` says where in
            the run directory the pictures lie.
    """

    evaluation: dict[str, Any]
    samples: pd.DataFrame | None
    problems: pd.DataFrame | None
    epochs: pd.DataFrame | None
    environment: dict[str, Any]
    status: dict[str, Any]
    config: dict[str, Any]
    layers: list[dict[str, Any]]


def read_run(run: Path) -> RunFiles:
    """Reads what a run left.

    Raises:
        UserError: No evaluation.json there, or one of another kind.
    """
    evaluation = _evaluation(run / "evaluation.json")
    return RunFiles(
        evaluation=evaluation,
        samples=_table(run / "samples.csv", read_sample_table),
        problems=_table(run / "problems.csv"),
        epochs=_epochs(_table(run / "metrics.csv")),
        environment=_json(run / "environment.json", _json(run / FIRST / "environment.json", {})),
        status=_json(run / "status.json", {}),
        config=_yaml(run / "config.yaml"),
        layers=_layers(run, "cams") or _layers_of_folds(run, evaluation),
    )


def _layers(run: Path, folder: str) -> list[dict[str, Any]]:
    records = _json(run / folder / "layers.json", [])
    return [{**record, "folder": folder} for record in records if isinstance(record, dict)]


def _layers_of_folds(run: Path, evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Samples of every fold, evenly, and the worst errors of all, by the fold that tested them."""
    found: list[list[dict[str, Any]]] = []
    while (run / f"fold-{len(found)}").is_dir():
        found.append(_layers(run, f"fold-{len(found)}/cams"))
    errors = {
        record["row"]: record for each in found for record in each if record.get("kind") == "error"
    }
    worst = evaluation["levels"].get("image", {}).get("errors") or []
    chosen = [errors[one["row"]] for one in worst if one.get("row") in errors]
    for each in found:
        samples = [record for record in each if record.get("kind") == "sample"]
        share = min(len(samples), max(1, SAMPLES // len(found)))
        at = np.linspace(0, len(samples) - 1, share).round().astype(int)
        chosen += [samples[k] for k in at]
    return chosen


def _evaluation(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: make it with python -m medcnn.evaluate") from None
    except (OSError, ValueError):
        raise UserError(f"{path} is damaged: it is no JSON file that can be read") from None
    if not _is_evaluation(content):
        raise UserError(f"{path} holds no evaluation of a run: make it anew")
    if content.get("format") != FORMAT:
        raise UserError(
            f"{path} is of format {content.get('format')}, this medcnn reads {FORMAT}: make it anew"
        )
    return content


def _is_evaluation(content: Any) -> bool:
    if not isinstance(content, dict) or content.get("task") not in TASKS:
        return False
    levels = content.get("levels")
    return (
        isinstance(content.get("class_names"), list)
        and isinstance(levels, dict)
        and bool(levels)
        and all(isinstance(level, dict) for level in levels.values())
    )


def _json(path: Path, empty: Any) -> Any:
    """The content of a file; `empty` where there is none of that kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return empty
    return content if isinstance(content, type(empty)) else empty


def _yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        check_yaml(text)
        content = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _table(path: Path, read: Callable[[Path], pd.DataFrame] = read_csv) -> pd.DataFrame | None:
    try:
        return read(path)
    except (OSError, ValueError):
        return None


def _epochs(table: pd.DataFrame | None) -> pd.DataFrame | None:
    """One row an epoch, though it may be spread over several with gaps."""
    if table is None or "epoch" not in table:
        return None
    table = table.apply(pd.to_numeric, errors="coerce").dropna(subset="epoch")
    table = table.groupby("epoch").last()
    table.index = table.index.astype(int)
    return table if len(table) else None
