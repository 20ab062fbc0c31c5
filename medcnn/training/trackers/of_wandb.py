"""Runs in Weights & Biases."""

import os
import uuid
from itertools import groupby
from pathlib import Path
from typing import Any

from medcnn.errors import UserError
from medcnn.training.trackers.content import Point
from medcnn.training.trackers.tracker import Tracker

PATIENCE = 60  # seconds for a run to begin, and at its end for what is still to be sent
AXES = dict.fromkeys(("train/*", "val/*", "lr", "seconds"), "epoch") | {"health/*": "step"}
# wandb doesn't tell its makers of faults, unless this variable is set otherwise.
MANNERS = {"WANDB_ERROR_REPORTING": "false"}


class WandB(Tracker):
    """Tells Weights & Biases of a run.

    What wandb can't send it keeps in ``wandb/`` in the run directory, and sends later; after the
    end ``wandb sync`` does so. The folds of a cross-validation, and the runs of a sweep or a
    search, are a group.

    Args:
        save_dir: See `Tracker`, and so for `model` and `predictions`.
        project: To which the run is added.
        entity: User or team; None for one's own.
        mode: ``online``, or ``offline`` for ``wandb sync``; None for ``WANDB_MODE``, or online.

    Raises:
        UserError: See `Tracker`; or another mode.
    """

    key = package = "wandb"

    def __init__(
        self,
        save_dir: str | Path,
        project: str,
        entity: str | None,
        mode: str | None,
        model: bool,
        predictions: bool,
    ) -> None:
        super().__init__(save_dir, model=model, predictions=predictions)
        if mode not in (None, "online", "offline"):
            raise UserError(f"logger.wandb.mode={mode}: choose one of online, offline")
        for name, value in MANNERS.items():
            os.environ.setdefault(name, value)
        self.project, self.entity, self.mode = project, entity, mode
        self._run: Any = None

    def _place(self) -> str:
        return "Weights & Biases"

    def _open(self, known: str | None, group: str | None, parent: str | None) -> tuple[str, str]:
        import wandb

        mode: Any = self.mode
        own, folder = known or uuid.uuid4().hex[:8], self.run.path.absolute()
        quiet = wandb.Settings(
            console="off",
            quiet=True,
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,  # of the machine, the user and the command, which has paths
            init_timeout=PATIENCE,
            finish_timeout=PATIENCE,
        )
        self._run = wandb.init(
            project=self.project,
            entity=self.entity,
            mode=mode,
            id=own,
            name=folder.name,
            group=folder.parent.name if parent else group,
            job_type="fold" if parent else "training",
            dir=str(folder),
            resume="allow",
            reinit="create_new",  # beside the run of a cross-validation, which is open
            settings=quiet,
        )
        for name, counted in AXES.items():
            self._run.define_metric(name, step_metric=counted)
        kept = f"run {own}, kept in {folder / 'wandb'}"
        return own, kept if self._run.offline else str(self._run.url)

    def _send_settings(self, values: dict[str, str]) -> None:
        self._run.config.update(values, allow_val_change=True)

    def _send_curve(self, counted: str, points: list[Point]) -> None:
        for at, of_row in groupby(points, key=lambda point: point.at):
            self._run.log({counted: at, **{point.name: point.value for point in of_row}})

    def _send_figures(self, values: dict[str, float]) -> None:
        self._run.summary.update(values)

    def _send_files(self, paths: list[Path]) -> None:
        self._send("evaluation", paths)

    def _send_model(self, checkpoint: Path) -> None:
        self._send("model", [checkpoint])

    def _send(self, kind: str, paths: list[Path]) -> None:
        import wandb

        artifact = wandb.Artifact(f"{kind}-{self._run.id}", type=kind)
        for path in paths:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def _close(self, state: str) -> None:
        self._run.finish(exit_code=0 if state == "finished" else 1)
