"""Parts shared by processes, any of which may be lost; here each is a thread."""

import io
import json
import logging
import os
import runpy
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from medcnn.errors import UserError
from medcnn.evidence import of_files as explained_files
from medcnn.inference import of_files, several_processes, split_parts
from medcnn.inference.parts import Advance, Done, Parts
from medcnn.inference.several_processes import Task, do_all, serve, serve_process, share
from medcnn.jobs import hardware

KILLED = -9
Work = Callable[[int], None]


class Rows:
    """A table of the rows; something may happen before."""

    def __init__(self, happening: Work = lambda first: None) -> None:
        self.happening = happening

    def do(self, first: int, last: int, advance: Advance) -> Done:
        advance(1)
        self.happening(first)
        advance(last - first - 1)
        return Done(pd.DataFrame({"row": range(first, last)}), [])


class Thread:
    """What `share` needs of a process: it serves, and an error ends it as a signal does."""

    def __init__(self, parts: Parts, happening: Work = lambda first: None, code: int = KILLED):
        orders, told = os.pipe()
        replies, said = os.pipe()
        self.stdin, self.stdout = os.fdopen(told, "w"), os.fdopen(replies)
        self.code, self.killed = code, False
        arguments = (os.fdopen(orders), os.fdopen(said, "w"), parts, happening)
        self.thread = threading.Thread(target=self._serve, args=arguments)
        self.thread.start()
        self.stdin.write("{}\n")
        self.stdin.flush()

    def _serve(self, orders: Any, replies: Any, parts: Parts, happening: Work) -> None:
        with replies, suppress(RuntimeError):
            serve(orders, replies, lambda _: (parts, Rows(happening)), lambda _: None)

    def wait(self) -> int:
        if self.killed:
            self.thread.join(10)
        return self.code

    def kill(self) -> None:
        self.killed = True
        self.stdin.close()


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path, 50, 5, ".csv")


def rows_of(parts: Parts) -> list[int]:
    parts.join(parts.folder / "out.csv")
    rows: list[int] = pd.read_csv(parts.folder / "out.csv")["row"].tolist()
    return rows


def fail_at(*firsts: int) -> Work:
    def happening(first: int) -> None:
        if first in firsts:
            raise RuntimeError

    return happening


def test_each_part_is_done_once(parts: Parts) -> None:
    advanced: list[int] = []
    share(parts.waiting(), [Thread(parts) for _ in range(3)], advanced.append)
    assert sum(advanced) == 50
    assert rows_of(parts) == list(range(50))


