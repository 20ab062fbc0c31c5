"""What each part of the craft of training changes, on real images: a row a training.

python scripts/training_experiment.py --data DIR [--output docs/training.csv] [--only NAME …]

DIR holds medmnist/{breastmnist,pneumoniamnist}.npz and nih_chestxray_1000/. The data sets:

rare    PneumoniaMNIST with one image of pneumonia for 50 without in its training split; validation
        and test split are as they are
breast  BreastMNIST
chest   1,000 chest X-rays at 28 px with several findings (--only chest: not among the others)

A variant is a line of overrides on the same plain training. The figures are of the test split:
AUROC, sensitivity at 95 % specificity, expected calibration error (10 bins) and mean probability
where classes are as frequent as in the training split, each with a 95 % interval by the bootstrap
over images; of several findings the means over them. Rows are added as they come, and those that
are there are not computed again.
"""

import argparse
import contextlib
import io
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import hydra
import numpy as np
import pandas as pd
from hydra.core.hydra_config import HydraConfig
from scipy import stats

from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.settings.read import read

Values = np.ndarray[Any, Any]
RATIO = 50  # images without a finding for one with it, in the training split of the set rare
BINS, RESAMPLES = 10, 500
PLAIN = [
    "model=resnet", "model.width=0.25", "logger=none", "cam.n=0", "near_duplicates=false",
    "trainer.accelerator=cpu", "trainer.threads=1", "evaluation.resamples=50", "overwrite=true",
]  # fmt: skip
IMBALANCE = {
    "class weights": ["objective.class_weights=balanced"],
    "effective class weights": ["objective.class_weights=effective"],
    "sampler": ["sampler=balanced"],
    "sampler uncorrected": ["sampler=balanced", "sampler.correct_prior=false"],
    "focal": ["loss=focal"],
    "asymmetric": ["loss=asymmetric"],
    "logit-adjusted": ["loss=logit_adjusted"],
    "AUC margin": ["loss=auc_margin"],
    "AUC margin and sampler": ["loss=auc_margin", "sampler=balanced"],
    "hinge": ["loss=hinge"],
}
CRAFT = {
    "focal": ["loss=focal"],
    "label smoothing": ["loss=cross_entropy", "loss.label_smoothing=0.1"],
    "generalised cross-entropy": ["loss=generalised_cross_entropy"],
    "squared hinge": ["loss=squared_hinge"],
    "mixup": ["regularise=mixup"],
    "cutmix": ["regularise=cutmix"],
    "L1": ["regularise.l1=1e-5"],
    "L2": ["regularise.l2=1e-3"],
    "dropout": ["model.dropout=0.3"],
    "stochastic depth": ["model.stochastic_depth=0.2"],
    "max norm": ["regularise.max_norm=3"],
    "erasing": ["augment.erase=0.5"],
    "EMA": ["average=ema"],
    "SWA": ["average=swa"],
    "soup": ["average=soup"],
    "snapshots": ["average=snapshots"],
    "lion": ["optimizer=lion"],
    "schedule-free": ["optimizer=schedule_free", "scheduler=none"],
    "SAM": ["optimizer=sam"],
    "cosine restarts": ["scheduler=cosine_restarts"],
    "polynomial": ["scheduler=polynomial"],
}
FINDINGS = {
    "sampler": ["sampler=balanced"],
    "asymmetric": ["loss=asymmetric"],
    "logit-adjusted": ["loss=logit_adjusted"],
    "AUC margin": ["loss=auc_margin"],
    "effective class weights": ["objective.class_weights=effective"],
} | {
    name: CRAFT[name]
    for name in (
        "focal",
        "mixup",
        "cutmix",
        "L1",
        "max norm",
        "erasing",
        "EMA",
        "SWA",
        "soup",
        "SAM",
    )
}


class Case(NamedTuple):
    """A data set: passes over it, seeds, and variants beside the plain training."""

    epochs: int
    seeds: int
    variants: dict[str, list[str]]
    prepare: Callable[[Path, Path], list[str]]


def rare(data: Path, folder: Path) -> list[str]:
    """Return overrides of PneumoniaMNIST with few images of pneumonia to train on."""
    arrays = dict(np.load(data / "medmnist" / "pneumoniamnist.npz"))
    rows = thinned(arrays["train_labels"].ravel(), RATIO, seed=0)
    arrays |= {f"train_{key}": arrays[f"train_{key}"][rows] for key in ("images", "labels")}
    np.savez(folder / "pneumoniamnist.npz", **arrays)
    return ["dataset=pneumoniamnist", f"dataset.root='{folder}'"]


