"""Which process a folder belongs to."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jobs
import psutil
import pytest

from medcnn.errors import UserError
from medcnn.jobs.claims import LOCK, alone_in, living, owner

RACE = """
import os, sys
from medcnn.jobs.rundir import RunDir
from medcnn.errors import UserError
print("ready", flush=True)
while not os.path.exists("go"): pass
try: RunDir(sys.argv[1]).claim(overwrite=False)
except UserError as error: print(error)
else: print("mine", flush=True); sys.stdin.read()
"""
TAKEOVER = """
import sys
from pathlib import Path
from medcnn.jobs import claims
living = claims.living
def slow(owner):
    found = living(owner)
    print("seen", flush=True)
    sys.stdin.readline()
    return found
claims.living = slow
try:
    with claims.alone_in(Path(".")):
        print("mine", flush=True)
        sys.stdin.readline()
except claims.UserError as error: print(error, flush=True)
"""


def test_this_process_lives() -> None:
    assert living(owner())
    assert living({"host": platform.node(), "pid": os.getpid()})  # as an older medcnn wrote it


@pytest.mark.parametrize(
    "other",
    [
        {"started": psutil.Process().create_time() - 3600},  # this number was another program's
        {"pid": 2**22 + 1},
        {"pid": "x"},
        {"pid": -1},
        {"host": "another machine"},
    ],
)
def test_who_is_gone(other: dict[str, object]) -> None:
    assert not living(owner() | other)


def test_an_ended_process_that_nobody_asked_after_is_gone() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not living(owner() | {"pid": child.pid})
    child.wait()


def test_a_folder_is_for_one_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with alone_in(folder):
        lock = json.loads((folder / LOCK).read_text())
        assert lock == owner()
        with (
            pytest.raises(UserError, match=rf"in use by process {os.getpid()} on"),
            alone_in(folder),
        ):
            pass
        assert (folder / LOCK).exists()
    assert not folder.exists()  # nothing was written to it
    with alone_in(folder):
        (folder / "result").touch()
    assert [path.name for path in folder.iterdir()] == ["result"]


def test_a_lock_is_only_kept_for_the_living(tmp_path: Path) -> None:
    lock = tmp_path / LOCK
    lock.write_text(json.dumps(owner() | {"pid": 2**22 + 1}))
    with alone_in(tmp_path):
        assert json.loads(lock.read_text()) == owner()
    lock.touch()  # whoever makes it hasn't written its name yet
    with pytest.raises(UserError, match="in use"), alone_in(tmp_path):
        pass
    os.utime(lock, (0, 0))  # nor ever did
    with alone_in(tmp_path):
        pass
    lock.write_text(json.dumps(owner() | {"host": "another machine"}))
    with pytest.raises(UserError, match=r"on another machine; .*delete"), alone_in(tmp_path):
        pass


def test_one_of_two_that_find_a_lock_of_the_dead_gets_it(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(json.dumps(owner() | {"pid": 2**22 + 1}))
    options: Any = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(jobs.ROOT)}}
    options |= {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", TAKEOVER]
    with subprocess.Popen(command, **options) as first, subprocess.Popen(command, **options) as two:
        said = [first.stdout.readline(), two.stdout.readline()]  # both have looked, if they may
        for k, process in enumerate((first, two)):
            while said[k] == "seen\n":
                process.stdin.write("\n")
                process.stdin.flush()
                said[k] = process.stdout.readline()
        first.communicate("\n")
        two.communicate("\n")
    assert said.count("mine\n") == 1, said
    assert sum("is in use" in line for line in said) == 1, said
    assert not (tmp_path / LOCK).exists()


def test_one_of_several_processes_gets_a_run_directory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACE, "run"]
    options: Any = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(jobs.ROOT)}}
    options |= {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **options) for _ in range(3)]
    assert all(process.stdout.readline() == "ready\n" for process in started)
    (tmp_path / "go").touch()
    said = [process.stdout.readline().strip() for process in started]
    for process in started:
        process.communicate("")
    assert said.count("mine") == 1, said
    assert sum("is in use" in line for line in said) == 2, said
