import fcntl
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disks import fill

import medcnn
from medcnn.data.identity import content_of, stamp_of
from medcnn.data.prepared.cache import Cache, kind_of
from medcnn.errors import UserError


def image(value: int, slices: int = 1) -> np.ndarray:
    return np.full((slices, 1, 4, 6), value, np.uint8)


def test_gives_back_what_was_added(tmp_path: Path) -> None:
    with Cache(tmp_path, {"size": 4}) as cache, cache.filling():
        cache.add("a", image(1), {"spacing": [1.0, 2.0]})
        cache.add("b", image(2, slices=3), {})
        cache.add("c", np.full((1, 3, 4, 6), 0.5, np.float32), {})
        cache.add("bad", None, {"error": "is truncated"})
    with Cache(tmp_path, {"size": 4}) as cache:
        a, b, c, bad = (cache.entry(content) for content in ("a", "b", "c", "bad"))
        assert a
        assert b
        assert c
        assert bad
        assert a.facts == {"spacing": [1.0, 2.0]}
        assert bad.kind is None
        assert bad.facts == {"error": "is truncated"}
        assert (b.slot, b.count) == (1, 3)
        pack = cache.pack("uint8-1x4x6")
        assert pack.shape == (4, 1, 4, 6)
        np.testing.assert_array_equal(pack[:, 0, 0, 0], [1, 2, 2, 2])
        assert c.kind == "float32-3x4x6"
        assert cache.pack(c.kind)[0, 2, 3, 5] == 0.5
        assert cache.contents() == {"a", "b", "c", "bad"}


def test_other_settings_are_another_place(tmp_path: Path) -> None:
    with Cache(tmp_path, {"size": 4}) as cache, cache.filling():
        cache.add("a", image(1), {})
    with Cache(tmp_path, {"size": 5}) as cache:
        assert cache.entry("a") is None


def test_files_are_known_by_their_stamp(tmp_path: Path) -> None:
    path = tmp_path / "name of a patient.png"
    path.write_bytes(b"one")
    with Cache(tmp_path / "cache", {}) as cache:
        cache.remember(path, stamp_of(path), content_of(path))
        cache.commit()
        assert cache.known(path, stamp_of(path)) == content_of(path)
        path.write_bytes(b"other")
        assert cache.known(path, stamp_of(path)) is None
    for stored in (tmp_path / "cache").rglob("*"):
        assert "patient" not in stored.name
        assert stored.is_dir() or b"patient" not in stored.read_bytes()


def test_stamps_and_contents_of_folders_follow_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(b"one")
    (folder / "2.dcm").write_bytes(b"two")
    stamp, content = stamp_of(folder), content_of(folder)
    (folder / "2.dcm").rename(folder / "3.dcm")
    assert stamp_of(folder) != stamp
    assert content_of(folder) == content  # the same slices by other names
    (folder / "3.dcm").write_bytes(b"three")
    assert content_of(folder) != content


def fill_for_ever(folder: Path, done: str) -> None:
    with Cache(folder, {}) as cache, cache.filling():
        for k in range(1000):
            cache.add(f"{k}", image(k % 256), {})
            if k == 20:
                cache.commit()
            if k == 30:
                Path(done).touch()
                time.sleep(60)


def test_a_killed_process_leaves_what_it_committed(tmp_path: Path) -> None:
    done = tmp_path / "done"
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=fill_for_ever, args=(tmp_path / "cache", str(done)))
    process.start()
    while not done.exists():
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with Cache(tmp_path / "cache", {}) as cache, cache.filling():  # the dead hold no lock
        assert cache.contents() == {str(k) for k in range(21)}
        cache.add("new", image(99), {})
        cache.commit()
        new = cache.entry("new")
        assert new is not None
        assert new.slot == 21
        pack = cache.pack("uint8-1x4x6")
        assert [int(pack[k, 0, 0, 0]) for k in range(22)] == [*range(21), 99]


def wait_and_add(folder: Path) -> None:
    with Cache(folder, {}) as cache, cache.filling():
        cache.add("second", image(2), {})


