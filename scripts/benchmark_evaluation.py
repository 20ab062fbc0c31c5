"""How fast figures get their intervals, and how much memory that takes.

python scripts/benchmark_evaluation.py [--rounds 3] [--output docs/benchmark_evaluation.csv]
                                       [--parts NAME …]

Seconds are medians over the rounds, with the lowest and highest, and the median of the processor's
seconds (all threads), which other jobs hardly change; MB are the most that arrays took at a time.
Nothing else should run meanwhile. Predictions are binary, half of them positive, with AUROC 0.84.
Parts:

- closed: intervals in closed form of AUROC, sensitivity, specificity and accuracy of 1,000,000
  predictions, each of a patient of its own, and of 250,000 patients with four each.
- bootstrap: 10,000 resamples of 10,000 predictions for all figures of `evaluate`, the same with
  2,500 patients, and 2,000 resamples for 100 classes.
- scikit-learn: a plain loop of roc_auc_score over 50 resamples of the same 10,000 predictions,
  times 200; and the ratio of its processor's seconds to those of the bootstrap of all figures.
"""

import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from benchmark_nets import measure
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from medcnn.evaluation.predictions import Predictions
from medcnn.evaluation.resampling import draw

MANY, FEW, RESAMPLES, LOOPS = 1_000_000, 10_000, 10_000, 50


def main() -> None:
    """Measure the parts that are asked for."""
    measure(PARTS, str(__doc__), "docs/benchmark_evaluation.csv", rounds=3)


def closed(rounds: int) -> Iterator[dict[str, Any]]:
    """Intervals in closed form of a million predictions."""
    scores, truth = predictions(MANY)
    for what, groups in (("", None), (", 250,000 patients", np.arange(MANY) // 4)):
        job = partial(closed_forms, scores, truth, groups)
        yield {"what": f"1,000,000 predictions{what}", **cost(job, rounds)}


def closed_forms(
    scores: NDArray[np.float64], truth: NDArray[np.bool_], groups: NDArray[np.int64] | None
) -> None:
    """AUROC, sensitivity, specificity and accuracy."""
    from medcnn.evaluation.delong import auroc_interval
    from medcnn.evaluation.proportions import proportion_interval

    auroc_interval(scores, truth, groups)
    right = truth == (scores > 0.5)
    for among in (truth, ~truth, np.ones_like(truth)):
        proportion_interval(right[among], None if groups is None else groups[among])


def bootstrap(rounds: int) -> Iterator[dict[str, Any]]:
    """All figures of ten thousand predictions."""
    for what, size in (("", 1), (", 2,500 patients", 4)):
        job = partial(resampled, np.arange(FEW) // size)
        yield {"what": f"10,000 predictions, 10,000 resamples{what}", **cost(job, rounds)}
    generator = np.random.default_rng(0)
    labels = generator.integers(100, size=FEW)
    probs = generator.dirichlet(np.ones(100), FEW)
    names, table = tuple(str(k) for k in range(100)), pd.DataFrame(index=range(FEW))
    many = Predictions(
        probs, labels, probs.argmax(1), np.arange(FEW), "multiclass", names, None, table
    )
    what = "10,000 predictions, 2,000 resamples, 100 classes"
    yield {"what": what, **cost(partial(draw, many), rounds)}


def resampled(groups: NDArray[np.int64]) -> None:
    """All figures of a binary task."""
    scores, truth = predictions(FEW)
    probs, called = np.stack([1 - scores, scores], axis=1), (scores > 0.5).astype(int)
    table = pd.DataFrame(index=range(FEW))
    made = Predictions(probs, truth.astype(int), called, groups, "binary", ("no", "yes"), 1, table)
    draw(made, resamples=RESAMPLES)


def scikit_learn(rounds: int) -> Iterator[dict[str, Any]]:
    """A plain loop, and how much slower it is."""
    ours = cost(partial(resampled, np.arange(FEW)), rounds)["cpu seconds"]
    found = cost(plain_loop, rounds)
    for key in ("seconds", "lowest", "highest", "cpu seconds"):
        found[key] = round(found[key] * RESAMPLES / LOOPS, 1)
    what = "roc_auc_score alone, 10,000 predictions, 10,000 resamples"
    yield {"what": what, **found, "by ours": round(found["cpu seconds"] / ours, 1)}


def plain_loop() -> None:
    """Resample, and let scikit-learn compute the AUROC."""
    scores, truth = predictions(FEW)
    generator = np.random.default_rng(0)
    for _ in range(LOOPS):
        rows = generator.integers(FEW, size=FEW)
        roc_auc_score(truth[rows], scores[rows])


def predictions(count: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probabilities of being positive, and the truth, (count,) each."""
    generator = np.random.default_rng(0)
    truth = generator.random(count) < 0.5
    return 1 / (1 + np.exp(-generator.normal(size=count) - np.where(truth, 0.7, -0.7))), truth


def cost(job: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """Seconds and megabytes of a job, after a round that loads what it needs and counts memory."""
    tracemalloc.start()
    job()
    megabytes = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    seconds, busy = [], []
    for _ in range(rounds):
        start, busy_before = time.perf_counter(), time.process_time()
        job()
        seconds.append(time.perf_counter() - start)
        busy.append(time.process_time() - busy_before)
    shown = {"seconds": np.median(seconds), "lowest": min(seconds), "highest": max(seconds)}
    shown["cpu seconds"] = np.median(busy)
    return {key: round(float(value), 2) for key, value in shown.items()} | {"MB": round(megabytes)}


PARTS: dict[str, Callable[[int], Iterator[dict[str, Any]]]] = {
    "closed": closed,
    "bootstrap": bootstrap,
    "scikit-learn": scikit_learn,
}


if __name__ == "__main__":
    main()
