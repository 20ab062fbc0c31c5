"""Labels flipped on purpose: how many of them a cross-validation lists as likely wrong.

python scripts/benchmark_label_issues.py --data DIR [--output docs/label_issues.csv]

DIR holds breastmnist.npz and pneumoniamnist.npz. Of the labels of training and validation split a
share is flipped, drawn by the seed; then ``python -m medcnn.train fold=all`` trains five narrow
networks, and its label_issues.csv is compared with what was flipped. The first 1,500 images of
PneumoniaMNIST are taken. Rows are added as they come, and those that are there are not computed
again.
"""

import argparse
import contextlib
import io
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from training_experiment import PLAIN, compose

from medcnn.evaluation.proportions import proportion_interval
from medcnn.train import train

EPOCHS = {"breastmnist": 20, "pneumoniamnist": 10}
SEEDS, SHARE, IMAGES = 3, 0.05, 1500


def flipped_copy(source: Path, target: Path, share: float, seed: int) -> np.ndarray[Any, Any]:
    """Write a copy of a MedMNIST file with flipped labels; return the rows (F,) that were flipped.

    Args:
        source: Of two classes.
        target: File that is written; its training split has the images of training and validation.
        share: Of the labels that are flipped.
        seed: Of the draw.
    """
    arrays = dict(np.load(source))
    taken = min(len(arrays["train_labels"]), IMAGES)
    for key in ("images", "labels"):
        arrays[f"train_{key}"] = arrays[f"train_{key}"][:taken]
    counts = [len(arrays[f"{split}_labels"]) for split in ("train", "val")]
    rows = np.random.default_rng(seed).permutation(sum(counts))[: round(share * sum(counts))]
    labels = np.concatenate([arrays["train_labels"], arrays["val_labels"]])
    labels[rows] = 1 - labels[rows]
    arrays["train_labels"], arrays["val_labels"] = np.split(labels, [counts[0]])
    np.savez(target, **arrays)
    return np.sort(rows)


def row_of(name: str, data: Path, seed: int) -> dict[str, Any]:
    """Return what one cross-validation finds of the flipped labels of a data set."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        flipped = flipped_copy(data / f"{name}.npz", folder / f"{name}.npz", SHARE, seed)
        overrides = [*PLAIN, f"dataset={name}", f"dataset.root='{folder}'", f"seed={seed}"]
        overrides += ["fold=all", f"trainer.max_epochs={EPOCHS[name]}", "diagnosis=none"]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            train(compose(*overrides, f"paths.run='{folder / 'run'}'"), [])
        listed = pd.read_csv(folder / "run" / "label_issues.csv")["row"].to_numpy()
        images = len(pd.read_csv(folder / "run" / "predictions.csv"))
    hits = np.isin(flipped, listed)
    found, share = int(hits.sum()), proportion_interval(hits)
    return {
        "data": name,
        "seed": seed,
        "images": images,
        "flipped": len(flipped),
        "listed": len(listed),
        "found": found,
        "share_found": share.value,
        "share_found_low": share.low,
        "share_found_high": share.high,
        "flipped_of_listed": found / max(len(listed), 1),
        "flipped_of_first": float(np.isin(listed[: len(flipped)], flipped).mean()),
        "seconds": round(time.monotonic() - start),
    }


def main() -> None:
    """Do whatever the table lacks, and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the MedMNIST files")
    parser.add_argument("--output", type=Path, default=Path("docs/label_issues.csv"))
    options = parser.parse_args()
    table = pd.read_csv(options.output) if options.output.exists() else pd.DataFrame()
    done = set(zip(table["data"], table["seed"], strict=True)) if len(table) else set()
    for name, seed in ((name, seed) for name in EPOCHS for seed in range(SEEDS)):
        if (name, seed) not in done:
            row = row_of(name, options.data, seed)
            table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
            table.to_csv(options.output, index=False, float_format="%.4f")
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
