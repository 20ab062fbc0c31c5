"""Labels: whether they belong to the images, how classes weigh, whether the pipeline tells them."""

from math import sqrt, tanh

import numpy as np
import torch
from torch import Tensor

from medcnn.data.batches import Augmentation, images_at
from medcnn.objective import known
from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.parts import Parts
from medcnn.training.diagnosis.probe import (
    FEWEST,
    PROBED,
    VALUES,
    Floats,
    answered,
    correlation,
    pooled_rows,
    told,
    truth_of,
)

TELLS = 3.0  # z; shuffled labels of three classes reach it once in 250 times
SMALL = 0.3  # correlation; where it may be higher, the patients are too few to tell
GIVEN_AWAY = 4.0  # z; by chance once in ten thousand
WORSE = 2.0  # times as uneven as without weights


def labels(parts: Parts) -> Finding:
    """Check that the images tell something of their labels.

    Shuffled labels, or labels that are a row off, are the ones about which nothing can be told. The
    probe is a weak one: of hard tasks it may see nothing, either. It fails where the correlation of
    its answers with the truth is not seen, and surely small.
    """
    samples = parts.samples
    rows = parts.rows("train", parts.count(PROBED, VALUES))
    truth, patients = truth_of(samples, rows), parts.patients(rows)
    if all(len(np.unique(column[~np.isnan(column)])) < 2 for column in truth.T):
        return Finding(
            "labels",
            False,
            "all training images have the same label",
            "look at the label column, and at how the splits are made: python -m medcnn.data",
        )
    if parts.cfg.shuffle_labels:
        return Finding("labels", None, "shuffle_labels=true: they are shuffled on purpose")
    if len(set(patients)) < FEWEST:
        return Finding("labels", None, f"fewer than {FEWEST} patients are too few to tell")
    r, z = told(_features(parts, rows), truth, patients)
    figures = {"r": r, "z": z, "images": len(rows), "patients": len(set(patients))}
    at_most = tanh((z + 2) / sqrt(len(set(patients)) - 3))  # its 95 % limit
    if z < TELLS and at_most >= SMALL:
        line = f"a linear probe tells little of labels from images (r = {r:.2f}), but those of "
        return Finding("labels", None, f"{line}few patients", figures=figures)
    if z < TELLS:
        return Finding(
            "labels",
            False,
            f"a linear probe can't tell the labels of {len(rows)} images from them (r = {r:.2f})",
            "labels may be shuffled or a row off: compare some with their images "
            "(python -m medcnn.data); or the task is a hard one",
            figures,
        )
    return Finding(
        "labels", True, f"a linear probe tells labels from images (r = {r:.2f})", figures=figures
    )


def class_weights(parts: Parts) -> Finding:
    """Check that weights of classes don't make their shares of the loss more uneven."""
    objective, samples = parts.objective, parts.samples
    weights = objective.class_weights.cpu()
    if objective.task == "regression" or bool((weights == weights[0]).all()):
        return Finding("class weights", None, "the classes have no weights")
    truth = samples.labels[samples.rows("train")]
    before, after = _uneven(truth, torch.ones_like(weights)), _uneven(truth, weights)
    line = f"the classes' shares of the loss differ {after:.3g}-fold, unweighted {before:.3g}-fold"
    figures = {"weights": weights.tolist(), "before": before, "after": after}
    if after > WORSE * before:
        cause = (
            "weights are one a class, in the order of the class names, and higher for rarer ones"
        )
        return Finding("class weights", False, line, f"{cause}; class_weights=balanced", figures)
    return Finding("class weights", True, line, figures=figures)


def _uneven(truth: Tensor, weights: Tensor) -> float:
    """Return the ratio of the largest to the smallest share of the loss, of classes or a label."""
    if truth.ndim > 1:  # of each label, what is positive and what is negative
        there = ((truth == 1).sum(0) * weights, (truth == 0).sum(0))
        ratios = there[0].clamp(min=1) / there[1].clamp(min=1)
        return float(torch.maximum(ratios, 1 / ratios).max())
    counts = torch.bincount(truth[known(truth)], minlength=len(weights))
    shares = (counts * weights)[counts > 0]
    return float(shares.max() / shares.min())


def shuffled(parts: Parts) -> Finding:
    """Check that validation is at chance once the labels of all images have changed places.

    Then no image can tell its label. Images are taken as training and validation get them: if a
    probe of the first still finds the labels of the second, the pipeline gives them away.
    """
    samples = parts.samples
    most = parts.count(PROBED, VALUES)
    rows = {split: parts.rows(split, most) for split in ("train", "val")}
    if min(map(len, rows.values())) < FEWEST // 2:
        return Finding("shuffled labels", None, "the images are too few to tell")
    before = samples.table[samples.label_columns].copy()
    mixed = np.random.default_rng(parts.cfg.seed).permutation(len(samples))
    try:
        samples.table[samples.label_columns] = before.to_numpy()[mixed]
        z, r = max(_found(parts, rows["train"], rows["val"]), default=(0.0, 0.0))
    finally:
        samples.table[samples.label_columns] = before
    figures = {"r": r, "z": z}
    if z > GIVEN_AWAY:
        return Finding(
            "shuffled labels",
            False,
            f"with shuffled labels validation is above chance (r = {r:.2f})",
            "something but the images tells the labels: the data set or the augmentation uses them",
            figures,
        )
    return Finding(
        "shuffled labels",
        True,
        f"with shuffled labels validation is at chance (r = {r:.2f})",
        figures=figures,
    )


def _features(parts: Parts, rows: Tensor, augment: Augmentation | None = None) -> Floats:
    def images(some: Tensor) -> Tensor:
        found = images_at(parts.samples, some)
        return found if augment is None else augment(found, some, 0)

    return pooled_rows(rows, images, parts.size)


def _found(parts: Parts, fit: Tensor, test: Tensor) -> list[tuple[float, float]]:
    """Return z and correlation of a probe of training images with each target in validation."""
    seen, asked = _features(parts, fit, parts.data.augment), _features(parts, test)
    targets: list[tuple[Floats, Floats]] = list(
        zip(truth_of(parts.samples, fit).T, truth_of(parts.samples, test).T, strict=True)
    )
    found = []
    for given, wanted in targets:
        there, here = ~np.isnan(given), ~np.isnan(wanted)
        if min(there.sum(), here.sum()) >= FEWEST // 2:
            answers = answered(seen[there], given[there], asked[here])
            r, z = correlation(answers, wanted[here], int(here.sum()))
            found.append((z, r))
    return found
