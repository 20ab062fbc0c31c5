import json
from typing import Any

import numpy as np
import pytest
import torch
from by_scikit_learn import figures_by_scikit_learn
from sklearn import metrics as sk

from medcnn.errors import UserError
from medcnn.evaluation import evaluate

NAMES = ("a", "b", "c", "d")


def data(classes: int, seed: int = 0, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that say something about the labels, and the labels."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    logits = generator.normal(size=(count, classes)) + 1.2 * np.eye(classes)[labels]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probs, labels


def values(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: figure["value"] for key, figure in figures.items()}


def test_two_classes_of_which_none_is_named_count_alike() -> None:
    probs, labels = data(2)
    figures = evaluate(
        probs, labels, probs.argmax(1), task="binary", class_names=("a", "b"), positive=None
    )
    recalls = sk.recall_score(labels, probs.argmax(1), average=None)
    assert figures["sensitivity"]["value"] == pytest.approx(recalls.mean())
    named = evaluate(
        probs, labels, probs.argmax(1), task="multiclass", class_names=("a", "b"), positive=0
    )
    assert named["sensitivity"]["value"] == pytest.approx(recalls[0])


@pytest.mark.parametrize(
    ("task", "classes", "positive"),
    [("binary", 2, 0), ("binary", 2, 1), ("multiclass", 4, None), ("ordinal", 4, None)],
)
def test_classes_against_scikit_learn(task: Any, classes: int, positive: int | None) -> None:
    probs, labels = data(classes)
    decisions = (probs[:, 1] > 0.6).astype(int) if classes == 2 else probs.argmax(1)
    figures = evaluate(
        probs, labels, decisions, task=task, class_names=NAMES[:classes], positive=positive,
        more=True,
    )  # fmt: skip
    expected = figures_by_scikit_learn(probs, labels, decisions, task, positive)
    assert values(figures) == pytest.approx(expected, abs=1e-12)
    assert figures["sensitivity/b"]["n"] == (labels == 1).sum()
    assert figures["specificity/b"]["n"] == (labels != 1).sum()
    truth = labels == positive
    sizes = [300, 300] if positive is None else [truth.sum(), (~truth).sum()]
    assert [figures[key]["n"] for key in ("sensitivity", "specificity")] == sizes
    assert figures["auroc"]["n"] == figures["accuracy"]["n"] == 300


def test_an_absent_class_makes_no_number() -> None:
    probs, labels = data(3)
    probs, labels = probs[labels != 2], labels[labels != 2]
    decisions = probs[:, :2].argmax(1)
    figures = values(
        evaluate(probs, labels, decisions, task="multiclass", class_names=NAMES[:3], positive=None)
    )
    for key in ("auroc", "auroc/c", "average_precision", "sensitivity", "sensitivity/c", "f1"):
        assert figures[key] is None
    assert figures["balanced_accuracy"] is None
    assert figures["auroc/a"] == pytest.approx(sk.roc_auc_score(labels == 0, probs[:, 0]))
    assert figures["specificity/c"] == 1.0
    assert figures["accuracy"] == pytest.approx(np.mean(labels == decisions))


def test_one_class_only() -> None:
    probs = np.array([[0.9, 0.1], [0.8, 0.2]])
    options: Any = {"class_names": ("no", "yes"), "positive": 1}
    figures = evaluate(probs, [0, 0], [0, 0], task="binary", **options)
    undefined = {key for key, figure in figures.items() if figure["value"] is None}
    assert undefined == {
        "auroc", "auroc/no", "auroc/yes", "average_precision", "balanced_accuracy", "f1",
        "sensitivity", "sensitivity/yes", "specificity/no",
    }  # fmt: skip
    assert figures["sensitivity"] == {"value": None, "low": None, "high": None, "n": 0}
    ordinal = evaluate(probs, [0, 0], [0, 0], task="ordinal", **options)
    assert ordinal["kappa"]["value"] is None
    assert ordinal["mae"]["value"] == 0


def test_json_and_tensors() -> None:
    probs, labels = data(3)
    options: Any = {"task": "ordinal", "class_names": NAMES[:3], "positive": None}
    figures = evaluate(probs, labels, probs.argmax(1), **options)
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    small = (array.astype(np.uint8) for array in (labels, probs.argmax(1)))
    assert evaluate(probs, *small, **options) == figures
    tensors = [torch.from_numpy(array) for array in (probs, labels, probs.argmax(1))]
    assert evaluate(*tensors, **options) == figures


def test_log_loss_of_a_certain_error_is_finite() -> None:
    for dtype in (np.float32, np.float64):
        probs = np.array([[1, 0], [0, 1]], dtype)
        for task in ("multiclass", "multilabel"):
            labels = np.array([1, 1]) if task == "multiclass" else np.array([[0, 1], [0, 1]])
            options: Any = {"task": task, "class_names": ("a", "b"), "positive": None}
            loss = evaluate(probs, labels, labels, **options)["log_loss"]["value"]
            assert loss == pytest.approx(-np.log(np.finfo(dtype).eps) / 2)
    whole = evaluate([[1, 0]], [0], [0], task="multiclass", class_names=("a", "b"), positive=None)
    assert whole["log_loss"]["value"] == 0


def test_bad_input() -> None:
    options: Any = {"task": "multiclass", "class_names": ("a", "b"), "positive": None}
    probs = np.array([[0.5, 0.5], [0.1, 0.9]])
    with pytest.raises(UserError, match="don't fit 2 class names"):
        evaluate(probs[:, :1], [0, 1], [0, 1], **options)
    with pytest.raises(UserError, match="no predictions"):
        evaluate(probs[:0], [], [], **options)
    with pytest.raises(UserError, match=r"1 of 2 predictions are not finite.*first at 1"):
        evaluate(np.array([[0.5, 0.5], [np.nan, 1]]), [0, 1], [0, 1], **options)
    with pytest.raises(UserError, match="labels are"):
        evaluate(probs, [0, 1, 1], [0, 1], **options)
    with pytest.raises(UserError, match="decisions are float64"):
        evaluate(probs, [0, 1], [0.0, 1.0], **options)
    with pytest.raises(UserError, match="labels lie outside 0 … 1"):
        evaluate(probs, [0, 2], [0, 1], **options)
    with pytest.raises(UserError, match="labels are int64 of shape"):
        evaluate(probs, [0, 1], [0, 1], **{**options, "task": "multilabel"})


@pytest.mark.parametrize("task", ["binary", "multiclass", "ordinal"])
def test_samples_of_unknown_class_are_left_out(task: Any) -> None:
    classes = 2 if task == "binary" else 4
    probs, labels = data(classes)
    options: Any = {"task": task, "class_names": NAMES[:classes]}
    options["positive"] = 1 if task == "binary" else None
    unknown = np.arange(len(labels)) % 3 == 1
    masked = np.where(unknown, -1, labels)
    kept = (array[~unknown] for array in (probs, labels, probs.argmax(1)))
    figures = evaluate(probs, masked, probs.argmax(1), **options)
    assert figures == evaluate(*kept, **options)
    assert figures["auroc"]["n"] == 200


def test_labels_against_scikit_learn_each_with_what_is_known_of_it() -> None:
    generator = np.random.default_rng(5)
    labels = (generator.random((300, 4)) < [0.5, 0.2, 0.1, 0.7]).astype(int)
    probs = (1 / (1 + np.exp(-generator.normal(size=(300, 4)) - 2 * labels + 1))).round(2)
    probs = probs.clip(0.01, 0.99)
    decisions = (probs >= 0.5).astype(int)
    masked = np.where(generator.random((300, 4)) < [0.0, 0.5, 0.3, 0.9], -1, labels)
    masked[:7] = -1
    options: Any = {"task": "multilabel", "class_names": NAMES, "positive": None}
    for truth in (labels, masked):
        figures = evaluate(probs, truth, decisions, **options, more=True)
        expected = figures_by_scikit_learn(probs, truth, decisions, "multilabel")
        assert values(figures) == pytest.approx(expected, abs=1e-12)
        for k, name in enumerate(NAMES):
            assert figures[f"auroc/{name}"]["n"] == (truth[:, k] >= 0).sum()
            assert figures[f"sensitivity/{name}"]["n"] == (truth[:, k] == 1).sum()
            assert figures[f"specificity/{name}"]["n"] == (truth[:, k] == 0).sum()
        assert figures["accuracy"]["n"] == figures["auroc"]["n"] == (truth >= 0).any(1).sum()


@pytest.mark.parametrize("task", ["binary", "ordinal", "multilabel"])
def test_nothing_is_known(task: Any) -> None:
    probs = np.array([[0.9, 0.1], [0.8, 0.2]])
    labels = np.full((2, 2) if task == "multilabel" else 2, -1)
    options: Any = {"task": task, "class_names": ("no", "yes"), "positive": None}
    figures = evaluate(probs, labels, np.zeros_like(labels), **options)
    everything = evaluate(probs, np.zeros_like(labels), np.zeros_like(labels), **options)
    assert figures.keys() == everything.keys()
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    assert all(figure == nothing for figure in figures.values())


def test_a_label_of_which_nothing_is_known_leaves_the_means_undefined() -> None:
    probs, labels = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[1, -1], [0, -1]])
    options: Any = {"task": "multilabel", "class_names": ("a", "b"), "positive": None}
    figures = values(evaluate(probs, labels, (probs > 0.5).astype(int), **options))
    assert figures["auroc/a"] == 1.0
    for key in ("auroc", "auroc/b", "accuracy", "log_loss", "f1", "sensitivity"):
        assert figures[key] is None


