"""What a training costs whose prepared images stay on the disk: seconds an epoch, and memory.

python scripts/benchmark_cache.py [--images 200000] [--size 64] [--rounds 3] [--output cache.csv]

Writes so many PNG files, lets medcnn prepare them once, and trains a LeNet on them, in turn with
the images held in memory (cache.memory=auto) and mapped from the disk cache (cache.memory=0).
Before each training the system gives away what it holds of the cache's files. A row is a training:

- first_epoch_s, epoch_s: seconds of the first epoch, and the median of the others.
- anonymous_mb: the most memory of its own that the process had at a time. Pages of the disk cache
  that the system holds meanwhile, and gives away when they are needed, aren't among it.

Then the medians, and the ratios mapped / held of each round. Nothing else should run meanwhile.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

EPOCHS = 4  # the first is told apart
WAYS = {"held": "auto", "mapped": "0"}  # cache.memory
PLAIN = [
    "model=lenet",
    "batch_size=128",
    "augment=none",
    "callbacks=none",
    "logger=none",
    "cam.n=0",
]
PLAIN += ["near_duplicates=false", "trainer.accelerator=cpu", "dataset=csv"]


def write_files(count: int, size: int, folder: Path) -> Path:
    """Write PNG files of random grey images, and their table."""
    generator = np.random.default_rng(0)
    lines = ["image,label,patient"]
    for number in range(count):
        pixels = generator.integers(0, 256, (size, size), dtype=np.uint8)
        name = f"{number // 1000}/{number}.png"
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name, compress_level=1)
        lines.append(f"{name},{number % 2},{number}")
    table = folder / "table.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def forget(folder: Path) -> None:
    """Have the system give away what it holds of the files in a folder."""
    os.sync()
    for path in folder.rglob("*.bin"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def own_memory(process: "subprocess.Popen[bytes]", most: list[float]) -> None:
    """Note in `most` the highest memory of its own that a process has, in MB, until it ends."""
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        except OSError:
            return
        found = re.search(r"RssAnon:\s+(\d+)", status)
        most.append(max(most[-1], int(found[1]) / 1024) if found else most[-1])
        del most[0]
        time.sleep(0.1)


def train(table: Path, cache: Path, run: Path, size: int, way: str, epochs: int) -> dict[str, Any]:
    """Train in a process of its own, and return its row."""
    command = [sys.executable, "-m", "medcnn.train", *PLAIN, f"dataset.path='{table}'"]
    command += [f"dataset.size={size}", f"cache.folder='{cache}'", f"cache.memory={WAYS[way]}"]
    command += [f"paths.run='{run}'", f"trainer.max_epochs={epochs}"]
    with (table.parent / "log.txt").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
        most = [0.0]
        watch = threading.Thread(target=own_memory, args=(child, most))
        watch.start()
        child.wait()
        watch.join()
    if child.returncode:
        sys.exit((table.parent / "log.txt").read_text().strip().splitlines()[-1])
    seconds = pd.read_csv(run / "metrics.csv")["seconds"]
    rest = seconds.iloc[1:].median() if len(seconds) > 1 else float("nan")
    return {
        "way": way,
        "first_epoch_s": round(float(seconds.iloc[0]), 2),
        "epoch_s": round(float(rest), 2),
        "anonymous_mb": round(most[-1]),
    }


def measure(count: int, size: int, rounds: int) -> pd.DataFrame:
    """Return the rows of so many rounds."""
    rows = []
    with tempfile.TemporaryDirectory() as made:
        folder, cache = Path(made) / "files", Path(made) / "cache"
        folder.mkdir()
        table = write_files(count, size, folder)
        train(table, cache, Path(made) / "first", size, "held", 1)  # prepares them
        for number in range(rounds):
            for way in WAYS:
                forget(cache)
                row = train(table, cache, Path(made) / f"{way}-{number}", size, way, EPOCHS)
                rows.append({"images": count, "size": size, "round": number} | row)
                print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    """Measure, and print medians and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=64, help="pixels an edge")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="CSV file, a row a training")
    options = parser.parse_args()
    table = measure(options.images, options.size, options.rounds)
    if options.output:
        table.to_csv(options.output, index=False)
    figures = ["first_epoch_s", "epoch_s", "anonymous_mb"]
    print(table.groupby("way")[figures].median().to_string())
    held, mapped = (table[table["way"] == way].set_index("round")[figures] for way in WAYS)
    print("mapped / held:", (mapped / held).median().round(3).to_dict())


if __name__ == "__main__":
    main()
