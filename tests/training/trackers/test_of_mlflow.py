"""Runs on a real MLflow server."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest

import medcnn
from medcnn.errors import UserError
from medcnn.train import train
from medcnn.training.trackers import MLflow
from medcnn.training.trackers.content import Point

pytest.importorskip("sqlalchemy")  # of mlflow, but not of mlflow-skinny
mlflow = pytest.importorskip("mlflow")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that keeps its runs in a file."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder / 'runs.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    address, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            break
        except OSError:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.5)
    yield address
    os.killpg(process.pid, 9)
    process.wait()
    log.close()


@pytest.fixture
def client(server: str) -> Any:
    return mlflow.MlflowClient(server)


@pytest.fixture
def run(phantom_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantom_run, tmp_path / "run"))


def make(run: Path, address: str, **options: Any) -> MLflow:
    settings: dict[str, Any] = {"model": False, "predictions": False, **options}
    return MLflow(run, "tests", address, **settings)


def values(client: Any, tracker: MLflow, name: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in client.get_metric_history(tracker.id, name)]


def test_a_finished_run(
    server: str, client: Any, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = make(run, server, model=True)
    tracker.begin()
    assert f"{server}/#/experiments/" in capsys.readouterr().out
    tracker.update()
    tracker.finish()
    found = client.get_run(tracker.id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "run")
    assert found.data.params["optimizer.lr"] == "0.001"
    history, told = pd.read_csv(run / "metrics.csv"), jobs.metrics(run)
    assert values(client, tracker, "val/auroc") == [*enumerate(history["val/auroc"], 1)]
    assert found.data.metrics["test/auroc"] == pytest.approx(told["test/auroc"]["value"])
    ranges = [name for name in told if told[name]["low"] is not None]
    assert len(ranges) > 5
    for name in ranges:
        assert found.data.metrics[f"{name}/low"] == pytest.approx(told[name]["low"])
    assert {one.path for one in client.list_artifacts(tracker.id)} >= {"report.html"}
    assert "predictions.csv" not in {one.path for one in client.list_artifacts(tracker.id)}


def test_the_model_is_loaded_back(
    server: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = make(run, server, model=True)
    tracker.begin()
    tracker.finish()
    assert os.environ.get("MLFLOW_TRACKING_URI") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    images = np.random.default_rng(0).random((2, 1, 28, 28), np.float32)
    own = medcnn.load(run / "checkpoints" / "best.ckpt")
    expected = own.classify(images).numpy()
    address = f"runs:/{tracker.id}/model"
    table = mlflow.pyfunc.load_model(address, suppress_warnings=True).predict(images)
    probs = [f"prob:{name}" for name in own.class_names]
    np.testing.assert_allclose(table[probs], expected, atol=1e-6)
    assert set(table["decision"]) <= set(own.class_names)
    folder = mlflow.artifacts.download_artifacts(address, dst_path=str(tmp_path / "back"))
    (checkpoint,) = Path(folder).rglob("best.ckpt")
    assert np.array_equal(medcnn.load(checkpoint).classify(images).numpy(), expected)


class Wire:
    """A way to the server that can be cut."""

    def __init__(self, server: str) -> None:
        self.to, self.port = int(server.rpartition(":")[2]), free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.ends: list[socket.socket] = []

    def join(self) -> None:
        """Let connections through."""
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def cut(self) -> None:
        """End all connections, and refuse others."""
        self.listener.shutdown(socket.SHUT_RDWR)
        for end in (self.listener, *self.ends):
            end.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.to))
            self.ends += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while part := one.recv(65536):
                other.sendall(part)
        except OSError:
            pass
        finally:
            other.close()


def test_a_server_lost_in_the_middle_gets_the_rest_at_the_end(
    server: str, client: Any, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = (run / "metrics.csv").read_text().splitlines(keepends=True)
    (run / "metrics.csv").write_text("".join(history[:2]))
    wire = Wire(server)
    wire.join()
    tracker = make(run, wire.address)
    tracker.begin()
    tracker.update()
    wire.cut()
    (run / "metrics.csv").write_text("".join(history))
    start = time.monotonic()
    tracker.update()
    assert time.monotonic() - start < 20
    (line,) = (one for one in caplog.messages if one.startswith("note: "))
    assert line.startswith(f"note: logger.mlflow: {wire.address}: ")
    assert "the training goes on" in line
    assert [at for at, _ in values(client, tracker, "val/loss")] == [1]
    wire.join()
    tracker.finish()
    assert [at for at, _ in values(client, tracker, "val/loss")] == [1, 2, 3]
    assert client.get_run(tracker.id).info.status == "FINISHED"
    wire.cut()


def test_a_run_goes_on_as_the_same_run(server: str, client: Any, run: Path) -> None:
    first = make(run, server)
    first.begin()
    first.end("interrupted")
    assert client.get_run(first.id).info.status == "KILLED"
    again = make(run, server, predictions=True)
    again.begin()
    assert (again.id, client.get_run(first.id).info.status) == (first.id, "RUNNING")
    again.finish()
    assert "predictions.csv" in {one.path for one in client.list_artifacts(again.id)}


def test_names_and_values_as_mlflow_takes_them(server: str, client: Any, run: Path) -> None:
    tracker = make(run, server)
    tracker.begin()
    tracker._send_settings({"a:b": "x" * 7000, "k" * 300: "1", "classes/ö": "ü"})
    tracker._send_settings({"a:b": "other"})  # which can't be changed
    tracker._send_figures({f"test/auroc/{k} (a)/../b": float(k) for k in range(1200)})
    data = client.get_run(tracker.id).data
    assert data.params == {"a_b": "x" * 500, "k" * 250: "1", "classes/ö": "ü"}
    assert data.metrics["test/auroc/7 _a_/__/b"] == 7
    assert len(data.metrics) == 1200
    tracker._send_curve("epoch", [Point("c", 1.0, 3)])
    assert values(client, tracker, "c") == [(3, 1.0)]
    tracker.end("failed")
    assert client.get_run(tracker.id).info.status == "FAILED"


@pytest.mark.slow
def test_a_cross_validation_is_a_run_with_its_folds_in_it(
    server: str, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of it, from the command line on."""
    own = [one for one in jobs.QUICK if one != "logger=none"]
    options = ("logger=mlflow", "logger.mlflow.experiment=cv", "logger.mlflow.model=false")
    run, folds = tmp_path / "run", ("fold=all", "folds=2", "trainer.max_epochs=1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    code = jobs.command(monkeypatch, train, "train", *own, *options, *folds, f"paths.run={run}")
    assert code == 0
    found = client.search_runs([client.get_experiment_by_name("cv").experiment_id])
    assert {one.info.status for one in found} == {"FINISHED"}
    by_name = {one.info.run_name: one for one in found}
    assert by_name.keys() == {"run", "fold-0", "fold-1"}
    whole = by_name["run"]
    for fold in ("fold-0", "fold-1"):
        assert by_name[fold].data.tags["mlflow.parentRunId"] == whole.info.run_id
        assert by_name[fold].data.params["fold"] == fold[-1]
        assert by_name[fold].data.metrics["train/loss"] > 0
    assert whole.data.metrics["test/auroc"] == jobs.metrics(run)["test/auroc"]["value"]


@pytest.mark.parametrize("uri", ["http://127.0.0.1:{port}", "http://anna:secret@127.0.0.1:{port}"])
def test_a_server_that_is_not_there_is_said_before_the_training(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    own = [one for one in jobs.QUICK if one != "logger=none"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(port=port))
    run = tmp_path / "run"
    code = jobs.command(monkeypatch, train, "train", *own, "logger=mlflow", f"paths.run={run}")
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"medcnn: logger.mlflow: http://127.0.0.1:{port}: connection refused; mend that, or leave "
        "it out: logger=tensorboard"
    )
    assert not (run / "checkpoints").exists()
    assert "secret" not in "".join(path.read_text() for path in run.glob("*.*"))


def test_a_password_does_not_go_into_the_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set MLFLOW_TRACKING_USERNAME") as refused:
        make(tmp_path, "http://anna:secret@127.0.0.1:5000")
    assert "secret" not in str(refused.value)


def test_runs_without_a_server(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = make(run, None)  # type: ignore[arg-type]
    tracker.begin()
    tracker.finish()
    assert f"mlflow: run {tracker.id}" in capsys.readouterr().out
    found = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").get_run(tracker.id)
    assert found.info.status == "FINISHED"
