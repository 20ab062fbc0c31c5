"""The module that trains a classifier."""

from pathlib import Path

import jobs
import torch

import medcnn
from medcnn.training.freezing import Freezing
from medcnn.training.module import TrainingModule


def test_classifying_leaves_frozen_stages_fixed(phantom_run: Path) -> None:
    classifier = medcnn.load(phantom_run / "checkpoints" / "best.ckpt")
    module = TrainingModule(
        classifier,
        optimizer=torch.optim.SGD,
        scheduler=lambda *_: None,
        freezing=Freezing("head"),
    )
    size = (2, classifier.card["in_channels"], *classifier.card["input_size"])
    classifier.classify(torch.rand(size))
    assert module.training
    assert classifier.net.head.training
    assert not any(stage.training for stage in classifier.net.features)


def test_a_checkpoint_holds_the_names_of_the_classifier(phantom_run: Path) -> None:
    for which in ("best", "last"):
        names = jobs.checkpoint(phantom_run, which)["state_dict"]
        assert {name.split(".")[0] for name in names} == {"net"}
