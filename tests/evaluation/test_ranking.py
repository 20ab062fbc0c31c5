import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medcnn.evaluation.ranking import auroc, average_precision


@pytest.mark.parametrize("levels", [2, 5, 10**9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_scikit_learn(levels: int, dtype: type) -> None:
    """Few levels mean many ties."""
    generator = np.random.default_rng(levels)
    scores = (generator.integers(0, levels, (200, 4)) / levels).astype(dtype)
    truth = generator.random((200, 4)) < [0.5, 0.1, 0.9, 0.02]
    truth[0], truth[1] = True, False
    for ours, theirs in ((auroc, roc_auc_score), (average_precision, average_precision_score)):
        expected = [theirs(truth[:, k], scores[:, k]) for k in range(4)]
        np.testing.assert_allclose(ours(scores, truth), expected, rtol=1e-12)


def test_auroc_counts_pairs() -> None:
    generator = np.random.default_rng(0)
    scores, truth = generator.integers(0, 6, (40, 1)) / 6, generator.random((40, 1)) < 0.4
    wins = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high in scores[truth]
        for low in scores[~truth]
    ]
    assert auroc(scores, truth)[0] == pytest.approx(np.mean(wins), abs=1e-15)


def test_by_hand() -> None:
    scores = np.array([[0.1], [0.4], [0.35], [0.8]])
    truth = np.array([[False], [False], [True], [True]])
    assert auroc(scores, truth).tolist() == [0.75]
    assert average_precision(scores, truth)[0] == pytest.approx((1 + 2 / 3) / 2)
    assert auroc(np.ones((4, 1)), truth).tolist() == [0.5]
    assert average_precision(np.ones((4, 1)), truth).tolist() == [0.5]
    assert auroc(truth.astype(float), truth).tolist() == [1.0]
    assert auroc(-truth.astype(float), truth).tolist() == [0.0]


def test_undefined_is_nan() -> None:
    scores = np.array([[0.1, 0.5, 0.3], [0.4, 0.2, 0.3]])
    truth = np.array([[True, False, True], [True, False, False]])
    np.testing.assert_array_equal(auroc(scores, truth), [np.nan, np.nan, 0.5])
    np.testing.assert_array_equal(average_precision(scores, truth), [1.0, np.nan, 0.5])
