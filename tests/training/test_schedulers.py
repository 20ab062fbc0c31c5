"""Learning rates against the formulas of the schedules."""

import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, PolynomialLR

from medcnn.errors import UserError
from medcnn.training import schedulers

BASE = 0.4  # learning rate of the first group; the second has half of it


def optimizer() -> Optimizer:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    return SGD([{"params": weights[0]}, {"params": weights[1], "lr": BASE / 2}], lr=BASE)


def rates(make: Callable[..., dict[str, Any]], steps: int, **options: Any) -> list[float]:
    """Learning rate of each optimiser step, as share of the group's own."""
    made = optimizer()
    schedule = make(made, total_steps=steps, **options)
    assert schedule["interval"] == "step"
    shares = []
    for _ in range(steps):
        first, second = (group["lr"] for group in made.param_groups)
        assert first == pytest.approx(2 * second, rel=1e-6, abs=1e-12)
        shares.append(first / BASE)
        made.step()
        schedule["scheduler"].step()
    return shares


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.1), (7, 0.5), (30, 0.0), (2, 0.9), (1, 0.1)])
def test_cosine(steps: int, warmup: float) -> None:
    rising = min(int(warmup * steps), steps - 1)
    rise = [(t + 1) / (rising + 1) for t in range(rising)]
    fall = [
        (1 + math.cos(math.pi * t / (steps - rising))) / 2 for t in range(steps - rising)
    ]  # Loshchilov and Hutter 2017, equation 5, with a lowest rate of 0
    found = rates(schedulers.cosine, steps, warmup=warmup)
    assert found == pytest.approx(rise + fall, abs=1e-6)
    assert max(found) == pytest.approx(1)


def test_cosine_rises_over_the_whole_training() -> None:
    assert rates(schedulers.cosine, 4, warmup=1) == pytest.approx([0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize(("steps", "warmup"), [(50, 0.3), (10, 0.5), (10, 0.0), (10, 1.0)])
def test_onecycle(steps: int, warmup: float) -> None:
    peak = warmup * (steps + 1) - 1  # where PyTorch puts the highest rate
    low, end = 1 / 25, 1 / 25 / 1e4

    def rate(t: int) -> float:
        if t <= peak:
            return low + (1 - low) * (1 - math.cos(math.pi * t / peak)) / 2
        return end + (1 - end) * (1 + math.cos(math.pi * (t - peak) / (steps - peak))) / 2

    found = rates(schedulers.onecycle, steps, warmup=warmup)
    assert found == pytest.approx([rate(t) for t in range(steps)], abs=1e-6)
    assert len(found) == steps


def test_step() -> None:
    found = rates(schedulers.step, 20, milestones=[0.5, 0.75], factor=0.1)
    assert found == pytest.approx([1.0] * 10 + [0.1] * 5 + [0.01] * 5)
    found = rates(schedulers.step, 3, milestones=[0.0, 1.0], factor=0.5)
    assert found == pytest.approx([1.0, 0.5, 0.5])


def test_a_step_after_a_rise() -> None:
    found = rates(schedulers.step, 20, milestones=[0.5], factor=0.1, warmup=0.2)
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8] + [1.0] * 6 + [0.1] * 10)


@pytest.mark.parametrize(("cycles", "growth", "first"), [(4, 1, 5), (3, 2, 3), (1, 1, 20)])
def test_cosine_with_warm_restarts_is_that_of_pytorch(cycles: int, growth: int, first: int) -> None:
    steps = first * sum(growth**k for k in range(cycles))
    found = rates(schedulers.cosine_restarts, steps, cycles=cycles, growth=growth, warmup=0.0)

    def pytorch(made: Optimizer, total_steps: int) -> dict[str, Any]:
        schedule = CosineAnnealingWarmRestarts(made, T_0=first, T_mult=growth)
        return {"scheduler": schedule, "interval": "step"}

    assert found == pytest.approx(rates(pytorch, steps), abs=1e-6)


def test_cycles_end_with_the_training_and_rise_within_the_first() -> None:
    found = rates(schedulers.cosine_restarts, 11, cycles=2, growth=1, warmup=0.2)
    fall = [(1 + math.cos(math.pi * t / 6)) / 2 for t in range(6)]
    second = [(1 + math.cos(math.pi * t / 5)) / 2 for t in range(5)]
    assert found == pytest.approx([fall[0] / 3, fall[1] * 2 / 3, *fall[2:], *second])
    found = rates(schedulers.cosine_restarts, 2, cycles=7, growth=1, warmup=0.0)
    assert found == pytest.approx([1, 1])  # cycles of less than a step


@pytest.mark.parametrize("power", [1.0, 0.9, 2.0])
def test_polynomial(power: float) -> None:
    def pytorch(made: Optimizer, total_steps: int) -> dict[str, Any]:
        schedule = PolynomialLR(made, total_iters=total_steps, power=power)
        return {"scheduler": schedule, "interval": "step"}

    found = rates(schedulers.polynomial, 12, power=power, warmup=0.0)
    assert found == pytest.approx(rates(pytorch, 12), abs=1e-6)
    risen = rates(schedulers.polynomial, 16, power=power, warmup=0.25)
    assert risen == pytest.approx([0.2, 0.4, 0.6, 0.8, *found], abs=1e-6)


