from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from medcnn.evaluation.proper_scores import brier_terms, log_loss_terms, one_vs_rest


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_against_scikit_learn(classes: int) -> None:
    generator = np.random.default_rng(classes)
    labels = generator.permutation(np.arange(200) % classes)
    probs = generator.dirichlet(np.ones(classes), 200)
    parts = one_vs_rest(probs, labels)
    options: dict[str, Any] = {} if classes == 2 else {"labels": range(classes)}
    given = probs[:, 1] if classes == 2 else probs
    score = brier_terms(*parts, several=False).mean()
    assert score == pytest.approx(sk.brier_score_loss(labels, given, **options), abs=1e-12)
    loss = log_loss_terms(*parts, several=False).mean()
    assert loss == pytest.approx(sk.log_loss(labels, given, **options), abs=1e-12)


@pytest.mark.filterwarnings("error")
def test_several_labels_of_which_some_are_unknown() -> None:
    generator = np.random.default_rng(0)
    labels, probs = generator.integers(-1, 2, (200, 3)), generator.random((200, 3))
    known = labels >= 0
    for terms, score in ((brier_terms, sk.brier_score_loss), (log_loss_terms, sk.log_loss)):
        found = terms(*one_vs_rest(probs, labels), several=True)
        np.testing.assert_array_equal(np.isnan(found), ~known)
        expected = [score(labels[known[:, k], k], probs[known[:, k], k]) for k in range(3)]
        assert np.nanmean(found, axis=0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("error")
def test_an_unknown_class_adds_nothing() -> None:
    parts = one_vs_rest([[0.9, 0.1], [0.5, 0.5]], [0, -1])
    assert np.isnan(brier_terms(*parts, several=False))[:, 0].tolist() == [False, True]
    assert np.isnan(log_loss_terms(*parts, several=False))[:, 0].tolist() == [False, True]
    wrong = brier_terms(*one_vs_rest([[1.0, 0.0, 0.0]], [1]), several=False)
    assert wrong.tolist() == [[2]]
