"""Linear probes of features: what they measure, and what they never see."""

import jobs
import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score, roc_auc_score

from medcnn.training.linear_probe import probe, score, targets


def test_the_measures() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200)
    truth, given = np.eye(3)[labels], generator.normal(size=(200, 3))
    expected = np.mean([roc_auc_score(labels == k, given[:, k]) for k in range(3)])
    assert score(truth, given, "multiclass") == pytest.approx(expected)
    truth[:50, 0] = np.nan
    part = roc_auc_score(labels[50:] == 0, given[50:, 0])
    rest = [roc_auc_score(labels == k, given[:, k]) for k in (1, 2)]
    assert score(truth, given, "multilabel") == pytest.approx(np.mean([part, *rest]))
    numbers = generator.normal(size=(50, 1))
    assert score(numbers, numbers + 0.1, "regression") == r2_score(numbers, numbers + 0.1)
    assert score(np.ones((5, 1)), np.ones((5, 1)), "multilabel") is None


def test_a_probe_never_sees_a_patient_twice() -> None:
    """Features that name the patient, and labels that are the patient's: nothing can be known."""
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 5)
    truth = np.repeat(generator.integers(0, 2, 40), 5)[:, None].astype(float)
    given = probe(np.eye(40)[patients], truth, patients)
    assert abs(float(roc_auc_score(truth, given)) - 0.5) < 0.2
    known = probe(truth + 0.1 * generator.normal(size=truth.shape), truth, patients)
    assert roc_auc_score(truth, known) > 0.99


def test_targets() -> None:
    samples = jobs.banded(30, "multilabel")
    wanted = targets(samples, torch.arange(9))
    assert np.isnan(wanted[0, 0])
    assert np.isnan(wanted[8, 1])
    assert wanted[2].tolist()[:2] == [0.0, 1.0]
    assert targets(jobs.banded(30), torch.arange(6)).argmax(1).tolist() == [0, 0, 1, 1, 2, 2]
    assert targets(jobs.banded(30, "regression"), torch.tensor([4])).tolist() == [[20.0]]