def test_what_others_added_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    with Cache(tmp_path, {}) as ours, Cache(tmp_path, {}) as theirs:
        for k, cache in enumerate((ours, theirs, ours)):
            with cache.filling():
                cache.add(f"{k}", image(k), {})
        slots = [entry.slot for k in range(3) if (entry := ours.entry(f"{k}"))]
        assert slots == [0, 1, 2]
        assert ours.pack("uint8-1x4x6")[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_one_process_at_a_time_adds(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with Cache(tmp_path, {}) as cache:
        with cache.filling():
            process = context.Process(target=wait_and_add, args=(tmp_path,))
            process.start()
            time.sleep(0.5)
            cache.add("first", image(1), {})
        process.join()
        first, second = cache.entry("first"), cache.entry("second")
        assert first
        assert second
        assert (first.slot, second.slot) == (0, 1)


def test_room_is_made_by_clearing_what_nobody_uses(tmp_path: Path) -> None:
    caches = [Cache(tmp_path, {"number": k}) for k in range(3)]
    for k, cache in enumerate(caches):
        with cache.filling():
            cache.add("a", np.zeros((1000, 1, 10, 10), np.uint8), {})
        os.utime(cache.folder, (k, k))
    caches[0].close()
    caches[1].close()
    with Cache(tmp_path, {"number": "new"}) as cache:
        cache.make_room(100_000, 450_000)  # each has 100 kB and an index of 20 kB or so
        assert [c.folder.exists() for c in caches] == [False, True, True]
        cache.make_room(100_000, 100_000)
        assert [c.folder.exists() for c in caches] == [False, False, True]  # the third is in use
        with pytest.raises(UserError, match=r"cache.disk=0.0001GB is too small"):
            cache.make_room(200_000, 100_000)
        with pytest.raises(UserError, match="GB are free"):
            cache.make_room(10**18, 10**19)
    caches[2].close()


def test_a_folder_that_is_cleared_while_it_is_opened_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    folder = filled(tmp_path).parent

    def cleared_before(file: Any, how: int) -> None:
        if folder.exists() and how == fcntl.LOCK_SH:
            monkeypatch.setattr(fcntl, "flock", flock)
            with Cache(tmp_path, {"another": "chain"}) as other:
                other.make_room(1, 1)
            assert not folder.exists()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", cleared_before)
    with Cache(tmp_path, {}) as cache, cache.filling():
        cache.add("a", image(7), {})
    with Cache(tmp_path, {}) as cache:
        assert cache.contents() == {"a"}


def test_a_strange_folder_is_not_cleared(tmp_path: Path) -> None:
    strange = tmp_path / "photos"
    strange.mkdir()
    (strange / "a.png").write_bytes(b"x" * 1000)
    with Cache(tmp_path, {}) as cache:
        cache.make_room(10, 500)
    assert (strange / "a.png").exists()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cache.folder=.* can't be written to"):
        Cache(tmp_path / "file" / "cache", {})


def test_a_full_disk_is_said(small_disk: Path) -> None:
    ballast = fill(small_disk)
    with pytest.raises(UserError, match=r"cache.folder=.* can't be written to: .* full"):
        Cache(small_disk / "cache", {})
    ballast.unlink()
    large = np.zeros((1, 1, 2000, 2000), np.uint8)
    with Cache(small_disk / "cache", {}) as cache:
        with cache.filling():
            cache.add("a", image(1), {})
        fill(small_disk)
        with (
            pytest.raises(
                UserError, match=r"cache.folder=.* can't be written to: .*(full|space left)"
            ),
            cache.filling(),
        ):
            cache.add("b", large, {})
        ballast.unlink()
    with Cache(small_disk / "cache", {}) as cache, cache.filling():
        assert cache.entry("a") is not None
        assert cache.entry("b") is None
        cache.add("b", large, {})


def test_errors_of_other_files_are_not_those_of_the_cache(tmp_path: Path) -> None:
    with Cache(tmp_path, {}) as cache, pytest.raises(OSError, match="stale"), cache.filling():
        raise OSError(116, "stale file handle", "an image")


def test_kinds_tell_type_and_shape() -> None:
    assert kind_of("uint16-3x8x9") == np.dtype(("uint16", (3, 8, 9)))


def filled(folder: Path) -> Path:
    """A cache with five images; gives its pack."""
    with Cache(folder, {}) as cache:
        with cache.filling():
            for k in range(5):
                cache.add(f"{k}", image(10 + k), {})
        return cache.folder / "uint8-1x4x6.bin"


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zero_the_second(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(24)
        file.write(bytes(24))


@pytest.mark.parametrize(
    ("harm", "left"),
    [(cut_off, {"0", "1"}), (zero_the_second, {"0", "2", "3", "4"}), (Path.unlink, set())],
)
def test_damaged_images_are_forgotten_and_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: Any, left: set[str]
) -> None:
    pack = filled(tmp_path)
    harm(pack)
    with Cache(tmp_path, {}) as cache:
        assert cache.contents() == left
        assert f"{pack} is damaged: {5 - len(left)} files are read anew" in capsys.readouterr().out
        with cache.filling():
            for k in range(5):
                cache.add(f"{k}", image(10 + k), {})
    with Cache(tmp_path, {}) as cache:
        slots = [entry.slot for k in range(5) if (entry := cache.entry(f"{k}"))]
        assert cache.pack("uint8-1x4x6")[slots, 0, 0, 0].tolist() == [10, 11, 12, 13, 14]
        assert capsys.readouterr().out == ""


def test_images_that_another_process_mended_meanwhile_are_kept(tmp_path: Path) -> None:
    with Cache(tmp_path, {}) as ours:
        zero_the_second(filled(tmp_path))
        opening = threading.Thread(target=lambda: Cache(tmp_path, {}).close())
        with ours.filling():
            opening.start()
            time.sleep(0.3)  # it has found the damage, and waits
            ours._index.execute("DELETE FROM images WHERE content = '1'")
            ours._ends["uint8-1x4x6"] = 1  # the same slot
            ours.add("1", image(11), {})
        opening.join()
        assert "1" in ours.contents()


def test_a_cache_that_was_copied_is_checked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = filled(tmp_path)
    os.utime(pack, (1, 1))
    with Cache(tmp_path, {}) as cache:
        assert len(cache.contents()) == 5
    monkeypatch.setattr(
        "medcnn.data.prepared.cache.damaged", lambda *_: pytest.fail("checked again")
    )
    Cache(tmp_path, {}).close()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_a_damaged_index_is_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], share: float
) -> None:
    index = filled(tmp_path).with_name("index.sqlite")
    with index.open("r+b") as file:
        if share:
            file.truncate(int(share * index.stat().st_size))
        else:
            file.write(b"not a database" * 100)
    with Cache(tmp_path, {}) as cache:
        assert cache.contents() == set()
        assert f"{index} is damaged: images are prepared anew" in capsys.readouterr().out
        with cache.filling():
            cache.add("new", image(3), {})
        assert cache.pack("uint8-1x4x6").shape[0] == 1


def test_without_file_locks_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    message = "^run directories and prepared images need file locks"
    with pytest.raises(UserError, match=message):
        Cache(tmp_path, {})


def test_nothing_needs_file_locks_when_it_is_imported() -> None:
    files = Path(medcnn.__file__).parent.rglob("*.py")
    lines = (line for file in files for line in file.read_text().splitlines())
    assert [line for line in lines if re.match(r"(import|from) fcntl\b", line)] == []


def test_slices_stay_as_they_are_when_a_later_job_adds_more(tmp_path: Path) -> None:
    with Cache(tmp_path, {}) as cache, cache.filling():
        cache.add("volume", np.arange(3, dtype=np.uint8)[:, None, None, None] + image(7, 3), {})
    with Cache(tmp_path, {}) as cache, cache.filling():
        cache.add("picture", image(99), {})
    with Cache(tmp_path, {}) as cache:
        volume = cache.entry("volume")
        assert volume is not None
        slots = slice(volume.slot, volume.slot + volume.count)
        assert cache.pack(volume.kind)[slots, 0, 0, 0].tolist() == [7, 8, 9]
