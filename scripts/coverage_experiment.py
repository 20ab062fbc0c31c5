"""Do the intervals hold what they promise? Known truths are drawn from, and intervals counted.

python scripts/coverage_experiment.py [--repeats 2000] [--seed 0] [--output docs/coverage.csv]

Scores are normal, with the same spread for both classes, and their AUROC is known; so is the
sensitivity at the threshold half-way between the classes. Samples are independent, or images of
patients (1 to 7 each, scores correlated by 0.5) that all have their patient's label, or each one
of its own. The share of positive images, or in the former case of positive patients (at least two),
is fixed. A row is a figure, a method and a kind of sample; its columns:

- coverage: share of 95 % intervals that hold the truth; above, below: that lie wholly on one side
- width: mean of high − low; undefined: share of repeats without an interval, which don't count else
- repeats: as asked for, a quarter for the bootstrap (500 resamples of patients each)

All rows take about eight minutes on a core.
"""

import argparse
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcnn.evaluation.comparison import compare_auroc
from medcnn.evaluation.delong import auroc_covariance, auroc_interval
from medcnn.evaluation.intervals import Interval, resample_counts
from medcnn.evaluation.proportions import proportion_interval

SIZES = (50, 200, 1000)
AREAS = (0.7, 0.9, 0.95)
PREVALENCES = (0.1, 0.3)
CLUSTERS = ("none", "patient label", "image label")
CORRELATION = 0.5
RESAMPLES = 500
NORMAL = NormalDist()
Array = NDArray[np.float64]


class Sample(NamedTuple):
    """What a test set may look like, and what is true of the population."""

    scores: Array  # (2, N) of two models that are equally good
    truth: NDArray[np.bool_]
    groups: NDArray[np.int64] | None
    threshold: float


