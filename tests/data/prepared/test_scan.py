import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image as Picture

import medcnn.jobs.progress
from medcnn.data.identity import stamp_of
from medcnn.data.image import ImageSpec
from medcnn.data.prepared import scan as scanning
from medcnn.data.prepared.cache import Cache, Entry
from medcnn.data.prepared.one_file import read_file
from medcnn.data.prepared.scan import chain_of, scan
from medcnn.errors import UserError

SPEC = ImageSpec(size=(8, 8))
DISK = 10**9


def picture(path: Path, seed: int, size: int = 8) -> Path:
    values = np.random.default_rng(seed).integers(0, 256, (size, size), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(values).save(path)
    return path


def pictures(folder: Path, count: int) -> list[Path]:
    return [picture(folder / f"{k}.png", k) for k in range(count)]


def look(root: Path, paths: list[Path], spec: ImageSpec = SPEC, kind: str = "image") -> list[Entry]:
    with Cache(root / "cache", chain_of(spec, kind)) as cache:
        return list(scan(cache, paths, root, spec, kind, DISK))


def pixels(root: Path, entry: Entry) -> np.ndarray:
    with Cache(root / "cache", chain_of(SPEC, "image")) as cache:
        return np.array(cache.pack(str(entry.kind))[entry.slot])


def decoding(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded from now on."""
    names: list[str] = []

    def counted(path: Path, *arguments: Any) -> Any:
        names.append(path.name)
        return read_file(path, *arguments)

    monkeypatch.setattr(scanning, "read_file", counted)
    return names


def test_a_named_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (entry,) = look(tmp_path, [tmp_path / "pipe.png"])  # and doesn't wait for it
    assert entry.facts == {"error": "is special and no file"}


def test_every_file_is_prepared_and_described(tmp_path: Path) -> None:
    paths = pictures(tmp_path, 3)
    entries = look(tmp_path, paths)
    for path, entry in zip(paths, entries, strict=True):
        np.testing.assert_array_equal(pixels(tmp_path, entry)[0], np.asarray(Picture.open(path)))
    values = np.asarray(Picture.open(paths[0]))
    facts = entries[0].facts
    assert facts["shape"] == [8, 8]
    assert facts["value_range"] == [0, 255]
    assert facts["extremes"] == [values.min(), values.max()]
    assert facts["percentiles"] == pytest.approx(list(np.percentile(values, [0.5, 99.5])))
    assert (facts["channels"], facts["dtype"], facts["spacing"]) == (1, "uint8", None)


def test_images_that_are_not_cut_are_found_in_an_old_cache() -> None:
    known = {"size", "channels", "spacing", "orientation", "frame", "slices"}
    assert set(chain_of(SPEC, "image")["spec"]) == known | {"allow_missing_geometry"}
    cut = replace(SPEC, crop="body")
    assert chain_of(cut, "image") != chain_of(replace(cut, crop_margin=0.1), "image")


def test_a_refused_file_is_read_under_another_name(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(pydicom.data.get_testdata_file("CT_small.dcm", download=False)))
    with (tmp_path / "IM0").open("wb") as file:  # without the mark that tells what it is
        pydicom.dcmwrite(file, dataset, enforce_file_format=False)
    raw = (tmp_path / "IM0").read_bytes()
    (tmp_path / "IM0").write_bytes(raw[raw.index(b"\x08\0\x05\0") :])
    assert "is not a kind of image" in look(tmp_path, [tmp_path / "IM0"])[0].facts["error"]
    (tmp_path / "IM0").rename(tmp_path / "IM0.dcm")
    assert look(tmp_path, [tmp_path / "IM0.dcm"])[0].facts["shape"] == [128, 128]


def test_a_file_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = pictures(tmp_path, 4)
    decoded = decoding(monkeypatch)
    before = look(tmp_path, paths)
    assert sorted(decoded) == ["0.png", "1.png", "2.png", "3.png"]
    decoded.clear()
    assert look(tmp_path, paths) == before
    assert decoded == []
    paths[1].touch()  # another time stamp, the same content: hashed again, not decoded
    paths[2].rename(tmp_path / "moved.png")
    picture(paths[3], seed=99)
    paths[2] = tmp_path / "moved.png"
    after = look(tmp_path, paths)
    assert decoded == ["3.png"]
    assert after[:3] == before[:3]
    np.testing.assert_array_equal(pixels(tmp_path, after[3])[0], np.asarray(Picture.open(paths[3])))


def test_other_settings_are_prepared_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = pictures(tmp_path, 1)
    decoded = decoding(monkeypatch)
    look(tmp_path, paths)
    look(tmp_path, paths, replace(SPEC, size=(4, 4)))
    look(tmp_path, paths, replace(SPEC, channels=3))
    assert len(decoded) == 3
    look(tmp_path, paths, replace(SPEC, intensity="percentile"))  # the cache holds stored values
    assert len(decoded) == 3
    monkeypatch.setattr(scanning, "FORMAT", scanning.FORMAT + 1)
    look(tmp_path, paths)
    assert len(decoded) == 4


def test_what_is_wrong_with_a_file_is_said_and_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    good = picture(root / "good.png", 0, size=64)
    outside = picture(tmp_path / "outside.png", 1)
    files = {
        "truncated.png": good.read_bytes()[:2000],
        "empty.png": b"",
        "words.png": b"These are words, not an image.",
    }
    for name, content in files.items():
        (root / name).write_bytes(content)
    np.save(root / "nan.npy", np.array([[0, np.nan], [1, np.inf]], np.float32))
    np.save(root / "five.npy", np.zeros((5, 4, 6, 7), np.float32))
    (root / "link.png").symlink_to(outside)
    (root / "inside.png").symlink_to(good)
    (root / "folder").mkdir()
    names = [*files, "nan.npy", "five.npy", "link.png", "missing.png", "folder"]
    paths = [root / name for name in names]
    entries = look(root, [*paths, good, root / "inside.png"])
    reasons = {n: e.facts["error"] for n, e in zip(names, entries, strict=False)}
    assert reasons["nan.npy"] == "holds NaN or infinite values (2 of 4)"
    assert reasons["link.png"] == "lies outside of dataset.root, through a symbolic link"
    assert reasons["missing.png"] == "is missing"
    assert reasons["folder"] == "is an empty folder"
    for name, reason in reasons.items():
        assert reason, name
        assert str(tmp_path) not in reason, name
    assert "error" not in entries[-1].facts
    assert entries[-1] == entries[-2]
    decoded = decoding(monkeypatch)
    assert look(root, paths) == entries[: len(paths)]
    assert decoded == []


def test_masks_are_zero_and_one(tmp_path: Path) -> None:
    values = np.zeros((8, 8), np.uint8)
    values[2:4, 5] = 200
    Picture.fromarray(values).save(tmp_path / "mask.png")
    entry = look(tmp_path, [tmp_path / "mask.png"], kind="mask")[0]
    assert entry.facts == {"shape": [8, 8], "affine": None}
    with Cache(tmp_path / "cache", chain_of(SPEC, "mask")) as cache:
        np.testing.assert_array_equal(cache.pack(str(entry.kind))[entry.slot], values > 0)


def test_hashes_find_duplicates_and_leave_out_blank_images(tmp_path: Path) -> None:
    first, second = pictures(tmp_path, 2)
    Picture.open(first).save(tmp_path / "copy.png", optimize=True, compress_level=9)
    Picture.fromarray(np.full((8, 8), 7, np.uint8)).save(tmp_path / "blank.png")
    entries = look(tmp_path, [first, second, tmp_path / "copy.png", tmp_path / "blank.png"])
    digests = [entry.facts["digests"][0] for entry in entries]
    assert digests[0] == digests[2] != digests[1]
    assert digests[3] is None


def test_a_cache_that_is_too_small_is_refused(tmp_path: Path) -> None:
    paths = pictures(tmp_path, 10)
    with (
        Cache(tmp_path / "cache", {}) as cache,
        pytest.raises(UserError, match=r"cache.disk=.* is too small: the prepared images take"),
    ):
        scan(cache, paths, tmp_path, SPEC, "image", 100)


def test_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(path: Path, *arguments: Any) -> Any:
        time.sleep(0.1)
        return read_file(path, *arguments)

    monkeypatch.setattr(scanning, "read_file", slow)
    monkeypatch.setattr(medcnn.jobs.progress, "SECONDS", 0.02)
    look(tmp_path, pictures(tmp_path, 3))
    assert "of 3 files read" in capsys.readouterr().out


def fill_slowly(root: Path, paths: list[Path]) -> None:
    scanning.COMMIT_SECONDS = 0.0  # a commit after every file

    def slow(path: Path, *arguments: Any) -> Any:
        time.sleep(0.05)
        return read_file(path, *arguments)

    scanning.read_file = slow
    look(root, paths)


def test_a_killed_scan_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = pictures(tmp_path, 60)
    process = multiprocessing.get_context("spawn").Process(
        target=fill_slowly, args=(tmp_path, paths)
    )
    process.start()
    assert process.pid is not None
    done: set[str] = set()
    with Cache(tmp_path / "cache", chain_of(SPEC, "image")) as cache:
        while len(done) < 8:
            assert process.is_alive()
            time.sleep(0.02)
            done = cache.contents()
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        done = cache.contents()
        known = {cache.known(path, stamp_of(path)) for path in paths}
    assert 8 <= len(done) < 60
    assert known == {*done, None}  # the others are not known
    decoded = decoding(monkeypatch)
    entries = look(tmp_path, paths)
    assert len(decoded) == 60 - len(done)
    for path, entry in zip(paths, entries, strict=True):
        np.testing.assert_array_equal(pixels(tmp_path, entry)[0], np.asarray(Picture.open(path)))