def test_plateau_waits_for_the_validation_auroc() -> None:
    made = optimizer()
    schedule = schedulers.plateau(made, total_steps=5, factor=0.3, patience=2)
    assert (schedule["interval"], schedule["monitor"]) == ("epoch", None)
    found = []
    for auroc in (0.6, 0.7, 0.7, 0.69, 0.68, 0.9, 0.9, 0.9, 0.9):
        schedule["scheduler"].step(auroc)
        found.append(made.param_groups[0]["lr"] / BASE)
    assert found == pytest.approx([1, 1, 1, 1, 0.3, 0.3, 0.3, 0.3, 0.09])


def test_plateau_after_a_rise() -> None:
    """A plateau in the midst of the rise is one afterwards, too."""
    made, found = optimizer(), []
    schedule = schedulers.plateau(made, total_steps=10, factor=0.5, patience=0, warmup=0.4)
    for step in range(10):
        first, second = (group["lr"] for group in made.param_groups)
        assert first == pytest.approx(2 * second)
        found.append(first / BASE)
        made.step()
        if step in (0, 2, 6):  # the end of an epoch
            schedule["scheduler"].step(0.7)
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.4, *[0.5] * 3, *[0.25] * 3])


OPTIONS: dict[str, dict[str, Any]] = {
    "cosine": {"warmup": 0.2},
    "onecycle": {"warmup": 0.3},
    "cosine_restarts": {"cycles": 3, "growth": 1, "warmup": 0.1},
    "polynomial": {"power": 0.9, "warmup": 0.2},
    "step": {"milestones": [0.5], "factor": 0.1},
    "plateau": {"factor": 0.5, "patience": 0, "warmup": 0.6},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_state_is_plain_and_goes_on_where_it_was(name: str) -> None:
    def advance(made: Optimizer, schedule: Any, steps: int) -> list[float]:
        for _ in range(steps):
            made.step()
            schedule.step(*[0.5] * (name == "plateau"))
        return [group["lr"] for group in made.param_groups]

    def make() -> tuple[Optimizer, Any]:
        made = optimizer()
        return made, getattr(schedulers, name)(made, total_steps=10, **OPTIONS[name])["scheduler"]

    made, schedule = make()
    advance(made, schedule, 4)
    buffer = io.BytesIO()
    torch.save({"optimizer": made.state_dict(), "schedule": schedule.state_dict()}, buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    other, resumed = make()
    other.load_state_dict(state["optimizer"])
    resumed.load_state_dict(state["schedule"])
    assert advance(other, resumed, 3) == advance(made, schedule, 3)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("cosine", {"warmup": 1.5}, r"scheduler\.warmup=1\.5: a share"),
        ("cosine", {"warmup": "long"}, r"scheduler\.warmup=long: a share"),
        ("onecycle", {"warmup": -0.1}, r"scheduler\.warmup=-0\.1: a share"),
        ("step", {"milestones": [0.5, 30], "factor": 0.1}, r"scheduler\.milestones=30: a share"),
        (
            "cosine_restarts",
            {"cycles": 0, "growth": 1, "warmup": 0},
            r"scheduler\.cycles=0: give a",
        ),
        ("cosine_restarts", {"cycles": 2, "growth": 0.5, "warmup": 0}, r"growth=0\.5: a multiple"),
        ("cosine_restarts", {"cycles": 2, "growth": 1, "warmup": 2}, r"warmup=2: a share"),
        ("polynomial", {"power": 0, "warmup": 0}, r"scheduler\.power=0: a number above 0"),
        ("polynomial", {"power": 1, "warmup": True}, r"scheduler\.warmup=True: a share"),
        ("plateau", {"factor": 0.1, "patience": 1, "warmup": 2}, r"warmup=2: a share"),
        ("plateau", {"factor": 1.0, "patience": 1}, r"factor=1\.0: give a number between 0 and 1"),
        ("plateau", {"factor": "low", "patience": 1}, r"scheduler\.factor=low: give a number"),
        ("plateau", {"factor": 0.1, "patience": None}, r"scheduler\.patience=None: give a whole"),
        ("step", {"milestones": 0.5, "factor": 0.1}, r"milestones=0\.5: give .* in brackets"),
        ("step", {"milestones": "0.5", "factor": 0.1}, r"milestones=0\.5: give shares"),
        ("step", {"milestones": [0.5], "factor": None}, r"scheduler\.factor=None: give a number"),
        ("step", {"milestones": [0.5], "factor": -1}, r"scheduler\.factor=-1: give a number above"),
    ],
)
def test_options_out_of_range(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        getattr(schedulers, name)(optimizer(), total_steps=10, **options)


@pytest.mark.parametrize("total_steps", range(1, 12))
@pytest.mark.parametrize("warmup", [0, 0.0, 0.1, 0.2, 0.5])
def test_onecycle_takes_any_number_of_steps(total_steps: int, warmup: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    scheduler = schedulers.onecycle(optimizer, total_steps=total_steps, warmup=warmup)["scheduler"]
    for _ in range(total_steps):
        optimizer.step()
        scheduler.step()
    assert 0 <= optimizer.param_groups[0]["lr"] < 0.01