def main() -> None:
    """Measure all cells and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("docs/coverage.csv"))
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error(f"--repeats {options.repeats} is below 1")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    grid = itertools.product(SIZES, CLUSTERS, PREVALENCES, AREAS)
    for cell, (n, clusters, prevalence, area) in enumerate(grid):
        generator = np.random.default_rng([options.seed, cell])
        where = {"n": n, "clusters": clusters, "prevalence": prevalence, "true_auroc": area}
        samples = (draw(generator, n, clusters, prevalence, area) for _ in range(options.repeats))
        rows += [where | row for row in measured(samples, options.repeats, area)]
        pd.DataFrame(rows).round(4).to_csv(options.output, index=False)
    print(pd.DataFrame(rows).sort_values("coverage").head(30).to_string(index=False))


def draw(
    generator: np.random.Generator, n: int, clusters: str, prevalence: float, area: float
) -> Sample:
    """A test set of n images."""
    shift = math.sqrt(2) * NORMAL.inv_cdf(area)
    sizes = generator.integers(1, 8, n) if clusters != "none" else np.ones(n, int)
    groups = np.repeat(np.arange(n), sizes)[:n]
    if clusters == "patient label":
        patients = int(groups[-1]) + 1
        ill = np.arange(patients) < max(2, round(prevalence * patients))
        truth = generator.permutation(ill)[groups]
    else:
        truth = generator.permutation(np.arange(n) < round(prevalence * n))
    shared = CORRELATION if clusters != "none" else 0.0
    of_patients, of_images = generator.normal(size=(2, 3, n))
    noise = math.sqrt(shared) * of_patients[:, groups] + math.sqrt(1 - shared) * of_images
    scores = math.sqrt(0.5) * (noise[:2] + noise[2]) + shift * truth
    return Sample(scores, truth, None if clusters == "none" else groups, shift / 2)


def measured(samples: Iterator[Sample], repeats: int, area: float) -> Iterator[dict[str, object]]:
    """A row for each figure and method."""
    sensitivity = NORMAL.cdf(NORMAL.inv_cdf(area) / math.sqrt(2))
    truths = {"auroc": area, "auroc difference": 0.0, "sensitivity": sensitivity}
    found: dict[tuple[str, str], list[Interval]] = {key: [] for key in METHODS}
    for repeat, sample in enumerate(samples):
        for key, method in METHODS.items():
            if method is not bootstrap or repeat < math.ceil(repeats / 4):
                found[key].append(method(sample))
    for (figure, name), intervals in found.items():
        low, high = np.array(intervals)[:, 1:].T
        there, truth = ~np.isnan(low), truths[figure]
        low, high = low[there], high[there]
        yield {
            "figure": figure,
            "method": name,
            "coverage": ((low <= truth) & (truth <= high)).mean(),
            "above": (low > truth).mean(),
            "below": (high < truth).mean(),
            "width": (high - low).mean(),
            "undefined": 1 - there.mean(),
            "repeats": len(intervals),
        }


def default(sample: Sample) -> Interval:
    """What medcnn reports of an AUROC."""
    return auroc_interval(sample.scores[0], sample.truth, sample.groups)


def wald(sample: Sample) -> Interval:
    """AUROC ± 1.96 standard errors, after DeLong or Obuchowski."""
    areas, covariance = auroc_covariance(sample.scores[:1], sample.truth, sample.groups)
    half = NORMAL.inv_cdf(0.975) * math.sqrt(covariance[0, 0])
    return Interval(areas[0], areas[0] - half, areas[0] + half)


def logit(sample: Sample) -> Interval:
    """The same on the logit scale; none at an AUROC of 1."""
    areas, covariance = auroc_covariance(sample.scores[:1], sample.truth, sample.groups)
    area = areas[0]
    if not 0 < area < 1:
        return Interval(area)
    half = NORMAL.inv_cdf(0.975) * math.sqrt(covariance[0, 0]) / (area * (1 - area))
    middle = math.log(area / (1 - area))
    low, high = (1 / (1 + math.exp(-(middle + side * half))) for side in (-1, 1))
    return Interval(area, low, high)


def bootstrap(sample: Sample) -> Interval:
    """Percentiles of the AUROC, of which no two scores are equal, over resamples of patients."""
    scores, truth = sample.scores[0], sample.truth
    groups = np.arange(len(truth)) if sample.groups is None else sample.groups
    order = scores.argsort()
    drawn = resample_counts(np.random.default_rng(0), RESAMPLES, int(groups.max()) + 1)
    weights = drawn[:, groups[order]]
    positive, negative = weights * truth[order], weights * ~truth[order]
    with np.errstate(invalid="ignore"):
        wins = (positive * negative.cumsum(1)).sum(1)
        areas = wins / (positive.sum(1) * negative.sum(1))
    return Interval(math.nan, *np.nanquantile(areas, [0.025, 0.975]))


def difference(sample: Sample) -> Interval:
    """Of two equally good models."""
    first, second = sample.scores
    return Interval(*compare_auroc(first, second, sample.truth, sample.groups)[:3])


def hits(sample: Sample) -> NDArray[np.bool_]:
    """Which positive images are recognised."""
    return sample.scores[0, sample.truth] > sample.threshold


def wilson_alone(sample: Sample) -> Interval:
    """As if images were independent."""
    return proportion_interval(hits(sample))


def clustered(sample: Sample) -> Interval:
    """What medcnn reports of a sensitivity."""
    groups = None if sample.groups is None else sample.groups[sample.truth]
    return proportion_interval(hits(sample), groups)


METHODS: dict[tuple[str, str], Callable[[Sample], Interval]] = {
    ("auroc", "default"): default,
    ("auroc", "Wald DeLong"): wald,
    ("auroc", "logit DeLong"): logit,
    ("auroc", "bootstrap"): bootstrap,
    ("auroc difference", "default"): difference,
    ("sensitivity", "Wilson"): wilson_alone,
    ("sensitivity", "default"): clustered,
}


if __name__ == "__main__":
    main()