def test_the_part_of_a_lost_process_is_done_by_another(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    advanced: list[int] = []
    lost = Thread(parts, fail_at(*range(0, 50, 5)))
    share(parts.waiting(), [lost, Thread(parts)], advanced.append)
    assert sum(advanced) == 50
    assert min(advanced) == -1  # of the part that was begun
    assert rows_of(parts) == list(range(50))
    line = "medcnn: a process of this work was ended by SIGKILL; the others do its part"
    assert capsys.readouterr().err.splitlines() == [line]


def test_the_last_part_of_a_lost_process_finds_one_that_is_idle(tmp_path: Path) -> None:
    parts = Parts(tmp_path, 10, 5, ".csv")

    def when_idle(first: int) -> None:
        while not parts.is_done(1):
            time.sleep(0.01)
        time.sleep(0.1)  # so that it has said so
        raise RuntimeError

    share([0, 1], [Thread(parts, when_idle), Thread(parts)], lambda _: None)
    assert rows_of(parts) == list(range(10))


@pytest.mark.parametrize(
    ("codes", "line"),
    [
        ((KILLED,), r"ended by SIGKILL, and none is left; the same command goes on"),
        ((KILLED,) * 3, r"ended by SIGKILL, as another by the same images; the same command"),
        ((1, KILLED), r"failed with exit code 1; the same command goes on"),
    ],
)
def test_what_cannot_go_on_ends_in_one_line(
    parts: Parts, codes: tuple[int, ...], line: str
) -> None:
    processes = [Thread(parts, fail_at(0), code) for code in codes]
    with pytest.raises(UserError, match=line):
        share(parts.waiting(), processes, lambda _: None)
    assert all(process.killed for process in processes)
    assert not parts.is_done(0)


def test_an_error_for_the_person_at_the_keyboard_reaches_them(parts: Parts) -> None:
    def full(first: int) -> None:
        raise OSError(28, "No space left on device", "part-00000.csv")

    with pytest.raises(UserError, match=r"part-00000\.csv: no space left on device: make room"):
        share(parts.waiting(), [Thread(parts, full)], lambda _: None)

    def odd(first: int) -> None:
        raise OSError("odd")

    def replied(happening: Work) -> str:
        orders = io.StringIO('{}\n{"part": 0}\n')
        replies = io.StringIO()
        serve(orders, replies, lambda _: (parts, Rows(happening)), lambda _: None)
        return replies.getvalue()

    with pytest.raises(OSError, match="odd"):
        replied(odd)
    assert replied(lambda _: None) == '{"rows": 1}\n{"rows": 4}\n{"done": 0}\n'


def test_a_process_ends_with_the_first_one() -> None:
    codes: list[int] = []
    done = threading.Event()

    def end(code: int) -> None:
        codes.append(code)
        done.set()

    serve(io.StringIO(), io.StringIO(), lambda _: pytest.fail("there is no job"), end)
    assert done.wait(10)
    assert codes == [several_processes.GONE]


def test_work_here_or_there_and_what_is_said_of_it(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs: list[dict[str, Any]] = []

    def start(module: str, job: dict[str, Any]) -> Thread:
        jobs.append({**job, "module": module})
        return Thread(parts)

    monkeypatch.setattr(several_processes, "start", start)
    (parts.folder / "part-00003.json").write_text('{"rows": 0, "failed": ["x.png is odd"]}')

    def stop(first: int) -> None:
        if first == 20:
            raise KeyboardInterrupt

    alone = Task("a.worker", {"a": 1}, 1, "the same command")
    after = r"^interrupted after 20 of 50 images classified; the same command goes on$"
    with pytest.raises(KeyboardInterrupt, match=after):
        do_all(parts, Rows(stop), "images classified", alone)
    do_all(parts, Rows(), "images classified", alone._replace(processes=2))
    said = capsys.readouterr()
    assert said.err == "medcnn: x.png is odd\n" * 2
    assert "20 of 50 images classified before" in said.out.splitlines()
    assert [(job["worker"], job["of"], job["a"], job["module"]) for job in jobs] == [
        (0, 2, 1, "a.worker"),
        (1, 2, 1, "a.worker"),
    ]
    assert json.loads(json.dumps(jobs[0]["parts"]))["rows"] == 5
    assert rows_of(parts) == [row for row in range(50) if row not in range(15, 20)]


def test_nothing_done_is_plainly_interrupted(parts: Parts) -> None:
    def stop(first: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^interrupted$"):
        do_all(parts, Rows(stop), "images classified", Task("x", {}, 1, "the same command"))


def test_a_process_is_given_its_job() -> None:
    process = several_processes.start("json.tool", {"worker": 1})
    process.stdin.close()
    assert json.loads(process.stdout.read()) == {"worker": 1}
    assert process.wait() == 0
    process.stdout.close()


@pytest.mark.parametrize(
    ("module", "begin"),
    [
        ("medcnn.inference.worker", of_files.begin_in_worker),
        ("medcnn.inference.split_worker", split_parts.begin_in_worker),
        ("medcnn.evidence.worker", explained_files.begin_in_worker),
    ],
)
def test_each_command_has_a_worker(
    module: str, begin: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[object] = []
    monkeypatch.setattr(several_processes, "serve_process", begun.append)
    runpy.run_module(module, run_name="__main__")
    assert begun == [begin]


def test_several_processes_share_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "device_of", lambda _: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert hardware.device_of_one("gpu", 1, None) == torch.device("cuda")
    workers = [hardware.device_of_one("gpu", 4, worker) for worker in (None, 0, 1, 2, 3)]
    assert [str(device) for device in workers] == ["cpu", "cuda:0", "cuda:1", "cuda:0", "cuda:1"]


def test_what_a_library_prints_is_no_reply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(orders: object, replies: Any, begin: object) -> None:
        print("a library's advice", flush=True)
        replies.write("reply\n")
        replies.close()

    monkeypatch.setattr(several_processes, "serve", fake)
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        try:
            serve_process(lambda job: pytest.fail("unused"))
        finally:
            logging.disable(logging.NOTSET)
    assert (tmp_path / "out").read_text() == "reply\n"
