"""The files and the line that report a test."""

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.evaluation import evaluate
from medcnn.evaluation.of_tables import figures_of_table
from medcnn.inference.results import headline
from medcnn.inference.tables import decision_table, named_columns, predictions_table, studies_table
from medcnn.objective import UNKNOWN, Objective
from medcnn.training.checks import check_studies


def samples(multilabel: bool = False) -> Samples:
    table = pd.DataFrame({"image": [f"{k}.png" for k in range(4)], "patient": ["p", "q", "r", "s"]})
    table["split"] = ["train", "val", "test", "test"]
    names = ("flat", "round")
    if multilabel:
        table["label:flat"], table["label:round"] = [0, 1, 1, 0], [0, 0, 1, 1]
        return Samples("toy", table, torch.zeros(4, 1, 2, 2), "multilabel", names)
    table["label"] = [0, 1, 0, 1]
    return Samples("toy", table, torch.zeros(4, 1, 2, 2), "binary", names, positive=0)


def test_predictions_of_a_binary_task() -> None:
    logits = torch.tensor([[np.log(3.0)], [0.0], [-np.log(4.0)]])
    objective = Objective("binary", 2, positive=0)
    told = {"row": torch.tensor([1, 2, 3]), "label": torch.tensor([1, 0, 1])}
    told["probs"] = objective.probs(logits)
    table = predictions_table(samples(), objective, told)
    assert list(table.columns) == [
        "row", "image", "patient", "split", "label", "prob:flat", "prob:round", "decision",
    ]  # fmt: skip
    assert table["row"].tolist() == [1, 2, 3]
    assert table["image"].tolist() == ["1.png", "2.png", "3.png"]
    assert table["split"].tolist() == ["val", "test", "test"]
    assert table["label"].tolist() == ["round", "flat", "round"]
    np.testing.assert_allclose(table["prob:flat"], [0.75, 0.5, 0.2], atol=1e-6)
    np.testing.assert_allclose(table["prob:round"], [0.25, 0.5, 0.8], atol=1e-6)
    assert table["decision"].tolist() == ["flat", "flat", "round"]


def test_predictions_of_a_multilabel_task() -> None:
    objective = Objective("multilabel", 2)
    told = {
        "row": torch.tensor([3, 1]),
        "probs": objective.probs(torch.tensor([[-1.0, 1.0], [0.0, -9.0]])),
        "label": torch.tensor([[0, 1], [1, 0]]),
    }
    table = predictions_table(samples(multilabel=True), objective, told)
    assert table["patient"].tolist() == ["s", "q"]
    assert table["label:flat"].tolist() == [0, 1]
    assert table["label:round"].tolist() == [1, 0]
    assert table["decision:flat"].tolist() == [0, 1]
    assert table["decision:round"].tolist() == [1, 0]


def test_names_of_classes_may_be_anything() -> None:
    table = named_columns("label", torch.tensor([1, 0]), ["a, b", "c:d"])
    assert table["label"].tolist() == ["c:d", "a, b"]
    shares = decision_table(Objective("multiclass", 2), torch.tensor([[0.4, 0.6]]), ["a, b", "c:d"])
    assert list(shares.columns) == ["prob:a, b", "prob:c:d", "decision"]


def test_headline() -> None:
    metrics = {"test/auroc": {"value": 0.97123}, "test/accuracy": {"value": 1.0},
               "test/sensitivity": {"value": None}}  # fmt: skip
    assert headline(metrics) == (
        "test AUROC 0.971, accuracy 1.000, sensitivity undefined, specificity undefined"
    )
    assert headline({"val/auroc": {"value": 0.5}}, "val").startswith("val AUROC 0.500, accuracy un")


def regression(targets: tuple[str, ...] = ("age",)) -> Samples:
    table = pd.DataFrame({"image": range(4), "patient": range(4), "split": "test"})
    for name in targets:
        column = "label" if len(targets) == 1 else f"label:{name}"
        table[column] = np.array([60.0, np.nan, 42.5, 71.0], np.float32)
    return Samples("toy", table, torch.zeros(4, 1, 2, 2), "regression", targets)


def collected(
    data: Samples, objective: Objective, logits: list[list[float]]
) -> dict[str, torch.Tensor]:
    probs = objective.probs(torch.tensor(logits).double())
    return {"row": torch.arange(len(data)), "probs": probs, "label": data.labels}


def read(table: pd.DataFrame) -> pd.DataFrame:
    """As from the CSV file."""
    return pd.read_csv(io.StringIO(table.to_csv(index=False)), dtype=str, keep_default_na=False)


def test_an_unknown_label_is_an_empty_cell() -> None:
    told = {"row": torch.tensor([1, 2]), "probs": torch.full((2, 2), 0.5)}
    told["label"] = torch.tensor([UNKNOWN, 0])
    table = predictions_table(samples(), Objective("binary", 2, positive=0), told)
    assert read(table)["label"].tolist() == ["", "flat"]
    told["label"] = torch.tensor([[0, UNKNOWN], [1, 1]])
    table = read(predictions_table(samples(multilabel=True), Objective("multilabel", 2), told))
    assert table["label:flat"].tolist() == ["0", "1"]
    assert table["label:round"].tolist() == ["", "1"]
    assert table["decision:round"].tolist() == ["1", "1"]


