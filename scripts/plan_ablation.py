"""What each rule of a plan is worth: planned trainings that leave it out, a row a training.

python scripts/plan_ablation.py --data DIR [--output docs/plan_ablation.csv] [--only NAME …]

DIR holds medmnist/{breastmnist,pneumoniamnist}.npz, brain_tumor/ and nih_chestxray_1000/. The sets:

breast     BreastMNIST
pneumonia  PneumoniaMNIST, 800 images of its training split, drawn at random
pneumonia-all  all of its training split
brain      brain MRI of three kinds of tumour; the blocks of neighbouring slices are the patients
phantom3d  synthetic CT volumes of 24 voxels an edge, of 300 patients
chest      1,000 chest X-rays with 14 findings

Each training is python -m medcnn.train plan=auto budget=BUDGET plan.without=[RULE] on one thread.
All of a set and a seed are judged on the same images: a quarter of the patients, held out of what
there is to train on. What is there to test on is left out of all: the official split of MedMNIST,
the patients on which plan_against_search.py tests, and the default phantom (volumes are of other
seeds). `auroc` is the mean over classes, or over those findings that five of these patients have,
with a 95 % interval by the bootstrap over patients. `validation` is the figure that the run itself
has: of folds the pooled one of images that a network hasn't seen, else of the validation split.

A rule that has nothing to say of a set (such as size, of MedMNIST) trains as the whole plan does:
such rows show what chance and the clock alone change. Rows are added as they come, and those that
are there are not computed again; a training that failed has its message in `error`, and is tried
again the next time. Nothing else should run meanwhile, as a budget is wall time: a busy machine has
plans with fewer folds (`networks`).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medcnn.data.draws import draw_shares
from medcnn.data.splits import patient_strata
from medcnn.evaluation.predictions import read_predictions
from medcnn.evaluation.resampling import draw
from medcnn.jobs.rundir import RunDir
from medcnn.objective import Task
from medcnn.planning.auto.rules import RULES

NOTHING = "none left out"
KEYS = ["data", "seed", "budget"]
OTHERS = ("accuracy", "log_loss")  # of the test; accuracy at the threshold that was chosen
HELD_OUT = {"train": 3, "test": 1}  # parts of the patients
TESTED = {"train": 64, "val": 16, "test": 20}  # in plan_against_search.py
FEWEST = 5  # tested patients with a finding, of which the AUROC is looked at
PHANTOM = ["dataset=phantom", "dataset.spatial_dims=3", "dataset.size=24", "dataset.patients=300"]
MEDMNIST = {  # files, and how many of the training images are taken
    "breast": ("breastmnist", None),
    "pneumonia": ("pneumoniamnist", 800),
    "pneumonia-all": ("pneumoniamnist", None),
}
BRAIN = [
    "dataset.columns.image=file", "dataset.columns.label=class", "dataset.columns.patient=block",
    "dataset.columns.box=[x_center,y_center,width,height]", "dataset.box_format=cxcywh",
    "dataset.box_unit=fraction",
]  # fmt: skip
CHEST = [
    "dataset.columns.image=file", "dataset.columns.label=finding_labels", "dataset.separator='|'",
    "dataset.columns.patient=patient_id", "dataset.no_finding='No Finding'",
]  # fmt: skip
Values = np.ndarray[Any, Any]
Splits = Callable[[pd.DataFrame], pd.Series]  # train, val or test of each row; missing: left out


class Job(NamedTuple):
    """A training to do."""

    data: str
    without: str
    seed: int
    budget: str


def drawn(table: pd.DataFrame, shares: Mapping[str, float], seed: int) -> pd.Series:
    """Return the part of each row, drawn by patient in the same shares of each class.

    Args:
        table: ``patient``, and ``label`` (a class) or several ``label:…`` (0 or 1).
        shares: By the name of a part.
        seed: Of the draw.
    """
    labels = [name for name in map(str, table) if name.startswith("label")]
    task: Task = "multilabel" if len(labels) > 1 else "multiclass"
    patients = table["patient"].astype(str).to_numpy(dtype=str)
    codes = table[labels].apply(lambda one: pd.factorize(one, sort=True)[0])
    strata = patient_strata(patients, codes, task, labels)
    found = draw_shares(strata, shares, seed).reindex(patients).to_numpy()
    return pd.Series(found, index=table.index)


def held_out(table: pd.DataFrame, seed: int) -> pd.Series:
    """Return train and test of rows as in `drawn`; missing of patients that are to be tested on."""
    parts = drawn(table, TESTED, seed=0)
    free = table[parts != "test"]
    return drawn(free, HELD_OUT, seed).reindex(table.index)


def medmnist(name: str, most: int | None, data: Path, folder: Path, seed: int) -> list[str]:
    """Write a copy of a MedMNIST file that is tested on a part of its training split.

    The validation split is cut by the same share. An image that is there several times is in one
    part only.
    """
    arrays = dict(np.load(data / "medmnist" / f"{name}.npz"))
    images, labels, val = (arrays[key] for key in ("train_images", "train_labels", "val_images"))
    generator = np.random.default_rng(seed)
    rows = generator.permutation(len(images))[:most]
    kept = generator.permutation(len(val))[: round(len(val) * len(rows) / len(images))]
    arrays |= {f"val_{key}": arrays[f"val_{key}"][kept] for key in ("images", "labels")}
    table = pd.DataFrame({"label": labels[rows].ravel()}, index=rows)
    table["patient"] = [image.tobytes() for image in images[rows]]
    table = table[~table["patient"].isin([image.tobytes() for image in val[kept]])]
    table["patient"] = pd.factorize(table["patient"])[0]
    parts = drawn(table, HELD_OUT, seed)
    for part in HELD_OUT:
        own = parts.index[parts == part]
        arrays |= {f"{part}_images": images[own], f"{part}_labels": labels[own]}
    np.savez(folder / f"{name}.npz", **arrays)
    return [f"dataset={name}", f"dataset.root='{folder}'"]


def brain(data: Path, folder: Path, splits: Splits) -> list[str]:
    """Write a table of the brain MRI with splits, and return the overrides to train on it."""
    table = pd.read_csv(data / "brain_tumor" / "annotations.csv")
    known = pd.DataFrame({"label": table["class"], "patient": table["block"]})
    return written(table.assign(split=splits(known)), data / "brain_tumor", folder, BRAIN)


def chest(data: Path, folder: Path, splits: Splits) -> list[str]:
    """Write a table of the chest X-rays with splits, and return the overrides to train on it."""
    source = data / "nih_chestxray_1000"
    table = pd.read_csv(source / "labels.csv")
    known = table["finding_labels"].str.get_dummies("|").drop(columns="No Finding")
    known = known.add_prefix("label:").assign(patient=table["patient_id"])
    return written(table.assign(split=splits(known)), source / "images", folder, CHEST)


def written(table: pd.DataFrame, root: Path, folder: Path, how: list[str]) -> list[str]:
    """Write a table without the rows that are left out, and return the overrides to train on it."""
    table.dropna(subset="split").to_csv(folder / "table.csv", index=False)
    where = [f"dataset.path='{folder / 'table.csv'}'", f"dataset.root='{root}'"]
    return ["dataset=csv", *where, *how, f"cache.folder='{folder / 'cache'}'", "on_error=skip"]


def prepared(job: Job, data: Path, folder: Path) -> list[str]:
    """Write the data of a job into a folder, where they aren't made, and return their overrides."""
    if job.data == "phantom3d":
        return [*PHANTOM, f"dataset.seed={job.seed + 1}"]
    if job.data in ("brain", "chest"):
        of = {"brain": brain, "chest": chest}[job.data]
        return of(data, folder, lambda table: held_out(table, job.seed))
    return medmnist(*MEDMNIST[job.data], data, folder, job.seed)


