"""Models of columns, of every task."""

import jobs
import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from medcnn.data.columns.of_samples import fresh_columns
from medcnn.training.columns_alone import probs_of

TASKS = ("multiclass", "multilabel", "regression")


@pytest.mark.parametrize("kind", ["linear", "boosting"])
@pytest.mark.parametrize("task", TASKS)
def test_of_every_task(task: str, kind: str) -> None:
    samples = jobs.banded(48, task)
    draw = np.random.default_rng(0)
    place = np.arange(len(samples)) // 2 % 3  # the class
    samples.table["size"] = place**2 + draw.normal(size=len(samples))
    samples.features = ("size",)
    fresh_columns(samples, {})
    rows = samples.rows("test")
    probs = probs_of(kind, samples, rows, seed=0)
    assert probs.shape == (6, len(samples.class_names))
    if task == "multiclass":
        torch.testing.assert_close(probs.sum(1), torch.ones(6).double())
    if task == "regression" and kind == "linear":
        assert samples.feature_values is not None
        x, y, train = samples.feature_values.double(), samples.labels[:, 0], samples.rows("train")
        expected = Ridge().fit(x[train], y[train]).predict(x[rows])
        np.testing.assert_allclose(probs[:, 0], expected)


def test_a_class_that_the_training_split_lacks() -> None:
    samples = jobs.banded(12)
    samples.table["size"] = np.arange(len(samples)) % 5
    train = samples.rows("train").numpy()
    samples.features = ("size",)
    for labels, expected in (([0, 1], 0.0), ([1, 1], 0.0), ([-1, -1], 1 / 3)):
        samples.table.loc[train, "label"] = np.resize(labels, len(train))
        fresh_columns(samples, {})
        probs = probs_of("linear", samples, samples.rows("test"), seed=0)
        assert probs[:, 2].tolist() == pytest.approx([expected] * 6)
