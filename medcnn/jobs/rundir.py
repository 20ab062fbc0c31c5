"""The run directory: its files, each of them whole or not there."""

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from medcnn.errors import UserError, disk_full
from medcnn.jobs.atomic_files import json_text, read_json, write_json
from medcnn.jobs.claims import alone_in, living, owner
from medcnn.jobs.instantiate import check_yaml

COLUMNS_ALONE = ("columns-linear", "columns-boosting")  # runs of models without images
OURS = (
    "config.yaml", "environment.json", "samples.csv", "metrics.csv", "metrics.json",
    "predictions.csv", "predictions_val.csv", "predictions_study.csv", "predictions_study_val.csv",
    "evaluation.json", "problems.csv", "diagnosis.json", "health.csv", "curves.png", "report.html",
    "MODEL_CARD.md", "status.json", "checkpoints", "cams", "tensorboard", "csv", "logs",
    "tracker.json", "wandb",
    "columns.csv", *COLUMNS_ALONE,
    "plan.yaml", "plan.json", "budget.json", "race",
    "folds.csv", "label_issues.csv", "ensemble.json", "ensemble",
    *(f"fold-{fold}" for fold in range(100)),
)  # fmt: skip
_addresses: dict[Path, str] = {}  # where run directories are mirrored
FAILED_START = "problems_failed_start.csv"  # beside a run that is kept, which has its problems.csv


