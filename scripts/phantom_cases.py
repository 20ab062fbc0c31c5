"""Patients of whom a single picture doesn't tell: what the right means are worth.

python scripts/phantom_cases.py [--output docs/phantom_cases.csv] [--only CASE …] [--seeds N …]

Each case of the phantom (medcnn/data/phantom/cases) is learned from single pictures, and from all
that there is of a patient:

energies  a film at two photon energies: each channel alone; both
views     a frontal and a lateral film, one of which may be missing: each view alone; all films, of
          whose predictions the mean counts; model.aggregate=attention
slices    24 slices of a CT scan: the middle one; all, of whose predictions the mean or the highest
          counts; model.aggregate=attention and gru
column    a film and a laboratory value: each alone (the value by logistic regression); both, by
          model.fusion=concat and film

A training is python -m medcnn.train on the CPU in 32 bits. A seed is that of the data as well: each
has other patients. `auroc` is that of the test patients, one study each, with DeLong's 95 %
interval; a patient who lacks the view that is looked at has the score 0.5. `best` is what can be
reached by construction, if all is seen that there is to see. `difference` is that to the best of
the single pictures of the same case and seed, `over`, with the interval of DeLong's paired test.
`pointing` is the share of the nodules that the slice of the highest weight shows, with Wilson's
95 % interval, beside that of the middle slice. Rows are added as they come, and what is there
with as many passes isn't computed again.

Settings were chosen on other patients: those of energies and column on the test split of seed 0,
the rate, augmentation and passes of slices and views on the validation split of seed 7.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import medcnn
from medcnn.data.batches import unit_images
from medcnn.data.phantom.cases import column, energies, views
from medcnn.data.phantom.dataset import phantom
from medcnn.data.row_batches import RowDataset, context_of
from medcnn.data.samples import Samples
from medcnn.data.studies import studies_of
from medcnn.evaluation.comparison import compare_auroc
from medcnn.evaluation.delong import auroc_interval
from medcnn.evaluation.intervals import wilson_bounds

MIDDLE = 12  # the middle one of 24 slices
PATIENTS = 1000
COMMON = (
    "model=resnet",
    "model.stem=medium",
    "model.width=0.25",
    "model.cut=layer3",
    "optimizer.lr=0.002",
    "trainer=cpu",
    "trainer.precision=32-true",
    "logger=none",
    "near_duplicates=false",
    "diagnosis=none",
    "cam.n=0",
)
DATA: dict[str, dict[str, Any]] = {  # options of a case
    "energies": {"dose": 100_000},
    "slices": {"patients": 400},
}
PASSES = {"energies": 12, "views": 24, "slices": 24, "column": 12}
OF_FILMS = ("batch_size=16",)
OF_SLICES = ("augment=none", "optimizer.lr=0.001")


class Way(NamedTuple):
    """A way to learn a case."""

    name: str
    part: str | None = None  # of the pictures, as of `part`; None for all
    options: tuple[str, ...] = ()  # of the training
    together: str = "mean"  # how predictions of a patient's pictures become one
    right: bool = False  # takes all that there is of a patient
    slices: bool = False  # has a weight for each slice
    best: float = 1.0  # AUROC that can be reached


COLUMN_ALONE = "column alone"  # by logistic regression
FUSED = ("dataset.features=[cea,ward]",)
WAYS = {
    "energies": (
        Way("40 keV alone", "low", best=energies.auroc_of_one_channel()),
        Way("100 keV alone", "high", best=energies.auroc_of_one_channel()),
        Way("both", right=True),
    ),
    "views": (
        Way("frontal alone", "frontal", best=views.auroc_of_one_view()),
        Way("lateral alone", "lateral", best=views.auroc_of_one_view()),
        Way("films alone, mean", best=views.auroc()),
        Way(
            "attention",
            options=("model.aggregate=attention", "batch_size=16"),
            right=True,
            best=views.auroc(),
        ),
    ),
    "slices": (
        Way("middle slice alone", "middle", best=0.59),
        Way("slices alone, mean", options=("batch_size=192",)),
        Way("slices alone, highest", options=("batch_size=192",), together="max"),
        Way(
            "attention",
            options=("model.aggregate=attention", "batch_size=4"),
            right=True,
            slices=True,
        ),
        Way("gru", options=("model.aggregate=gru", "batch_size=4"), right=True, slices=True),
    ),
    "column": (
        Way("film alone", best=column.auroc()["film"]),
        Way(COLUMN_ALONE, best=column.auroc()["cea"]),
        Way(
            "concat",
            options=(*FUSED, "model.fusion=concat"),
            right=True,
            best=column.auroc()["both"],
        ),
        Way("film", options=(*FUSED, "model.fusion=film"), right=True, best=column.auroc()["both"]),
    ),
}


def part(part: str, **options: Any) -> Samples:
    """Make a phantom of some of its pictures: the low or the high energy, a view, or the middle."""
    whole = phantom(**options)
    every = torch.arange(len(whole))
    if part in ("low", "high"):
        channel = ("low", "high").index(part)
        return replace(whole, images=whole.images[every][:, channel : channel + 1])
    chosen = whole.table["slice"] == MIDDLE if part == "middle" else whole.table["view"] == part
    kept = torch.from_numpy(np.flatnonzero(chosen))
    masks = None if whole.masks is None else whole.masks[kept]
    return replace(whole, table=whole.table[chosen], images=whole.images[kept], masks=masks)


class Learned(NamedTuple):
    """What a training leaves."""

    predictions: pd.DataFrame
    seconds: float
    pointing: dict[str, float]  # empty but of slices that are taken together


def rows_of(case: str, seed: int) -> list[dict[str, Any]]:
    """Learn a case in each of its ways, and return the rows of the table."""
    data: dict[str, Any] = {"case": case, "seed": seed, "patients": PATIENTS, **DATA.get(case, {})}
    whole = phantom(**data)
    tested = whole.table[whole.table["split"] == "test"].groupby("patient")["label"].first()
    truth = tested.to_numpy() == 1
    rows: list[dict[str, Any]] = []
    scores: dict[str, np.ndarray] = {}
    learned: dict[Any, Learned] = {}  # one training may be judged in two ways
    for way in WAYS[case]:
        found = {"seed": seed, "passes": PASSES[case], "studies": len(tested)}
        row = {"case": case, "way": way.name, **found}
        if way.name == COLUMN_ALONE:
            scores[way.name] = of_column(whole)
        else:
            key = (way.part, way.options)
            if key not in learned:
                learned[key] = learn(case, way, data, whole)
            scores[way.name] = of_patients(learned[key].predictions, way, tested.index)
            row |= {"seconds": round(learned[key].seconds)} | learned[key].pointing
        area = auroc_interval(scores[way.name], truth)
        rows.append(
            row | {"auroc": area.value, "low": area.low, "high": area.high, "best": way.best}
        )
        seconds = row.get("seconds", 0)
        print(f"{case}, seed {seed}, {way.name}: {area.value:.3f} ({seconds} s)", flush=True)
    return with_differences(case, rows, scores, truth)


def learn(case: str, way: Way, data: dict[str, Any], whole: Samples) -> Learned:
    """Train in a process of its own."""
    options = [f"dataset.{key}={value}" for key, value in data.items()]
    if way.part is not None:
        options += ["dataset._target_=phantom_cases.part", f"+dataset.part={way.part}"]
        options += ["trust=[phantom_cases.part]"]
    with tempfile.TemporaryDirectory() as folder:
        run, log = Path(folder) / "run", Path(folder) / "log.txt"
        command = [sys.executable, "-m", "medcnn.train", "dataset=phantom", *options, *COMMON]
        command += OF_SLICES if case == "slices" else OF_FILMS
        command += [f"trainer.max_epochs={PASSES[case]}", *way.options]
        command += [f"seed={data['seed']}", f"paths.run='{run}'"]
        paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        start = time.perf_counter()
        with log.open("w") as out:
            env = os.environ | {"PYTHONPATH": paths}
            done = subprocess.run(command, env=env, stdout=out, stderr=out, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{log.read_text()[-2000:]}")
        seconds = time.perf_counter() - start
        table = pd.read_csv(run / "predictions.csv")
        found = pointing(run / "checkpoints" / "best.ckpt", whole) if way.slices else {}
        return Learned(table, seconds, found)


def of_patients(table: pd.DataFrame, way: Way, patients: pd.Index) -> np.ndarray:
    """Return a score of each patient; 0.5 of one of whom nothing was seen."""
    sought = [name for name in table if str(name).startswith("prob:")][1]
    scores = table.groupby("patient")[sought].agg(way.together)
    return scores.reindex(patients).fillna(0.5).to_numpy()


def of_column(whole: Samples) -> np.ndarray:
    """Return the scores of test patients by logistic regression of their columns."""
    columns = make_column_transformer(
        (StandardScaler(), ["cea"]), (OneHotEncoder(handle_unknown="ignore"), ["ward"])
    )
    model = make_pipeline(columns, LogisticRegression())
    train, test = (whole.table[whole.table["split"] == split] for split in ("train", "test"))
    model.fit(train, train["label"])
    scores = pd.Series(model.predict_proba(test)[:, 1], index=test["patient"].to_numpy())
    return scores.sort_index().to_numpy()


@torch.inference_mode()
def pointing(checkpoint: Path, whole: Samples) -> dict[str, float]:
    """Return how often the slice of the highest weight shows the nodule, and the middle one."""
    assert whole.masks is not None
    classifier = medcnn.load(checkpoint)
    samples = replace(whole, studies=studies_of(whole.table))
    rows = samples.rows("test")
    data, hits, middle = RowDataset(samples), [], []
    for some in rows[samples.labels[rows] == 1].split(8):
        batch = data[some]
        maps = classifier.features(unit_images(samples, some))
        weights = classifier.net.head.weights(maps, context_of(batch))
        shown = whole.masks[batch["place"]].flatten(1).any(1)
        for study in range(len(some)):
            mine = batch["bag"] == study
            hits.append(bool(shown[mine][weights[mine].argmax()]))
            middle.append(bool(shown[mine][MIDDLE]))
    low, high = wilson_bounds(np.mean(hits), len(hits))
    return {
        "pointing": float(np.mean(hits)),
        "pointing_low": float(low),
        "pointing_high": float(high),
        "pointing_middle": float(np.mean(middle)),
    }


def with_differences(
    case: str, rows: list[dict[str, Any]], scores: dict[str, np.ndarray], truth: np.ndarray
) -> list[dict[str, Any]]:
    """Return rows of which those of the right means are compared with the best of the others."""
    right = {way.name for way in WAYS[case] if way.right}
    over = max((row for row in rows if row["way"] not in right), key=lambda row: row["auroc"])
    for row in rows:
        if row["way"] in right:
            found = compare_auroc(scores[row["way"]], scores[over["way"]], truth)
            row |= {"over": over["way"], "difference": found.difference}
            row |= {"difference_low": found.low, "difference_high": found.high}
    return rows


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return the means over seeds."""
    columns = ["auroc", "best", "difference", "pointing", "pointing_middle", "seconds"]
    found = [name for name in columns if name in table]
    by_way = table.groupby(["case", "passes", "way"], sort=False)
    return by_way[found].mean().join(by_way["seed"].count().rename("seeds"))


def main() -> None:
    """Do whatever the table lacks, and print the means over seeds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("docs/phantom_cases.csv"))
    parser.add_argument("--only", nargs="+", choices=[*WAYS], default=[*WAYS], help="cases")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    options = parser.parse_args()
    table = pd.DataFrame(columns=["case", "seed", "passes"])
    if options.output.exists():
        table = pd.read_csv(options.output)
    done = set(table[["case", "seed", "passes"]].itertuples(index=False, name=None))
    for seed in options.seeds:
        for case in options.only:
            if (case, seed, PASSES[case]) not in done:
                rows = pd.DataFrame(rows_of(case, seed))
                table = pd.concat([table, rows], ignore_index=True)
                table.round(4).to_csv(options.output, index=False)
    print(summary(table).round(3).to_string())


if __name__ == "__main__":
    main()
