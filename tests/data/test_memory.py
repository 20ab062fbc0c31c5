"""A data set that is larger than the memory given is read from the disk cache, batch by batch."""

import multiprocessing
import os
import sys
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from open_tables import opened, pictures, table

from medcnn.data import open_data as datasets
from medcnn.data.batches import DataModule
from medcnn.data.memory import available_memory
from medcnn.data.open_data import in_memory
from medcnn.data.prepared.cache import Cache
from medcnn.data.prepared.entries import Entries
from medcnn.data.prepared.stored import StoredImages
from medcnn.data.samples import Samples

COUNT, SIDE = 600, 512  # 157 MB
CONSTANT = 24e6  # what batches of 32 such images as floats take, and some room


def anonymous() -> float:
    """Bytes of anonymous memory that this process holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * float(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def stored(folder: Path) -> Samples:
    cache = Cache(folder, {})
    with cache.filling():
        for k in range(COUNT):
            cache.add(f"{k}", np.full((1, 1, SIDE, SIDE), k % 251, np.uint8), {})
    entries = [entry for k in range(COUNT) if (entry := cache.entry(f"{k}"))]
    rows = pd.DataFrame({"image": range(COUNT), "patient": range(COUNT), "split": "train"})
    rows["label"] = rows["image"] % 2
    images = StoredImages(cache, Entries(entries), [0] * COUNT)
    return Samples("large", rows, images, "binary", ("a", "b"))


def growth(folder: Path, memory: str, result: "Queue[tuple[float, bool]]") -> None:
    """How much anonymous memory two epochs take, at most, and whether all images came right."""
    torch.set_num_threads(1)
    samples = stored(folder)
    data = DataModule(samples, 32)
    torch.zeros(32, SIDE, SIDE).sum()  # what the libraries themselves take once
    before, most, right = anonymous(), 0.0, True
    in_memory(samples, memory)
    for _ in range(2):
        for batch in data.train_dataloader():
            images = data.on_after_batch_transfer(batch, 0)["image"]
            wanted = (batch["row"] % 251).float() / 255
            right &= torch.allclose(images[:, 0, 100, 100], wanted)
            most = max(most, anonymous() - before)
    result.put((most, right))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc/self/status is Linux's")
@pytest.mark.parametrize(
    ("memory", "held"), [("64MB", False), pytest.param("1GB", True, marks=pytest.mark.slow)]
)
def test_memory_stays_within_what_is_given(tmp_path: Path, memory: str, held: bool) -> None:
    context = multiprocessing.get_context("spawn")
    result = context.Queue()
    process = context.Process(target=growth, args=(tmp_path, memory, result))
    process.start()
    most, right = result.get(timeout=120)
    process.join()
    assert right
    if held:
        assert most > COUNT * SIDE**2
    else:
        assert most < 64e6 + CONSTANT


def test_images_are_held_in_memory_if_they_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = pictures(tmp_path)
    table(tmp_path)
    samples = opened(tmp_path).samples
    images: Any = samples.images
    in_memory(samples, 12 * 64 - 1)
    assert images.memory is None
    assert "0.00 GB of images are read from the disk cache as needed" in capsys.readouterr().out
    monkeypatch.setattr(datasets, "available_memory", lambda: 2 * 12 * 64 - 1)
    in_memory(samples, "auto")
    assert images.memory is None
    monkeypatch.setattr(datasets, "available_memory", lambda: 2 * 12 * 64)
    in_memory(samples, "auto")
    assert images.memory is not None
    np.testing.assert_array_equal(images[torch.arange(12)][:, 0], values)
    arrays = jobs.toy([2, 2, 2])
    in_memory(arrays, 0)
    assert isinstance(arrays.images, torch.Tensor)


def test_memory_that_the_system_would_give() -> None:
    if not Path("/proc/meminfo").exists():
        pytest.skip("no Linux")
    known = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = 1024 * int(known["MemAvailable"].split()[0])
    assert available_memory() == pytest.approx(available, rel=0.1)


@pytest.mark.parametrize("content", [None, "MemTotal: 5 kB\n"])
def test_memory_where_the_system_does_not_say(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "meminfo").write_text(content)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert available_memory(tmp_path / "meminfo") == total
