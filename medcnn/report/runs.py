"""Finished runs, as what is written of one or several of them reads them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcnn.errors import UserError
from medcnn.jobs.rundir import RunDir
from medcnn.report import privacy as run_privacy
from medcnn.report import run_files

OF_ONE_MACHINE = (*run_privacy.HIDDEN_GROUPS, "resume", "overwrite", "trust")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        path: Its folder; not to be shown.
        files: What its files say.
    """

    path: Path
    files: run_files.RunFiles

    @property
    def name(self) -> str:
        """That of its folder."""
        return self.path.resolve().name

    @property
    def task(self) -> str:
        """One of `medcnn.objective.TASKS`."""
        return str(self.files.evaluation["task"])

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, or of the targets of a regression."""
        return [str(name) for name in self.files.evaluation["class_names"]]

    @property
    def positive(self) -> str | None:
        """Name of the class that is sought; None where figures are means over the classes."""
        place = self.files.evaluation.get("positive")
        return None if place is None else self.class_names[place]

    @property
    def split(self) -> str:
        """What it was tested on."""
        return str(self.files.evaluation.get("split", "test"))

    @property
    def data(self) -> str:
        """Name of the data set."""
        return run_privacy.without_paths(str(self.files.evaluation.get("data") or "unknown data"))

    @property
    def levels(self) -> dict[str, Mapping[str, Any]]:
        """What was found by image, and where there are such, by study and by patient."""
        return dict(self.files.evaluation["levels"])

    @property
    def score(self) -> float | None:
        """The highest ``val/score``, by which the epoch was chosen; None where unknown."""
        best = self.files.status.get("best")
        return float(best) if isinstance(best, int | float) else None

    def figure(self, level: str, name: str) -> Mapping[str, Any]:
        """A figure of a level; empty where there is none."""
        return (self.levels[level].get("figures") or {}).get(name) or {}


def read_run(path: Path) -> Run:
    """Reads a run directory.

    Raises:
        UserError: No such folder, no finished run, or no evaluation.json that can be read.
    """
    check_finished(path)
    return Run(path, run_files.read_run(path))


def check_finished(path: Path) -> None:
    """Raise UserError unless a folder holds a finished run."""
    if not path.is_dir():
        raise UserError(f"{path}: there is no such folder; give the folder of a run")
    state = RunDir(path).status.get("state")
    if state is None:
        raise UserError(f"{path} holds no run of medcnn: it has no status.json")
    if state != "finished":
        raise UserError(
            f"{path} holds an unfinished run ({state}): go on with "
            f"python -m medcnn.train resume={path}"
        )


def flat(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a config by their dotted keys, without what concerns one machine alone.

    >>> dict(flat({"model": {"depth": 18}, "paths": {"run": "x"}, "seed": 0}))
    {'model.depth': 18, 'seed': 0}
    """
    for key, value in node.items():
        if not prefix and key in OF_ONE_MACHINE:
            continue
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def distinct_names(runs: Sequence[Run]) -> list[str]:
    """What runs are called: by their folders, with a number where two of them are the same."""
    names = [run.name for run in runs]
    return [
        f"{name} ({names[: k + 1].count(name)})" if names.count(name) > 1 else name
        for k, name in enumerate(names)
    ]
