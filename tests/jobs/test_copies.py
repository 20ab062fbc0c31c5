"""Copies of files by address, from a real server: fresh, whole, and secrets kept."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from storage import SECRET, Bucket

from medcnn.errors import UserError
from medcnn.jobs import copies
from medcnn.jobs.copies import copies_in, copy_folder, fetch_files, fetch_folder, local_copy

LARGE = os.urandom(300_000)


def test_a_file_is_copied_once_and_again_when_it_changes(bucket: Bucket) -> None:
    address = bucket.put("films/a.png", b"one")
    copy = local_copy(address, "image")
    assert copy.read_bytes() == b"one"
    assert copy.is_relative_to(Path("data/remote").absolute())
    before = copy.stat()
    assert local_copy(address, "image").stat().st_ino == before.st_ino  # not copied again
    bucket.put("films/a.png", b"two")  # of the same size, in the same second
    assert local_copy(address, "image").read_bytes() == b"two"


def test_a_folder_is_copied_as_it_is(bucket: Bucket, tmp_path: Path) -> None:
    for name in ("runs/a/1.txt", "runs/a/b/2.txt", "runs/ab/3.txt", "runs/a/../4.txt"):
        bucket.put(name, name.encode())
    with copies_in(tmp_path / "own"):
        folder = local_copy(f"{bucket.address}/runs/a/", "checkpoint")
        (folder / "left.txt").write_text("of a file that is gone")
        assert fetch_folder(f"{bucket.address}/runs/a", "checkpoint") == folder
    assert folder.is_relative_to(tmp_path / "own")
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.txt"))
    assert found == ["1.txt", "b/2.txt"]


def test_what_a_pattern_matches(bucket: Bucket) -> None:
    for name in ("x/a/1.png", "x/b/2.png", "x/b/2.txt"):
        bucket.put(name, b"x")
    pattern = local_copy(f"{bucket.address}/x/*/*.png", "images")
    assert sorted(path.name for path in Path().glob(str(pattern.relative_to(Path.cwd())))) == [
        "1.png",
        "2.png",
    ]
    folder = copy_folder(f"{bucket.address}/x")
    assert pattern == folder / "*" / "*.png"
    assert not (folder / "b" / "2.txt").exists()


def test_files_are_found_one_by_one_and_in_lists(bucket: Bucket) -> None:
    names = [f"many/{k}.png" for k in range(copies.FEW + 1)]
    for name in (*names, "few/1.png", "series/a.dcm", "series/b.dcm", "series/deep/c.dcm"):
        bucket.put(name, name.encode())
    wanted = [*names, "few/1.png", "few/missing.png", "series", "../out.png", "/abs.png", ""]
    folder = fetch_files(bucket.address, wanted, "dataset.root")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*names, "few/1.png", "series/a.dcm", "series/b.dcm"}


def test_what_is_gone_is_gone_here(bucket: Bucket) -> None:
    for name in ("x/a/1.png", "x/a/2.png", "x/b/1.png", "series/a.dcm", "series/b.dcm", "s2/a.dcm"):
        bucket.put(name, b"x")
    pattern, names = f"{bucket.address}/x/*/*.png", ["series", "s2", "turned"]
    bucket.put("turned/a.dcm", b"x")
    local_copy(pattern, "images")
    folder = fetch_files(bucket.address, names, "dataset.root")
    for name in ("x/a/2.png", "x/b/1.png", "series/b.dcm", "s2/a.dcm", "turned/a.dcm"):
        bucket.fs.rm_file(f"{bucket.name}/{name}")
    bucket.put("turned", b"a file now")
    local_copy(pattern, "images")
    assert fetch_files(bucket.address, names, "dataset.root") == folder
    top = copy_folder(f"{bucket.address}/x")
    assert [path.relative_to(top).as_posix() for path in top.rglob("*.png")] == ["a/1.png"]
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert left == {"series/a.dcm", "turned"}


def test_two_that_copy_the_same_wait_for_each_other(bucket: Bucket) -> None:
    for number in range(30):
        bucket.put(f"run/{number}.bin", LARGE[:50_000])
    address = f"{bucket.address}/run"
    with ThreadPoolExecutor(3) as pool:
        folders = [*pool.map(fetch_folder, [address] * 3, ["checkpoint"] * 3)]
    assert len({*folders}) == 1
    assert sorted(path.stat().st_size for path in folders[0].iterdir()) == [50_000] * 30


def test_a_cut_connection_is_made_again(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "WAIT", 0.0)
    address = bucket.put("film.dcm", LARGE)
    bucket.line.cut(times=2, after=100_000)
    assert local_copy(address, "image").read_bytes() == LARGE
    assert bucket.line.cuts == 0


def test_a_line_that_stays_cut_is_said_in_one_line(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "WAIT", 0.0)
    monkeypatch.setattr(copies, "TRIES", 2)
    address = bucket.put("film.dcm", LARGE)
    bucket.line.cut(times=10**6, after=20_000)
    with pytest.raises(UserError) as caught:
        local_copy(address, "image")
    bucket.line.cut(0, 0)
    message = str(caught.value)
    assert message.startswith(f"image={bucket.address} can't be read (")
    assert "\n" not in message
    assert local_copy(address, "image").read_bytes() == LARGE  # and the next time goes on


def test_nothing_there(bucket: Bucket) -> None:
    for address in (f"{bucket.address}/a.png", "s3://no-such-bucket/a"):
        with pytest.raises(UserError, match="there is no such file"):
            local_copy(address, "images")


def test_a_path_of_the_disk_is_itself(tmp_path: Path) -> None:
    assert local_copy(f"file://{tmp_path}/a.png", "image") == tmp_path / "a.png"


@pytest.mark.parametrize(
    "address",
    ["ftp://me:secret@host/a", "https://host/a?Signature=secret", "s3://KEY:secret/x@host/a"],
)
def test_an_address_with_a_secret_is_refused_unrepeated(address: str) -> None:
    with pytest.raises(UserError, match="leave it out") as caught:
        local_copy(address, "image")
    assert "secret@" not in str(caught.value)
    assert "=secret" not in str(caught.value)


def test_a_protocol_that_there_is_not() -> None:
    with pytest.raises(UserError, match=r"image=nowhere://x can't be read \(Protocol not known"):
        local_copy("nowhere://x", "image")


def test_no_secret_is_told(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(f"signed with {SECRET}\nin vain")

    address = bucket.put("a.png", b"x")
    monkeypatch.setattr(bucket.fs, "get_file", refuse)
    with pytest.raises(UserError, match=r"signed with … in vain.*AWS_PROFILE") as caught:
        local_copy(address, "image")
    assert SECRET not in str(caught.value) + caplog.text


def test_a_package_that_is_missing(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(address: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(UserError, match=r"a package is missing; pip install \"medcnn\[s3\]\""):
        local_copy(f"{bucket.address}/a", "image")


def test_other_protocols_pass_through(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/films/a.png", b"one")
    with copies_in(tmp_path):
        assert local_copy("memory://films/a.png", "image").read_bytes() == b"one"
        memory.pipe_file("/films/a.png", b"three")
        assert local_copy("memory://films/a.png", "image").read_bytes() == b"three"


@pytest.mark.parametrize(
    ("fact", "seconds"),
    [
        ({"updated": "2026-01-02T03:04:05+00:00", "md5Hash": "x"}, 1767323045),
        ({"mtime": 12.75}, 12),
        ({}, 0),
    ],
)
def test_the_time_of_a_copy(fact: dict[str, Any], seconds: int) -> None:
    assert copies._stamp(fact) // 10**9 == seconds


def test_a_file_that_is_written_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "WAIT", 0.0)

    class Storage:
        def get_file(self, path: str, copy: str) -> None:
            Path(copy).write_bytes(b"half")

    with pytest.raises(OSError, match="or the file is being written; what was copied is kept"):
        copies._copy(Storage(), {"a": {"name": "b/a", "size": 8}}, tmp_path, "a")
    assert list(tmp_path.iterdir()) == []
