import json
import os
import sys

import pytest

from medcnn.jobs import environment


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "seed=1"])
    facts = environment.environment(precision="bf16-mixed")
    assert set(facts) == {
        "command", "time", "python", "platform", "libraries", "cpu", "gpus", "torch_threads",
        "waiting_threads", "precision",
    }  # fmt: skip
    assert facts["command"][1:] == ["train.py", "seed=1"]
    assert facts["precision"] == "bf16-mixed"
    assert facts["cpu"]["count"] == os.cpu_count()
    assert set(facts["libraries"]) == set(environment.LIBRARIES)
    assert facts["libraries"]["torch"]
    json.dumps(facts, allow_nan=False)
    monkeypatch.setattr(environment, "LIBRARIES", ("no-such-library",))
    assert environment.environment()["libraries"] == {"no-such-library": None}
