"""Run directories, as far as their files are there."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pandas.api.types import is_numeric_dtype

from medcnn.errors import UserError
from medcnn.jobs.atomic_files import read_csv, read_sample_table
from medcnn.jobs.instantiate import check_yaml
from medcnn.jobs.rundir import RunDir
from medcnn.objective import TASKS
from medcnn.report.privacy import without_paths
from medcnn.report.words import Record, words_of

FORMAT = 1
FIRST = "fold-0"  # of a cross-validation
SAMPLES = 16  # of all folds, whose maps are shown
DOUBTFUL = 12  # labels that are likeliest wrong
MONITORED = {"val/auroc": "AUROC", "val/r2": "R²"}  # columns of metrics.csv, of one task each


@dataclass(frozen=True)
class Run:
    """A run directory, read; empty or None for what isn't there."""

    path: Path  # not to be shown
    evaluation: dict[str, Any]  # of evaluation.json
    samples: pd.DataFrame | None  # of samples.csv
    problems: pd.DataFrame | None  # of problems.csv
    epochs: pd.DataFrame | None  # of metrics.csv, one row an epoch and indexed by it
    health: pd.DataFrame | None  # of health.csv, a row every few steps
    environment: dict[str, Any]  # of environment.json; of a cross-validation of its first fold
    status: dict[str, Any]  # of status.json
    config: dict[str, Any]  # of config.yaml
    plan: dict[str, Any]  # of plan.json
    label_issues: pd.DataFrame | None  # the first rows of label_issues.csv
    columns: pd.DataFrame | None  # of columns.csv, how important each is
    # Of cams/layers.json, and those of the folds, each with the ``folder`` of its pictures.
    layers: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.path.resolve().name

    @property
    def task(self) -> str:
        """One of `medcnn.objective.TASKS`."""
        return str(self.evaluation["task"])

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, or of the targets of a regression."""
        return [str(name) for name in self.evaluation["class_names"]]

    @property
    def positive(self) -> str | None:
        """Name of the class that is sought; None where figures are means over the classes."""
        place, names = self.evaluation.get("positive"), self.class_names
        return names[place] if isinstance(place, int) and 0 <= place < len(names) else None

    @property
    def split(self) -> str:
        """The split that it was tested on."""
        return str(self.evaluation.get("split", "test"))

    @property
    def data(self) -> str:
        """Name of the data set."""
        return without_paths(str(self.evaluation.get("data") or "a data set"))

    @property
    def levels(self) -> dict[str, Record]:
        """Results by image, and where there are such, by study and by patient."""
        return dict(self.evaluation["levels"])

    @property
    def finest(self) -> str:
        """The level of predictions.csv: image, or study where the network takes studies."""
        return finest_of(self.evaluation)

    @property
    def score(self) -> float | None:
        """The highest ``val/score``, by which the epoch was chosen; None where unknown."""
        best = self.status.get("best")
        return float(best) if isinstance(best, int | float) else None

    @property
    def notes(self) -> list[str]:
        """Warnings of the evaluation."""
        return [without_paths(str(note)) for note in self.evaluation.get("notes") or []]

    @property
    def intervals(self) -> list[tuple[str, str]]:
        """Names of figures, each with the way in which their intervals were made."""
        made = self.evaluation.get("intervals") or {}
        others = "all other figures"
        return [(others if key == "*" else words_of(key).title, how) for key, how in made.items()]

    def figure(self, level: str, name: str) -> Record:
        """Return a figure of a level; empty where there is none."""
        return (self.levels[level].get("figures") or {}).get(name) or {}


def read_run(path: Path) -> Run:
    """Read a run directory, finished or not.

    Raises:
        UserError: No evaluation.json there, or one of another kind.
    """
    evaluation = _evaluation(path / "evaluation.json")
    return Run(
        path=path,
        evaluation=evaluation,
        samples=_table(path / "samples.csv", read_sample_table),
        problems=_table(path / "problems.csv"),
        epochs=read_epochs(path / "metrics.csv"),
        health=read_health(path / "health.csv"),
        environment=read_json(
            path / "environment.json", read_json(path / FIRST / "environment.json", {})
        ),
        status=read_json(path / "status.json", {}),
        config=_yaml(path / "config.yaml"),
        plan=read_json(path / "plan.json", {}),
        label_issues=_label_issues(path / "label_issues.csv"),
        columns=_columns(path / "columns.csv"),
        layers=[*_layers(path, "cams"), *_layers_of_folds(path, evaluation)],
    )


def _layers(run: Path, folder: str) -> list[dict[str, Any]]:
    records = read_json(run / folder / "layers.json", [])
    return [{**record, "folder": folder} for record in records if isinstance(record, dict)]


def finest_of(evaluation: Record) -> str:
    """Return the level of predictions.csv in an evaluation.json: image, or else study."""
    return "image" if "image" in evaluation["levels"] else "study"


def _layers_of_folds(run: Path, evaluation: Record) -> list[dict[str, Any]]:
    """Return samples of every fold, evenly, and the worst errors of all, each of its test fold."""
    found: list[list[dict[str, Any]]] = []
    while (run / f"fold-{len(found)}").is_dir():
        found.append(_layers(run, f"fold-{len(found)}/cams"))
    errors = {
        record["row"]: record for each in found for record in each if record.get("kind") == "error"
    }
    worst = evaluation["levels"].get(finest_of(evaluation), {}).get("errors") or []
    chosen = [errors[one["row"]] for one in worst if one.get("row") in errors]
    for each in found:
        samples = [record for record in each if record.get("kind") == "sample"]
        share = min(len(samples), max(1, SAMPLES // len(found)))
        at = np.linspace(0, len(samples) - 1, share).round().astype(int)
        chosen += [samples[k] for k in at]
    return chosen


def _label_issues(path: Path) -> pd.DataFrame | None:
    """Read the first rows of a label_issues.csv, classes as text; None where it has none."""
    table = _table(path, partial(read_csv, text=["of", "label", "suggested"]))
    if table is None or not {"row", "label", "suggested", "score"} <= set(table):
        return None
    numeric = all(is_numeric_dtype(table[name]) for name in ("row", "score"))
    return table[:DOUBTFUL] if len(table) and numeric else None


def _columns(path: Path) -> pd.DataFrame | None:
    """Read a columns.csv, names as text; None where it has none."""
    table = _table(path, partial(read_csv, text=["column", "score"]))
    if table is None or not {"column", "score", "importance", "low", "high"} <= set(table):
        return None
    numeric = all(is_numeric_dtype(table[name]) for name in ("importance", "low", "high"))
    return table if len(table) and numeric else None


def _evaluation(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing, as an older medcnn left it: make it with "
            f"python -m medcnn.evaluate checkpoint={RunDir(path.parent).best}"
        ) from None
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
    if not isinstance(levels, dict) or not isinstance(content.get("class_names"), list):
        return False
    return bool(levels) and all(isinstance(level, dict) for level in levels.values())


def read_json(path: Path, empty: Any) -> Any:
    """Read a JSON file; `empty` where there is none whose content is of that kind."""
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


def read_epochs(path: Path) -> pd.DataFrame | None:
    """Read a metrics.csv as one row an epoch, though it may be spread over several with gaps.

    Returns:
        Numbers, NaN where unknown, indexed by epoch; None where the file holds no epoch.
    """
    table = _table(path)
    if table is None or "epoch" not in table:
        return None
    table = table.apply(pd.to_numeric, errors="coerce").dropna(subset="epoch")
    table = table.groupby("epoch").last()
    table.index = table.index.astype(int)
    return table if len(table) else None


def read_health(path: Path) -> pd.DataFrame | None:
    """Read a health.csv, a row every few steps; None where it is no such file."""
    table = _table(path)
    if table is None or not {"step", "lr", "waiting"} <= set(table):
        return None
    table = table.apply(pd.to_numeric, errors="coerce").dropna(subset="step")
    return table if len(table) else None


def best_epoch(epochs: pd.DataFrame) -> int | None:
    """Return the first epoch with the highest ``val/score``; None where that isn't recorded."""
    if "val/score" not in epochs or epochs["val/score"].isna().all():
        return None
    return int(epochs.index[int(np.nanargmax(epochs["val/score"]))])
