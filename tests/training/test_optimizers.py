"""Optimisers against their formulas and other libraries."""

import copy
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.training.module import TrainingModule
from medcnn.training.optimizers import Lion, sam, schedule_free, second_pass

CURVATURE = torch.tensor([[3.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
START = torch.tensor([1.0, -2.0], dtype=torch.float64)


def on_quadratic(make: Any, steps: int) -> Tensor:
    """Where an optimiser gets to on ½ wᵀAw."""
    weight = nn.Parameter(START.clone())
    made = make([weight])

    def closure() -> Tensor:
        made.zero_grad()
        loss = weight @ CURVATURE @ weight / 2
        loss.backward()
        return loss

    for _ in range(steps):
        made.step(closure)
    return weight.detach()


def test_lion_is_that_of_timm() -> None:
    timm = pytest.importorskip("timm.optim")
    options = {"lr": 0.03, "betas": (0.8, 0.95), "weight_decay": 0.2}
    ours = on_quadratic(lambda params: Lion(params, **options), 25)
    theirs = on_quadratic(lambda params: timm.Lion(params, **options), 25)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_sam_on_a_quadratic() -> None:
    rho, rate = 0.3, 0.1
    expected = START.numpy().copy()
    matrix = CURVATURE.numpy()
    for _ in range(7):  # Foret et al. 2021, eqs. 2 and 3, with the gradient Aw
        gradient = matrix @ expected
        expected -= rate * matrix @ (expected + rho * gradient / np.linalg.norm(gradient))
    options = {"rho": rho, "lr": rate, "momentum": 0.0, "weight_decay": 0.0}
    found = on_quadratic(lambda params: sam(params, base="sgd", **options), 7)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("base", ["sgd", "adamw"])
def test_sam_of_no_distance_is_its_base(base: str) -> None:
    common = {"lr": 0.05, "weight_decay": 0.1}
    found = on_quadratic(lambda params: sam(params, base=base, rho=1e-15, **common), 5)
    more = {"momentum": 0.9, "nesterov": True} if base == "sgd" else {}
    kind: Any = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[base]
    torch.testing.assert_close(found, on_quadratic(lambda p: kind(p, **common, **more), 5))


def test_sam_in_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both passes draw the same dropout, and one of them is logged."""
    seen: list[tuple[float, float, int]] = []
    loss_of = TrainingModule.training_loss

    def watched(self: TrainingModule, batch: dict[str, Tensor]) -> Tensor:
        draw = float(torch.rand(()))
        loss = loss_of(self, batch)
        seen.append((draw, float(loss.detach()), len(batch["label"])))
        return loss

    monkeypatch.setattr(TrainingModule, "training_loss", watched)
    clipped = ("optimizer=sam", "trainer.gradient_clip_val=1")
    quick = (*jobs.QUICK, "trainer.max_epochs=1", "diagnosis=none", *clipped)
    run = jobs.train(tmp_path / "run", *quick)
    first, second = seen[::2], seen[1::2]
    assert [draw for draw, *_ in first] == [draw for draw, *_ in second]
    assert len({draw for draw, *_ in first}) == len(first) > 2
    assert all(up[1] > down[1] for down, up in zip(first, second, strict=True))
    mean = np.average([loss for _, loss, _ in first], weights=[n for *_, n in first])
    (logged,) = pd.read_csv(run / "metrics.csv")["train/loss"]
    assert logged == pytest.approx(mean, rel=1e-5)


def test_the_second_pass_leaves_batch_norms_as_they_are() -> None:
    images = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    net, made = nn.BatchNorm2d(2), sam([nn.Parameter(START)], base="sgd", rho=1, **RATES)
    plain = copy.deepcopy(net)
    expected = plain(images)
    made.climbed = True
    with second_pass(net, [made]) as second:
        assert second
        torch.testing.assert_close(net(images), expected, rtol=0, atol=0)
    assert net.running_mean.tolist() == [0, 0]
    assert net.num_batches_tracked == 0
    assert net.track_running_stats
    made.climbed = False
    with second_pass(net, [made]) as second:
        net(images)
    assert (second, int(net.num_batches_tracked)) == (False, 1)


RATES = {"lr": 0.1, "weight_decay": 0.0}


def test_schedule_free_is_an_average(tmp_path: Path) -> None:
    """Defazio et al. 2024, eqs. 3 to 5, of SGD without momentum in x: the mean of all z."""
    pytest.importorskip("schedulefree")
    weight = nn.Parameter(START.clone())
    made: Any = schedule_free([weight], base="sgd", warmup_steps=0, **RATES)
    made.train()
    x = z = START.numpy()
    for step in range(6):
        made.zero_grad()
        (weight @ CURVATURE @ weight / 2).backward()
        made.step()
        y = 0.9 * x + 0.1 * z
        z = z - 0.1 * CURVATURE.numpy() @ y
        x = x + (z - x) / (step + 1)
    made.eval()
    np.testing.assert_allclose(weight.detach().numpy(), x, rtol=1e-9)


def test_schedule_free_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "schedulefree", None)
    with pytest.raises(UserError, match=r'pip install "medcnn\[schedulefree\]"'):
        schedule_free([nn.Parameter(START)], base="sgd", warmup_steps=0, **RATES)
    with pytest.raises(UserError, match="base=lion: choose one of adamw, sgd"):
        schedule_free([nn.Parameter(START)], base="lion", warmup_steps=0, **RATES)
