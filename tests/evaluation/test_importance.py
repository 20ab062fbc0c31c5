"""Permutation importance, against scikit-learn on a model whose score is known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.inspection import permutation_importance as of_scikit_learn
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score

from medcnn.evaluation.importance import permutation_importance
from medcnn.evaluation.predictions import Predictions
from medcnn.objective import Task

N, REPEATS = 120, 4
DRAW = np.random.default_rng(0)
INPUTS = DRAW.normal(size=(N, 3))


def orders() -> list[list[NDArray[np.int64]]]:
    """The permutations of each column that scikit-learn draws from seed 0, one after the other."""
    found = []
    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max + 1)
    for _ in range(3):
        draw, places, order = np.random.RandomState(seed), np.arange(N), np.arange(N)
        of_column = []
        for _ in range(REPEATS):
            draw.shuffle(places)
            order = order[places]
            of_column.append(order)
        found.append(of_column)
    return found


def importances(task: Task, answer: Any, labels: NDArray[Any], patients: Any) -> dict[str, Any]:
    """Ours, of a model of those inputs; `answer` gives (N, K)."""
    base = Predictions(
        answer(INPUTS), labels, labels, patients, task, ("no", "yes")[-answer(INPUTS).shape[1] :],
        1 if task == "binary" else None, pd.DataFrame(index=range(N)),
    )  # fmt: skip
    permuted = {}
    for k, of_column in enumerate(orders()):
        answers = []
        for order in of_column:
            inputs = INPUTS.copy()
            inputs[:, k] = INPUTS[order, k]
            answers.append(answer(inputs))
        permuted[f"column {k}"] = np.stack(answers)
    return permutation_importance(base, permuted, resamples=200)


def test_auroc_as_scikit_learn() -> None:
    labels = (INPUTS @ [2.0, 1.0, 0.0] + DRAW.normal(size=N) > 0).astype(int)
    model = LogisticRegression().fit(INPUTS, labels)
    patients = np.arange(N).astype(str)
    found = importances("binary", model.predict_proba, labels, patients)
    theirs = of_scikit_learn(
        model, INPUTS, labels, scoring="roc_auc", n_repeats=REPEATS, random_state=0
    )
    np.testing.assert_allclose(
        [one.value for one in found.values()], theirs.importances_mean, atol=1e-12
    )
    first, _, nothing = found.values()
    assert 0 < first.low < first.value < first.high
    assert nothing.low < 0.02
    assert first.high < roc_auc_score(labels, model.decision_function(INPUTS))


def test_r2_as_scikit_learn_and_patients_are_drawn_whole() -> None:
    labels = INPUTS @ [2.0, 1.0, 0.0] + DRAW.normal(size=N)
    model = LinearRegression().fit(INPUTS, labels)
    theirs = of_scikit_learn(model, INPUTS, labels, n_repeats=REPEATS, random_state=0)

    def answer(inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(model.predict(inputs))[:, None]

    apart, together = (
        importances("regression", answer, labels[:, None], patients)
        for patients in (np.arange(N).astype(str), (np.arange(N) % 2).astype(str))
    )
    values = [one.value for one in together.values()]
    np.testing.assert_allclose(values, theirs.importances_mean, atol=1e-12)
    assert apart["column 0"].value == pytest.approx(together["column 0"].value)
    ends = {(one["column 0"].low, one["column 0"].high) for one in (apart, together)}
    assert len(ends) == 2


def test_one_patient_has_no_interval() -> None:
    labels = (INPUTS[:, 0] > 0).astype(int)

    def answer(inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        yes = 1 / (1 + np.exp(-inputs[:, :1]))
        return np.hstack([1 - yes, yes])

    found = importances("binary", answer, labels, np.repeat("one", N))
    assert found["column 0"].value == pytest.approx(0.5, abs=0.15)
    assert np.isnan([found["column 0"].low, found["column 0"].high]).all()
