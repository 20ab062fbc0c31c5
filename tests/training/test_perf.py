"""The fastest of the ways to train."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jobs
import pytest
import torch
import yaml

from medcnn.errors import UserError
from medcnn.training import perf

SPEEDS = {  # images a second
    ("32-true", True, 2): 100, ("bf16-mixed", True, 2): 150, ("bf16-mixed", False, 2): 156,
    ("bf16-mixed", True, 1): 170,
}  # fmt: skip


def batches(number: int) -> Callable[..., Any]:
    """Loaders with so many batches an epoch."""
    return lambda *_: SimpleNamespace(train_dataloader=lambda: [0] * number)


def test_the_fastest_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(cfg: Any, *_: Any) -> float:
        given = cfg.trainer
        precision = "bf16-mixed" if given.precision == "auto" else given.precision
        slower = 1 if cfg.optimizer["fused"] else 0.5
        return slower / SPEEDS[precision, given.channels_last, given.threads or 2]

    monkeypatch.setattr(perf, "_seconds", seconds)
    monkeypatch.setattr(perf, "resolve_precision", lambda *_: "bf16-mixed")
    monkeypatch.setattr(perf, "set_threads", lambda *_: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(perf, "make_data", batches(5))
    cfg: Any = jobs.compose("train", "perf=auto", "trainer=cpu")
    samples: Any = None
    lines = perf.settle_perf(cfg, samples, [])
    # 156 is too little more than 150 to leave the usual memory format
    assert (cfg.trainer.precision, cfg.trainer.channels_last, cfg.trainer.threads) == (
        "bf16-mixed", True, 1,
    )  # fmt: skip
    assert lines[0] == (
        "perf: trainer.precision=bf16-mixed (images a second: bf16-mixed 150, 32-true 100)"
    )
    assert lines[2] == "perf: optimizer.fused=False (images a second: True 150, False 300)"
    assert lines[3].startswith("perf: trainer.threads=1 ")
    assert lines[4].startswith("perf: trainer.compile=false (steps of ")
    assert cfg.perf is None
    assert perf.settle_perf(cfg, samples, []) == []


def test_what_was_measured_stands_in_the_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folds of a cross-validation take it alike, and the weights are those of such a config."""
    monkeypatch.setattr("medcnn.training.speed.LONGEST", 0.0)
    threads = torch.get_num_threads()
    options = (*jobs.QUICK, "trainer.max_epochs=1", "fold=all", "folds=2", "cam.n=0")
    try:
        run = jobs.train(tmp_path / "run", *options, "perf=auto", "trainer.precision=auto")
        assert capsys.readouterr().out.count("perf: trainer.channels_last=") == 1
        stored = [
            yaml.safe_load((folder / "config.yaml").read_text()) for folder in (run, run / "fold-1")
        ]
        assert [one["perf"] for one in stored] == [None, None]
        chosen = {
            key: stored[0]["trainer"][key] for key in ("precision", "channels_last", "threads")
        }
        assert chosen["precision"] in ("auto", "32-true", "bf16-mixed")
        assert stored[1]["trainer"] == stored[0]["trainer"]
        again = [f"trainer.{key}={'null' if v is None else v}" for key, v in chosen.items()]
        other = jobs.train(tmp_path / "again", *options, *again)
        weights = [jobs.checkpoint(one / "fold-0")["state_dict"] for one in (run, other)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("epochs", "compiled", "chosen", "says"),
    [
        (10, 0.5, False, "steps of 1 min 40 s in all: compiling takes minutes"),
        (
            1000,
            0.5,
            True,
            "second: 50, compiled 100; of 2 h 46 min compiling takes about",
        ),
        (1000, 0.98, False, "compiled 51;"),
        (1000, None, False, "(no compiler here)"),
    ],
)
def test_long_trainings_are_compiled_if_that_pays(
    epochs: int,
    compiled: float | None,
    chosen: bool,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def seconds(*_: Any, compiling: bool = False) -> float:
        if not compiling:
            return 0.02
        if compiled is None:
            raise RuntimeError("no\ncompiler here")
        return 0.02 * compiled

    monkeypatch.setattr(perf, "_seconds", seconds)
    monkeypatch.setattr(perf, "check_compiler", lambda _: None)
    monkeypatch.setattr(perf, "_choices", lambda *_: [])
    monkeypatch.setattr(perf, "make_data", batches(5))
    own = ("perf=auto", "batch_size=100", f"trainer.max_epochs={epochs}")
    cfg: Any = jobs.compose("train", *own)
    samples: Any = None
    (line,) = perf.settle_perf(cfg, samples, [])
    assert says in line
    assert cfg.trainer.compile is chosen
    assert line.startswith(f"perf: trainer.compile={str(chosen).lower()} (")
    cfg = jobs.compose("train", *own, "trainer.compile=true")
    assert perf.settle_perf(cfg, samples, []) == []  # set by hand


def test_a_plan_measures_by_itself(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="perf=auto goes without plan=auto"):
        jobs.train(tmp_path / "run", "perf=auto", "plan=auto")
