"""Learning rates against the formulas of the schedules."""

import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, Optimizer

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


def test_plateau_waits_for_the_validation_auroc() -> None:
    made = optimizer()
    schedule = schedulers.plateau(made, total_steps=5, factor=0.3, patience=2)
    assert (schedule["interval"], schedule["monitor"]) == ("epoch", None)
    found = []
    for auroc in (0.6, 0.7, 0.7, 0.69, 0.68, 0.9, 0.9, 0.9, 0.9):
        schedule["scheduler"].step(auroc)
        found.append(made.param_groups[0]["lr"] / BASE)
    assert found == pytest.approx([1, 1, 1, 1, 0.3, 0.3, 0.3, 0.3, 0.09])


OPTIONS: dict[str, dict[str, Any]] = {
    "cosine": {"warmup": 0.2},
    "onecycle": {"warmup": 0.3},
    "step": {"milestones": [0.5], "factor": 0.1},
    "plateau": {"factor": 0.5, "patience": 0},
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
        ("plateau", {"factor": 1.0, "patience": 1}, r"scheduler\.factor=1\.0: between 0 and 1"),
    ],
)
def test_options_out_of_range(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        getattr(schedulers, name)(optimizer(), total_steps=10, **options)


@pytest.mark.parametrize("total_steps", range(1, 12))
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.2, 0.5])
def test_onecycle_takes_any_number_of_steps(total_steps: int, warmup: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    scheduler = schedulers.onecycle(optimizer, total_steps=total_steps, warmup=warmup)["scheduler"]
    for _ in range(total_steps):
        optimizer.step()
        scheduler.step()
    assert 0 <= optimizer.param_groups[0]["lr"] < 0.01
