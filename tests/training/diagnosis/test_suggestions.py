"""The learning rate and the batch that a diagnosis suggests."""

import jobs
import numpy as np
import pytest
import torch
from torch import nn

from medcnn.training.diagnosis import largest_batch as of_batch
from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.largest_batch import Made
from medcnn.training.diagnosis.parts import Parts, make_parts
from medcnn.training.diagnosis.rate_test import suggested
from medcnn.training.diagnosis.run import findings

pytestmark = pytest.mark.no_cover  # steps of training

RATES = np.geomspace(1e-6, 10, 100)


def parts_of(*overrides: str) -> Parts:
    """A small training on two classes, which are easily told apart."""
    cfg = jobs.compose("train", *jobs.PLAIN, "model=lenet", "model.version=modern", *overrides)
    cfg.transfer.mode = "scratch"
    torch.manual_seed(0)
    return make_parts(cfg, jobs.toy([40, 10, 10]), [])


def found(parts: Parts, name: str) -> Finding:
    """What one of both finds; it changes nothing."""
    before = [p.detach().clone() for p in parts.module.parameters()]
    (one,) = findings(parts, [name])
    assert all(map(torch.equal, parts.module.parameters(), before))
    return one


def test_gradient_descent_diverges_where_theory_says() -> None:
    """On w²/2 that is from the rate 2 on; noise in the gradient keeps it from resting at 0."""
    w, losses, generator = 1.0, [], np.random.default_rng(0)
    for rate in RATES:
        losses.append(1 + w**2 / 2)
        w -= rate * (w + generator.normal(0, 0.1))
    rate = suggested(RATES, losses).rate
    assert rate is not None
    assert 0.1 <= rate <= 0.4


@pytest.mark.parametrize("after", [np.nan, 1.0])
def test_what_comes_after_a_burst_does_not_count(after: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, len(RATES))
    losses = np.where(RATES < 0.1, 1 - 5 * RATES, after) + noise
    losses[(RATES >= 0.1) & (RATES < 1)] = 4
    assert suggested(RATES, losses).rate == pytest.approx(0.006, abs=0.003)


def test_noise_suggests_nothing() -> None:
    losses = 1 + np.random.default_rng(0).normal(0, 0.1, len(RATES))
    assert suggested(RATES, losses).rate is None


@pytest.mark.parametrize(("optimizer", "low", "high"), [("sgd", 1e-3, 0.3), ("adamw", 1e-4, 0.03)])
def test_rates_are_sane(optimizer: str, low: float, high: float) -> None:
    one = found(parts_of(f"optimizer={optimizer}"), "learning-rate range")
    assert one.passed
    assert low <= one.figures["suggested"] <= high
    assert f"optimizer.lr={one.figures['suggested']:.1g} (now " in one.line


def test_memory_is_that_of_the_tensors() -> None:
    x = torch.zeros(100, 50)
    net = nn.Sequential(nn.Linear(50, 70, bias=False), nn.Sigmoid())
    with Made() as made:
        y = net(x)
    assert made.most == made.now + 4 * 100 * 70 == 2 * y.nbytes  # what both layers give


def test_the_line_through_small_batches_meets_a_large_one() -> None:
    parts = parts_of()
    figures = found(parts, "largest batch").figures
    parts.module.train()
    large = of_batch.step_memory(parts, parts.samples.rows("train"))
    assert figures["fixed"] + 40 * figures["each"] == pytest.approx(large, rel=0.15)


@pytest.mark.parametrize(
    ("free", "set_to", "says"),
    [
        (10**9, 16, "all 40 training images fit, batch_size=40 (now 16)"),
        (2_250_000, 16, "the largest that fits, batch_size=34 (now 16)"),
        (2_250_000, 64, "batch_size=64 doesn't fit: take batch_size=34 and"),
        (10**6, 16, "16 images take 0.9 of 1 MB that are free; more aren't tried"),
    ],
)
def test_the_largest_batch(
    free: int, set_to: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_batch, "step_memory", lambda _, rows: 100_000 + 50_000 * len(rows))
    monkeypatch.setattr(of_batch, "available_memory", lambda: free)
    one = found(parts_of(f"batch_size={set_to}"), "largest batch")
    assert says in one.text
    assert one.passed is {16: True, 64: False}[set_to] or free == 10**6
