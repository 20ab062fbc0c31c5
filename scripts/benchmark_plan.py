"""What ``plan=auto`` makes of a budget, untouched: figures of the test split, and wall time.

python scripts/benchmark_plan.py --data DIR [--output docs/plan.csv] [--only NAME …]

DIR holds breastmnist.npz and pneumoniamnist.npz. A row is a training by

python -m medcnn.train dataset=NAME plan=auto budget=BUDGET seed=SEED

or, as ``benchmark``, by the recipe of MedMNIST (experiment=medmnist_benchmark). The test split is
looked at once by each, at its end. `accuracy` is at the threshold that was chosen on validation
images (Youden's, the default), `accuracy_argmax` that of the more probable class, as in published
tables. Rows are added as they come, and those that are there are not computed again. Nothing else
should run meanwhile: a budget is wall time.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

FIGURES = ("auroc", "accuracy")


class Job(NamedTuple):
    """A training to do."""

    data: str
    recipe: str  # a budget, or benchmark
    seed: int


JOBS = [
    *(Job("breastmnist", "10min", seed) for seed in range(3)),
    *(Job("pneumoniamnist", "10min", seed) for seed in range(3)),
    *(Job("breastmnist", "3min", seed) for seed in range(3)),
    *(Job("pneumoniamnist", "3min", seed) for seed in range(3)),
    Job("breastmnist", "benchmark", 0),
    Job("breastmnist", "60min", 0),
    Job("pneumoniamnist", "60min", 0),
]


def row_of(job: Job, data: Path, run: Path) -> dict[str, Any]:
    """Train in a process of its own, and return the row of the table."""
    how = ["plan=auto", f"budget={job.recipe}"]
    if job.recipe == "benchmark":
        how = ["experiment=medmnist_benchmark"]
    command = [sys.executable, "-m", "medcnn.train", *how, f"dataset={job.data}"]
    command += [f"dataset.root='{data}'", f"seed={job.seed}", f"paths.run='{run}'"]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - start
    tested = run / "ensemble" if (run / "ensemble").is_dir() else run
    metrics = json.loads((tested / "metrics.json").read_text(encoding="utf-8"))
    figures: dict[str, float] = {}
    for name in FIGURES:
        figure = metrics[f"test/{name}"]
        figures |= {name: figure["value"]}
        figures |= {f"{name}_{bound}": figure[bound] for bound in ("low", "high")}
    table = pd.read_csv(tested / "predictions.csv", dtype={"label": str})
    classes = [name for name in table if name.startswith("prob:")]
    called = table[classes].idxmax(axis=1).str.removeprefix("prob:")
    figures["accuracy_argmax"] = float((called == table["label"]).mean())
    made_on = json.loads(next(run.rglob("environment.json")).read_text(encoding="utf-8"))
    machine = {"processor": made_on["cpu"]["capability"], "precision": made_on["precision"]}
    return job._asdict() | figures | {"seconds": round(seconds)} | machine


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return the means over seeds, with their lowest and highest value."""
    found = []
    for (data, recipe), part in table.groupby(["data", "recipe"], sort=False):
        row = {"data": data, "recipe": recipe, "seeds": len(part)}
        for name in (*FIGURES, "accuracy_argmax", "seconds"):
            mean, low, high = (getattr(part[name], how)() for how in ("mean", "min", "max"))
            digits = 0 if name == "seconds" else 3
            row[name] = f"{mean:.{digits}f} ({low:.{digits}f} … {high:.{digits}f})"
        found.append(row)
    return pd.DataFrame(found)


def main() -> None:
    """Do whatever the table lacks, and print the means over seeds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the MedMNIST files")
    parser.add_argument("--output", type=Path, default=Path("docs/plan.csv"))
    parser.add_argument("--only", nargs="+", default=[], help="a data set, a budget, or both")
    options = parser.parse_args()
    table = pd.read_csv(options.output) if options.output.exists() else pd.DataFrame()
    columns = ["data", "recipe", "seed"]
    done = set(table[columns].itertuples(index=False, name=None)) if len(table) else set()
    for job in JOBS:
        if tuple(job) not in done and set(options.only) <= set(job):
            with tempfile.TemporaryDirectory() as folder:
                row = row_of(job, options.data.resolve(), Path(folder) / "run")
            table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
            table.to_csv(options.output, index=False, float_format="%.4f")
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if len(table):
        print(summary(table).to_string(index=False))


if __name__ == "__main__":
    main()
