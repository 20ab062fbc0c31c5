"""Time by a clock of our own."""

import json
import time
from pathlib import Path

import pytest

from medcnn.errors import UserError
from medcnn.jobs.settings.values import parse_duration
from medcnn.planning.auto import budget as module
from medcnn.planning.auto.budget import Budget, open_budget


@pytest.mark.parametrize(
    ("given", "seconds"), [("10min", 600), ("90 s", 90), ("1.5h", 5400), ("1D", 86400)]
)
def test_times_with_a_unit(given: str, seconds: float) -> None:
    assert parse_duration("budget", given) == seconds


@pytest.mark.parametrize("given", [5, "5", "tomorrow", "10 minutes or so", "-3min"])
def test_other_texts_are_no_time(given: object) -> None:
    with pytest.raises(UserError, match=f"budget={given}: give a time with its unit, such as"):
        parse_duration("budget", given)


def test_what_is_left() -> None:
    clock = iter([100.0, 130.0, 130.0, 130.0]).__next__
    budget = Budget(600, before=50, now=clock)
    assert budget.spent == 80
    assert budget.left == 520
    assert Budget(600, begun=10.0, now=lambda: 70.0).left == 540


def test_an_interrupted_process_leaves_what_it_has_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY", 0.01)
    path, times = tmp_path / "budget.json", [0.0]
    with Budget(600, before=40, now=lambda: times[0]).kept(path):
        times[0] = 25.0
        end = time.monotonic() + 10
        while json.loads(path.read_text())["spent"] != 65 and time.monotonic() < end:
            time.sleep(0.01)
        assert json.loads(path.read_text()) == {"seconds": 600, "spent": 65.0}
        times[0] = 30.0
    assert json.loads(path.read_text())["spent"] == 70
    monkeypatch.setattr(module, "_start", time.time)
    assert 70 <= open_budget(path, 600).spent < 80
