"""How well a threshold that is chosen on few images serves the others.

python scripts/threshold_experiment.py RUN [RUN …] [--output docs/thresholds.csv]

Each RUN is a cross-validation of two classes (python -m medcnn.train fold=all), whose pooled
predictions are of images that their network hasn't seen. Some of these are drawn, a threshold is
chosen on them, and judged on the rest, 400 times. A row holds the mean and the standard deviation
of Youden's index and of the accuracy there. Thresholds:

    counted   highest sensitivity + specificity as counted
    smoothed  the same of smoothed distributions: evaluation.operating_point=youden
    argmax    0.5
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medcnn.evaluation.operating_point import choose_threshold
from medcnn.evaluation.predictions import read_predictions

DRAWN, ROUNDS = (40, 80, 160, 320), 400
FEWEST = 3  # drawn images of each class


def counted(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the threshold with the highest counted index, half-way between two scores."""
    known = np.r_[0, np.unique(scores), 1]
    between = (known[1:] + known[:-1]) / 2
    reached = np.searchsorted(np.sort(scores[truth]), between) / truth.sum()
    alarms = np.searchsorted(np.sort(scores[~truth]), between) / (~truth).sum()
    return float(between[(alarms - reached).argmax()])


WAYS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "counted": counted,
    "smoothed": lambda scores, truth: choose_threshold(scores, truth, "youden").threshold,
    "argmax": lambda scores, truth: 0.5,
}


def rows_of(run: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each number of drawn images and each way."""
    found = read_predictions(run / "predictions.csv")
    if found.task != "binary" or found.positive is None:
        raise SystemExit(f"{run}: not a cross-validation of two classes")
    scores, truth = found.probs[:, found.positive], found.labels == found.positive
    generator = np.random.default_rng(0)
    for number in DRAWN:
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
        for _ in range(ROUNDS):
            order = generator.permutation(len(truth))
            drawn, rest = order[:number], order[number:]
            if min(truth[drawn].sum(), (~truth[drawn]).sum()) < FEWEST:
                continue
            for name, choose in WAYS.items():
                called = scores[rest] >= choose(scores[drawn], truth[drawn])
                right = called == truth[rest]
                index = right[truth[rest]].mean() + right[~truth[rest]].mean() - 1
                rates[name].append((index, right.mean()))
        for name, values in rates.items():
            mean, spread = np.mean(values, axis=0), np.std(values, axis=0)
            row = {"run": run.name, "images": len(truth), "drawn": number, "threshold": name}
            row |= {"index": mean[0], "index_sd": spread[0]}
            yield row | {"accuracy": mean[1], "accuracy_sd": spread[1]}


def main() -> None:
    """Write and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", help="cross-validations")
    parser.add_argument("--output", type=Path, default=Path("docs/thresholds.csv"))
    options = parser.parse_args()
    table = pd.DataFrame([row for run in options.runs for row in rows_of(run)])
    table.round(4).to_csv(options.output, index=False)
    print(table.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
