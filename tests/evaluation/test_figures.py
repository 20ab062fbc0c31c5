import json
from typing import Any

import numpy as np
import pytest
import torch
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


def specificity(truth: np.ndarray, chosen: np.ndarray) -> float:
    return float(sk.recall_score(~truth, ~chosen))


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


@pytest.mark.parametrize("positive", [0, 1])
def test_binary_against_scikit_learn(positive: int) -> None:
    probs, labels = data(2)
    decisions = (probs[:, 1] > 0.6).astype(int)
    figures = evaluate(
        probs, labels, decisions, task="binary", class_names=("no", "yes"), positive=positive
    )
    truth, chosen, scores = labels == positive, decisions == positive, probs[:, positive]
    expected = {
        "auroc": sk.roc_auc_score(truth, scores),
        "auroc/no": sk.roc_auc_score(labels == 0, probs[:, 0]),
        "auroc/yes": sk.roc_auc_score(labels == 1, probs[:, 1]),
        "average_precision": sk.average_precision_score(truth, scores),
        "accuracy": sk.accuracy_score(labels, decisions),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, decisions),
        "f1": sk.f1_score(truth, chosen),
        "sensitivity": sk.recall_score(truth, chosen),
        "specificity": specificity(truth, chosen),
        "sensitivity/no": sk.recall_score(labels == 0, decisions == 0),
        "sensitivity/yes": sk.recall_score(labels, decisions),
        "specificity/no": sk.recall_score(labels, decisions),
        "specificity/yes": sk.recall_score(labels == 0, decisions == 0),
        "log_loss": sk.log_loss(labels, probs),
    }
    assert values(figures) == pytest.approx(expected, abs=1e-12)
    assert figures["sensitivity"]["n"] == truth.sum()
    assert figures["specificity"]["n"] == (~truth).sum()
    assert figures["auroc"]["n"] == figures["accuracy"]["n"] == 300


@pytest.mark.parametrize("task", ["multiclass", "ordinal"])
def test_several_classes_against_scikit_learn(task: Any) -> None:
    probs, labels = data(4)
    decisions = probs.argmax(1)
    figures = evaluate(probs, labels, decisions, task=task, class_names=NAMES, positive=None)
    truth, chosen = np.eye(4, dtype=bool)[labels], np.eye(4, dtype=bool)[decisions]
    expected = {
        "auroc": sk.roc_auc_score(labels, probs, multi_class="ovr"),
        "average_precision": sk.average_precision_score(truth, probs),
        "accuracy": sk.accuracy_score(labels, decisions),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, decisions),
        "f1": sk.f1_score(labels, decisions, average="macro"),
        "sensitivity": sk.recall_score(labels, decisions, average="macro"),
        "specificity": np.mean([specificity(truth[:, k], chosen[:, k]) for k in range(4)]),
        "log_loss": sk.log_loss(labels, probs),
    }
    for k, name in enumerate(NAMES):
        expected[f"auroc/{name}"] = sk.roc_auc_score(truth[:, k], probs[:, k])
        expected[f"sensitivity/{name}"] = sk.recall_score(truth[:, k], chosen[:, k])
        expected[f"specificity/{name}"] = specificity(truth[:, k], chosen[:, k])
    if task == "ordinal":
        expected["kappa"] = sk.cohen_kappa_score(labels, decisions, weights="quadratic")
        expected["mae"] = sk.mean_absolute_error(labels, decisions)
    assert values(figures) == pytest.approx(expected, abs=1e-12)
    assert figures["sensitivity/b"]["n"] == (labels == 1).sum()
    assert figures["specificity/b"]["n"] == (labels != 1).sum()
    assert figures["sensitivity"]["n"] == 300


def test_multilabel_against_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    labels = (generator.random((300, 4)) < [0.5, 0.2, 0.1, 0.7]).astype(int)
    probs = 1 / (1 + np.exp(-generator.normal(size=(300, 4)) - 2 * labels + 1))
    decisions = (probs >= 0.5).astype(int)
    figures = evaluate(
        probs, labels, decisions, task="multilabel", class_names=NAMES, positive=None
    )
    columns = [(labels[:, k], decisions[:, k], probs[:, k]) for k in range(4)]
    expected = {
        "auroc": sk.roc_auc_score(labels, probs),
        "average_precision": sk.average_precision_score(labels, probs),
        "accuracy": np.mean([sk.accuracy_score(t, d) for t, d, _ in columns]),
        "balanced_accuracy": np.mean([sk.balanced_accuracy_score(t, d) for t, d, _ in columns]),
        "f1": sk.f1_score(labels, decisions, average="macro"),
        "sensitivity": sk.recall_score(labels, decisions, average="macro"),
        "specificity": sk.recall_score(1 - labels, 1 - decisions, average="macro"),
        "log_loss": np.mean([sk.log_loss(t, p) for t, _, p in columns]),
    }
    for name, (t, d, p) in zip(NAMES, columns, strict=True):
        expected[f"auroc/{name}"] = sk.roc_auc_score(t, p)
        expected[f"sensitivity/{name}"] = sk.recall_score(t, d)
        expected[f"specificity/{name}"] = sk.recall_score(1 - t, 1 - d)
    assert values(figures) == pytest.approx(expected, abs=1e-12)


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


