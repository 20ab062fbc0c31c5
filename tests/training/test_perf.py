"""The fastest of the ways to train."""

from pathlib import Path
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


def test_the_fastest_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(cfg: Any, *_: Any) -> float:
        given = cfg.trainer
        precision = "bf16-mixed" if given.precision == "auto" else given.precision
        return 1 / SPEEDS[precision, given.channels_last, given.threads or 2]

    monkeypatch.setattr(perf, "_seconds", seconds)
    monkeypatch.setattr(perf, "resolve_precision", lambda *_: "bf16-mixed")
    monkeypatch.setattr(perf, "set_threads", lambda *_: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
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


def test_a_plan_measures_by_itself(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="perf=auto goes without plan=auto"):
        jobs.train(tmp_path / "run", "perf=auto", "plan=auto")
