"""Paired tests between runs that tested the same images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medcnn.errors import UserError
from medcnn.evaluation.comparison import compare_auroc, holm, mcnemar
from medcnn.evaluation.predictions import Predictions, read_predictions
from medcnn.evaluation.resampling import Drawn, differences, draw
from medcnn.report.runs import Run
from medcnn.report.svg import floats

RESAMPLES = 2_000
TESTED = {  # the first is the one to decide by
    "binary": ("auroc", "average_precision", "accuracy", "sensitivity", "specificity", "brier"),
    "multiclass": ("auroc", "average_precision", "accuracy", "balanced_accuracy", "f1", "brier"),
    "ordinal": ("auroc", "accuracy", "balanced_accuracy", "kappa", "mae", "brier"),
    "multilabel": ("auroc", "average_precision", "accuracy", "f1", "brier"),
    "regression": ("mae", "rmse", "r2"),
}


class Difference(NamedTuple):
    """A figure of one run less that of another, on the same images; NaN where undefined."""

    first: int  # place of the one run
    second: int  # place of the other, which is subtracted
    figure: str
    difference: float
    low: float  # of the 95 % interval
    high: float
    p: float  # two-sided, not corrected
    corrected: float = float("nan")  # p by Holm's method over all pairs of runs, for this figure


class Paired(NamedTuple):
    """Results of paired tests."""

    differences: list[Difference]  # of all pairs of runs that tested the same images
    reasons: list[str]  # sentences on pairs and runs that can't be compared so
    clustered: bool  # patients have several images, which then aren't independent


def paired_tests(runs: Sequence[Run], names: Sequence[str]) -> Paired:
    """Compare each run with each other one, image by image.

    AUROC of a binary task by the paired test of DeLong, accuracy by McNemar's where each patient
    has one image, all others by a bootstrap over patients with the same resamples for both runs.
    p-values are corrected for the number of pairs (S. Holm, "A simple sequentially rejective
    multiple test procedure", 1979), for each figure by itself.
    """
    read, notes = zip(*map(_read, runs, names), strict=True)
    tested = {place: one for place, one in enumerate(read) if one is not None}
    found: list[Difference] = []
    drawn: dict[int, Drawn] = {}  # each run once, however many pairs
    reasons = [note for note in notes if note]
    for (first, a), (second, b) in combinations(tested.items(), 2):
        if reason := _apart(a, b, (names[first], names[second])):
            reasons.append(reason)
            continue
        for place, one in ((first, a), (second, b)):
            if place not in drawn:
                same = replace(one, patients=a.patients)  # for the same resamples
                drawn[place] = draw(same, resamples=RESAMPLES)
        found += _pair(a, b, (first, second), differences(drawn[first], drawn[second]))
    several = any(one.clustered for one in tested.values())
    return Paired(_corrected(found), reasons, several)


def _read(run: Run, name: str) -> tuple[Predictions | None, str]:
    """Read predictions whose labels are known, sorted by image; or the reason for none."""
    try:
        predictions = read_predictions(
            run.path / "predictions.csv",
            split=run.split,
            task=run.task,  # type: ignore[arg-type]
            class_names=run.class_names,
            positive=run.positive,
        )
    except UserError:
        return None, f"{name} is left out: its predictions.csv is missing or can't be read."
    if not {"image", "patient"} <= set(predictions.table):
        return None, f"{name} is left out: its predictions.csv doesn't name images and patients."
    known = predictions.where(predictions.known)
    return known.where(_keys(known).argsort()), ""


def _keys(predictions: Predictions) -> pd.MultiIndex:
    """Return image and patient of each sample, and of slices of one file their order."""
    table = predictions.table[["image", "patient"]].fillna("").astype(str)
    return pd.MultiIndex.from_frame(
        table.assign(slice=table.groupby(["image", "patient"]).cumcount())
    )


def _apart(a: Predictions, b: Predictions, names: tuple[str, str]) -> str:
    """Return the reason against comparing two runs image by image; empty without one."""
    first, second = _keys(a), _keys(b)
    who = f"{names[0]} and {names[1]}"
    if not first.equals(second):
        both = len(first.intersection(second))
        return (
            f"{who} tested other images ({len(first)} and {len(second)}, {both} of them the "
            "same): look at their intervals instead."
        )
    same = (a.labels == b.labels) | (np.isnan(a.labels) & np.isnan(b.labels))
    wrong = int((~same.reshape(len(a), -1).all(1)).sum())
    return f"{who} have different labels for {wrong} of the images." if wrong else ""


def _pair(
    a: Predictions, b: Predictions, places: tuple[int, int], by_bootstrap: Mapping[str, Any]
) -> list[Difference]:
    results: dict[str, Sequence[Any]] = dict(by_bootstrap)
    if a.single is not None:
        truth = a.labels == a.single
        scores = (a.scores[:, a.single], b.scores[:, a.single])
        if 0 < truth.sum() < len(truth):
            results["auroc"] = compare_auroc(*scores, truth, a.groups)
    if a.labels.ndim == 1 and not a.clustered:
        results["accuracy"] = mcnemar(a.decisions == a.labels, b.decisions == b.labels)
    return [
        Difference(*places, name, *floats(results[name][:4]).tolist())
        for name in TESTED[a.task]
        if name in results
    ]


def _corrected(found: Sequence[Difference]) -> list[Difference]:
    """Return differences with p-values corrected over the pairs, figure by figure."""
    corrected = np.empty(len(found))
    figures = np.array([one.figure for one in found])
    for name in set(figures):
        corrected[figures == name] = holm(np.array([d.p for d in found if d.figure == name]))
    return [one._replace(corrected=float(p)) for one, p in zip(found, corrected, strict=True)]
