"""Predictions of a million packed rows and of 50,000 files, each killed twice, beside undisturbed.

python scripts/benchmark_predict.py [--rows 1000000] [--files 50000] [--processes 2]
    [--folder DIR] [--output docs/benchmark_predict.csv]

A small LeNet is trained first; rows (28 px) and PNG files (64 px) are noise that the script makes.
Each is predicted to Parquet by several processes, once in peace and once with SIGKILL for the
command's first process after a third and after two thirds of the parts, each time followed by the
same command. The two outputs are compared byte by byte, and each image has to be in them once.
Memory is the resident set of the largest process, its peak up to a tenth, a half and the end of the
work in peace; a page that processes share counts in each. Exits with 1 if an output differs.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from PIL import Image

TRAINING = (
    "++dataset.size=28", "++dataset.patients=36", "++dataset.images_per_patient=2", "batch_size=16",
    "model=lenet", "trainer.max_epochs=2", "trainer.accelerator=cpu", "trainer.precision=32-true",
    "logger=none", "cam.n=0", "evaluation.resamples=20",
)  # fmt: skip
PIECE = 10_000  # rows that are made at a time
A_FOLDER = 1_000  # files in each
MB = 2**20


def main() -> None:
    """Make images, predict, kill, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="for images; by default a temporary one")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        table = measure(Path(name), options.rows, options.files, options.processes)
    print(table.to_string(index=False))
    if options.output is not None:
        table.to_csv(options.output, index=False)
    sys.exit(0 if table["same bytes"].all() and table["each once"].all() else 1)


def measure(folder: Path, rows: int, files: int, processes: int) -> pd.DataFrame:
    """Return a row each for packed rows and files; none for a number of 0."""
    train = [sys.executable, "-m", "medcnn.train", *TRAINING, f"paths.run={folder / 'run'}"]
    subprocess.run(train, check=True, stdout=subprocess.DEVNULL)
    cases: list[tuple[str, int, Callable[[Path, int], list[str]]]] = [
        ("packed rows, 28 px", rows, make_rows),
        ("PNG files, 64 px", files, make_files),
    ]
    found = []
    for name, count, make in cases:
        if count:
            given = [
                f"checkpoint={folder / 'run' / 'checkpoints' / 'best.ckpt'}",
                *make(folder, count),
                *("batch_size=256", "accelerator=cpu", f"processes={processes}"),
            ]
            cores = len(os.sched_getaffinity(0))
            facts = {"images": name, "number": count, "processes": processes, "cores": cores}
            found.append({**facts, **compare(given, folder / make.__name__, count)})
            print(found[-1], flush=True)
    return pd.DataFrame(found)


def make_rows(folder: Path, count: int) -> list[str]:
    """Write packed rows; give the settings that name them."""
    file, noise = folder / "rows.npy", np.random.default_rng(0)
    rows = np.lib.format.open_memmap(file, "w+", np.uint8, (count, 28, 28))
    for first in range(0, count, PIECE):
        part = rows[first : first + PIECE]
        part[:] = noise.integers(0, 256, part.shape, np.uint8)
    rows.flush()
    return [f"images={file}", "packed=true"]


def make_files(folder: Path, count: int) -> list[str]:
    """Write files, a thousand a folder; give the setting that names them."""
    noise = np.random.default_rng(0)
    for number in range(count):
        place = folder / "files" / f"{number // A_FOLDER:04d}" / f"{number % A_FOLDER:03d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (64, 64), np.uint8)).save(place)
    return [f"images={folder / 'files'}"]


def compare(given: list[str], place: Path, count: int) -> dict[str, object]:
    """Predict in peace and killed twice; return what is to be told of it."""
    peace, killed = (place.with_name(f"{place.name}-{k}.parquet") for k in ("peace", "killed"))
    start = time.monotonic()
    _, peaks = predict(given, peace, 1.0)
    seconds = time.monotonic() - start
    kills = sum(predict(given, killed, share)[0] for share in (1 / 3, 2 / 3, 1.0))
    images = pd.read_parquet(killed, columns=["image"])["image"]
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (peace, killed)]
    return {
        "images/s": round(count / seconds),
        **{f"MB at {percent} %": round(peaks[percent] / MB) for percent in (10, 50, 100)},
        "kills": kills,
        "each once": len(images) == images.nunique() == count,
        "same bytes": sums[0] == sums[1],
    }


def predict(given: list[str], output: Path, until: float) -> tuple[bool, dict[int, int]]:
    """Predict until a share of the parts is done, then kill the command's first process.

    Returns:
        Whether it was killed, as it hadn't ended before; and the peaks of memory in bytes up to
        shares of the parts in percent.

    Raises:
        RuntimeError: It failed by itself.
    """
    command = [sys.executable, "-m", "medcnn.predict", *given, f"output={output}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    parts, peaks = output.with_name(f"{output.name}.parts"), dict.fromkeys((10, 50, 100), 0)
    done = 0.0
    while process.poll() is None:
        now = share_done(parts)
        done = now if now is not None else 1.0 if done else 0.0  # all parts are joined, or none is
        size = largest(process.pid)
        for percent in peaks:
            if 100 * min(done, 1) <= percent:
                peaks[percent] = max(peaks[percent], size)
        if until <= done < 1:
            others = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
            psutil.wait_procs(others)
            return True, peaks
        time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed")
    return False, peaks


def share_done(folder: Path) -> float | None:
    """Return the share of the parts of a prediction that are done; None if there are none yet."""
    try:
        job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return len(list(folder.glob("part-*.json"))) * job["rows"] / job["job"]["images"][0]


def largest(process: int) -> int:
    """Return the bytes of the largest resident set of a process and those that it started."""
    try:
        first = psutil.Process(process)
        return max(one.memory_info().rss for one in (first, *first.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


if __name__ == "__main__":
    main()
