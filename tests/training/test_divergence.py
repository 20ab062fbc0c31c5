"""Where a training stops being finite, and that it ends there."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jobs
import pytest
import torch
from torch import Tensor, nn

import medcnn
from medcnn.data.batches import DataModule
from medcnn.errors import UserError
from medcnn.training.callbacks import finite
from medcnn.training.divergence import SLOWER, Place, first_not_finite
from medcnn.training.module import TrainingModule

OPTIONS = (*jobs.QUICK, "optimizer=sgd", "scheduler=none", "augment=none")


@pytest.fixture
def module(phantom_run: Path) -> TrainingModule:
    classifier: Any = medcnn.load(phantom_run / "checkpoints" / "best.ckpt")
    return TrainingModule(classifier, optimizer=torch.optim.SGD, scheduler=lambda *_: None)


def batch() -> dict[str, Tensor]:
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return {"image": images, "label": torch.tensor([0, 1, 0, 1]), "row": torch.tensor([9, 7, 5, 3])}


def test_images(module: TrainingModule) -> None:
    given = batch()
    given["image"][1, 0, 3, 4] = math.inf
    given["image"][3, 0, 0, 0] = math.nan
    place = first_not_finite(module, given)
    assert (place.what, place.rows) == ("the images", [7, 3])
    assert "augment" in place.way


class Burst(nn.Module):
    """Makes the third image of a batch infinite."""

    def forward(self, values: Tensor) -> Tensor:
        values = values.clone()
        values[2] = torch.inf
        return values


def test_a_stage_and_the_images_in_it(module: TrainingModule) -> None:
    stages: Any = module.classifier.net.features
    stages.c3.append(Burst())
    place = first_not_finite(module, batch())
    assert place == Place("the output of stage c3", [5], SLOWER)


def test_logits(module: TrainingModule) -> None:
    with torch.no_grad():
        head: Any = module.classifier.net.head
        for values in head.parameters():
            values.fill_(torch.finfo(torch.float32).max)
    assert first_not_finite(module, batch()).what == "the logits"


def test_the_deepest_of_the_weights_is_named(module: TrainingModule) -> None:
    names = [name for name, _ in module.classifier.net.named_parameters()]
    with torch.no_grad():
        for name, values in module.classifier.net.named_parameters():
            if name in names[:3]:
                values.fill_(math.nan)
    place = first_not_finite(module, batch())
    assert place == Place(f"the weights {names[2]}, since the step before", None, SLOWER)


def test_the_loss_alone(module: TrainingModule, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {0: 1.0, 1: math.inf}
    monkeypatch.setattr(
        module.classifier.objective, "loss", lambda _, label: torch.tensor(losses[int(label)])
    )
    place = first_not_finite(module, batch())
    assert place.rows == [7, 3]
    assert "labels" in place.way


def poison(monkeypatch: pytest.MonkeyPatch, row: int, epoch: int) -> None:
    """Put a NaN into the image of a row, from an epoch on."""
    prepare = DataModule.on_after_batch_transfer

    def poisoned(self: Any, given: Any, index: int) -> Any:
        made = prepare(self, given, index)
        if self.trainer.training and self.trainer.current_epoch >= epoch:
            made["image"][made["row"] == row] = math.nan
        return made

    monkeypatch.setattr(DataModule, "on_after_batch_transfer", poisoned)


def test_a_training_stops_at_the_step_and_names_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = jobs.train(tmp_path / "whole", *OPTIONS, "trainer.max_epochs=1")
    row = int(torch.nonzero(torch.tensor(_splits(whole)) == 0)[0])
    poison(monkeypatch, row, epoch=1)
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"in epoch 2, step \d, the loss is NaN") as caught:
        jobs.train(run, *OPTIONS, "trainer.max_epochs=3")
    assert f"the images (row {row}" in str(caught.value)
    assert str(caught.value).endswith("the checkpoints are those of epoch 1")
    assert jobs.status(run)["state"] == "failed"
    for name in ("best", "last"):
        kept, first = (jobs.checkpoint(folder, name)["state_dict"] for folder in (run, whole))
        assert jobs.same_weights(kept, first)


def _splits(run: Path) -> list[int]:
    lines = (run / "samples.csv").read_text().splitlines()
    place = lines[0].split(",").index("split")
    return [("train", "val", "test").index(line.split(",")[place]) for line in lines[1:]]


def test_a_rate_that_is_too_high(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"the weights head\S+, since the step before \(row .*: training"
    ):
        jobs.train(tmp_path / "run", *OPTIONS, "optimizer.lr=1.0e+30")
    assert jobs.checkpoint(tmp_path / "run", "last")["epoch"] == 0


def test_a_penalty_that_overflows(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the penalty of the weights: lower regularise\.l1"):
        jobs.train(tmp_path / "run", *OPTIONS, "regularise.l2=1.0e+38")


def test_processes_put_their_rows_together(monkeypatch: pytest.MonkeyPatch) -> None:
    other, sound = Place("the images", [3], "look"), Place("the loss", [1], "")

    def gather(found: list[Any], own: Place) -> None:
        found[:] = [sound, own, other]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    place = finite._of_all(Place("the images", [8, 6], "look"), [1, 2], 3)
    assert place == Place("the images", [3, 6, 8], "look")


def test_half_precision_is_a_cause_of_its_own() -> None:
    table = SimpleNamespace(samples=SimpleNamespace(table=jobs.toy([4, 2, 2]).table))
    progress = SimpleNamespace(epoch_loop=SimpleNamespace(batch_idx=2))
    trainer: Any = SimpleNamespace(
        datamodule=table, current_epoch=0, precision="16-mixed", fit_loop=progress
    )
    line = finite._message(trainer, math.inf, Place("the logits", [1], SLOWER))
    assert line.startswith("in epoch 1, step 3, the loss is infinite; the first not to be finite: ")
    assert "the logits (row 1): training has diverged" in line
    assert "16-mixed ends at 65,504" in line
    assert line.endswith("the checkpoints hold nothing of it")


def test_the_loss_on_a_gpu_is_looked_at_once_the_backward_pass_is_queued() -> None:
    nothing: Any = None
    callback, done = finite.FiniteLoss(), []
    callback._check = lambda *_: done.append("looked")  # type: ignore[method-assign]
    waiting: Any = SimpleNamespace(synchronize=lambda: done.append("waited"))
    callback.copied = waiting
    callback.on_after_backward(nothing, nothing)
    callback.on_after_backward(nothing, nothing)  # of a step whose loss was on the processor
    assert done == ["waited", "looked"]
