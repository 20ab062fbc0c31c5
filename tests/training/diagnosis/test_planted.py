"""Each fault that is planted is found, and nothing is found where there is none."""

from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch

from medcnn.data.samples import SPLITS, Samples
from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.parts import make_parts
from medcnn.training.diagnosis.run import CHECKS, findings
from medcnn.training.transfer import settle

MODERN = ("model=lenet", "model.version=modern")
FAULTS = (
    "labels shuffled", "inputs not normalised", "images all white", "wrong class weights",
    "augmentation gives the label away", "augmentation in validation",
    "data set gives the label away", "softmax before the loss", "zero initialisation",
    "weights too small", "dead ReLUs", "frozen by mistake", "detached features", "wrong backward",
    "validation in training mode", "rate 1,000 times too high", "rate 1,000 times too low",
)  # fmt: skip


def bands(task: str = "multiclass", size: int = 28) -> Samples:
    """Images whose bright band tells the class, one of each patient."""
    splits = np.repeat(SPLITS, [150, 45, 6])
    classes = 2 if task == "binary" else 3
    labels = np.arange(len(splits)) % classes
    images = torch.from_numpy(jobs.patterns(labels, (size, size), seed=1))[:, None]
    table = pd.DataFrame({"image": range(len(splits)), "patient": range(len(splits))})
    names: tuple[str, ...] = ("a", "b", "c")[:classes]
    if task == "multilabel":
        for k, name in enumerate(names):
            table[f"label:{name}"] = np.where(np.arange(len(splits)) % 9 == k, -1, labels == k)
    elif task == "regression":
        height = np.where(np.arange(len(splits)) % 9 == 1, np.nan, 200 + 10.0 * labels)
        table["label"], names = height.astype(np.float32), ("height",)
    else:
        table["label"] = labels
    table["split"] = splits
    return Samples("bands", table, images, task, names)  # type: ignore[arg-type]


def found(samples: Samples, *overrides: str, names: Any = tuple(CHECKS)) -> dict[str, Finding]:
    """What the checks of a training find, by their names."""
    cfg = jobs.compose("train", *overrides)
    settle(cfg, samples, [])
    torch.manual_seed(0)
    return {one.check: one for one in findings(make_parts(cfg, samples, []), names)}


def test_the_list_of_faults_is_complete() -> None:
    from benchmark_diagnosis import PLANTED

    assert tuple(PLANTED) == FAULTS


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    from benchmark_diagnosis import PLANTED, planted

    jobs.composed("train")  # forgets the command line of another test
    plant = PLANTED[fault]
    names = [name for name in CHECKS if name in plant.checks]
    names += ["signal"] if {"activations", "dead units"} & set(plant.checks) else []
    names += ["overfitting"] if "learning rate" in plant.checks else []
    parts = planted(plant, bands(), *MODERN)
    wrong = [one for one in findings(parts, names) if one.passed is False]
    assert set(plant.checks) & {one.check for one in wrong}
    assert all(one.cause for one in wrong)
    assert not any("=" in one.cause.split()[0] for one in wrong)  # pages begin it with a capital


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=linear",),
        ("model=mlp",),
        ("model=lenet", "augment=strong"),
        ("model=vgg", "model.width=0.1", "optimizer=sgd"),
        ("model=googlenet", "model.width=0.1", "model.aux=true", "normalise=pixel_mean"),
        (
            *("model=resnet", "model.width=0.1", "model.zero_init_residual=true"),
            *("model.stochastic_depth=0.2", "normalise=image", "augment=none"),
        ),
    ],
    ids=lambda overrides: overrides[0] + overrides[-1],
)
def test_nothing_is_found_in_a_healthy_training(overrides: tuple[str, ...]) -> None:
    seen = found(bands(), *overrides)
    assert [one for one in seen.values() if one.passed is False] == []
    untold = {name for name, one in seen.items() if one.passed is None}
    assert untold <= {"class weights", "dead units", "augmentation"}


@pytest.mark.parametrize("task", ["binary", "multilabel", "ordinal", "regression"])
def test_every_task_can_be_diagnosed(task: str) -> None:
    seen = found(bands(task), *MODERN)
    assert [one for one in seen.values() if one.passed is False] == []
    assert not [one for one in seen.values() if "can't be checked" in one.line]


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge", "auc_margin", "cumulative"])
def test_a_loss_of_another_least_value_is_no_fault(loss: str) -> None:
    task = "ordinal" if loss == "cumulative" else "binary"
    names = ("loss at the start", "frozen parts", "overfitting")
    options = ("model=lenet", f"loss={loss}", f"objective={task}")
    samples = bands("multiclass" if loss == "cumulative" else "binary")
    shown = found(samples, *options, names=names).values()
    assert {one.check: one.passed for one in shown if one.passed is False} == {}


def test_volumes_can_be_diagnosed() -> None:
    samples = bands()
    samples.images = samples.images[:, :, None, ::2, ::2].repeat(1, 1, 14, 1, 1)  # type: ignore[index]
    seen = found(samples, *MODERN)
    assert [one for one in seen.values() if one.passed is False] == []


def test_a_head_on_a_frozen_trunk(tmp_path: Any) -> None:
    weights = tmp_path / "weights.pt"
    from medcnn import nets

    net = nets.build("lenet", in_channels=1, num_classes=3, version="modern")
    torch.save(net.state_dict(), weights)
    seen = found(bands(), *MODERN, f"model.weights='{weights}'", "transfer=head")
    assert seen["frozen parts"].line == "6 parameters get a gradient, 4 are frozen"
    assert [one for one in seen.values() if one.passed is False] == []


def test_what_a_check_cannot_do_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(parts: Any) -> Finding:
        raise RuntimeError("no\nsuch thing")

    monkeypatch.setitem(CHECKS, "inputs", fails)
    (one,) = found(bands(), *MODERN, names=["inputs"]).values()
    assert (one.passed, one.line) == (None, "can't be checked: RuntimeError: no such thing")


def test_too_few_patients_are_said_to_tell_nothing() -> None:
    seen = found(jobs.toy([12, 6, 6]), "model=linear", names=["labels", "augmentation"])
    assert {one.passed for one in seen.values()} == {None}
    assert "too few" in seen["labels"].line


def test_labels_that_are_shuffled_on_purpose_are_no_fault() -> None:
    seen = found(bands(), *MODERN, "shuffle_labels=true", names=["labels"])
    assert seen["labels"].passed is None


def test_checks_end_when_their_time_is_over() -> None:
    cfg = jobs.compose("train", *MODERN)
    cfg.transfer.mode = "scratch"
    seen = list(findings(make_parts(cfg, bands(), []), ["inputs", "labels"], seconds=-1))
    assert [one.passed for one in seen] == [None, None]
    assert "left out" in seen[0].line