def regression_data() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    labels = generator.normal([60, 0.5, -8], [12, 0.1, 3], (80, 3))
    return labels + generator.normal(0, [6, 0.02, 5], (80, 3)), labels


@pytest.mark.parametrize("targets", [1, 3])
def test_regression_against_scikit_learn(targets: int) -> None:
    predictions, labels = (array[:, :targets] for array in regression_data())
    masked = np.where(np.random.default_rng(8).random(labels.shape) < 0.5, np.nan, labels)
    masked[:4] = np.nan
    names = NAMES[:targets]
    options: Any = {"task": "regression", "class_names": names, "positive": None, "more": True}
    for truth in (labels, masked):
        figures = evaluate(predictions, truth, predictions, **options)
        expected = figures_by_scikit_learn(predictions, truth, predictions, "regression")
        assert values(figures) == pytest.approx(expected, rel=1e-12, abs=1e-12)
        known = np.isfinite(truth)
        assert figures["mae"]["n"] == known.any(1).sum()
        for k, name in enumerate(names if targets > 1 else ()):
            assert figures[f"r2/{name}"]["n"] == known[:, k].sum()


def test_regression_figures_that_are_undefined() -> None:
    options: Any = {"task": "regression", "class_names": ("a", "b"), "positive": None}
    labels = np.array([[0.1, np.nan], [0.1, np.nan], [0.1, np.nan]], np.float32)
    figures = values(evaluate(np.ones((3, 2)), labels, np.ones((3, 2)), **options))
    assert figures["mae/a"] == pytest.approx(0.9)
    assert {key for key, value in figures.items() if value is None} == {
        "r2", "r2/a", "r2/b", "mae", "mae/b", "rmse", "rmse/b",
    }  # fmt: skip


