"""Every figure of `medcnn.evaluation.evaluate`, by scikit-learn: a reference for tests."""

import numpy as np
from sklearn import metrics as sk


def figures_by_scikit_learn(
    p: np.ndarray, y: np.ndarray, d: np.ndarray, task: str, positive: int | None = None
) -> dict[str, float]:
    """Return figures of probabilities, labels and decisions; classes are called a, b, c …"""
    if task == "regression":
        return by_targets(p, y)
    if task == "multilabel":
        return by_labels(p, y, d)
    figures = by_classes(p, y, d, task)
    if task == "binary":
        del figures["micro_auroc"]
    if positive is not None:
        truth, chosen = y == positive, d == positive
        ap = sk.average_precision_score(truth, p[:, positive])
        figures |= {"average_precision": ap, "f1": sk.f1_score(truth, chosen)}
        for key in ("auroc", "sensitivity", "specificity"):
            figures[key] = figures[f"{key}/{'ab'[positive]}"]
    return figures


def by_labels(p: np.ndarray, y: np.ndarray, d: np.ndarray) -> dict[str, float]:
    """Figures of several labels (N, K), by scikit-learn; classes as their columns."""
    sums: dict[str, list[float]] = {}
    for k in range(p.shape[1]):
        there = y[:, k] >= 0
        truth, chosen, score = y[there, k], d[there, k], p[there, k]
        one = {
            "auroc": sk.roc_auc_score(truth, score),
            "average_precision": sk.average_precision_score(truth, score),
            "f1": sk.f1_score(truth, chosen),
            "sensitivity": sk.recall_score(truth, chosen),
            "specificity": sk.recall_score(1 - truth, 1 - chosen),
            "accuracy": sk.accuracy_score(truth, chosen),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, chosen),
            "mcc": sk.matthews_corrcoef(truth, chosen),
            "log_loss": sk.log_loss(truth, score),
            "brier": sk.brier_score_loss(truth, score),
        }
        for key, value in one.items():
            sums.setdefault(key, []).append(value)
    figures = {key: float(np.mean(values)) for key, values in sums.items()}
    for key in ("auroc", "sensitivity", "specificity"):
        figures |= {f"{key}/{name}": v for name, v in zip("abcd", sums[key], strict=False)}
    return figures | {"micro_auroc": sk.roc_auc_score(y[y >= 0], p[y >= 0])}


def by_classes(p: np.ndarray, y: np.ndarray, d: np.ndarray, task: str) -> dict[str, float]:
    every = np.arange(p.shape[1])
    figures = by_labels(p, (y[:, None] == every).astype(int), (d[:, None] == every).astype(int))
    figures |= {
        "accuracy": sk.accuracy_score(y, d),
        "balanced_accuracy": sk.balanced_accuracy_score(y, d),
        "mcc": sk.matthews_corrcoef(y, d),
        "kappa": sk.cohen_kappa_score(y, d),
        "log_loss": -np.log(p[np.arange(len(y)), y]).mean(),
        "brier": np.square(p - np.eye(len(every))[y]).sum(1).mean() / (2 if len(every) == 2 else 1),
    }
    if task == "ordinal":
        figures["kappa"] = sk.cohen_kappa_score(y, d, weights="quadratic")
        figures["mae"] = sk.mean_absolute_error(y, d)
    return figures


def by_targets(p: np.ndarray, y: np.ndarray) -> dict[str, float]:
    figures: dict[str, float] = {}
    values: dict[str, list[float]] = {}
    for k in range(p.shape[1]):
        there = ~np.isnan(y[:, k])
        truth, predicted = y[there, k], p[there, k]
        e = predicted - truth
        one = {
            "mae": sk.mean_absolute_error(truth, predicted),
            "rmse": sk.root_mean_squared_error(truth, predicted),
            "r2": sk.r2_score(truth, predicted),
            "bias": e.mean(),
            "limit_low": e.mean() - 1.96 * e.std(ddof=1),
            "limit_high": e.mean() + 1.96 * e.std(ddof=1),
        }
        for key, value in one.items():
            values.setdefault(key, []).append(value)
            figures |= {f"{key}/{'abc'[k]}": value} if p.shape[1] > 1 else {}
    means = {key: float(np.mean(v)) for key, v in values.items()}
    if p.shape[1] > 1:
        means = {key: means[key] for key in ("mae", "rmse", "r2")}
    return figures | means
