"""Runs in MLflow."""

import logging
import os
import posixpath
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from medcnn._version import __version__
from medcnn.jobs.notes import without_password
from medcnn.jobs.remote import check_secret
from medcnn.training.trackers.content import Point
from medcnn.training.trackers.tracker import Tracker

AT_ONCE = {"params": 100, "metrics": 1000}  # that a request may have
LONGEST_NAME, LONGEST_VALUE = 250, 500  # characters; newer servers take longer values
STATES = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "pruned": "KILLED",
}
LOADER = "medcnn.inference.pyfunc"
# How MLflow speaks to its server: else a training would wait for minutes for one that is gone.
# Neither does it tell its makers of the run. Who sets these variables has them otherwise.
MANNERS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class MLflow(Tracker):
    """Tells an MLflow server (or the files that MLflow writes without one) of a run.

    A fold is a nested run of its cross-validation; the runs of a sweep or a search have a tag
    ``group``. The model is one that ``mlflow.pyfunc.load_model`` loads: `medcnn.inference.pyfunc`.

    Args:
        save_dir: See `Tracker`, and so for `model` and `predictions`.
        experiment: To which the run is added; made where it is missing.
        tracking_uri: Of the server; None for ``MLFLOW_TRACKING_URI``, or MLflow's default.

    Raises:
        UserError: See `Tracker`; or a password in the address, which config.yaml would keep.
    """

    key = package = "mlflow"

    def __init__(
        self,
        save_dir: str | Path,
        experiment: str,
        tracking_uri: str | None,
        model: bool,
        predictions: bool,
    ) -> None:
        super().__init__(save_dir, model=model, predictions=predictions)
        if tracking_uri is not None:
            check_secret("logger.mlflow.tracking_uri", tracking_uri)
        for name, value in MANNERS.items():
            os.environ.setdefault(name, value)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # of each try it would say a line
        self.experiment, self.tracking_uri, self.id = experiment, tracking_uri, ""
        self._client: Any = None

    def _uri(self) -> str:
        import mlflow

        return self.tracking_uri or str(mlflow.get_tracking_uri())

    def _place(self) -> str:
        return without_password(self._uri())

    def _open(self, known: str | None, group: str | None, parent: str | None) -> tuple[str, str]:
        from mlflow.tracking import MlflowClient

        uri = self._uri()
        self._client = MlflowClient(uri)
        if known is not None:
            experiment = self._client.get_run(known).info.experiment_id
            self._client.update_run(known, status="RUNNING")
        else:
            tags = {"mlflow.parentRunId": parent, "group": group, "medcnn": __version__}
            experiment, name = self._experiment(), self.run.path.absolute().name
            tags = {key: value for key, value in tags.items() if value is not None}
            known = self._client.create_run(experiment, tags=tags, run_name=name).info.run_id
        self.id = str(known)
        page = f"/#/experiments/{experiment}/runs/{known}" if uri.startswith("http") else ""
        return self.id, f"{self._place().rstrip('/')}{page}" if page else f"run {known}"

    def _experiment(self) -> str:
        """Return the id of the experiment; several processes may make it at the same time."""
        from mlflow.exceptions import MlflowException

        there = self._client.get_experiment_by_name(self.experiment)
        if there is None:
            try:
                return str(self._client.create_experiment(self.experiment))
            except MlflowException:
                there = self._client.get_experiment_by_name(self.experiment)
                if there is None:
                    raise
        return str(there.experiment_id)

    def _send_settings(self, values: dict[str, str]) -> None:
        from mlflow.entities import Param

        there = self._client.get_run(self.id).data.params  # which can't be changed
        named = {_name(key): value[:LONGEST_VALUE] for key, value in values.items()}
        self._log([Param(key, value) for key, value in named.items() if key not in there], "params")

    def _send_curve(self, counted: str, points: list[Point]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._log([Metric(_name(name), value, now, at) for name, value, at in points], "metrics")

    def _send_figures(self, values: dict[str, float]) -> None:
        self._send_curve("", [Point(name, value, 0) for name, value in values.items()])

    def _log(self, entities: list[Any], kind: str) -> None:
        step = AT_ONCE[kind]
        for first in range(0, len(entities), step):
            self._client.log_batch(self.id, **{kind: entities[first : first + step]})

    def _send_files(self, paths: list[Path]) -> None:
        for path in paths:
            self._client.log_artifact(self.id, str(path))

    def _send_model(self, checkpoint: Path) -> None:
        import mlflow.pyfunc
        from mlflow.models import Model

        experiment = self._client.get_run(self.id).info.experiment_id  # else it were the default
        made = self._client.create_logged_model(experiment, name="model", source_run_id=self.id)
        with _default(self._uri()):
            Model.log(
                None,
                mlflow.pyfunc,
                name="model",
                model_id=made.model_id,
                run_id=self.id,
                loader_module=LOADER,
                data_path=str(checkpoint),
                pip_requirements=[f"medcnn=={__version__}"],
            )

    def _close(self, state: str) -> None:
        self._client.set_terminated(self.id, STATES[state])


@contextmanager
def _default(uri: str) -> Iterator[None]:
    """Make an address MLflow's default within the block."""
    import mlflow

    before, set_default = os.environ.get("MLFLOW_TRACKING_URI"), cast(Any, mlflow.set_tracking_uri)
    set_default(uri)
    try:
        yield
    finally:
        set_default(before)


def _name(text: str) -> str:
    r"""Return a name as MLflow takes it: letters, digits and ``_-./ ``, no path that leads away.

    >>> _name("test/auroc/grade: 3 (high)"), _name("test/auroc/a//b"), _name("../x")
    ('test/auroc/grade_ 3 _high_', 'test/auroc/a/b', '__/x')
    """
    plain = re.sub(r"[^\w\-./ ]", "_", text)
    parts = [part if part.strip(".") else "_" * len(part) for part in plain.split("/")]
    return posixpath.normpath("/".join(parts)).lstrip("/")[:LONGEST_NAME]
