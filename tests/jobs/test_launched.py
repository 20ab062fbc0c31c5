"""What the processes of a launcher say to each other; that they train is tested with trainings."""

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import jobs
import pytest
from torch.distributed import HashStore

from medcnn.errors import UserError
from medcnn.jobs import launched
from medcnn.jobs.place import Place

PLACE = Place(1, 2, 1, 2, 0, "localhost", 1, cores=4)


def test_the_first_process_hears_how_a_part_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    store = HashStore()
    part = launched.Other(store, 1, 1)
    assert part.poll() is None
    part.kill()
    assert store.check(["stop/1/1"])
    with pytest.raises(subprocess.TimeoutExpired):
        part.wait(0)
    store.set("code/1/1", "-9")
    assert part.wait() == -9
    silent = launched.Other(store, 1, 2)
    monkeypatch.setattr(launched, "MEET", -1)
    assert silent.poll() == launched.SILENT


def test_another_process_does_its_part_of_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = HashStore()
    begun: list[dict[str, str]] = []

    def start(rank: int, task: list[str], environment: dict[str, str]) -> Any:
        begun.append(environment)
        return subprocess.Popen([sys.executable, "-c", f"raise SystemExit({task[0]})"])

    monkeypatch.setattr(launched, "start", start)
    monkeypatch.setattr(launched, "_store", lambda *_, **__: store)
    monkeypatch.setattr(launched.signal, "signal", lambda *_: None)
    for run, code in enumerate(("0", "2"), 1):
        store.set(f"run/{run}", json.dumps({"task": [code], "shared": {"MASTER_PORT": "5"}}))
    store.set("run/3", json.dumps({}))
    assert launched._serve(PLACE) == 0
    assert [store.get(f"code/{run}/1") for run in (1, 2)] == [b"0", b"2"]
    assert begun[0] == {"MASTER_PORT": "5", "LOCAL_RANK": "1", "RANK": "1", "NODE_RANK": "0"}


def test_the_launcher_says_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a run that is resumed, nor a config file; what a person sets has to fit."""
    by_hand: dict[str, Any] = {}
    monkeypatch.setattr(launched, "set_by_hand", lambda: by_hand)

    def taken(**options: Any) -> tuple[Any, ...]:
        trainer: Any = SimpleNamespace(**{"devices": 1, "num_nodes": 1, "threads": None, **options})
        launched.take_over(trainer)
        return trainer.devices, trainer.num_nodes, trainer.threads

    assert taken() == (1, 1, None)
    with pytest.raises(UserError, match="on several machines torchrun or srun"):
        taken(num_nodes=2)
    monkeypatch.setattr(launched, "others", SimpleNamespace(place=PLACE))
    assert taken() == taken(devices=3, num_nodes=2) == (2, 1, 4)
    by_hand |= {"trainer.devices": ("command line", None), "trainer.threads": ("local", None)}
    assert taken(devices=[1, 0], threads=3) == ([1, 0], 1, 3)
    assert taken(devices="auto", threads=3) == (2, 1, 3)
    with pytest.raises(UserError, match=r"devices=3, but 2 process\(es\) were started on each"):
        taken(devices=3)


def test_other_commands_have_one_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert jobs.module(monkeypatch, "medcnn.evaluate", "checkpoint=best.ckpt") == 2
    assert "start this command without torchrun" in capsys.readouterr().err
