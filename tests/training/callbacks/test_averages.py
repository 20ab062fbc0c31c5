"""Averages of the weights against what they are by definition."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import SWALR

from medcnn.classifier.checkpoint import load
from medcnn.data.phantom.dataset import phantom
from medcnn.training.callbacks.averages import SWA
from medcnn.training.module import TrainingModule

Weights = list[dict[str, np.ndarray]]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Weights:
    """The weights after each step of the optimiser."""
    seen: Weights = []
    step = TrainingModule.optimizer_step

    def watched(self: TrainingModule, *args: object, **options: object) -> None:
        step(self, *args, **options)  # type: ignore[arg-type]
        weights = self.classifier.named_parameters()
        seen.append({name: value.detach().numpy().copy() for name, value in weights})

    monkeypatch.setattr(TrainingModule, "optimizer_step", watched)
    return seen


def state(run: Path, kind: str) -> dict[str, object]:
    """What last.ckpt says of the average."""
    found: dict[str, object] = jobs.checkpoint(run, "last")["callbacks"][kind]
    return found


def close(found: dict[str, torch.Tensor], expected: dict[str, np.ndarray]) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].numpy(), values, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("warmup", "start"), [(True, 0), (False, 1)])
def test_ema_is_its_recurrence(tmp_path: Path, steps: Weights, warmup: bool, start: int) -> None:
    options = ("average=ema", "average.decay=0.6", f"average.warmup={warmup}".lower())
    run = jobs.train(tmp_path / "run", *jobs.QUICK, *options, f"average.start={start}")
    skipped = start * len(steps) // 2
    average = {name: value.astype(float) for name, value in steps[skipped].items()}
    for n, weights in enumerate(steps[skipped + 1 :], 1):
        decay = min(0.6, (1 + n) / (10 + n)) if warmup else 0.6
        average = {k: decay * average[k] + (1 - decay) * weights[k] for k in average}
    last = jobs.checkpoint(run, "last")
    close(last["state_dict"], average)
    kept = state(run, "EMA")
    close(kept["other"], steps[-1])  # type: ignore[arg-type]
    assert (kept["count"], kept["inside"], kept["step"]) == (len(steps) - skipped, True, len(steps))
    best, epochs = jobs.checkpoint(run), len(pd.read_csv(run / "metrics.csv"))
    if best["epoch"] == epochs - 1:
        assert jobs.same_weights(best["state_dict"], last["state_dict"])


def test_the_average_takes_a_step_of_several_batches_once(tmp_path: Path, steps: Weights) -> None:
    options = ("average=ema", "trainer.accumulate_grad_batches=2", "trainer.max_epochs=1")
    run = jobs.train(tmp_path / "run", *jobs.QUICK, *options, "batch_size=8")
    batches = jobs.checkpoint(run, "last")["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    assert state(run, "EMA")["count"] == -(-batches["total"]["ready"] // 2) >= 3


def test_swa_is_the_mean_over_epochs_at_a_constant_rate(tmp_path: Path, steps: Weights) -> None:
    options = ("average=swa", "average.start=0.5", "average.rate=0.3", "trainer.max_epochs=4")
    run = jobs.train(tmp_path / "run", *jobs.QUICK, *options, "optimizer.lr=0.01")
    ends = steps[len(steps) // 4 - 1 :: len(steps) // 4]
    assert len(ends) == 4
    mean = {name: (ends[2][name].astype(float) + ends[3][name]) / 2 for name in ends[0]}
    close(jobs.checkpoint(run, "last")["state_dict"], mean)
    rates = pd.read_csv(run / "metrics.csv")["lr"].tolist()
    assert rates[2:] == pytest.approx([0.003, 0.003])
    assert rates[0] > 0.005


def test_the_rate_of_swa_is_annealed_as_by_pytorch() -> None:
    """From what the schedule left, over a quarter of eight epochs of three batches."""
    swa, pytorch = (
        torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in rates])
        for rates in ((0.02, 0.01), (0.02, 0.01))
    )
    expected = SWALR(pytorch, swa_lr=[0.05, 0.025], anneal_epochs=6)
    average = SWA(start=0.5, rate=0.5, anneal=0.25)
    module = SimpleNamespace(highest_rates=[0.1, 0.05])
    for step in range(9):
        now: Any = SimpleNamespace(
            max_epochs=8, current_epoch=4 + step // 3, num_training_batches=3, optimizers=[swa]
        )
        average._set_rates(now, module, step % 3)
        for mine, theirs in zip(swa.param_groups, pytorch.param_groups, strict=True):
            assert mine["lr"] == pytest.approx(theirs["lr"])
            mine["lr"] *= 0.9  # the schedule goes on
        pytorch.step()
        expected.step()
    assert theirs["lr"] == 0.025


@pytest.mark.no_cover
def test_batch_norms_have_the_statistics_of_the_average(tmp_path: Path) -> None:
    net = ("model=resnet", "model.width=0.125", "trainer.max_epochs=2", "batch_size=64")
    run = jobs.train(tmp_path / "run", *jobs.QUICK, *net, "augment=none", "average=ema")
    classifier = load(run / "checkpoints" / "last.ckpt")
    samples = phantom(size=28, patients=36, images_per_patient=2)
    images = samples.images[samples.rows("train")].float() / 255
    with torch.inference_mode():
        evaluated = classifier(images)
        for norm in classifier.net.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.train()
        by_batch = classifier(images)
    torch.testing.assert_close(evaluated, by_batch, atol=0.02, rtol=0.02)
