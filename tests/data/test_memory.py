"""A data set that is larger than the memory given is read from the disk cache, batch by batch."""

import multiprocessing
import sys
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medcnn.data.batches import DataModule
from medcnn.data.open_data import in_memory
from medcnn.data.prepared.cache import Cache
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
    table = pd.DataFrame({"image": range(COUNT), "patient": range(COUNT), "split": "train"})
    table["label"] = table["image"] % 2
    images = StoredImages(cache, entries, [0] * COUNT)
    return Samples("large", table, images, "binary", ("a", "b"))


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
