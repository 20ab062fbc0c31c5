"""Speed of training, on noise."""

import random
from typing import Any

import jobs
import pytest
import torch
from planned_trainings import FACTS

from medcnn.planning.auto.fingerprint import Fingerprint
from medcnn.planning.auto.machine import _plane, measure, work_of


@pytest.mark.parametrize(
    ("task", "outputs", "options"),
    [
        ("binary", 2, ()),
        ("multiclass", 3, ("augment=standard",)),
        ("multilabel", 3, ("model=linear",)),
        ("ordinal", 3, ()),
        ("regression", 2, ("transfer=head", "model.pretrained=true")),
    ],
)
def test_measuring_leaves_random_states_alone(
    task: str, outputs: int, options: tuple[str, ...]
) -> None:
    cfg: Any = jobs.compose("train", *jobs.PLAIN, "model=resnet", *options)
    before = cfg.yaml()
    f = Fingerprint(**FACTS | {"task": task, "outputs": outputs})
    torch.manual_seed(1)
    random.seed(1)
    expected = (torch.rand(3).tolist(), random.random())
    torch.manual_seed(1)
    random.seed(1)
    machine = measure([(cfg, (28, 28))], f, [])
    assert (torch.rand(3).tolist(), random.random()) == expected
    assert cfg.yaml() == before
    widths = [width for width, _, _ in machine.measured]
    assert widths == ([1.0] if "model=linear" in options else [0.25, 0.5])
    assert 1 < machine.measured[-1][2] < 1e6
    assert 0 < machine.testing(work_of(cfg, f, (28, 28))) < 1


def test_speeds_between_those_measured_follow_from_the_work() -> None:
    works = [(9e5, 2e7), (4e6, 5e8), (2e6, 8e7)]
    points: Any = [(moved, macs, 3e-10 * moved + 4e-11 * macs + 2e-3) for moved, macs in works]
    assert _plane(points) == pytest.approx((3e-10, 4e-11, 2e-3))
    assert _plane([(784, 0, 0.01)]) == pytest.approx(
        (0.01 / 784, 0, 0)
    )  # of a net nobody can count
