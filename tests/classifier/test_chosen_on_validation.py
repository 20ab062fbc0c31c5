"""What is chosen on the validation split."""

import pytest
import torch

from medcnn.classifier.chosen_on_validation import choose
from medcnn.errors import UserError
from medcnn.evaluation.operating_point import choose_threshold
from medcnn.objective import Objective

NAMES = ["mass", "oedema", "rare"]


def test_several_labels_have_a_threshold_each() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 2, (60, 3), generator=generator)
    labels[:, 2] = labels[:, 2].clamp(max=0)  # never there
    logits = 2.0 * (labels == 1) + torch.randn(60, 3, generator=generator)
    objective = Objective("multilabel", 3)
    found = choose(objective, logits, labels, "sensitivity>=0.9", NAMES)["operating_point"]
    assert found["rule"] == "sensitivity>=0.9"
    assert found["labels"]["rare"] is None
    for k in (0, 1):
        there = labels[:, k] >= 0
        scores = logits[there, k].sigmoid().double().numpy()
        alone = choose_threshold(scores, (labels[there, k] == 1).numpy(), "sensitivity>=0.9")
        assert found["labels"][NAMES[k]]["threshold"] == pytest.approx(alone.threshold)
        assert found["labels"][NAMES[k]]["sensitivity"] >= 0.9


def test_without_a_case_of_any_label_there_is_no_threshold() -> None:
    none = torch.zeros(5, 3, dtype=torch.long)
    found = choose(Objective("multilabel", 3), torch.randn(5, 3), none, "youden", NAMES)
    assert found["operating_point"] is None
    assert "no positive sample" in found["reasons"]["operating_point"]


def test_of_several_classes_there_is_none_either() -> None:
    labels = torch.tensor([0, 1, 2] * 4)
    found = choose(Objective("multiclass", 3), torch.randn(12, 3), labels, "youden", NAMES)
    assert found["operating_point"] is None


def test_a_rule_that_there_is_not() -> None:
    found = choose(
        Objective("multilabel", 1),
        torch.randn(4, 1),
        torch.tensor([[0], [1], [0], [1]]),
        "x",
        ["a"],
    )
    assert "operating_point=x" in found["reasons"]["operating_point"]
    with pytest.raises(UserError):
        choose_threshold([0.1, 0.9], [0, 1], "x")