SETS = (*MEDMNIST, "brain", "phantom3d", "chest")


def command(module: str, overrides: Sequence[str], log: Path) -> str:
    """Run such as ``medcnn.train`` on one thread, with a log; return why it failed, or nothing."""
    alone = ["trainer.accelerator=cpu", "trainer.threads=1"] if module != "medcnn.evaluate" else []
    run, env = [sys.executable, "-m", module, *overrides, *alone], {"OMP_NUM_THREADS": "1"}
    with log.open("ab") as out:
        done = subprocess.run(run, env=os.environ | env, stdout=out, stderr=out, check=False)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "" if done.returncode == 0 else (lines or ["no message"])[-1][:300]


def row_of(job: Job, data: Path) -> dict[str, Any]:
    """Train in a process of its own, and return the row of the table."""
    without = "" if job.without == NOTHING else job.without
    with tempfile.TemporaryDirectory() as made:
        overrides = [*prepared(job, data, Path(made)), "plan=auto", f"budget={job.budget}"]
        overrides += [f"plan.without=[{without}]", f"seed={job.seed}", f"paths.run='{made}/run'"]
        start = time.monotonic()
        error = command("medcnn.train", overrides, Path(made) / "log.txt")
        seconds = {"seconds": round(time.monotonic() - start)}
        found = {"error": error} if error else measured(Path(made) / "run")
    return job._asdict() | seconds | found


