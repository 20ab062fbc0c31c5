"""A quick probe of whether images tell something: ridge regression on a few numbers of each."""

from collections.abc import Callable
from math import atanh, sqrt
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.samples import Samples
from medcnn.objective import known

Floats = NDArray[np.float64]
SIDE = {2: 16, 3: 6}  # cells an edge that an image is averaged to, by its dimensions
FOLDS = 5
RIDGE = 1.0  # the penalty, where a feature of unit variance has 1 / number of features
PROBED = 512  # images, and the values that they may hold together: 64 volumes of 128³
VALUES = 2**27
AT_A_TIME = 2**21  # values
FEWEST = 40  # patients below which chance alone gives high correlations


def pooled(images: Tensor) -> Floats:
    """Return numbers (n, d) of images (n, C, *spatial): means of cells, spread and extremes."""
    dims, flat = images.ndim - 2, images.flatten(1).double()
    average: Any = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}[dims]
    cells = average(images, [min(side, SIDE[dims]) for side in images.shape[2:]])
    whole = torch.stack([flat.mean(1), flat.std(1), flat.amin(1), flat.amax(1)], 1)
    found: Floats = torch.cat([cells.flatten(1).double(), whole], 1).cpu().numpy()
    return found


def pooled_rows(rows: Tensor, images: Callable[[Tensor], Tensor], size: int) -> Floats:
    """Return `pooled` of the images that a function gives for rows, some of them at a time.

    Args:
        rows: (n,).
        images: From rows (m,) to images (m, C, *spatial).
        size: Values of an image.
    """
    return np.concatenate([pooled(images(part)) for part in rows.split(max(1, AT_A_TIME // size))])


def truth_of(samples: Samples, rows: Tensor) -> Floats:
    """Return what a probe is to tell (n, targets): classes as 0 and 1; NaN where it is unknown."""
    labels = samples.labels[rows]
    if labels.ndim == 1:
        classes = np.eye(len(samples.class_names))[labels.numpy()]
        return np.where(known(labels).numpy()[:, None], classes, np.nan)
    columns = labels.reshape(len(labels), -1)
    found: Floats = torch.where(known(columns), columns.double(), torch.nan).numpy()
    return found


def told(features: Floats, truth: Floats, groups: NDArray[Any]) -> tuple[float, float]:
    """Return the highest correlation of the probe's answers with the truth, and its z.

    The answers are cross-validated, without a group in two folds. z is Fisher's, atanh(r)·√(n - 3)
    with n the number of groups (R. Fisher, "On the 'probable error' of a coefficient of
    correlation", 1921): without a relation it is about standard normal, of the highest of a few
    targets below 3 but for one case in some hundred.

    Args:
        features: (n, d).
        truth: (n, targets), NaN where unknown.
        groups: (n,) whole numbers, such as patients.

    Returns:
        (0, 0) where nothing can be told, as in a single class.
    """
    best = (0.0, 0.0)
    for target in truth.T:
        there = ~np.isnan(target)
        answers = _answers(features[there], target[there], groups[there])
        found = correlation(answers, target[there], len(np.unique(groups[there])))
        best = max(best, found, key=lambda one: one[1])
    return best


def correlation(answers: Floats, truth: Floats, independent: int) -> tuple[float, float]:
    """Return the correlation of answers (n,) with the truth, and its z of so many groups."""
    if len(truth) < 4 or truth.std() < 1e-12 or answers.std() < 1e-12:
        return 0.0, 0.0
    r = float(np.corrcoef(answers, truth)[0, 1])
    return r, atanh(min(max(r, -0.9999), 0.9999)) * sqrt(max(1, independent - 3))


def _answers(features: Floats, truth: Floats, groups: NDArray[Any]) -> Floats:
    fold = np.unique(groups, return_inverse=True)[1] % FOLDS
    answers = np.zeros(len(truth))
    for k in np.unique(fold):
        fit, test = fold != k, fold == k
        if fit.any():
            answers[test] = answered(features[fit], truth[fit], features[test])
    return answers


def answered(features: Floats, truth: Floats, asked: Floats) -> Floats:
    """Return answers (m,) for features (m, d), by ridge regression on others with the truth.

    In its dual form, (K + λ)⁻¹ y with K the products of the samples: there are few of them.
    """
    mean, std = features.mean(0), features.std(0)
    std = np.where(std > 1e-9, std, np.inf)  # what never changes tells nothing
    scale = 1 / np.sqrt(max(1, np.isfinite(std).sum()))
    known_x, asked_x = (scale * (x - mean) / std for x in (features, asked))
    weights = np.linalg.solve(
        known_x @ known_x.T + RIDGE * np.eye(len(truth)), truth - truth.mean()
    )
    found: Floats = asked_x @ (known_x.T @ weights) + truth.mean()
    return found
