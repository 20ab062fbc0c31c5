"""What the rows of a large table cost: seconds and memory, from the table to the audit.

python scripts/benchmark_table.py [--rows 10000 100000 1000000] [--folder DIR] [--csv table.csv]

Each size gets files of its own, 8 × 8 pixels in NPY, all different, four a patient, and a table of
images, labels, patients and splits. They are opened as ``python -m medcnn.data`` does, each step in
a process of its own:

    cold    the cache is empty: every file is read, prepared and kept
    warm    every file is found in the cache
    audit   beside that, patients and images are looked for in two splits

Memory is what the process takes beyond its libraries: at most, and held once the data are open.
Without the search for near-duplicates, whose time grows with the square of the images.
"""

import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

import numpy as np
import pandas as pd

PER_FOLDER, PER_PATIENT, SIDE = 1000, 4, 8
STEPS = ("cold", "warm", "audit")


def make(folder: Path, count: int) -> None:
    """Write so many files, and their table."""
    values = np.zeros((SIDE, SIDE), np.uint8)
    np.save(folder / "one.npy", values)
    head = (folder / "one.npy").read_bytes()[: -values.nbytes]
    names = [f"images/{k // PER_FOLDER}/film_{k:07}.npy" for k in range(count)]
    noise = np.random.default_rng(0).integers(0, 256, (count, values.nbytes), np.uint8)
    for k, name in enumerate(names):
        if k % PER_FOLDER == 0:
            (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(head + noise[k].tobytes())
    patients = np.arange(count) // PER_PATIENT
    splits = np.array(["train"] * 7 + ["val", "test", "test"])[patients % 10]
    columns = {"image": names, "label": np.where(patients % 3 == 0, "ill", "healthy")}
    columns |= {"patient": [f"P{patient:06}" for patient in patients], "split": splits}
    pd.DataFrame(columns).to_csv(folder / "table.csv", index=False)


def memory(key: str) -> int:
    """Return a figure of this process in bytes, of /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])


def step(folder: Path, name: str) -> dict[str, float]:
    """Open the data in this process; return seconds, and bytes beyond those of the libraries."""
    import hydra

    from medcnn.data.open_data import open_data
    from medcnn.jobs.instantiate import conf_dir
    from medcnn.jobs.settings.commands import Data
    from medcnn.jobs.settings.read import read

    def config(place: Path) -> Data:
        settings = ["dataset=csv", f"dataset.path={place}/table.csv", f"dataset.size={SIDE}"]
        settings += [f"paths.data={place}", "near_duplicates=false"]
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return read(hydra.compose("data", settings), "data")

    with tempfile.TemporaryDirectory() as small:  # what libraries take once
        make(Path(small), 20 * PER_PATIENT)
        open_data(config(Path(small)))
    cfg = config(folder)
    before, start = memory("RssAnon"), time.perf_counter()
    data = open_data(cfg, checked=name == "audit")
    seconds = time.perf_counter() - start
    most = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory("RssFile") - before
    gc.collect()
    assert not data.problems
    return {"seconds": seconds, "most": most, "held": memory("RssAnon") - before}


def measure(folder: Path, count: int) -> list[dict[str, float | str]]:
    """Return a row for each step, with its seconds and bytes a row of the table."""
    make(folder, count)
    rows: list[dict[str, float | str]] = []
    for name in STEPS:
        command = [sys.executable, __file__, "--step", name, "--folder", str(folder)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        rows.append(
            {
                "rows": count,
                "step": name,
                "seconds": round(found["seconds"], 1),
                "microseconds_a_row": round(found["seconds"] / count * 1e6, 1),
                "bytes_a_row_at_most": round(found["most"] / count),
                "bytes_a_row_held": round(found["held"] / count),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: a temporary")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--step", choices=STEPS, help="what a process of its own does")
    options = parser.parse_args()
    if options.step:
        print(json.dumps(step(options.folder, options.step)))
        return
    rows = []
    for count in options.rows:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            rows += measure(Path(folder), count)
    if options.csv:
        pd.DataFrame(rows).to_csv(options.csv, index=False)


if __name__ == "__main__":
    main()
