"""How time and memory of a training grow with processes, images and their size.

python scripts/benchmark_scaling.py [--rounds 3] [--output scaling.csv] [--parts NAME …]

Each figure is of ``python -m medcnn.train`` on random images in a file of MedMNIST's form, without
augmentation and maps, a process of its own each round. `images_per_s` is the median speed of the
epochs after the first, validation included; `megabytes` is the most that its first process held at
a time; `ratio` is the speed by that of the first row of a part. Nothing else should run meanwhile.
Parts:

- processes: ResNet-18, 64 px, 1 and 2 processes, which share the machine's threads.
- images: LeNet, 28 px, 2,000 to 200,000 images.
- size: ResNet-18, 28 to 224 px.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

PLAIN = ["dataset=breastmnist", "augment=none", "callbacks=none", "logger=none", "cam.n=0"]
PLAIN += ["near_duplicates=false", "trainer.accelerator=cpu"]
EPOCHS = 3  # the first isn't counted
OTHERS = 100  # images to validate on, and to test on


class Case(NamedTuple):
    """A training to measure."""

    what: str
    images: int
    size: int
    overrides: tuple[str, ...]


SIZES = {28: 1600, 64: 800, 128: 320, 224: 96}  # pixels, and images
RESNET, LENET = ("model=resnet", "batch_size=32"), ("model=lenet", "batch_size=128")
PARTS: dict[str, list[Case]] = {
    "processes": [
        Case("1 process", 1000, 64, RESNET),
        Case("2 processes", 1000, 64, (*RESNET, "trainer=ddp", "trainer.devices=2")),
    ],
    "images": [Case(f"{n:,} images", n, 28, LENET) for n in (2000, 20_000, 200_000)],
    "size": [Case(f"{px} px", n, px, RESNET) for px, n in SIZES.items()],
}


def write_images(case: Case, folder: Path) -> None:
    """Write the file of a case: random images (N, px, px) of two classes in all three splits."""
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", case.images), ("val", OTHERS), ("test", OTHERS)):
        shape = (count, case.size, case.size)
        arrays[f"{split}_images"] = generator.integers(0, 256, shape, dtype=np.uint8)
        arrays[f"{split}_labels"] = generator.integers(0, 2, (count, 1), dtype=np.uint8)
    name = "breastmnist" if case.size == 28 else f"breastmnist_{case.size}"
    np.savez(folder / f"{name}.npz", **arrays)


def train(case: Case, folder: Path, number: int) -> tuple[float, float]:
    """Train in a process of its own; return images per second, and MB at most."""
    run = folder / f"run-{number}"
    command = [sys.executable, "-m", "medcnn.train", *PLAIN, *case.overrides]
    command += [f"dataset.root='{folder}'", f"dataset.size={case.size}", f"paths.run='{run}'"]
    command += [f"trainer.max_epochs={EPOCHS}"]
    with (folder / "log.txt").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit((folder / "log.txt").read_text().strip().splitlines()[-1])
    seconds = pd.read_csv(run / "metrics.csv")["seconds"].iloc[1:].median()
    return case.images / seconds, used.ru_maxrss / 1024


def measure(part: str, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of a part; its cases take turns."""
    cases = PARTS[part]
    with tempfile.TemporaryDirectory() as made:
        folders = [Path(made) / str(k) for k in range(len(cases))]
        for case, folder in zip(cases, folders, strict=True):
            folder.mkdir()
            write_images(case, folder)
        turns = [
            [train(case, folder, k) for case, folder in zip(cases, folders, strict=True)]
            for k in range(rounds)
        ]
    first = [turn[0][0] for turn in turns]
    for case, found in zip(cases, zip(*turns, strict=True), strict=True):
        speeds, megabytes = zip(*found, strict=True)
        ratios = [speed / one for speed, one in zip(speeds, first, strict=True)]
        yield {
            "part": part,
            "what": case.what,
            "images_per_s": round(statistics.median(speeds), 1),
            "megabytes": round(max(megabytes)),
            "ratio": round(statistics.median(ratios), 3),
            "lowest": round(min(ratios), 3),
            "highest": round(max(ratios), 3),
        }


def main() -> None:
    """Measure the parts that are asked for, and write a row a case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="trainings of each case")
    parser.add_argument("--output", type=Path, help="CSV file, a row a case")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    rows = []
    for part in options.parts:
        for row in measure(part, options.rounds):
            rows.append(row | {"threads": torch.get_num_threads()})
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
            if options.output:
                pd.DataFrame(rows).to_csv(options.output, index=False)


if __name__ == "__main__":
    main()