class RunDir:
    """One run's folder, which `claim` makes; a run is finished when its ``status.json`` says so."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def best(self) -> Path:
        """Checkpoint of the epoch with the highest validation AUROC: weights, no optimiser."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def weights(self) -> Path:
        """The best checkpoint; the last one where no epoch was chosen."""
        return self.best if self.best.exists() else self.last

    @property
    def last(self) -> Path:
        """Checkpoint of the last whole epoch, with all that training needs to go on."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def status(self) -> dict[str, Any]:
        """The content of status.json; empty if there is none that can be read."""
        return read_json(self / "status.json")

    @property
    def facts(self) -> dict[str, Any]:
        """The content of status.json without state and process."""
        return {k: v for k, v in self.status.items() if k not in ("state", *owner())}

    @property
    def finished(self) -> bool:
        """True if the run in this folder came to its end."""
        return self.status.get("state") == "finished"

    @property
    def problems(self) -> Path:
        """The file to list problems of the data in: none of a run that is kept."""
        above = RunDir(self.path.parent)  # of a fold: the cross-validation, which goes with it
        if above.replaced._worth_keeping:
            return above / FAILED_START
        if self._worth_keeping or self.replaced._worth_keeping:
            return self / FAILED_START
        return self / "problems.csv"

    def claim(self, overwrite: bool) -> None:
        """Take the folder for a new run; one that failed before it trained is no obstacle.

        From then on its status is "running", and no other process can take it. What was there is
        kept aside until `let_go` or `give_back`.

        Raises:
            UserError: It holds a run, or files by the names that a run writes, and `overwrite` is
                false; or another process is at work in it; or it can't be made.
        """
        try:
            with alone_in(self.path):
                there = self.refuse_if_taken(overwrite)
                if there:
                    self.let_go()
                    self.replaced.path.mkdir()
                for name in there:
                    (self / name).rename(self.replaced.path / name)
                self.set_status("running")
        except OSError as error:
            raise UserError(f"paths.run={self.path} can't be made: {error.strerror}") from error

    @contextmanager
    def claimed(self, overwrite: bool) -> Iterator[None]:
        """Take the folder as `claim` does, and give it back if the block fails."""
        self.claim(overwrite)
        try:
            yield
        except BaseException:  # Ctrl-C, among others
            with suppress(OSError):
                self.set_status("failed")
            self.give_back()
            raise
        self.let_go()

    def go_on(self) -> None:
        """Take the folder of an unfinished run, to go on with it."""
        try:
            with alone_in(self.path):
                self.refuse_if_busy()
                self.set_status("running", **self.facts)
        except OSError as error:
            raise UserError(f"resume={self.path} can't be written to: {error.strerror}") from error

    def refuse_if_taken(self, overwrite: bool) -> list[str]:
        """Raise UserError where `claim` would; else give what it would keep aside."""
        self.refuse_if_busy()
        state, place = self.status.get("state"), place_of(self)
        there = [name for name in OURS if (self / name).exists()]
        if there == ["problems.csv"]:  # of data that could not be used
            return there
        ended_early = state == "failed" or (state is not None and not self._trains)
        nothing_to_lose = ended_early and state != "finished" and not self.trained
        if there and not overwrite and not nothing_to_lose:
            if state == "finished":
                raise UserError(f"{place} already holds a finished run; overwrite=true replaces it")
            if state:
                raise UserError(
                    f"{place} holds an unfinished run; go on with resume={place}, or "
                    "overwrite=true to replace it"
                )
            raise UserError(
                f"{place} already holds {', '.join(there[:3])}; choose another paths.run"
            )
        if there and not (self / "status.json").exists():
            raise UserError(
                f"{place} holds {', '.join(there[:3])} but no run of medcnn, so overwrite=true "
                "removes nothing there; choose another paths.run"
            )
        return there

    @property
    def _trains(self) -> bool:
        """True if this is the folder of a training run, which can go on."""
        try:
            self.read_config()
        except UserError:
            return False
        return True

    @property
    def trained(self) -> bool:
        """True if a training has begun here, be it that of one fold of a cross-validation."""
        return self.last.exists() or any(self.path.glob("fold-*/checkpoints/last.ckpt"))

    @property
    def _worth_keeping(self) -> bool:
        return self.finished or self.trained

    @property
    def replaced(self) -> "RunDir":
        """The run that a new one replaces, kept in its folder until that one has trained."""
        return RunDir(self.path / ".replaced")

    @property
    def may_give_back(self) -> bool:
        """True as long as `give_back` would bring back the run that a new one replaces."""
        return self.replaced.path.exists() and not self.trained

    def let_go(self) -> None:
        """Delete the run that was replaced."""
        shutil.rmtree(self.replaced.path, ignore_errors=True)  # of a link, the link alone
        (self / FAILED_START).unlink(missing_ok=True)

    def give_back(self) -> None:
        """Bring back the run that was replaced by one that failed before it trained."""
        if not self.may_give_back:
            return
        if not self.replaced._worth_keeping:  # what the new one left tells more
            self.let_go()
            return
        for name in OURS:
            target = self / name
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        for kept in self.replaced.path.iterdir():
            kept.rename(self / kept.name)
        self.replaced.path.rmdir()

    def refuse_if_busy(self) -> None:
        """Raise UserError if a living process on this machine trains in this folder."""
        status = self.status
        pid = status.get("pid")
        if status.get("state") == "running" and pid != os.getpid() and living(status):
            raise UserError(f"{place_of(self)} is in use: process {pid} is training there")

    def set_status(self, state: str, **facts: Any) -> None:
        """Write status.json: running, interrupted, failed or finished, and further facts."""
        path, content = self / "status.json", {"state": state, **owner(), **facts}
        try:
            write_json(path, content)
        except OSError as error:
            if not disk_full(error) or not path.exists():
                raise
            path.write_text(json_text(content), encoding="utf-8")  # takes no more of the disk

    def read_config(self) -> Any:
        """Return the config of the training run in this folder; raise UserError without one."""
        try:
            text = (self / "config.yaml").read_text(encoding="utf-8")
            check_yaml(text)
            config = OmegaConf.create(text)
        except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
            raise UserError(
                f"{self.path} holds no run of medcnn: its config.yaml can't be read"
            ) from error
        if "trainer" not in config or "paths" not in config:
            raise UserError(f"{self.path} holds no training run: see its config.yaml")
        return config


@contextmanager
def mirrored_at(folder: Path, address: str) -> Iterator[None]:
    """Have `place_of` name the address of a run directory inside the block."""
    _addresses[folder] = address
    try:
        yield
    finally:
        del _addresses[folder]


def place_of(run: RunDir) -> str:
    """Return where a run is for its user: its folder, or the address that this is mirrored at."""
    for folder, address in _addresses.items():
        if run.path.is_relative_to(folder):
            return "/".join((address.rstrip("/"), *run.path.relative_to(folder).parts))
    return str(run.path)


def how_to_go_on(run: RunDir) -> str:
    """Return the command that goes on with a run, as the end of a line."""
    return f"go on with: python -m medcnn.train resume={shlex.quote(place_of(run))}"


def how_to_go_on_with_sweep(run: RunDir) -> str:
    """Return the command that goes on with the sweep that a run is a job of, likewise."""
    folder = shlex.quote(str(run.path.parent))
    return (
        f"go on with the same command and paths.run={folder}; jobs that are finished are left out"
    )
