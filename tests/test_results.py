"""The files and the line that report a test."""

import numpy as np
import pandas as pd
import torch

from medcnn.data.samples import Samples
from medcnn.objective import Objective
from medcnn.results import decision_table, headline, named_classes, predictions_table


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
    told = {"row": torch.tensor([1, 2, 3]), "logits": logits, "label": torch.tensor([1, 0, 1])}
    table = predictions_table(samples(), Objective("binary", 2, positive=0), told)
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
    told = {
        "row": torch.tensor([3, 1]),
        "logits": torch.tensor([[-1.0, 1.0], [0.0, -9.0]]),
        "label": torch.tensor([[0, 1], [1, 0]]),
    }
    table = predictions_table(samples(multilabel=True), Objective("multilabel", 2), told)
    assert table["patient"].tolist() == ["s", "q"]
    assert table["label:flat"].tolist() == [0, 1]
    assert table["label:round"].tolist() == [1, 0]
    assert table["decision:flat"].tolist() == [0, 1]
    assert table["decision:round"].tolist() == [1, 0]


def test_names_of_classes_may_be_anything() -> None:
    table = named_classes("label", torch.tensor([1, 0]), ["a, b", "c:d"])
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
