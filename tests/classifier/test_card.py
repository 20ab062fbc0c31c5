"""From a config to samples, card, classifier and loaders."""

from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch

from medcnn.classifier.build import make_classifier
from medcnn.classifier.card import class_weights, loss_prior
from medcnn.data.open_data import make_source
from medcnn.data.samples import SPLITS, Samples
from medcnn.errors import UserError
from medcnn.training.checks import check_smallest_batch
from medcnn.training.module import TrainingModule


def samples(images: torch.Tensor, **options: Any) -> Samples:
    """Three images a split."""
    splits = np.repeat(SPLITS, 3)
    table = pd.DataFrame({"image": range(9), "patient": range(9), "split": splits})
    table["label"] = [0, 1, 1] * 3
    return Samples("toy", table, images, "binary", ("no", "yes"), positive=1, **options)


def test_class_weights() -> None:
    toy = samples(torch.zeros(9, 1, 4, 4))
    assert class_weights(None, toy, "binary") is None
    assert class_weights([1, 2.5], toy, "binary") == [1.0, 2.5]
    assert class_weights("balanced", toy, "binary") == pytest.approx([3 / 2, 3 / 4])


def test_the_shares_that_a_loss_takes_with_a_sampler() -> None:
    """Those of the draws where the mean over a batch is to be free of them, of AUC margin."""
    toy = samples(torch.zeros(9, 1, 4, 4))
    for loss, shares in {"auc_margin": [0.5, 0.5], "logit_adjusted": [1 / 3, 2 / 3]}.items():
        cfg = jobs.compose("train", f"loss={loss}", "sampler=balanced")
        assert loss_prior(cfg, toy, "binary")["loss_prior"] == pytest.approx(shares)
    toy.table["label"] = 1
    cfg = jobs.compose("train", "loss=auc_margin", "sampler=balanced")
    assert loss_prior(cfg, toy, "binary")["loss_prior"] == pytest.approx([1 / 6, 5 / 6])


def test_user_data_set() -> None:
    config = {"_target_": jobs.TOY, "name": "toy", "epochs": 3, "sizes": [2, 2, 2]}
    with pytest.raises(UserError, match=r"add trust=\[jobs\.toy\] to the command line"):
        make_source(config)
    assert len(make_source(config, [jobs.TOY])) == 6


def test_the_name_of_a_data_set() -> None:
    node = {"_target_": "medcnn.data.phantom.dataset.phantom", "size": 28, "patients": 36}
    assert make_source({**node, "name": "phantom"}).name == "phantom"
    assert make_source({**node, "name": "brain\u202e"}).name == r"brain\u202e"


def test_a_data_set_that_is_none() -> None:
    with pytest.raises(UserError, match=r"has to return medcnn\.data\.samples\.Samples or .* list"):
        make_source({"_target_": "jobs.not_samples"}, ["jobs.not_samples"])
    with pytest.raises(UserError, match="but returned NoneType"):
        make_source({"name": "nothing"})


def test_a_data_set_config_with_a_wrong_key() -> None:
    with pytest.raises(UserError, match=r"dataset: .* can't be called .*colour"):
        make_source({"_target_": "medcnn.data.phantom.dataset.phantom", "colour": True})


def test_a_model_that_is_none() -> None:
    card = {"config": {"model": {"_target_": None}, "trainer": {"channels_last": False}},
            "task": "binary", "class_names": ["a", "b"], "positive": 1, "class_weights": None,
            "in_channels": 1, "input_size": [28, 28], "mean": [0.0], "std": [1.0], "targets": None,
            "normalise": "zscore", "whitening": None}  # fmt: skip
    with pytest.raises(UserError, match=r"model\._target_"):
        make_classifier(card)


def test_an_optimiser_that_is_none(tmp_path: Any) -> None:
    options = ("optimizer._target_=medcnn.data.augment.Augment", "~optimizer.lr",
               "~optimizer.weight_decay", "~optimizer.fused")  # fmt: skip
    with pytest.raises(UserError, match="optimizer"):
        jobs.train(tmp_path / "run", *jobs.QUICK, *options)


@pytest.mark.parametrize("group", ["optimizer", "scheduler", "augment", "model"])
def test_an_unknown_option(group: str, tmp_path: Any) -> None:
    with pytest.raises(UserError, match=f"{group}.*zeal"):
        jobs.train(tmp_path / "run", *jobs.QUICK, f"+{group}.zeal=1")


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "override",
    [
        "optimizer.lr=-1", "optimizer.lr=fast", "optimizer=sgd optimizer.momentum=0",
        "scheduler.warmup=2", "scheduler.warmup=-1", "scheduler=plateau scheduler.factor=2",
        "scheduler=step scheduler.milestones=half", "optimizer=rmsprop optimizer.alpha=-1",
    ],
)  # fmt: skip
def test_bad_values_of_optimiser_and_schedule(override: str, tmp_path: Any) -> None:
    group = override.split()[-1].partition(".")[0]
    with pytest.raises(UserError, match=group):
        jobs.train(tmp_path / "run", *jobs.QUICK, *override.split())


def in_training(size: list[int]) -> TrainingModule:
    """A net with a batch norm behind one convolution."""
    config = {"seed": 0, "model": {"_target_": jobs.SMALL_NET}, "trainer": {"channels_last": False}}
    classifier = make_classifier(
        {
            "config": config, "task": "binary", "class_names": ["no", "yes"], "positive": 1,
            "class_weights": None, "targets": None, "in_channels": 1, "input_size": size,
            "normalise": "none", "mean": [0.0], "std": [1.0], "whitening": None,
        },
        [jobs.SMALL_NET],
    )  # fmt: skip
    return TrainingModule(classifier, optimizer=torch.optim.SGD, scheduler=lambda *_: None)


def test_a_batch_of_one_image_and_a_map_of_one_value() -> None:
    toy = samples(torch.rand(9, 1, 1, 1))
    check_smallest_batch(in_training([1, 1]), toy, 3, 1)
    with pytest.raises(UserError, match=r"batch_size=1: a training batch .*; take at least 3"):
        check_smallest_batch(in_training([1, 1]), toy, 1, 1)
    with pytest.raises(UserError, match=r"batch_size=2: .*; take at least 5"):
        check_smallest_batch(in_training([1, 1]), toy, 2, 2)
    toy.table["split"] = ["train", "val", "test"] * 3
    toy.table.loc[3:, "split"] = "test"
    with pytest.raises(UserError, match=r"the train split has one image: .*; give it more"):
        check_smallest_batch(in_training([1, 1]), toy, 8, 1)


def test_a_batch_of_one_image_that_can_be_normalised_changes_nothing() -> None:
    module = in_training([4, 4])
    before = {name: value.clone() for name, value in module.state_dict().items()}
    check_smallest_batch(module, samples(torch.rand(9, 1, 4, 4)), 1, 1)
    assert jobs.same_weights(before, module.state_dict())
    assert module.training
