"""Weights of any size, by scikit-learn's ``sample_weight``."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from medcnn.evaluation.figure_function import figure_function

SAMPLES = 80


def weighted() -> np.ndarray:
    """Three sets (R, N), in which some samples weigh nothing."""
    weights = np.random.default_rng(9).exponential(size=(3, SAMPLES))
    weights[:, ::7] = 0
    return weights


def found(probs: Any, labels: Any, decisions: Any, **options: Any) -> dict[str, np.ndarray]:
    """Each sample is a group."""
    names = "abcd"[: probs.shape[1]]
    measure = figure_function(
        probs, labels, decisions, np.arange(SAMPLES), class_names=names, **options
    )
    return measure(np.ascontiguousarray(weighted().T))


@pytest.mark.parametrize("task", ["binary", "multiclass", "ordinal"])
def test_classes(task: Any) -> None:
    classes = 2 if task == "binary" else 4
    generator = np.random.default_rng(classes)
    labels = np.arange(SAMPLES) % classes
    probs = generator.dirichlet(np.ones(classes), SAMPLES)
    d, every = generator.permutation(labels), range(classes)
    values = found(probs, labels, d, task=task, positive=1 if classes == 2 else None)
    for r, weight in enumerate(weighted()):
        w: Any = {"sample_weight": weight}
        one = [(labels == k, d == k) for k in every]
        sensitivity = sk.recall_score(labels, d, average=None, **w)
        specificity = np.array([sk.recall_score(~y, ~chosen, **w) for y, chosen in one])
        areas = [sk.roc_auc_score(labels == k, probs[:, k], **w) for k in every]
        f1 = sk.f1_score(labels, d, average=None, **w)
        ap = [sk.average_precision_score(labels == k, probs[:, k], **w) for k in every]
        expected = {
            "accuracy": sk.accuracy_score(labels, d, **w),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, d, **w),
            "mcc": sk.matthews_corrcoef(labels, d, **w),
            "log_loss": sk.log_loss(labels, probs, **w),
            "brier": np.average(np.square(probs - np.eye(classes)[labels]).sum(1), weights=weight)
            / (2 if classes == 2 else 1),
            "kappa": sk.cohen_kappa_score(
                labels, d, weights="quadratic" if task == "ordinal" else None, **w
            ),
        }
        means = {"auroc": areas, "average_precision": ap, "f1": f1}
        means |= {"sensitivity": sensitivity, "specificity": specificity}
        expected |= {k: v[1] if classes == 2 else np.mean(v) for k, v in means.items()}
        for key in ("auroc", "sensitivity", "specificity"):
            expected |= {f"{key}/{'abcd'[k]}": means[key][k] for k in every}
        if task == "ordinal":
            expected["mae"] = sk.mean_absolute_error(labels, d, **w)
        if task != "binary":
            truth = np.eye(classes)[labels].ravel()
            expected["micro_auroc"] = sk.roc_auc_score(
                truth, probs.ravel(), sample_weight=np.repeat(weight, classes)
            )
        assert {key: value[r] for key, value in values.items()} == pytest.approx(expected, abs=1e-9)


def test_several_labels_and_targets() -> None:
    generator = np.random.default_rng(0)
    labels, probs = generator.integers(-1, 2, (SAMPLES, 2)), generator.random((SAMPLES, 2))
    d = generator.integers(0, 2, labels.shape)
    values = found(probs, labels, d, task="multilabel", positive=None)
    truth = generator.normal(size=(SAMPLES, 2))
    numbers = found(probs, truth, probs, task="regression", positive=None)
    for r, weight in enumerate(weighted()):
        parts = [(labels[y, k], d[y, k], weight[y]) for k, y in enumerate((labels >= 0).T)]
        for key, score in {
            "accuracy": sk.accuracy_score,
            "balanced_accuracy": sk.balanced_accuracy_score,
            "f1": sk.f1_score,
            "mcc": sk.matthews_corrcoef,
        }.items():
            expected = np.mean([score(y, c, sample_weight=w) for y, c, w in parts])
            assert values[key][r] == pytest.approx(expected), key
        for key, score in {
            "mae": sk.mean_absolute_error,
            "rmse": sk.root_mean_squared_error,
            "r2": sk.r2_score,
        }.items():
            assert numbers[key][r] == pytest.approx(score(truth, probs, sample_weight=weight))
