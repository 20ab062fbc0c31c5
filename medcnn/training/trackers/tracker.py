"""What all trackers have in common: when they are told what, and what happens if they can't be."""

import importlib.util
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from socket import gaierror
from typing import Any, ClassVar

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from medcnn.errors import UserError, reason
from medcnn.jobs import command_line as cli
from medcnn.jobs.atomic_files import read_json, write_json
from medcnn.jobs.notes import note, without_password
from medcnn.jobs.rundir import RunDir
from medcnn.training.trackers.content import CURVES, Point, curve, figures, files, settings

FILE = "tracker.json"  # of a run: which run of each tracker it is, and what that has been told
PAUSE, SHARE = 60.0, 20  # from a failure to the next try: seconds, times what it took
TRIALS = "trials"  # the folder in which a search has its runs


class Tracker(Callback, ABC):
    """Tells a tracker of experiments of a run: settings, curves, final figures, page, model.

    All that is taken from the run directory. ``tracker.json`` there keeps which run of the tracker
    it is, and how far that has the curves; so a run that goes on goes on there, too. Once the run
    is open, nothing that fails ends the training: it is said in a line, and what is lacking is sent
    later, at the latest after the test.

    Args:
        save_dir: The run directory.
        model: Whether the best checkpoint is sent.
        predictions: Whether ``predictions.csv`` is sent, which has patients and paths of images.

    Raises:
        UserError: The tracker's package isn't installed, or an option that can't be.
    """

    key: ClassVar[str]  # names it in conf/logger, in messages and in tracker.json
    package: ClassVar[str]

    def __init__(self, save_dir: str | Path, *, model: bool, predictions: bool) -> None:
        for name, value in (("model", model), ("predictions", predictions)):
            if not isinstance(value, bool):
                raise UserError(f"logger.{self.key}.{name}={value}: choose one of true, false")
        if importlib.util.find_spec(self.package) is None:
            raise UserError(
                f'logger={self.key} needs a further package: pip install "medcnn[{self.key}]"'
            )
        self.run, self.model, self.predictions = RunDir(save_dir), model, predictions
        self.again = 0.0  # when to try next
        self.lost = False

    # What a tracker has to do; each of these may raise whatever its package raises.

    @abstractmethod
    def _open(self, known: str | None, group: str | None, parent: str | None) -> tuple[str, str]:
        """Open a new run, or the one that is known; return its id, and where a person finds it.

        Args:
            known: The id of the run where it goes on.
            group: What several runs have in common: the name of their sweep or search.
            parent: The id of the cross-validation that this is a fold of.
        """

    @abstractmethod
    def _send_settings(self, values: dict[str, str]) -> None:
        """Send settings by their keys."""

    @abstractmethod
    def _send_curve(self, counted: str, points: list[Point]) -> None:
        """Send values of curves by ``epoch`` or ``step``."""

    @abstractmethod
    def _send_figures(self, values: dict[str, float]) -> None:
        """Send final figures."""

    @abstractmethod
    def _send_files(self, paths: list[Path]) -> None:
        """Send files, each under its name."""

    @abstractmethod
    def _send_model(self, checkpoint: Path) -> None:
        """Send a checkpoint as a model."""

    @abstractmethod
    def _close(self, state: str) -> None:
        """Close the run, which is finished, failed, interrupted or pruned."""

    @abstractmethod
    def _place(self) -> str:
        """Return what a message calls the server, without a password."""

    # When it does it.

    def begin(self) -> None:
        """Open the tracker's run.

        Raises:
            UserError: It can't be reached, or refuses.
        """
        above, told = self.run.path.absolute().parent, self._told
        is_fold = self.run.path.name.startswith("fold-")
        of_parent = read_json(above / FILE).get(self.key, {}) if is_fold else {}
        parent = of_parent.get("id")
        group = told.get("group") or (of_parent.get("group") if is_fold else _group(above))
        try:
            own, shown = self._open(told.get("id"), group, parent)
        except Exception as error:  # each package has its own
            raise UserError(
                f"logger.{self.key}: {self._place()}: {_words(error)}; mend that, or leave it out: "
                "logger=tensorboard"
            ) from error
        self._keep(id=own, group=group)
        print(f"{self.key}: {shown}", flush=True)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Send the settings."""
        self.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Send what the epoch has added to the curves."""
        self.update()

    def update(self) -> None:
        """Send what is new, unless a try has just failed."""
        if time.monotonic() >= self.again:
            later = "the training goes on, and what is lacking there is sent later"
            self._try(self._send_news, later)

    def finish(self) -> None:
        """Send all that is still to be sent, and the outcome; close the run."""

        def send() -> None:
            self._send_news()
            self._send_figures(figures(self.run))
            self._send_files(files(self.run, self.predictions))
            if self.model and self.run.weights.exists():  # a cross-validation has none of its own
                self._send_model(self.run.weights)
            self._close("finished")

        self.lost = False
        self._try(send, f"it lacks the end of this run, which is whole in {self.run.path}")

    def end(self, state: str) -> None:
        """Close a run that didn't come to its end; a server that is gone isn't waited for."""

        def send() -> None:
            self._send_news()
            self._close(state)

        if not self.lost:
            self._try(send, "it wasn't told that the run has ended")

    def _try(self, send: Callable[[], None], consequence: str) -> None:
        start = time.monotonic()
        try:
            send()
        except Exception as error:  # each package has its own, and none is worth a training
            if not self.lost:
                note(f"logger.{self.key}: {self._place()}: {_words(error)}; {consequence}")
            now = time.monotonic()
            self.lost, self.again = True, now + max(PAUSE, SHARE * (now - start))
        else:
            self.lost = False

    def _send_news(self) -> None:
        """Send settings and curves as far as they weren't sent."""
        if not self._told.get("settings"):
            self._send_settings(settings(self.run))
            self._keep(settings=True)
        for file, (counted, _) in CURVES.items():
            if points := curve(self.run, file, self._told.get(file, 0)):
                self._send_curve(counted, points)
                self._keep(**{file: max(point.at for point in points)})

    @property
    def _told(self) -> dict[str, Any]:
        """What the tracker has been told, as tracker.json says."""
        return read_json(self.run / FILE).get(self.key, {})

    def _keep(self, **facts: Any) -> None:
        write_json(self.run / FILE, read_json(self.run / FILE) | {self.key: self._told | facts})


def _group(above: Path) -> str | None:
    """Return the name of the sweep or search that has its runs in a folder; None of other runs."""
    if above.name == TRIALS:
        return above.parent.name
    return above.name if cli.in_sweep() or (above / "summary.csv").exists() else None


def _words(error: BaseException) -> str:
    """Return the reason of an error in a line: that of the network where there is one."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ConnectionError | TimeoutError | gaierror):
            return reason(inner)
        inner = inner.__cause__ or inner.__context__
    return without_password(" ".join(str(error).split()))[:300] or type(error).__name__
