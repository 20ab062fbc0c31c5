"""Speed of training, on noise."""

import random
from typing import Any

import jobs
import pytest
import torch
from planned_trainings import FACTS

from medcnn.planning.auto.fingerprint import Fingerprint
from medcnn.planning.auto.machine import _line, measure, work_of


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
    a_byte, a_mac = 2e-6, 4e-11
    points = [(784, 2e7, 784 * a_byte + 2e7 * a_mac), (784, 5e8, 784 * a_byte + 5e8 * a_mac)]
    assert _line(points) == pytest.approx((a_byte, a_mac))  # type: ignore[arg-type]
    assert _line([(784, 0, 0.01)]) == pytest.approx((0.01 / 784, 0))  # a net that nobody can count