def measured(run: Path) -> dict[str, Any]:
    """Return the figures of a run's final model on its test images, and facts of the machine."""
    networks = len(list(run.glob("fold-*")))
    tested = run / "ensemble" if networks else run
    return {
        "networks": networks or 1,
        "validation": validation(run),
        **with_interval("auroc", auroc(tested)),
        **{name: metrics_of(tested).get(f"test/{name}", {}).get("value") for name in OTHERS},
        **machine(run),
    }


def validation(run: Path) -> float:
    """Return the figure that a run itself has: pooled over folds, or of its validation split."""
    if (run / "fold-0").is_dir():
        return float(metrics_of(run)["test/auroc"]["value"])
    return float(RunDir(run).status["best"])


def auroc(run: Path) -> Values:
    """Return the AUROC on the test images of a run, and of resamples of their patients (1 + R,).

    It is the mean over classes, or over the findings that `FEWEST` patients have: of a rarer one it
    would be undefined in many resamples. Of runs that tested the same images the resamples are the
    same.
    """
    predictions = read_predictions(run / "predictions.csv")
    found, names = draw(predictions), ["auroc"]
    if predictions.task == "multilabel":
        patients = pd.DataFrame(predictions.labels == 1).groupby(predictions.patients).any().sum()
        often = np.array(predictions.class_names)[patients.to_numpy() >= FEWEST]
        names = [f"auroc/{name}" for name in often]
    each = [np.r_[found.values[name], found.replicates[name]] for name in names]
    return np.mean(each, axis=0)


def with_interval(name: str, values: Values) -> dict[str, float]:
    """Return a value and its 95 % interval: the first one, and percentiles of the others."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return {name: float(values[0]), f"{name}_low": float(low), f"{name}_high": float(high)}


def metrics_of(run: Path) -> dict[str, Any]:
    """Return what a run's metrics.json holds."""
    content: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return content


def machine(run: Path) -> dict[str, Any]:
    """Return facts of the machine that a run, or its first training, was made on."""
    made_on = json.loads(next(run.rglob("environment.json")).read_text(encoding="utf-8"))
    return {"processor": made_on["cpu"]["capability"], "precision": made_on["precision"]}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return what leaving a rule out changes, over all pairs of the same set, seed and budget.

    Returns:
        By rule: mean ``change`` of the AUROC (below 0: the rule is worth something), its standard
        ``error``, the number of ``pairs``, and the mean change of each set.
    """
    table = table.dropna(subset="auroc")
    whole = table[table["without"] == NOTHING].set_index(KEYS)["auroc"].rename("whole")
    pairs = table[table["without"] != NOTHING].join(whole, on=KEYS, how="inner")
    pairs["change"] = pairs["auroc"] - pairs["whole"]
    by_rule = pairs.groupby("without", sort=False)["change"]
    found = by_rule.agg(change="mean", error="sem", pairs="count")
    sets = pairs.pivot_table(index="without", columns="data", values="change", aggfunc="mean")
    return found.join(sets)


def main() -> None:
    """Do whatever the table lacks, and print what each rule changes."""
    rules = [NOTHING, *(one.name for one in RULES)]
    names = [*SETS, *rules[1:]]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the real images")
    parser.add_argument("--output", type=Path, default=Path("docs/plan_ablation.csv"))
    parser.add_argument("--only", nargs="+", choices=names, default=[], help="sets and rules")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of draws and trainings")
    parser.add_argument("--budget", default="3min", help="of each training")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, a core each")
    options = parser.parse_args()
    only = {*options.only}
    sets = [one for one in SETS if one in only] or SETS
    # without the whole plan there is nothing to compare with
    left_out = [one for one in rules if not only & {*rules} or one in only or one == NOTHING]
    jobs = [Job(d, r, s, options.budget) for s in options.seeds for r in left_out for d in sets]
    table = pd.read_csv(options.output) if options.output.exists() else pd.DataFrame()
    table = table[table["error"].isna()] if "error" in table else table
    done = set(table[list(Job._fields)].itertuples(index=False, name=None)) if len(table) else set()
    data = options.data.resolve()
    with ThreadPoolExecutor(options.jobs) as pool:
        doing = {pool.submit(row_of, job, data): job for job in jobs if job not in done}
        for one in as_completed(doing):
            failed = one.exception()
            row = doing[one]._asdict() | {"error": repr(failed)} if failed else one.result()
            table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
            table.round(4).to_csv(options.output, index=False)
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if "auroc" in table:
        print(summary(table).round(4).to_string())


if __name__ == "__main__":
    main()
