"""The short form before a training: it says what is wrong, and changes nothing."""

import json
from pathlib import Path

import jobs
import pytest

from medcnn.jobs.settings.commands import Train
from medcnn.jobs.settings.read import read_stored

DROPS = ("model=vgg", "model.width=0.1", "cam.n=0")  # with batch norm and dropout


@pytest.mark.no_cover
def test_a_training_is_the_same_with_and_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = (*jobs.PHANTOM, *jobs.PLAIN, *DROPS, "diagnosis.at_start=true")
    one = jobs.train(tmp_path / "with", *options)
    other = jobs.train(tmp_path / "without", *options, "diagnosis.at_start=false")
    assert not (other / "diagnosis.json").exists()
    for name in ("best", "last"):
        first, second = (jobs.checkpoint(run, name)["state_dict"] for run in (one, other))
        assert jobs.same_weights(first, second)
    content = json.loads((one / "diagnosis.json").read_text())
    assert content["passed"]
    names = [finding["check"] for finding in content["findings"]]
    assert names == ["inputs", "labels", "class weights", "loss at the start", "frozen parts"]
    said = [
        text for text in caplog.messages if text.startswith(tuple(f"note: {n}:" for n in names))
    ]
    assert said == []


def test_a_fault_is_said_in_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = jobs.train(
        tmp_path / "run", *jobs.QUICK, "normalise=none", "trainer.max_epochs=1",
        "diagnosis.at_start=true",
    )  # fmt: skip
    (line,) = [text for text in caplog.messages if "inputs" in text]
    assert line.startswith("note: inputs: the net sees values of mean 0.")
    assert line.endswith("normalise=zscore makes them so")
    content = json.loads((run / "diagnosis.json").read_text())
    assert [one["check"] for one in content["findings"] if one["passed"] is False] == ["inputs"]
    assert not content["passed"]


def test_a_run_of_before_has_the_default() -> None:
    stored = jobs.compose("train").plain()
    del stored["diagnosis"]
    assert read_stored(Train, stored, "config.yaml").diagnosis.at_start
