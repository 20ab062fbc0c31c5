"""Networks that are compiled while they train."""

from pathlib import Path

import jobs
import pandas as pd
import pytest
import torch
from torch import nn

import medcnn
from medcnn.errors import UserError
from medcnn.training import compiled as module
from medcnn.training.compiled import as_it_is, check_compiler, compiled, is_compiled

OPTIONS = (*jobs.QUICK, "cam.n=2", "trainer.max_epochs=1")


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of `torch.compile` but for the kernels, which take half a minute."""
    monkeypatch.setattr(module, "BACKEND", "eager")
    torch.compiler.reset()


def test_within_the_block_alone() -> None:
    net = jobs.SmallNet(1, 2)
    names = [*net.state_dict()]
    with compiled(net, False):
        assert not is_compiled(net)
    with compiled(net, True):
        assert is_compiled(net)
        with as_it_is(net):
            assert not is_compiled(net)
        assert is_compiled(net)
        assert [*net.state_dict()] == names
    assert not is_compiled(net)
    with compiled(nn.Linear(1, 1), True):  # of neither part
        pass


@pytest.mark.usefixtures("eager")
def test_a_compiled_training_is_the_same(tmp_path: Path) -> None:
    """With maps in it and after it, and figures of its health."""
    maps = ("callbacks=maps", "logger=tensorboard", "diagnosis.every_n_steps=1")
    runs = [
        jobs.train(tmp_path / name, *OPTIONS, *maps, f"trainer.compile={name}")
        for name in ("false", "true")
    ]
    first, second = (jobs.checkpoint(run)["state_dict"] for run in runs)
    assert jobs.same_weights(first, second)
    assert (runs[1] / "cams" / "gallery.png").exists()
    health = [set(pd.read_csv(run / "health.csv")) for run in runs]
    assert health[0] - health[1] == {name for name in health[0] if name.startswith("dead/")}
    classifier = medcnn.load(runs[1] / "checkpoints" / "best.ckpt")
    assert not any(is_compiled(member.net) for member in classifier.members)  # type: ignore[arg-type]


def test_where_there_is_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "BACKEND", "no_such_backend")
    with pytest.raises(UserError, match=r"trainer\.compile=true: torch\.compile doesn't work on"):
        jobs.train(tmp_path / "run", *OPTIONS, "trainer.compile=true")
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
def test_real_kernels_learn_what_plain_ones_do(tmp_path: Path) -> None:
    check_compiler(torch.device("cpu"))
    runs = [
        jobs.train(tmp_path / name, *OPTIONS, f"trainer.compile={name}")
        for name in ("false", "true")
    ]
    losses = [pd.read_csv(run / "metrics.csv")["val/loss"].tolist() for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    assert jobs.status(runs[1])["state"] == "finished"
