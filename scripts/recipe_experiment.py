"""What the rules of a plan rest on: recipes compared inside the training split, a row a recipe.

python scripts/recipe_experiment.py --data DIR [--output docs/recipes.csv] [--only NAME …]

DIR holds breastmnist.npz and pneumoniamnist.npz; of the latter, the first 800 images of the
training split are taken. Each recipe is a cross-validation of three networks over training and
validation split; the figures are those of the images that a network hasn't seen. The official test
split isn't looked at: a copy of the file without it is trained on. Rows are added as they come, and
those that are there are not computed again.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from training_experiment import PLAIN, compose

IMAGES = {"breastmnist": 546, "pneumoniamnist": 800}
BASE = [
    *PLAIN, "fold=all", "folds=3", "model.width=0.5", "augment=standard", "trainer.max_epochs=30",
    "diagnosis=none", "on_error=skip",
]  # fmt: skip
RECIPES = {
    "base": [],
    "augment=strong": ["augment=strong"],
    "average=ema": ["average=ema"],
    "ema, strong": ["average=ema", "augment=strong"],
    "ema, lr=3e-3": ["average=ema", "optimizer.lr=3e-3"],
    "ema, width=0.25": ["average=ema", "model.width=0.25"],
    "ema, width=0.25, strides": ["average=ema", "model.width=0.25", "model.strides=[1,1,2,2]"],
    "ema, width=0.25, 60 passes": ["average=ema", "model.width=0.25", "trainer.max_epochs=60"],
    "ema, width=0.25, tta": ["average=ema", "model.width=0.25", "tta=flips"],
    "ema, width=1": ["average=ema", "model.width=1"],
    "ema, strides": ["average=ema", "model.strides=[1,1,2,2]"],
    "ema, tta": ["average=ema", "tta=flips"],
    "ema, 60 passes": ["average=ema", "trainer.max_epochs=60"],
    "ema, batch_size=16": ["average=ema", "batch_size=16"],
    "ema, mixup": ["average=ema", "regularise=mixup"],
    "snapshots": ["average=snapshots"],
    "model.width=0.25": ["model.width=0.25"],
    "optimizer.lr=3e-3": ["optimizer.lr=3e-3"],
    "60 passes": ["trainer.max_epochs=60"],
    "batch_size=16": ["batch_size=16"],
    "augment=light": ["augment=light"],
    "model.width=1": ["model.width=1"],
    "regularise=mixup": ["regularise=mixup"],
    "model.dropout=0.2": ["model.dropout=0.2"],
    "model=vgg": ["model=vgg", "model.width=0.5"],
    "model=densenet": ["model=densenet", "model.width=0.5"],
    "15 passes": ["trainer.max_epochs=15"],
    "optimizer.lr=3e-4": ["optimizer.lr=3e-4"],
    "weight_decay=0.1": ["optimizer.weight_decay=0.1"],
    "augment=none": ["augment=none"],
    "batch_size=64": ["batch_size=64"],
}
FIGURES = ("auroc_within_folds", "log_loss")


def without_test(source: Path, target: Path, images: int) -> None:
    """Write a copy of a MedMNIST file whose test split has two images of each class, of training.

    Args:
        source: A file with all splits.
        target: The copy.
        images: So many of the training split are kept.
    """
    arrays = dict(np.load(source))
    few = np.concatenate([np.flatnonzero(arrays["train_labels"] == k)[:2] for k in (0, 1)])
    for key in ("images", "labels"):
        arrays[f"test_{key}"] = arrays[f"train_{key}"][few]
        arrays[f"train_{key}"] = arrays[f"train_{key}"][:images]
    np.savez(target, **arrays)


def row_of(data: Path, name: str, recipe: str, seed: int) -> dict[str, Any]:
    """Return the figures of one cross-validation."""
    from medcnn.train import train

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        without_test(data / f"{name}.npz", folder / f"{name}.npz", IMAGES[name])
        overrides = [*BASE, *RECIPES[recipe], f"dataset={name}", f"dataset.root='{folder}'"]
        overrides += [f"seed={seed}", f"paths.run='{folder / 'run'}'"]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            train(compose(*overrides), [])
        metrics = json.loads((folder / "run" / "metrics.json").read_text(encoding="utf-8"))
    row: dict[str, Any] = {"data": name, "recipe": recipe, "seed": seed}
    for key in FIGURES:
        figure = metrics[f"test/{key}"]
        row |= {key: figure["value"], f"{key}_low": figure["low"], f"{key}_high": figure["high"]}
    return row | {"seconds": round(time.monotonic() - start)}


def main() -> None:
    """Do whatever the table lacks, and print the means over seeds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the MedMNIST files")
    parser.add_argument("--output", type=Path, default=Path("docs/recipes.csv"))
    parser.add_argument("--only", nargs="+", default=[], help="data sets and recipes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the trainings")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    options = parser.parse_args()
    table = pd.read_csv(options.output) if options.output.exists() else pd.DataFrame()
    keys = ["data", "recipe", "seed"]
    done = set(table[keys].itertuples(index=False, name=None)) if len(table) else set()
    data, only = options.data.resolve(), set(options.only)
    sets = [name for name in IMAGES if name in only or not only & IMAGES.keys()]
    recipes = [name for name in RECIPES if name in only or not only & RECIPES.keys()]
    jobs = [(n, r, s) for s in options.seeds for r in recipes for n in sets]
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        doing = [pool.submit(row_of, data, *job) for job in jobs if job not in done]
        for one in as_completed(doing):
            table = pd.concat([table, pd.DataFrame([one.result()])], ignore_index=True)
            table.to_csv(options.output, index=False, float_format="%.4f")
            print(", ".join(f"{k} {v}" for k, v in one.result().items()), flush=True)
    print(table.groupby(["data", "recipe"], sort=False)[list(FIGURES)].agg(["mean", "count"]))


if __name__ == "__main__":
    main()
