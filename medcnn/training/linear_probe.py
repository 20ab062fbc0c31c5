"""Linear probes: how well the features of each stage of a net fit data.

G. Alain, Y. Bengio, "Understanding intermediate layers using linear classifier probes", 2016; here
ridge regression, cross-validated without a patient in two folds.
"""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from medcnn.classifier.classifier import Classifier
from medcnn.data.batches import unit_images
from medcnn.data.samples import Samples
from medcnn.nets import Net
from medcnn.nets.aggregators import pooling
from medcnn.nets.base import stages_of
from medcnn.objective import known

FOLDS = 5
FITS = {"AUROC": 0.75, "R²": 0.2}  # of a probe; features below are not worth keeping
ALPHAS = np.logspace(-1, 5, 7)
Array = NDArray[Any]
Way = Literal["head", "partial", "finetune"]


def best_stage(classifier: Classifier, samples: Samples) -> tuple[Way, str, str]:
    """Return the way for few images, the stage whose features fit them best, and why."""
    net = classifier.net
    assert isinstance(net, Net)
    *_, last = stages_of(net)
    if not net.spatial:
        return "head", last, "the net has no feature maps to compare"
    rows = samples.rows("train")
    labels = samples.labels[rows]
    rows = rows[known(labels) if labels.ndim == 1 else known(labels).any(1)]
    truth = targets(samples, rows)
    patients = samples.table["patient"].astype(str).to_numpy()[rows.numpy()]
    if len(np.unique(patients)) < FOLDS or score(truth, truth, samples.task) is None:
        return "head", last, "they are too few to measure how well the features fit"
    means = stage_means(classifier, samples, rows)
    figures = {
        name: score(truth, probe(features, truth, patients), samples.task) or 0.0
        for name, features in means.items()
    }
    best = max(reversed(figures), key=lambda name: figures[name])
    what = "R²" if samples.task == "regression" else "AUROC"
    shown = f"{figures[best]:.3f} of {best}" + (f", {figures[last]:.3f} of {last}" * (best != last))
    how = f"(cross-validated {what} of a linear probe {shown})"
    if best == next(iter(figures)) != last:
        return "finetune", best, f"no stage's features fit them better than the first's {how}"
    if figures[best] < FITS[what]:
        return "finetune", best, f"no stage's features fit them: below {FITS[what]} {how}"
    if best == last:
        return "head", last, f"the features of the last stage fit them best {how}"
    return "partial", best, f"the features of {best} fit them better than those of the last {how}"


@torch.inference_mode()
def stage_means(classifier: Classifier, samples: Samples, rows: Tensor) -> dict[str, Array]:
    """Return the mean over the image (n, K) of each stage's output for some rows."""
    net = classifier.net
    assert isinstance(net, Net)
    found: dict[str, list[Array]] = {name: [] for name in stages_of(net)}
    with classifier.autocast():
        for part in rows.split(classifier.card["config"]["batch_size"]):
            images = unit_images(samples, part)
            x = classifier.normalise(images.to(classifier.device))
            for name, stage in stages_of(net).items():
                x = stage(x)
                found[name].append(_of_rows(samples, part, x.float().flatten(2).mean(2).cpu()))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _of_rows(samples: Samples, rows: Tensor, means: Tensor) -> Array:
    """Return the means (B, K) of rows (B,): those of their images (n, K), or of a study's."""
    if samples.studies is None:
        return means.numpy()
    return pooling.Mean(means.shape[1])(means, samples.studies.instances(rows)[1], {}).numpy()


def targets(samples: Samples, rows: Tensor) -> Array:
    """Return the targets of a linear probe (n, outputs); NaN where a label is unknown."""
    labels = samples.labels[rows]
    if samples.task in ("multilabel", "regression"):
        columns = labels.reshape(len(labels), -1)
        return torch.where(known(columns), columns.double(), torch.nan).numpy()
    return np.eye(len(samples.class_names))[labels.numpy()]


def probe(means: Array, truth: Array, patients: Array) -> Array:
    """Return cross-validated predictions (n, outputs) by ridge regression; patients in one fold."""
    filled = np.where(np.isnan(truth), np.nanmean(truth, 0), truth)
    model = make_pipeline(StandardScaler(), RidgeCV(ALPHAS))
    folds = GroupKFold(FOLDS)
    given = cross_val_predict(model, means, filled, groups=patients, cv=folds)
    return np.asarray(given).reshape(truth.shape)


def score(truth: Array, given: Array, task: str) -> float | None:
    """Return the mean AUROC over the outputs, or R² in regression; None where none is defined."""
    values = []
    for want, got in zip(truth.T, given.T, strict=True):
        there = ~np.isnan(want)
        if len(np.unique(want[there])) > 1:
            measure = r2_score if task == "regression" else roc_auc_score
            values.append(measure(want[there], np.nan_to_num(got[there])))
    return float(np.mean(values)) if values else None