# Peak expiratory flow by two meters, litres a minute (Bland & Altman, Lancet 1986, table 1).
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_agreement_of_bland_and_altman() -> None:
    """Published: bias −2.1, standard deviation 38.8; they took 2 of them, and rounded."""
    wright, mini = (np.array(flow, float)[:, None] for flow in (WRIGHT, MINI))
    options: Any = {"task": "regression", "class_names": ("flow",), "positive": None, "more": True}
    found = values(evaluate(wright, mini, wright, **options))
    assert found["bias"] == pytest.approx(-2.1, abs=0.05)
    assert found["limit_low"] == pytest.approx(-2.12 - 1.96 * 38.77, abs=0.02)
    assert found["limit_high"] == pytest.approx(-2.12 + 1.96 * 38.77, abs=0.02)
    one = values(evaluate(wright[:1], mini[:1], wright[:1], **options))
    assert (one["bias"], one["limit_low"], one["r2"]) == (-18, None, None)


def test_bad_input_of_a_regression() -> None:
    options: Any = {"task": "regression", "class_names": ("age",), "positive": None}
    good = np.array([[1.0], [2.0]])
    with pytest.raises(UserError, match=r"1 of 2 predictions are not finite.*first at 1"):
        evaluate([[1.0], [np.nan]], good, good, **options)
    with pytest.raises(UserError, match=r"needs numbers of shape \(2, 1\)"):
        evaluate(good, [1.0, 2.0], good, **options)
    with pytest.raises(UserError, match="labels hold infinite numbers"):
        evaluate(good, [[1.0], [np.inf]], good, **options)
    options = {"task": "binary", "class_names": ("a", "b"), "positive": None}
    with pytest.raises(UserError, match="labels lie outside 0 … 1"):
        evaluate([[0.5, 0.5]], [-2], [0], **options)
    with pytest.raises(UserError, match="decisions lie outside 0 … 1"):
        evaluate([[0.5, 0.5]], [-1], [-1], **options)