def test_predictions_of_a_regression() -> None:
    objective = Objective("regression", 1, target_mean=[50.0], target_std=[10.0])
    data, logits = regression(), [[1.0], [0.0], [-1.0], [2.0]]
    table = predictions_table(data, objective, collected(data, objective, logits))
    assert list(table.columns) == ["row", "image", "patient", "split", "label", "prediction"]
    assert read(table)["label"].tolist() == ["60.0", "", "42.5", "71.0"]
    assert table["prediction"].tolist() == [60, 50, 40, 70]
    several = regression(("age", "weight"))
    objective = Objective("regression", 2)
    table = predictions_table(several, objective, collected(several, objective, [[1.0, 2.0]] * 4))
    assert list(table.columns)[4:] == [
        "label:age", "label:weight", "prediction:age", "prediction:weight",
    ]  # fmt: skip
    assert table["prediction:weight"].tolist() == [2.0] * 4


def studies(task: Any = "binary", study: list[Any] | None = None) -> Samples:
    """Six slices of two patients, whose volumes have the same names."""
    table = pd.DataFrame({"image": range(6), "patient": ["p", "p", "q", "p", "q", "q"]})
    table["split"], table["study"] = "test", study or ["a", "b", "a", "a", None, None]
    if task == "multilabel":
        table["label:no"], table["label:yes"] = [0, 1, 0, -1, 1, 1], [-1, 1, 0, -1, 0, -1]
    else:
        table["label"] = [1, 0, 0, -1, 1, -1]
    return Samples("toy", table, torch.zeros(6, 1, 2, 2), task, ("no", "yes"), positive=1)


def test_slices_become_studies() -> None:
    """A study belongs to its patient; what has none is one by itself."""
    data, objective = studies(), Objective("binary", 2, positive=1)
    chances = torch.tensor([0.2, 0.7, 0.1, 0.6, 0.9, 0.3])
    told = collected(data, objective, chances.logit()[:, None].tolist())
    table = studies_table(data, objective, told, "max")
    assert list(table.columns) == [
        "study", "patient", "split", "label", "prob:no", "prob:yes", "decision", "slices",
    ]  # fmt: skip
    assert read(table)["study"].tolist() == ["a", "b", "a", "", ""]
    assert table["patient"].tolist() == ["p", "p", "q", "q", "q"]
    assert read(table)["label"].tolist() == ["yes", "no", "no", "yes", ""]
    np.testing.assert_allclose(table["prob:yes"], [0.6, 0.7, 0.1, 0.9, 0.3], atol=1e-6)
    assert table["decision"].tolist() == ["yes", "yes", "no", "yes", "no"]
    assert table["slices"].tolist() == [2, 1, 1, 1, 1]
    mean = studies_table(data, objective, told, "mean")
    np.testing.assert_allclose(mean["prob:yes"], [0.4, 0.7, 0.1, 0.9, 0.3], atol=1e-6)
    noisy = studies_table(data, objective, told, "noisy-or")
    np.testing.assert_allclose(noisy["prob:yes"][0], 1 - 0.8 * 0.4, atol=1e-6)


def test_studies_are_checked_before_the_training() -> None:
    check_studies(studies(), "noisy-or", "binary")
    with pytest.raises(UserError, match="aggregate=sum: choose one of"):
        check_studies(samples(), "sum", "binary")
    contradicting = studies(study=["a", "a", "a", "a", "b", "b"])
    with pytest.raises(UserError, match="the slices of a have different labels"):
        check_studies(contradicting, "mean", "binary")


@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_figures_of_a_table_are_those_of_its_predictions(task: Any) -> None:
    data = regression() if task == "regression" else studies(task)
    names = data.class_names
    objective = Objective(task, len(names), positive=1)
    logits = torch.randn(len(data), objective.num_outputs, generator=torch.manual_seed(3))
    told = collected(data, objective, logits.tolist())
    probs = told["probs"]
    expected = evaluate(
        probs.numpy(),
        told["label"].numpy(),
        objective.decide(probs).numpy(),
        task=task,
        class_names=names,
        positive=data.positive,
    )
    card = {"task": task, "class_names": list(names), "positive": data.positive}
    table = predictions_table(data, objective, told)
    for given in (table, read(table)):
        found = figures_of_table(given, card)
        assert found.keys() == expected.keys()
        for name, figure in expected.items():
            assert found[name]["n"] == figure["n"]
            assert found[name]["value"] == pytest.approx(figure["value"], rel=1e-6), name


def test_headline_of_a_regression() -> None:
    metrics = {"test/r2": {"value": 0.8214}, "test/mae": {"value": 4.1}, "test/rmse": {}}
    assert headline(metrics) == "test R² 0.821, MAE 4.100, RMSE undefined"
    assert headline({"test/r2": {"value": -1.2345e20}}).startswith("test R² -1.23e+20, MAE ")
