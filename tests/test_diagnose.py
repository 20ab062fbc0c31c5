"""``python -m medcnn.diagnose``: its lines, files and exit codes."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import jobs
import pytest
from html_page import Page

from medcnn import diagnose
from medcnn.training.diagnosis.run import CHECKS

SMALL = (*jobs.PHANTOM, *jobs.PLAIN, "model=lenet", "model.version=modern")


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command in this process; gives its exit code back."""
    monkeypatch.setattr(sys, "argv", ["diagnose.py", *arguments])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    handler = signal.getsignal(signal.SIGINT)
    try:
        diagnose.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        signal.signal(signal.SIGINT, handler)
    return 0


def test_a_healthy_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command(monkeypatch, *SMALL, "augment=standard", f"output={out}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ok    frozen parts: all 10 parameters get a gradient" in lines
    assert lines[-1].startswith(f"{out / 'diagnosis.html'}: 0 of ")
    assert sorted(path.name for path in out.iterdir()) == ["diagnosis.html", "diagnosis.json"]
    content = json.loads((out / "diagnosis.json").read_text())
    assert (content["data"], content["model"], content["passed"]) == ("phantom", "lenet", True)
    for start, override in (
        ("learning-rate range", "optimizer.lr="),
        ("largest batch", "batch_size="),
    ):
        (line,) = [one for one in lines if one.startswith(f"ok    {start}: ")]
        assert override in line
    page = Page((out / "diagnosis.html").read_text())
    assert page.of("h1") == ["Diagnosis: phantom"]
    assert "found a fault" in page.text
    assert page.of("h2") == [
        "Checks", "Inputs", "Activations by stage", "Gradients by stage",
        "A few images learnt by heart", "Loss by learning rate",
    ]  # fmt: skip
    assert len(page.of("dt")) >= len(content["findings"])
    drawn = [label.split(",")[0] for label in page.labels("svg")]
    assert [name for name in drawn if name.startswith("Histogram")][1:] == [
        *(f"Histogram {name}" for name in ("input", "c1", "c3", "head")),
        *(f"Histogram {name}" for name in ("c1", "c3", "head")),
    ]


def test_a_fault_is_told_by_line_page_and_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command(monkeypatch, *SMALL, "normalise=none", f"output={out}") == 1
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("FAULT")]
    assert line.startswith("FAULT inputs: the net sees values of mean 0.")
    assert not json.loads((out / "diagnosis.json").read_text())["passed"]
    page = Page((out / "diagnosis.html").read_text())
    assert page.of("strong") == ["Fault"]
    assert "normalise=zscore makes them so." in page.text


def test_what_the_user_got_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, *SMALL, f"output={tmp_path / 'out'}", "fold=all") == 2
    assert "fold=all: a diagnosis is of one fold" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_ctrl_c_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(parts: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setitem(CHECKS, "labels", interrupted)
    assert command(monkeypatch, *SMALL, f"output={tmp_path / 'out'}") == 130
    assert capsys.readouterr().err == "medcnn: interrupted\n"
    assert not (tmp_path / "out").exists()
