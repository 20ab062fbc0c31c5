"""A run that is killed while it fills the cache, and started again."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Picture

from medcnn.data.open_data import open_data
from medcnn.jobs.rundir import RunDir

COUNT = 150  # pictures, of which each takes a core about a twentieth of a second
EDGE = 2800
PATIENCE = 60  # s


def pictures(folder: Path) -> None:
    """Large pictures of few blocks, so that they are slow to read and fast to write."""
    generator = np.random.default_rng(0)
    blocks = np.ones((EDGE // 28, EDGE // 28), np.uint8)
    for k in range(COUNT):
        small = generator.integers(0, 256, (28, 28), np.uint8)
        Picture.fromarray(np.kron(small, blocks)).save(folder / f"{k}.png", compress_level=1)
    table = pd.DataFrame({"image": [f"{k}.png" for k in range(COUNT)]})
    table["label"], table["patient"] = np.resize(["a", "b"], COUNT), range(COUNT)
    table.to_csv(folder / "table.csv", index=False)
    table[::5].to_csv(folder / "some.csv", index=False)


def options(folder: Path, cache: str, table: str = "table") -> list[str]:
    return [
        "dataset=csv",
        f"dataset.path={folder / table}.csv",
        "dataset.size=28",
        "near_duplicates=false",
        f"cache.folder={folder / cache}",
    ]


@contextmanager
def training(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, on one core where a system can say so."""
    arguments = [*options(folder, "cache"), *jobs.PLAIN, "model=lenet", "cam.n=0"]
    run = ("trainer.max_epochs=1", "overwrite=true", f"paths.run={folder / 'run'}")
    process = subprocess.Popen(
        [sys.executable, "-m", "medcnn.train", *arguments, *run],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(jobs.ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def use_one_core(process: subprocess.Popen[str]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, list(os.sched_getaffinity(0))[:1])


def rows(folder: Path, query: str) -> list[Any]:
    """What the index of the cache answers; nothing where it isn't there yet."""
    (index, *_) = [*(folder / "cache").glob("*/index.sqlite"), None]
    if index is None:
        return []
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True, timeout=60)) as connection:
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:  # no table yet
            return []


def mark(folder: Path) -> None:
    """Gives what is known another name, which no file that is read would get."""
    (index,) = (folder / "cache").glob("*/index.sqlite")
    with closing(sqlite3.connect(index)) as connection, connection:
        for table in ("files", "images"):
            connection.execute(f"UPDATE {table} SET content = 'kept ' || content")


def images(folder: Path, *where: str) -> torch.Tensor:
    """As a data set has them, row by row."""
    samples = open_data(jobs.compose("data", *options(folder, *where)), checked=False).samples
    return samples.images[torch.arange(len(samples))]


@pytest.mark.slow  # tests/data/prepared/test_scan.py has a killed scan without the training
def test_a_killed_run_goes_on_where_the_cache_was(tmp_path: Path) -> None:
    pictures(tmp_path)
    with training(tmp_path) as process:
        use_one_core(process)
        end = time.monotonic() + PATIENCE
        while not rows(tmp_path, "SELECT content FROM images") and time.monotonic() < end:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    known = rows(tmp_path, "SELECT content, slot FROM images ORDER BY slot")
    stamps = rows(tmp_path, "SELECT path, stamp FROM files ORDER BY path")
    assert 0 < len(known) == len(stamps) < COUNT
    assert [slot for _, slot in known] == list(range(len(known)))
    assert RunDir(tmp_path / "run").status["state"] == "running"
    mark(tmp_path)

    with training(tmp_path) as process:
        printed, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, printed
    assert RunDir(tmp_path / "run").finished
    kept = rows(tmp_path, "SELECT content, slot FROM images WHERE content LIKE 'kept %'")
    assert sorted(kept) == sorted((f"kept {content}", slot) for content, slot in known)
    assert rows(tmp_path, "SELECT COUNT(*), MAX(slot) FROM images") == [(COUNT, COUNT - 1)]
    again = rows(tmp_path, "SELECT path, stamp FROM files WHERE content LIKE 'kept %'")
    assert sorted(again) == stamps
    assert torch.equal(images(tmp_path, "cache")[::5], images(tmp_path, "fresh", "some"))
