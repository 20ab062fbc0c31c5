"""What stands beside a picture: the decision at the operating point."""

from typing import Any

import jobs
import pytest
import torch

from medcnn.classifier.classifier import Classifier
from medcnn.evidence import of_files as explain_files
from medcnn.evidence.captions import caption, decision_words
from medcnn.evidence.gallery import at_threshold
from medcnn.objective import Objective, Task

NAMES = ["mass", "oedema", "rare"]


def classifier(task: Task, point: dict[str, Any] | None, names: list[str] = NAMES) -> Classifier:
    card = {
        "config": {}, "class_names": names, "positive": 1, "in_channels": 1, "input_size": [8, 8],
        "normalise": "zscore", "mean": [0.0], "std": [1.0], "whitening": None, "image_spec": None,
        "choices": {"operating_point": point},
    }  # fmt: skip
    net = jobs.SmallNet(in_channels=1, num_classes=len(names))
    return Classifier(net, Objective(task, len(names), positive=1), card)


POINTS = {"labels": {"mass": {"threshold": 0.8}, "oedema": {"threshold": 0.1}, "rare": None}}


@pytest.mark.parametrize(
    ("probs", "label", "told", "correct"),
    [
        ([0.7, 0.2, 0.6], [0, 1, 1], "rare 0.60, oedema 0.20 (map: mass 0.70)", True),
        ([0.9, 0.05, 0.4], [1, 1, 0], "mass 0.90", False),  # oedema is missed
        ([0.9, 0.05, 0.4], [1, -1, 0], "mass 0.90", True),  # nobody knows of it
        ([0.7, 0.05, 0.4], [-1, -1, -1], "none (map: mass 0.70)", None),
    ],
)
def test_each_label_is_decided_at_its_own_threshold(
    probs: list[float], label: list[int], told: str, correct: bool | None
) -> None:
    words = caption(
        classifier("multilabel", POINTS), torch.tensor(label), torch.tensor(probs), chosen=0
    )
    assert (words["predicted"], words["correct"]) == (told, correct)
    assert words["probability"] is None


def test_two_classes_are_decided_at_the_threshold() -> None:
    module = classifier("binary", {"threshold": 0.2}, ["well", "ill"])
    probs = torch.tensor([0.7, 0.3])
    assert module.threshold == 0.2
    assert caption(module, torch.tensor(0), probs, 1) == {
        "true": "well", "predicted": "ill", "probability": pytest.approx(0.3), "correct": False,
    }  # fmt: skip
    before = classifier("binary", None, ["well", "ill"])
    assert decision_words(before, probs, 0) == ("well", pytest.approx(0.7))
    assert before.threshold == 0.5


def test_the_table_of_maps_of_files_names_all_labels_that_are_called() -> None:
    row = explain_files._row(classifier("multilabel", POINTS), torch.tensor([0.7, 0.2, 0.6]), 0)
    assert row == {
        "predicted": "oedema;rare", "explained": "mass", "probability": pytest.approx(0.7),
    }  # fmt: skip


def test_thresholds_are_said() -> None:
    assert at_threshold({"threshold": 0.12345}) == " (at the threshold 0.123)"
    assert at_threshold(POINTS) == " (each label at its own threshold)"
    assert at_threshold(None) == ""
