"""Runs that wandb keeps for later."""

import json
import shutil
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jobs
import pytest

from medcnn.errors import UserError
from medcnn.train import train
from medcnn.training.trackers import WandB, of_wandb

wandb = pytest.importorskip("wandb")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep wandb's own folders, and whoever is logged in, out of the tests."""
    for name in ("CONFIG_DIR", "CACHE_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "wandb"))
    for name in ("API_KEY", "MODE", "PROJECT", "ENTITY"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)


def make(run: Path, **options: Any) -> WandB:
    settings = {"project": "p", "entity": None, "mode": "offline", "model": True}
    return WandB(run, predictions=False, **(settings | options))


def parts(data: bytes) -> Iterator[bytes]:
    """The records of a file of wandb, which is a log as LevelDB writes it, after 7 bytes."""
    place, whole = 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        size, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # the whole of a record, or its last part
            yield whole
            whole = b""


def records(run: Path) -> list[Any]:
    """What offline runs have written, in the order of their files.

    wandb says that a run is finished a moment before it has written all of it, its exit last.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    files = sorted((run / "wandb").glob("offline-run-*/run-*.wandb"))
    end = time.monotonic() + 30
    while True:
        found = [[Record.FromString(one) for one in parts(file.read_bytes())] for file in files]
        whole = all(own and own[-1].WhichOneof("record_type") == "exit" for own in found)
        if whole or time.monotonic() > end:
            return [record for own in found for record in own]
        time.sleep(0.1)


def history(run: Path) -> list[dict[str, Any]]:
    rows = []
    for record in records(run):
        items = record.history.item
        if items:
            keys = ["/".join(item.nested_key) or item.key for item in items]
            rows.append({k: json.loads(i.value_json) for k, i in zip(keys, items, strict=True)})
    return rows


def test_a_finished_run(phantom_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(phantom_run, tmp_path / "run"))
    tracker = make(run)
    tracker.begin()
    tracker.update()
    tracker.finish()
    rows = history(run)
    assert [row["epoch"] for row in rows if "epoch" in row] == [1, 2, 3]
    assert any("health/gradient_norm" in row and "step" in row for row in rows)
    written = records(run)
    summary = {
        "/".join(item.nested_key) or item.key: json.loads(item.value_json)
        for record in written
        for item in record.summary.update
    }
    told = jobs.metrics(run)
    assert summary["test/auroc"] == pytest.approx(told["test/auroc"]["value"])
    assert {f"{name}/low" for name in told if told[name]["low"] is not None} < {*summary}
    items = [item for record in written for item in record.config.update]
    config = {item.key or item.nested_key[0]: item.value_json for item in items}
    assert config["model.name"] == '"lenet"'
    artifacts = {record.artifact.type for record in written if record.artifact.type}
    assert artifacts == {"evaluation", "model"}
    begun = next(record.run for record in written if record.run.run_id)
    assert (begun.project, begun.display_name) == ("p", "run")
    stored = json.loads((run / "tracker.json").read_text())["wandb"]
    assert stored["id"] == begun.run_id


def test_a_training_that_goes_on_keeps_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, own = tmp_path / "run", [one for one in jobs.QUICK if one != "logger=none"]
    options = ("logger=wandb", "logger.wandb.mode=offline", "logger.wandb.model=false")

    def stop() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        jobs.call_at(patch, 1, 0, stop)
        code = jobs.command(patch, train, "train", *own, *options, f"paths.run={run}")
    assert code == 130
    assert jobs.command(monkeypatch, train, "train", f"resume={run}") == 0
    assert [row["epoch"] for row in history(run) if "epoch" in row] == [1, 2]
    assert len({record.run.run_id for record in records(run) if record.run.run_id}) == 1
    assert not (tmp_path / "run-wandb").exists()


@pytest.mark.parametrize(
    ("key", "says"),
    [(None, "No API key configured"), ("k" * 40, "Weights & Biases: ")],
)
def test_without_a_server(
    key: str | None,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(of_wandb, "PATIENCE", 2)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("sys.stdin", None)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    with pytest.raises(UserError, match=r"^logger\.wandb: ") as refused:
        make(tmp_path, mode="online").begin()
    assert says in str(refused.value)
    assert "kkk" not in str(refused.value)


def test_another_mode(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"logger\.wandb\.mode=shared: choose one of online"):
        make(tmp_path, mode="shared")
