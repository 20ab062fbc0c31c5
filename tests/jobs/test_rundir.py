import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from disks import fill

from medcnn.errors import UserError
from medcnn.jobs.rundir import FAILED_START, OURS, RunDir

CONFIG = "trainer: {max_epochs: 3}\npaths: {run: x}\n"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "runs = [a]" / "déjà vu")


@pytest.fixture
def other_process() -> Iterator[int]:
    """The id of a living process that isn't this one."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    yield child.pid
    child.kill()
    child.wait()


def pretend(run: RunDir, state: str, **facts: object) -> None:
    """A status.json as another process, which has ended, would have left it."""
    status = {"state": state, "host": platform.node(), "pid": 2**22 + 1, **facts}
    run.path.mkdir(parents=True, exist_ok=True)
    (run / "status.json").write_text(json.dumps(status))


def test_a_new_folder_is_made_and_named(run: RunDir) -> None:
    run.claim(overwrite=False)
    assert run.path.is_dir()
    assert [path.name for path in run.path.iterdir()] == ["status.json"]
    assert run.status["state"] == "running"
    assert run / "metrics.csv" == run.path / "metrics.csv"
    assert run.best == run.path / "checkpoints" / "best.ckpt"
    assert run.last == run.path / "checkpoints" / "last.ckpt"


def test_a_folder_that_nothing_was_written_to_can_be_taken(run: RunDir) -> None:
    run.path.mkdir(parents=True)
    run.claim(overwrite=False)
    pretend(run, "running")  # killed before it wrote its config
    run.claim(overwrite=False)


def test_an_existing_folder_of_other_files_is_taken(run: RunDir) -> None:
    run.path.mkdir(parents=True)
    (run / "notes.txt").write_text("mine")
    run.claim(overwrite=False)
    assert (run / "notes.txt").read_text() == "mine"


def test_status(run: RunDir) -> None:
    assert run.status == {}
    run.set_status("running", overrides=["seed=1"])
    status = run.status
    assert status == {
        "state": "running", "host": platform.node(), "pid": os.getpid(), "overrides": ["seed=1"],
        "started": psutil.Process().create_time(),
    }  # fmt: skip
    assert not run.finished
    assert run.facts == {"overrides": ["seed=1"]}
    run.set_status("finished", seconds=1.5)
    assert run.finished
    assert run.status["seconds"] == 1.5
    assert "overrides" not in run.status


@pytest.mark.parametrize("text", ["", "{", "[1]", '"finished"', "null", "\x00"])
def test_a_damaged_status_says_nothing(run: RunDir, text: str) -> None:
    run.path.mkdir(parents=True)
    (run / "status.json").write_text(text)
    assert run.status == {}
    assert not run.finished
    with pytest.raises(UserError, match=r"already holds status\.json"):
        run.claim(overwrite=False)


def test_a_finished_run_is_kept_unless_it_is_to_be_replaced(run: RunDir) -> None:
    pretend(run, "finished")
    (run / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match=r"already holds a finished run; overwrite=true replaces"):
        run.claim(overwrite=False)
    assert (run / "metrics.json").exists()
    run.claim(overwrite=True)
    run.let_go()
    assert [path.name for path in run.path.iterdir()] == ["status.json"]


@pytest.mark.parametrize("state", ["running", "interrupted", "failed"])
def test_an_unfinished_run_can_go_on(run: RunDir, state: str) -> None:
    pretend(run, state)
    run.last.parent.mkdir()
    run.last.write_text("weights")
    with pytest.raises(UserError) as caught:
        run.claim(overwrite=False)
    assert f"go on with resume={run.path}" in str(caught.value)
    assert "overwrite=true" in str(caught.value)
    run.refuse_if_busy()  # whoever trained there is gone
    run.claim(overwrite=True)


def test_a_run_that_failed_before_it_trained_is_no_obstacle(run: RunDir) -> None:
    pretend(run, "failed", error="no such file")
    (run / "config.yaml").write_text(CONFIG)
    (run / "notes.txt").write_text("mine")
    run.claim(overwrite=False)
    run.let_go()
    assert {path.name for path in run.path.iterdir()} == {"notes.txt", "status.json"}
    assert run.status["state"] == "running"


def test_a_cross_validation_of_which_a_fold_has_trained_is_kept(run: RunDir) -> None:
    pretend(run, "failed", error="no such file")
    (run / "config.yaml").write_text(CONFIG)
    (run / "fold-0" / "checkpoints").mkdir(parents=True)
    (run / "fold-0" / "checkpoints" / "last.ckpt").write_text("weights")
    with pytest.raises(UserError, match="go on with resume="):
        run.claim(overwrite=False)


def test_what_fails_after_its_claim_gives_the_folder_back(run: RunDir) -> None:
    def fail(text: str, overwrite: bool = False) -> None:
        with run.claimed(overwrite):
            (run / "problems.csv").write_text(text)
            raise KeyboardInterrupt

    for text in ("one", "another"):  # of a new folder, and of one that failed
        with pytest.raises(KeyboardInterrupt):
            fail(text)
        assert run.status["state"] == "failed"
        assert (run / "problems.csv").read_text() == text
    with run.claimed(overwrite=False):
        (run / "metrics.json").write_text("{}")
        run.set_status("finished")
    with pytest.raises(KeyboardInterrupt):
        fail("a third", overwrite=True)
    assert run.finished
    assert (run / "metrics.json").read_text() == "{}"
    assert {path.name for path in run.path.iterdir()} == {"metrics.json", "status.json"}


def test_what_a_failed_start_found_lies_beside_the_run_that_is_kept(run: RunDir) -> None:
    assert run.problems == run / "problems.csv"
    pretend(run, "finished")
    (run / "problems.csv").write_text("of the first run")
    assert run.problems == run / FAILED_START  # evaluate asks before it claims the folder
    run.claim(overwrite=True)
    assert RunDir(run / "fold-0").problems == run.problems == run / FAILED_START
    run.problems.write_text("new")
    run.give_back()
    assert (run / "problems.csv").read_text() == "of the first run"
    assert (run / FAILED_START).read_text() == "new"
    with run.claimed(overwrite=True):
        run.set_status("finished")
    assert [path.name for path in run.path.iterdir()] == ["status.json"]


def test_files_by_the_names_of_ours_are_not_lost(run: RunDir) -> None:
    run.path.mkdir(parents=True)
    for name in ("metrics.csv", "config.yaml", "predictions.csv", "samples.csv"):
        (run / name).write_text("mine")
    with pytest.raises(UserError) as caught:
        run.claim(overwrite=False)
    assert "already holds config.yaml, samples.csv, metrics.csv;" in str(caught.value)
    assert "another paths.run" in str(caught.value)
    assert (run / "metrics.csv").read_text() == "mine"


def test_overwriting_deletes_what_a_run_writes_and_nothing_else(
    run: RunDir, tmp_path: Path
) -> None:
    pretend(run, "finished")
    for name in OURS:
        path = run / name
        if "." in name:
            path.write_text("ours")
        else:
            path.mkdir()
            (path / "file").write_text("ours")
    kept = ["notes.txt", "metrics.json.bak", "Metrics.csv", ".hidden", "figures/a.png", "cams.zip"]
    for name in kept:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("mine")
    beside = tmp_path / "config.yaml"
    beside.write_text("mine")
    run.claim(overwrite=True)
    run.let_go()
    left = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    assert left == {*kept, "status.json"}
    assert beside.read_text() == "mine"


def test_files_of_no_run_are_not_deleted(run: RunDir) -> None:
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("mine")
    with pytest.raises(UserError, match=r"holds config\.yaml, checkpoints but no run of medcnn"):
        run.claim(overwrite=True)
    assert (run / "config.yaml").read_text() == "mine"


def test_what_a_link_leads_to_is_not_deleted(run: RunDir, tmp_path: Path) -> None:
    elsewhere = tmp_path / "big disk"
    elsewhere.mkdir()
    (elsewhere / "old.ckpt").write_text("mine")
    pretend(run, "finished")
    (run / "checkpoints").symlink_to(elsewhere)
    (run / "config.yaml").symlink_to(elsewhere / "old.ckpt")
    run.claim(overwrite=True)
    run.let_go()
    assert [path.name for path in run.path.iterdir()] == ["status.json"]
    assert (elsewhere / "old.ckpt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_at_work_is_left_alone(run: RunDir, other_process: int, overwrite: bool) -> None:
    pretend(run, "running", pid=other_process)
    (run / "metrics.csv").write_text("epoch\n")
    with pytest.raises(UserError, match=rf"is in use: process {other_process} is training there"):
        run.claim(overwrite)
    with pytest.raises(UserError, match="in use"):
        run.refuse_if_busy()
    assert (run / "metrics.csv").exists()


def test_only_a_living_process_of_this_machine_keeps_a_folder(
    run: RunDir, other_process: int
) -> None:
    for facts in (
        {"state": "interrupted", "pid": other_process},
        {"state": "running", "pid": other_process, "host": "another machine"},
        {"state": "running", "pid": "x"},
        {"state": "running", "pid": os.getpid()},
    ):
        pretend(run, **facts)  # type: ignore[arg-type]
        run.refuse_if_busy()


def test_going_on_keeps_what_is_known_of_the_run(run: RunDir, other_process: int) -> None:
    pretend(run, "interrupted", overrides=["seed=1"], seconds=3)
    run.go_on()
    assert run.status["pid"] == os.getpid()
    assert run.facts == {"overrides": ["seed=1"], "seconds": 3}
    pretend(run, "running", pid=other_process)
    with pytest.raises(UserError, match="in use"):
        run.go_on()


def test_the_status_is_written_to_a_full_disk(small_disk: Path) -> None:
    run = RunDir(small_disk / "run")
    run.claim(overwrite=False)
    fill(small_disk)
    run.set_status("interrupted", error="no space left on device", overrides=["seed=1"])
    assert run.status["state"] == "interrupted"
    assert run.facts["overrides"] == ["seed=1"]
    assert {path.name for path in run.path.iterdir()} == {"status.json"}
    with pytest.raises(UserError, match="can't be made: No space left on device"):
        RunDir(small_disk / "new" / "run").claim(overwrite=False)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=r"paths\.run=.*file.* can't be made"):
            RunDir(path).claim(overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_the_config_of_a_run(run: RunDir) -> None:
    run.path.mkdir(parents=True)
    (run / "config.yaml").write_text(CONFIG)
    assert run.read_config().trainer.max_epochs == 3


@pytest.mark.parametrize("text", [None, "a: [1", "just words", "- 1", "", "\x00", "trainer: {}"])
def test_a_folder_without_a_run(run: RunDir, text: str | None) -> None:
    run.path.mkdir(parents=True)
    if text is not None:
        (run / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"vu holds no .*run"):
        run.read_config()