def test_unknown_labels_are_left_out_one_by_one() -> None:
    generator = np.random.default_rng(5)
    labels = (generator.random((300, 4)) < [0.5, 0.2, 0.1, 0.7]).astype(int)
    probs = (1 / (1 + np.exp(-generator.normal(size=(300, 4)) - 2 * labels + 1))).round(2)
    probs = probs.clip(0.01, 0.99)
    decisions = (probs >= 0.5).astype(int)
    masked = np.where(generator.random((300, 4)) < [0.0, 0.5, 0.3, 0.9], -1, labels)
    masked[:7] = -1
    options: Any = {"task": "multilabel", "class_names": NAMES, "positive": None}
    figures = evaluate(probs, masked, decisions, **options)
    expected: dict[str, float] = {}
    each: dict[str, list[float]] = {}
    for k, name in enumerate(NAMES):
        kept = masked[:, k] >= 0
        t, d, p = masked[kept, k], decisions[kept, k], probs[kept, k]
        expected[f"auroc/{name}"] = sk.roc_auc_score(t, p)
        expected[f"sensitivity/{name}"] = sk.recall_score(t, d)
        expected[f"specificity/{name}"] = sk.recall_score(1 - t, 1 - d)
        assert figures[f"auroc/{name}"]["n"] == kept.sum()
        assert figures[f"sensitivity/{name}"]["n"] == t.sum()
        assert figures[f"specificity/{name}"]["n"] == (1 - t).sum()
        parts = {
            "auroc": expected[f"auroc/{name}"],
            "average_precision": sk.average_precision_score(t, p),
            "accuracy": sk.accuracy_score(t, d),
            "balanced_accuracy": sk.balanced_accuracy_score(t, d),
            "f1": sk.f1_score(t, d),
            "sensitivity": sk.recall_score(t, d),
            "specificity": sk.recall_score(1 - t, 1 - d),
            "log_loss": sk.log_loss(t, p),
        }
        for key, value in parts.items():
            each.setdefault(key, []).append(value)
    expected |= {key: float(np.mean(found)) for key, found in each.items()}
    assert values(figures) == pytest.approx(expected, abs=1e-12)
    assert figures["accuracy"]["n"] == figures["auroc"]["n"] == (masked >= 0).any(1).sum() <= 293


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


def test_regression_against_scikit_learn() -> None:
    predictions, labels = regression_data()
    options: Any = {"task": "regression", "positive": None}
    one = evaluate(
        predictions[:, :1], labels[:, :1], predictions[:, :1], class_names=("age",), **options
    )
    scores = {
        "mae": sk.mean_absolute_error,
        "rmse": lambda *pair: np.sqrt(sk.mean_squared_error(*pair)),
        "r2": sk.r2_score,
    }
    expected = {key: score(labels[:, 0], predictions[:, 0]) for key, score in scores.items()}
    assert values(one) == pytest.approx(expected, rel=1e-12)
    assert all(figure["n"] == 80 for figure in one.values())
    several = evaluate(predictions, labels, predictions, class_names=NAMES[:3], **options)
    for key, score in scores.items():
        each = [score(labels[:, k], predictions[:, k]) for k in range(3)]
        assert several[key]["value"] == pytest.approx(np.mean(each), rel=1e-12)
        found = [several[f"{key}/{name}"]["value"] for name in NAMES[:3]]
        assert found == pytest.approx(each, rel=1e-12)
    assert len(several) == 12


def test_unknown_targets_are_left_out_one_by_one() -> None:
    predictions, labels = regression_data()
    labels[np.random.default_rng(8).random(labels.shape) < [0.0, 0.5, 0.8]] = np.nan
    labels[:4] = np.nan
    options: Any = {"task": "regression", "class_names": NAMES[:3], "positive": None}
    figures = evaluate(predictions, labels, predictions, **options)
    for k, name in enumerate(NAMES[:3]):
        kept = np.isfinite(labels[:, k])
        pair = labels[kept, k], predictions[kept, k]
        assert figures[f"mae/{name}"]["value"] == pytest.approx(sk.mean_absolute_error(*pair))
        assert figures[f"r2/{name}"]["value"] == pytest.approx(sk.r2_score(*pair))
        assert figures[f"r2/{name}"]["n"] == kept.sum()
    assert figures["mae"]["n"] == 76


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
