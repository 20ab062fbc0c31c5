import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from medcnn.evaluation.pooled import auroc_within_folds
from medcnn.evaluation.predictions import Predictions


def test_folds_of_other_scales_are_ranked_each_for_itself() -> None:
    rng = np.random.default_rng(0)
    fold = np.repeat([0, 1, 2], 40)
    truth = np.tile([0, 1], 60)
    odds = 2 * truth + rng.normal(size=120) + np.array([-4, 0, 4])[fold]
    prob = 1 / (1 + np.exp(-odds))
    table = pd.DataFrame({"fold": fold, "prob:a": 1 - prob, "prob:b": prob})
    table["label"] = table["decision"] = np.array(["a", "b"])[truth]
    pooled = Predictions.of(table, task="binary", class_names=("a", "b"), positive=1)
    found = auroc_within_folds(pooled, resamples=20)
    ranks = np.concatenate([rankdata(prob[fold == k]) / 41 for k in range(3)])
    assert found["value"] == pytest.approx(roc_auc_score(truth, ranks))
    assert found["low"] is not None
    assert found["low"] < found["value"]
    assert roc_auc_score(truth, prob) < 0.75 < 0.88 < found["value"]


def test_sure_predictions_are_told_apart() -> None:
    """That of c is 1 to the last digit in all; what is left for the others tells them apart."""
    rest = np.array([3e-18, 2e-18, 1e-20, 1e-22])
    table = pd.DataFrame({"fold": 0, "prob:a": rest, "prob:b": rest, "prob:c": 1 - 2 * rest})
    table["label"] = ["a", "b", "c", "c"]
    pooled = Predictions.of(table, task="multiclass", class_names=("a", "b", "c"), positive=None)
    found = auroc_within_folds(pooled, resamples=1)
    assert found["value"] == pytest.approx((1 + 2 / 3 + 1) / 3)
