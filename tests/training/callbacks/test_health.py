"""health.csv: how a training fares."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jobs
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from medcnn.train import train
from medcnn.training.callbacks.health import Clock, Step

PLAIN = (*jobs.QUICK, "model=alexnet", "model.width=0.1")
OPTIONS = (*PLAIN, "diagnosis.every_n_steps=2")
ALONE: Any = SimpleNamespace(reduce=lambda values, reduce_op: values)


class Small(nn.Module):
    """Two stages, of which the second has a dead channel, and a head."""

    def __init__(self) -> None:
        super().__init__()
        first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
        second = nn.Sequential(nn.Conv2d(4, 2, 3), nn.ReLU())
        self.features = nn.Sequential()
        self.features.add_module("first", first)
        self.features.add_module("pool", nn.MaxPool2d(2))
        self.features.add_module("second", second)
        self.head = nn.Linear(2, 1)
        with torch.no_grad():
            second[0].weight[1] = 0.0  # type: ignore[operator]
            second[0].bias[1] = -1.0  # type: ignore[operator]
            first[0].bias.fill_(1.0)  # type: ignore[operator]

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.features(images).mean((2, 3)))


def hooks(net: nn.Module) -> int:
    return sum(len(part._forward_hooks) for part in net.modules())


def test_a_step_of_plain_gradient_descent() -> None:
    """Δw is the rate times the gradient, so that the ratio is known."""
    torch.manual_seed(0)
    net = Small()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    step = Step(net)
    net(torch.rand(5, 1, 12, 12)).square().mean().backward()
    step.measure_gradient()
    step.lr = 0.1
    optimizer.step()
    figures = step.figures(ALONE)
    gradients = {name: p.grad for name, p in net.named_parameters()}
    whole = torch.cat([g.flatten() for g in gradients.values() if g is not None]).norm()
    assert figures["gradient_norm"] == pytest.approx(float(whole), rel=1e-5)
    for name, weight in (
        ("first", "features.first.0.weight"),
        ("second", "features.second.0.weight"),
        ("head", "head.weight"),
    ):
        gradient = gradients[weight]
        assert gradient is not None
        size = (before[weight] - 0.1 * gradient).norm()
        expected = float(0.1 * gradient.norm() / size)
        assert figures[f"update/{name}"] == pytest.approx(expected, rel=1e-3)
    assert {k: v for k, v in figures.items() if "dead" in k} == {
        "dead/first": 0.0, "dead/second": 0.5,
    }  # fmt: skip
    assert figures["lr"] == 0.1
    assert hooks(net) == 0


def test_frozen_parts_have_no_ratio_and_no_gradient_is_no_number() -> None:
    net = Small().requires_grad_(False)
    figures = Step(net).figures(ALONE)
    assert figures["gradient_norm"] is None
    assert not [name for name in figures if "update" in name]
    net.head.requires_grad_(True)
    with torch.no_grad():
        net.head.weight.fill_(0.0)
    assert Step(net).figures(ALONE)["update/head"] is None  # 0 / 0


def test_a_channel_is_dead_if_it_is_so_in_all_processes() -> None:
    net = Small()
    step = Step(net)
    net(torch.rand(5, 1, 12, 12))
    other: Any = SimpleNamespace(reduce=lambda values, reduce_op: values + torch.ones_like(values))
    assert step.figures(other)["dead/second"] == 0.0


def test_the_share_of_waiting() -> None:
    times = iter([0.0, 3.0, 4.0, 5.0, 7.0, 10.0, 10.0, 10.0])
    clock = Clock(lambda: next(times))  # starts at 0
    clock.go_on(8)  # at 3: waited for 3 s
    clock.stop(torch.device("cpu"))  # 4
    clock.pause()  # 5
    clock.resume()  # 7: these 2 s don't count
    clock.go_on(8)  # at 10: waited since 6
    assert clock.figures() == {"images_per_second": 2.0, "waiting": 0.875}


def test_a_gpu_that_is_busy_did_not_wait() -> None:
    times = iter([0.0, 3.0, 4.0])
    clock = Clock(lambda: next(times))
    clock.done = SimpleNamespace(query=lambda: False)  # type: ignore[assignment]
    clock.go_on(8)
    assert clock.figures()["waiting"] == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jobs.train(tmp_path_factory.mktemp("health") / "run", *OPTIONS)


def test_a_row_every_few_steps_and_one_an_epoch(run: Path) -> None:
    table = pd.read_csv(run / "health.csv")
    steps = len(table) and int(table["step"].max()) // 2
    expected = [*range(2, steps + 1, 2), *([steps] if steps % 2 else [])]
    assert table["step"].tolist() == [*expected, *(steps + step for step in expected)]
    assert table["epoch"].tolist() == [1] * len(expected) + [2] * len(expected)
    assert [name for name in map(str, table) if "update" in name] == [
        *(f"update/conv{k}" for k in range(1, 6)), "update/head",
    ]  # fmt: skip
    assert [name for name in map(str, table) if "dead" in name] == [
        f"dead/conv{k}" for k in range(1, 6)
    ]
    assert (table.drop(columns=["memory_gb"]) >= 0).all().all()
    assert table["waiting"].between(0, 1).all()


def test_weights_are_the_same_without_it(run: Path, tmp_path: Path) -> None:
    other = jobs.train(tmp_path / "run", *PLAIN, "diagnosis=none")
    assert not (other / "health.csv").exists()
    for name in ("best", "last"):
        kept, bare = (jobs.checkpoint(folder, name)["state_dict"] for folder in (run, other))
        assert jobs.same_weights(kept, bare)


def test_a_resumed_run_has_the_rows_of_one_that_was_not(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        jobs.call_at(patch, 1, 2, stop)
        with pytest.raises(KeyboardInterrupt):
            jobs.train(folder, *OPTIONS)
    assert pd.read_csv(folder / "health.csv")["epoch"].max() == 2  # also of what is done again
    train(jobs.compose("train", f"resume='{folder}'"), [])
    timed = ["images_per_second", "waiting", "memory_gb"]
    whole, parts = (pd.read_csv(path / "health.csv").drop(columns=timed) for path in (run, folder))
    pd.testing.assert_frame_equal(whole, parts)


def test_a_rate_1000_times_too_high_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    often = (*jobs.QUICK, "diagnosis.every_n_steps=1", "trainer.max_epochs=3", "scheduler=none")
    jobs.train(tmp_path / "sound", *often)
    assert "a step changes the weights" not in caplog.text
    jobs.train(tmp_path / "off", *often, "optimizer.lr=1")
    assert caplog.text.count("note: a step changes the weights of") == 1
