from itertools import permutations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mutual_info_score

from medcnn.evaluation.selective import (
    coverage_risk,
    mutual_information,
    predictive_entropy,
)


def test_by_hand() -> None:
    coverages, risks = coverage_risk([0.6, 0.9, 0.7, 0.8], [True, False, True, True])
    assert coverages.tolist() == [0.25, 0.5, 0.75, 1]
    assert risks == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])


def test_risk_is_the_share_of_errors_above_a_threshold() -> None:
    generator = np.random.default_rng(0)
    confidence, right = generator.random(200), generator.random(200) < 0.7
    coverages, risks = coverage_risk(confidence, right)
    for coverage, risk in zip(coverages, risks, strict=True):
        kept = confidence >= np.sort(confidence)[::-1][round(coverage * 200) - 1]
        assert kept.mean() == pytest.approx(coverage)
        assert risk == pytest.approx(1 - right[kept].mean())


def test_ties_are_the_mean_of_every_order() -> None:
    confidence, right = np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.2]), np.array([1, 0, 1, 1, 0, 0])
    orders = [[0, *middle, 5] for middle in permutations(range(1, 5))]
    curves = [(1 - right[order]).cumsum() / np.arange(1, 7) for order in orders]
    assert coverage_risk(confidence, right)[1] == pytest.approx(np.mean(curves, 0))
    assert coverage_risk(np.ones(9), np.arange(9) < 6)[1].tolist() == pytest.approx([1 / 3] * 9)


def test_little() -> None:
    assert coverage_risk([0.4], [False])[1].tolist() == [1]
    assert [len(part) for part in coverage_risk([], np.array([], bool))] == [0, 0]


@pytest.mark.parametrize("classes", [2, 5])
def test_entropy_against_scipy(classes: int) -> None:
    probs = np.random.default_rng(classes).dirichlet(np.ones(classes), (3, 4))
    probs[0, 0] = np.eye(classes)[1]
    found = predictive_entropy(probs)
    assert found.shape == (3, 4)
    np.testing.assert_allclose(found, stats.entropy(probs, axis=-1), atol=1e-12)
    assert found[0, 0] == 0
    assert predictive_entropy(np.full(classes, 1 / classes)) == pytest.approx(np.log(classes))


def test_mutual_information_against_scikit_learn() -> None:
    """Of the member's number and the class, from a table of how often both go together."""
    counts = np.array([[[3, 1, 4], [8, 0, 0]], [[2, 6, 0], [0, 8, 0]], [[1, 1, 6], [8, 0, 0]]])
    found = mutual_information(counts / 8)
    expected = [mutual_info_score(None, None, contingency=counts[:, i]) for i in range(2)]
    assert found == pytest.approx(expected, abs=1e-12)


def test_mutual_information_at_its_ends() -> None:
    alike = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    same = mutual_information(np.stack([alike] * 5))
    assert same == pytest.approx(np.zeros(50), abs=1e-12)
    assert (same >= 0).all()
    assert mutual_information(np.eye(3)[:, None]) == pytest.approx([np.log(3)])
    assert mutual_information(np.ones((2, 0, 3)) / 3).shape == (0,)
