"""A run directory by address: what changes is sent, and nothing of it is lost."""

import json
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jobs
import pytest
from storage import Bucket

from medcnn.errors import UserError
from medcnn.evaluate import evaluate
from medcnn.jobs import launched
from medcnn.jobs import mirror as mirrors
from medcnn.jobs.copies import copy_folder, local_checkpoint, local_copy
from medcnn.jobs.mirror import RUN, Mirror, mirrored
from medcnn.jobs.rundir import RunDir, how_to_go_on, place_of
from medcnn.train import train


def test_what_has_changed_is_sent(bucket: Bucket, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "cams").mkdir(parents=True)
    (folder / "a.csv").write_text("1")
    (folder / "cams" / "b.npy").write_text("2")
    (folder / ".claim").write_text("of this process")
    mirror = Mirror(folder, f"{bucket.address}/run", "paths.run", nothing_sent=True)
    mirror.send()
    assert bucket.files() == {"run/a.csv": b"1", "run/cams/b.npy": b"2"}
    before = bucket.fs.modified(f"{bucket.name}/run/a.csv")
    (folder / "cams" / "b.npy").write_text("three")
    (folder / "c.csv").write_text("4")
    mirror.send()
    assert bucket.files() == {"run/a.csv": b"1", "run/cams/b.npy": b"three", "run/c.csv": b"4"}
    assert bucket.fs.modified(f"{bucket.name}/run/a.csv") == before
    (folder / "c.csv").unlink()
    mirror.send()
    assert "run/c.csv" not in bucket.files()


def test_a_run_is_sent_now_and_then(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "SECONDS", 0.02)
    address = f"{bucket.address}/runs/one"
    with mirrored(address, "paths.run") as folder:
        run = RunDir(folder)
        assert how_to_go_on(run).endswith(f"resume={address}")
        run.path.mkdir(parents=True)
        run.set_status("running")
        until = time.monotonic() + 20
        while not bucket.files() and time.monotonic() < until:
            time.sleep(0.05)
        assert json.loads(bucket.files()["runs/one/status.json"])["state"] == "running"
        run.set_status("finished")
    assert json.loads(bucket.files()["runs/one/status.json"])["state"] == "finished"
    assert not how_to_go_on(run).endswith(address)