def thinned(labels: Values, ratio: int, seed: int) -> Values:
    """Return the rows of all images of class 0, and of one of class 1 for so many of them."""
    many, few = (np.flatnonzero(labels == k) for k in (0, 1))
    kept = np.random.default_rng(seed).choice(few, len(many) // ratio, replace=False)
    return np.sort(np.concatenate([many, kept]))


def breast(data: Path, folder: Path) -> list[str]:
    """Return overrides of BreastMNIST."""
    return ["dataset=breastmnist", f"dataset.root='{data / 'medmnist'}'"]


def chest(data: Path, folder: Path) -> list[str]:
    """Return overrides of chest X-rays with several findings."""
    source = data / "nih_chestxray_1000"
    columns = {"image": "file", "label": "finding_labels", "patient": "patient_id", "split": "null"}
    return [
        "dataset=csv", f"dataset.path='{source / 'labels.csv'}'", "dataset.size=28",
        f"dataset.root='{source / 'images'}'", f"cache.folder='{folder / 'cache'}'",
        *(f"dataset.columns.{key}={value}" for key, value in columns.items()),
        "dataset.separator='|'", "dataset.no_finding='No Finding'", "on_error=skip",
    ]  # fmt: skip


CASES = {
    "rare": Case(15, 3, IMBALANCE, rare),
    "breast": Case(20, 3, CRAFT, breast),
    "chest": Case(15, 2, FINDINGS, chest),
}
BY_DEFAULT = ("rare", "breast")


class Job(NamedTuple):
    """A training to do."""

    case: str
    variant: str
    seed: int
    overrides: list[str]


def main() -> None:
    """Train whatever the table lacks, and print the means over seeds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the real images")
    parser.add_argument("--output", type=Path, default=Path("docs/training.csv"))
    parser.add_argument("--only", nargs="+", default=[], help="names of data sets and of variants")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    options = parser.parse_args()
    names = {*CASES, "plain", *(name for case in CASES.values() for name in case.variants)}
    if unknown := sorted(set(options.only) - names):
        parser.error(f"--only {' '.join(unknown)}: choose from {', '.join(sorted(names))}")
    table = pd.read_csv(options.output) if options.output.exists() else pd.DataFrame()
    with tempfile.TemporaryDirectory() as folder:
        jobs = list(to_do(options.data.resolve(), Path(folder), options.only, table))
        for row in rows(jobs, Path(folder), options.jobs):
            table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
            table.to_csv(options.output, index=False, float_format="%.4f")
    if len(table):
        print(summary(table).to_string(index=False))


def to_do(data: Path, folder: Path, only: list[str], table: pd.DataFrame) -> Iterator[Job]:
    """Yield the trainings that are asked for, can be done and aren't in the table, by seed."""
    columns = ["case", "variant", "seed"]
    done = set(table[columns].itertuples(index=False, name=None)) if len(table) else set()
    for name in [one for one in CASES if one in only] or BY_DEFAULT:
        case, wanted = CASES[name], set(only) - CASES.keys()
        every = {"plain": [], **case.variants}
        variants = {k: v for k, v in every.items() if not wanted or k in wanted}
        jobs = [
            Job(name, variant, seed, overrides)
            for seed in range(case.seeds)
            for variant, overrides in variants.items()
            if (name, variant, seed) not in done
        ]
        if jobs:
            place = folder / name
            place.mkdir()
            shared = [*PLAIN, *case.prepare(data, place), f"trainer.max_epochs={case.epochs}"]
            yield from (job._replace(overrides=[*shared, *job.overrides]) for job in jobs)


def compose(*overrides: str) -> Any:
    """Return the settings of a training."""
    HydraConfig.instance().cfg = None
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return read(hydra.compose("train", list(overrides)), "train")


def rows(jobs: list[Job], folder: Path, at_a_time: int) -> Iterator[dict[str, Any]]:
    """Yield the row of each training as it comes, and print how long the others will take."""
    start, spawned = time.monotonic(), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_a_time, spawned) as pool:
        doing = {pool.submit(row_of, job, folder / f"run{n}"): job for n, job in enumerate(jobs)}
        left = set(doing)
        while left:
            ended, left = wait(left, return_when=FIRST_COMPLETED)
            for one in ended:
                job, error = doing[one], one.exception()
                if error is not None:
                    print(f"{job.case}, {job.variant}, seed {job.seed} failed: {error}", flush=True)
                    continue
                yield (row := one.result())
                print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            each = (time.monotonic() - start) / (len(jobs) - len(left))
            print(f"{len(left)} trainings left, {each * len(left) / 60:.0f} min", flush=True)


