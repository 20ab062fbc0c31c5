"""Runs the jobs whose figures stand in the README, and writes them and its picture to a folder.

python scripts/reproduce_figures.py --data DIR [--output docs/figures.csv] [--jobs NAME …]

DIR holds breastmnist.npz and pneumoniamnist.npz. All jobs together take an hour and a half on two
CPU cores; nothing else should run meanwhile, for the seconds to mean something. With --busy each
job runs beside a process that computes all the time.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

SEEDS = (0, 1, 2)
MODELS = ("lenet", "alexnet", "zfnet", "vgg", "googlenet", "densenet")
JOBS: dict[str, list[list[str]]] = {
    "default job": [[f"seed={seed}"] for seed in SEEDS],
    "medium stem": [["model.stem=medium", f"seed={seed}"] for seed in SEEDS],
    "mlp": [["model=mlp"]],
    "other models": [[f"model={model}"] for model in MODELS],
    "breastmnist": [["dataset=breastmnist", f"seed={seed}"] for seed in SEEDS],
    "pneumoniamnist": [["dataset=pneumoniamnist", f"seed={seed}"] for seed in SEEDS],
    "shortcut": [["experiment=shortcut"]],
}
METRICS = ("auroc", "accuracy", "sensitivity", "specificity")
POINTING = ("pointing_game", "pointing_game_centre")


def main() -> None:
    """Run the jobs and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the MedMNIST files")
    parser.add_argument("--output", type=Path, default=Path("docs/figures.csv"))
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--overrides", nargs="*", default=[], help="added to every command")
    parser.add_argument("--busy", action="store_true", help="beside one busy process")
    options = parser.parse_args()
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if options.busy else None
    try:
        run_all(options)
    finally:
        if busy is not None:
            busy.kill()


def run_all(options: argparse.Namespace) -> None:
    """Run the jobs, one after the other."""
    rows = []
    for name in options.jobs:
        for overrides in JOBS[name]:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory() as folder:
                directory = Path(folder, "run")
                row = run(name, [*overrides, *options.overrides], options.data, directory)
                rows.append(row | {"busy_beside": int(options.busy)})
                if overrides == JOBS["default job"][0]:
                    shutil.copy(directory / "cams" / "gallery.png", options.output.parent)
            print(rows[-1], flush=True)
            pd.DataFrame(rows).to_csv(options.output, index=False)


def run(name: str, overrides: list[str], data: str, directory: Path) -> dict[str, Any]:
    """One job in a process of its own; its figures, and the seconds from command to prompt."""
    command = [sys.executable, "-m", "medcnn.train", *overrides]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, f"paths.data={data}", f"paths.run={directory}"], check=True)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    metrics = json.loads((directory / "metrics.json").read_text())
    row: dict[str, Any] = {"job": name, "overrides": " ".join(overrides)}
    row |= {name: metrics[f"test/{name}"]["value"] for name in METRICS}
    for key in POINTING:
        score = metrics.get(f"test/{key}", {})
        row |= {f"{key}{end}": score.get(part) for end, part in ENDS.items()}
    seconds, cpu = round(seconds, 1), round(cpu, 1)
    return row | {"seconds": seconds, "cpu_seconds": cpu, "cores": torch.get_num_threads()}


ENDS = {"": "value", "_low": "low", "_high": "high", "_n": "n"}


if __name__ == "__main__":
    main()