def test_storage_that_is_away_for_a_while(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is said once, and nothing is lost: the run goes on from what lies here."""
    monkeypatch.setattr(mirrors, "SECONDS", 0.01)
    address, put = f"{bucket.address}/run", mirrors._put

    def away(*arguments: Any) -> None:
        raise OSError("no route to host")

    def work() -> None:
        with mirrored(address, "paths.run") as folder:
            Path(folder).mkdir(parents=True)
            monkeypatch.setattr(mirrors, "_put", away)
            RunDir(folder).set_status("interrupted")
            time.sleep(0.3)

    with pytest.raises(UserError, match=r"paths\.run=s3.*no route to host.*all of it is in"):
        work()
    with pytest.raises(KeyboardInterrupt), mirrored(address, "resume"):  # and again
        raise KeyboardInterrupt
    said = capfd.readouterr().err
    assert said.count("it is tried again") == 1
    assert said.count("all of it is in") == 1
    monkeypatch.setattr(mirrors, "_put", put)
    with mirrored(address, "resume") as folder:
        assert RunDir(folder).status["state"] == "interrupted"
    assert [*bucket.files()] == ["run/status.json"]
    assert not Path(f"{folder}.unsent").exists()


@pytest.mark.parametrize(("failures", "told"), [(2, None), (9, "cut"), (PermissionError, "no")])
def test_a_file_is_sent_again(
    failures: Any, told: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "WAIT", 0.0)
    tries: list[str] = []

    class Storage:
        def put_file(self, file: str, path: str) -> None:
            tries.append(path)
            if not isinstance(failures, int):
                raise failures("no")
            if len(tries) <= failures:
                raise OSError("cut")

    with pytest.raises(OSError, match=told) if told else nullcontext():
        mirrors._put(Storage(), tmp_path / "a", "b/a")
    assert len(tries) == {None: 3, "cut": mirrors.TRIES, "no": 1}[told]


def test_a_run_that_another_machine_went_on_with(bucket: Bucket) -> None:
    address = f"{bucket.address}/run"
    with mirrored(address, "resume") as folder:
        Path(folder).mkdir(parents=True)
        RunDir(folder).set_status("interrupted")
    Path(f"{folder}.unsent").touch()  # as if this process had been killed
    with mirrored(address, "resume"):
        pass
    elsewhere = json.dumps(RunDir(folder).status | {"host": "elsewhere", "state": "finished"})
    bucket.put("run/status.json", elsewhere.encode())
    with mirrored(address, "resume"):  # all was sent: the address has what counts
        assert RunDir(folder).finished
    RunDir(folder).set_status("interrupted")
    Path(f"{folder}.unsent").touch()
    with (
        pytest.raises(UserError, match="another machine has worked there since"),
        mirrored(address, "resume"),
    ):
        pass
    shutil.rmtree(folder)
    with mirrored(address, "resume"):
        assert RunDir(folder).finished


def test_a_place_that_is_gone_loses_nothing(bucket: Bucket) -> None:
    address = f"{bucket.address}/run"

    def work() -> None:
        with mirrored(address, "paths.run") as folder:
            RunDir(folder).path.mkdir(parents=True)
            RunDir(folder).set_status("finished")
            bucket.fs.rmdir(bucket.name)

    with pytest.raises(UserError, match="there is no such bucket or folder; all of it is in"):
        work()
    folder = copy_folder(address, RUN)
    assert RunDir(folder).finished
    assert Path(f"{folder}.unsent").exists()


def test_a_run_at_a_new_folder_of_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with mirrored(f"file://{tmp_path}/new/run", "paths.run") as folder:
        (Path(folder) / "checkpoints").mkdir(parents=True)
        (Path(folder) / "checkpoints" / "last.ckpt").write_text("weights")
    assert (tmp_path / "new" / "run" / "checkpoints" / "last.ckpt").read_text() == "weights"


def test_a_run_that_is_read_meanwhile_keeps_what_was_not_sent(bucket: Bucket) -> None:
    address = f"{bucket.address}/run"
    with mirrored(address, "paths.run") as folder:
        Path(folder).mkdir(parents=True)
        (Path(folder) / "config.yaml").write_text("new")
        bucket.put("run/config.yaml", b"older")
        copy = local_copy(address, "checkpoint")
        assert (copy / "config.yaml").read_text() == "older"
        assert (Path(folder) / "config.yaml").read_text() == "new"
    assert bucket.files() == {"run/config.yaml": b"new"}


def test_a_run_that_is_replaced_stays_until_the_new_one_has_trained(bucket: Bucket) -> None:
    address = f"{bucket.address}/run"
    old = json.dumps({"state": "finished", "host": "elsewhere"}).encode()
    bucket.put("run/status.json", old)
    bucket.put("run/checkpoints/last.ckpt", b"old")
    bucket.put("run/notes.txt", b"of a person")
    before = bucket.files()
    with mirrored(address, "paths.run") as folder:
        run = RunDir(folder)
        run.claim(overwrite=True)
        run.set_status("interrupted")
    assert bucket.files() == before
    with mirrored(address, "resume"):  # as after a kill
        assert run.status["state"] == "interrupted"
        run.best.parent.mkdir()
        run.last.write_bytes(b"new")
        run.let_go()
    assert bucket.files() == {
        "run/status.json": (run / "status.json").read_bytes(),
        "run/checkpoints/last.ckpt": b"new",
        "run/notes.txt": b"of a person",
    }


def test_what_a_killed_run_has_replaced_is_deleted(bucket: Bucket) -> None:
    folder, address = copy_folder(f"{bucket.address}/run", RUN), f"{bucket.address}/run"
    folder.mkdir(parents=True)
    RunDir(folder).set_status("interrupted")
    Path(f"{folder}.unsent").touch()
    bucket.put("run/status.json", (folder / "status.json").read_bytes())
    bucket.put("run/checkpoints/best.ckpt", b"of the run before")
    with mirrored(address, "resume"):
        assert place_of(RunDir(folder / "fold-0")) == f"{address}/fold-0"
    assert [*bucket.files()] == ["run/status.json"]


def test_a_training_by_address_goes_on_elsewhere(
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    address = f"{bucket.address}/runs/one"

    def stop() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        jobs.call_at(patch, 1, 0, stop)
        code = jobs.command(patch, train, "train", *jobs.QUICK, f"paths.run={address}")
    assert code == 130
    assert f"go on with: python -m medcnn.train resume={address}" in capfd.readouterr().err
    assert {"runs/one/status.json", "runs/one/checkpoints/last.ckpt"} <= {*bucket.files()}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert jobs.command(monkeypatch, train, "train", f"resume={address}") == 0
    there, here = bucket.files(), copy_folder(address, RUN)
    assert json.loads(there["runs/one/status.json"])["state"] == "finished"
    kept = {f"runs/one/{p.relative_to(here).as_posix()}": p for p in here.rglob("*") if p.is_file()}
    assert {name: path.read_bytes() for name, path in kept.items()} == there
    best = f"checkpoint={address}/checkpoints/best.ckpt"
    figures = ("accelerator=cpu", "threads=1", "evaluation.resamples=50", "paths.run=again")
    assert jobs.command(monkeypatch, evaluate, "evaluate", best, *figures) == 0
    own, again = (
        json.loads(path.read_text()) for path in (here / "metrics.json", Path("again/metrics.json"))
    )
    assert again["test/auroc"] == own["test/auroc"]
    assert bucket.line.answers > 0


@pytest.mark.parametrize(
    ("root", "arguments", "message"),
    [
        ("train", ["-m", "paths.run=s3://b/x", "seed=0,1"], "-m writes to folders on a disk"),
        ("train", ["paths.data=s3://b/x"], "give a folder on a disk, for copies"),
        ("data", ["output=s3://b/x"], "give output= a place on a disk"),
        ("predict", ["checkpoint=s3://b/x", "images=x", "output=s3://b/x"], "a place on a disk"),
        ("report", ["runs=[s3://b/x]"], "copy the run directories to a disk"),
        ("explain", ["checkpoint=s3://b/x"], "beside which nothing is written: add output="),
        (
            "evaluate",
            ["checkpoint=s3://b/r/checkpoints/best.ckpt", "paths.run=s3://b//r/"],
            "holds the checkpoint itself",
        ),
        (
            "evaluate",
            ["ensemble=[s3://b/x,s3://b/r]", "paths.run=s3://b/r"],
            "holds the checkpoint",
        ),
        (
            "train",
            ["trainer=ray", "trainer.devices=1", "trainer.num_nodes=2", "paths.run=s3://b/r"],
            "goes with processes on one machine",
        ),
    ],
)
def test_places_that_have_to_be_on_a_disk(
    root: str,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    def never(cfg: Any, trust: list[str]) -> None:
        raise AssertionError

    assert jobs.command(monkeypatch, never, root, *arguments) == 2
    assert message in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("root", "key"),
    [
        ("train", "paths.run"),
        ("train", "-m dataset.path"),
        ("train", "cache.folder"),
        ("data", "output"),
        ("predict", "images"),
    ],
)
def test_a_password_in_an_address_is_refused_unrepeated(
    root: str,
    key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    def never(cfg: Any, trust: list[str]) -> None:
        raise AssertionError

    more = ["checkpoint=x"] if root == "predict" else []
    given = f"{key}='s3://KEY:hush/hush@bucket/x'".split()
    assert jobs.command(monkeypatch, never, root, *given, *more) == 2
    said = "".join(capfd.readouterr())
    assert "holds a user, a password or a signature" in said
    assert "hush" not in said
    assert list(tmp_path.iterdir()) == []


def test_an_ensemble_by_its_file_comes_with_its_members(bucket: Bucket) -> None:
    bucket.put("cv/fold-0/checkpoints/best.ckpt", b"weights")
    file = local_checkpoint(bucket.put("cv/ensemble.json", b"{}"), "checkpoint")
    assert file.read_bytes() == b"{}"
    assert (file.parent / "fold-0" / "checkpoints" / "best.ckpt").read_bytes() == b"weights"


def test_members_of_an_ensemble_are_copied(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = bucket.put("one.ckpt", b"weights")
    seen: list[str] = []

    def look(cfg: Any, trust: list[str]) -> None:
        seen.extend(cfg.ensemble)

    given = (f"ensemble=[here.ckpt,{address}]", "images=x")
    assert jobs.command(monkeypatch, look, "predict", *given) == 0
    assert seen[0] == "here.ckpt"
    assert Path(seen[1]).read_bytes() == b"weights"


def test_a_run_by_address_is_of_one_machine(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    several = SimpleNamespace(place=SimpleNamespace(nodes=2))
    monkeypatch.setattr(launched, "others", several)
    arguments = (f"paths.run={bucket.address}/run", *jobs.QUICK)
    assert jobs.command(monkeypatch, train, "train", *arguments) == 2
    assert "goes with processes on one machine" in capfd.readouterr().err


def test_the_password_of_a_database_is_none_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = "search.storage=postgresql://me:hush@host/name"
    assert jobs.command(monkeypatch, lambda cfg, trust: None, "search", given) == 0
