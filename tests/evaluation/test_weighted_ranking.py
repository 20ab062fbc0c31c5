import numpy as np
import pytest
from sklearn import metrics as sk

from medcnn.errors import UserError
from medcnn.evaluation.ranking import auroc, average_precision
from medcnn.evaluation.resampling import weighted_auroc, weighted_average_precision


@pytest.mark.parametrize("levels", [3, 10, 10**9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_scikit_learn(levels: int, dtype: type) -> None:
    """Weights of any size; few levels mean many ties."""
    generator = np.random.default_rng(levels)
    scores: np.ndarray = (generator.integers(0, levels, (80, 3)) / levels).astype(dtype)
    truth = generator.random((80, 3)) < [0.5, 0.1, 0.9]
    truth[0], truth[1] = True, False
    weights = generator.exponential(size=(20, 80))
    weights[:, 2:40] = 0
    for ours, theirs in (
        (weighted_auroc, sk.roc_auc_score),
        (weighted_average_precision, sk.average_precision_score),
    ):
        expected = [
            [theirs(truth[:, k], scores[:, k], sample_weight=w) for k in range(3)] for w in weights
        ]
        np.testing.assert_allclose(ours(scores, truth, weights), expected, rtol=1e-9)
        assert ours(scores, truth, weights[:0]).shape == (0, 3)


def test_equal_weights_change_nothing() -> None:
    generator = np.random.default_rng(0)
    scores: np.ndarray = generator.integers(0, 9, (50, 4)) / 9
    truth = generator.random((50, 4)) < 0.4
    weights = np.array([[0.25], [1], [3]]) * np.ones(50)
    for ours, plain in ((weighted_auroc, auroc), (weighted_average_precision, average_precision)):
        expected = np.tile(plain(scores, truth), (3, 1))
        np.testing.assert_allclose(ours(scores, truth, weights), expected, rtol=1e-12)


@pytest.mark.filterwarnings("error")
def test_undefined_is_nan() -> None:
    scores = np.array([[0.1, 0.5], [0.4, 0.2], [0.3, 0.3]])
    truth = np.array([[True, False], [False, False], [True, False]])
    weights = np.array([[1, 1, 1], [0, 1, 0], [1, 0, 1], [0, 0, 0.0]])
    nan = np.nan
    expected = np.array([[0, nan], [nan, nan], [nan, nan], [nan, nan]])
    np.testing.assert_array_equal(weighted_auroc(scores, truth, weights), expected)
    precision = weighted_average_precision(scores, truth, weights)
    np.testing.assert_allclose(precision[:, 0], [(1 / 2 + 2 / 3) / 2, nan, 1, nan])
    assert np.isnan(precision[:, 1]).all()


def test_refuses() -> None:
    scores, truth = np.zeros((3, 2)), np.zeros((3, 2), bool)
    for metric in (weighted_auroc, weighted_average_precision):
        with pytest.raises(UserError, match="don't fit"):
            metric(scores, truth, np.ones((2, 4)))
        with pytest.raises(UserError, match="don't fit"):
            metric(scores, truth[:, :1], np.ones((2, 3)))
        for bad in (-1.0, np.nan, np.inf):
            with pytest.raises(UserError, match="finite and at least 0"):
                metric(scores, truth, np.full((2, 3), bad))