def row_of(job: Job, run: Path) -> dict[str, Any]:
    """Train, test, and return the row of the table."""
    from medcnn.train import train

    start = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        train(compose(*job.overrides, f"seed={job.seed}", f"paths.run='{run}'"), [])
    seconds = time.monotonic() - start
    samples, tested = pd.read_csv(run / "samples.csv"), run / "ensemble"  # which snapshots are
    predicted = pd.read_csv((tested if tested.exists() else run) / "predictions.csv")
    truth, scores = sought(predicted[predicted["split"] == "test"])
    trained = samples["split"] == "train"
    shares = trained_shares(samples[trained], truth.columns)
    found = with_intervals(truth.to_numpy(), scores.to_numpy(), shares)
    named = {"case": job.case, "variant": job.variant, "seed": job.seed}
    sizes = {"train": int(trained.sum()), "test": len(truth)}
    return named | sizes | found | {"prevalence": float(shares.mean()), "seconds": round(seconds)}


def sought(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return truth and probability (n, L) of the rarer of two classes, or of each of L findings."""
    columns = [name for name in table if name.startswith("label:")] or ["label"]
    if len(columns) > 1:
        names = [name.partition(":")[2] for name in columns]
        truth = table[columns].set_axis(names, axis=1) == 1
    else:
        names = ["malignant"] if "prob:malignant" in table else ["pneumonia"]
        truth = pd.DataFrame({names[0]: table["label"] == names[0]})
    return truth, table[[f"prob:{name}" for name in names]].set_axis(names, axis=1)


def trained_shares(samples: pd.DataFrame, names: pd.Index) -> Values:
    """Return the share (L,) of training images with each finding."""
    if len(names) > 1:
        return (samples[[f"label:{name}" for name in names]] == 1).mean().to_numpy()
    positive = {"malignant": 0, "pneumonia": 1}[names[0]]  # their numbers in MedMNIST
    return np.array([(samples["label"] == positive).mean()])


def with_intervals(truth: Values, scores: Values, shares: Values) -> dict[str, float]:
    """Return figures with their 95 % intervals, by the bootstrap over images.

    Args:
        truth: (n, L) bool.
        scores: (n, L), probabilities.
        shares: (L,), of images with each finding where the calibration is asked for.
    """
    generator, rows = np.random.default_rng(0), np.arange(len(truth))
    drawn = [rows, *(generator.choice(rows, len(rows)) for _ in range(RESAMPLES))]
    every = [mean_figures(truth[some], scores[some], shares) for some in drawn]
    found: dict[str, float] = {}
    for name, value in every[0].items():
        low, high = np.nanpercentile([one[name] for one in every[1:]], [2.5, 97.5])
        found |= {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}
    return found


def mean_figures(truth: Values, scores: Values, shares: Values) -> dict[str, float]:
    """Return the means of `figures` over the findings that some images have and others lack."""
    columns = [k for k in range(truth.shape[1]) if 0 < truth[:, k].sum() < len(truth)]
    each = [figures(truth[:, k], scores[:, k], float(shares[k])) for k in columns]
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}


def figures(truth: Values, scores: Values, share: float) -> dict[str, float]:
    """Return AUROC, sensitivity at 95 % specificity, calibration error and mean probability.

    Args:
        truth: (n,) bool, of both kinds.
        scores: (n,), probabilities.
        share: Of positive images where the last two are asked for.
    """
    positives, negatives = scores[truth], scores[~truth]
    ranks = stats.rankdata(scores)[truth].sum() - len(positives) * (len(positives) + 1) / 2
    least = np.quantile(negatives, 0.95, method="inverted_cdf")  # 5 % at most are above it
    weights = np.where(truth, share / len(positives), (1 - share) / len(negatives))
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights * (scores - truth), BINS)
    return {
        "auroc": float(ranks / len(positives) / len(negatives)),
        "sensitivity_at_95": float((positives > least).mean()),
        "calibration_error": float(np.abs(gaps).sum()),
        "mean_probability": float((weights * scores).sum()),
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return the means over seeds, with their lowest and highest value."""
    names = ["auroc", "sensitivity_at_95", "calibration_error", "mean_probability", "prevalence"]
    found = []
    for (case, variant), part in table.groupby(["case", "variant"], sort=False):
        row = {"case": case, "variant": variant, "seeds": len(part)}
        for name in names:
            mean, low, high = (getattr(part[name], how)() for how in ("mean", "min", "max"))
            row[name] = f"{mean:.3f} ({low:.3f} … {high:.3f})"
        found.append(row | {"prevalence": f"{part['prevalence'].mean():.3f}"})
    return pd.DataFrame(found)


if __name__ == "__main__":
    main()
