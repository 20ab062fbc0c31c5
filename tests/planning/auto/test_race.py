"""A race of a plan against its rivals."""

from math import isfinite
from pathlib import Path
from typing import Any

import jobs
import pytest
from planned_trainings import planned

from medcnn.data.row_batches import RowDataset
from medcnn.jobs.rundir import RunDir
from medcnn.planning.auto import race as module
from medcnn.planning.auto.budget import Budget
from medcnn.planning.auto.race import candidates, decide, race

OWN = {"augment": "standard", "augment.flip": [-1], "model.width": 0.5}


def decided(scores: dict[str, float], seconds: float = 36000) -> tuple[Any, list[Any]]:
    """A race with made-up figures, by augmentation and width, and who trained for how long."""
    times, trained = [0.0], []
    budget = Budget(seconds, now=lambda: times[0])

    def score(values: dict[str, Any], epochs: int, deadline: float) -> float:
        name = f"{values['augment']} {values['model.width']:g}"
        trained.append((name, epochs))
        times[0] += epochs * plan.needs.epoch(values)
        assert times[0] < deadline
        return scores.get(name, 0.5)

    plan = planned(36000)
    won = decide(plan, candidates(plan, {}), budget, score)
    assert times[0] < 0.2 * seconds
    return won, trained


def test_the_field_is_the_plan_and_what_may_be_changed_of_it() -> None:
    plan = planned(36000)
    light, narrow = OWN | {"augment": "light"}, OWN | {"model.width": 0.25}
    assert candidates(plan, {}) == [OWN, light, narrow]
    assert candidates(plan, {"augment": "command line"}) == [
        {"model.width": 0.5},
        {"model.width": 0.25},
    ]


def test_a_rival_wins_by_a_margin_only() -> None:
    won, trained = decided({"standard 0.5": 0.80, "light 0.5": 0.83, "standard 0.25": 0.6})
    assert won.values == OWN | {"augment": "light"}
    assert "0.800 as planned, 0.830 with augment=light, 0.600 with model.width=0.25" in won.reason
    names = [name for name, _ in trained]
    assert names == ["standard 0.5", "light 0.5", "standard 0.25", "light 0.5", "standard 0.5"]
    epochs = [number for _, number in trained]
    assert epochs[3] in (2 * epochs[1], 2 * epochs[1] + 1)
    assert epochs[2] > 2 * epochs[0]  # the narrower net is faster
    won, _ = decided({"standard 0.5": 0.80, "light 0.5": 0.805, "standard 0.25": 0.806})
    assert won.values == OWN


def test_without_time_there_is_no_race() -> None:
    assert decided({}, seconds=600) == (None, [])


@pytest.mark.parametrize("by_hand", [{}, {"augment.flip": ("command line", None)}])
def test_no_test_image_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_hand: Any
) -> None:
    options = (*jobs.PHANTOM, *jobs.PLAIN, "model=lenet", "augment.flip=[-2]", "splits=patient")
    there = {"model": "lenet", **dict.fromkeys(by_hand)}
    plan = planned(36000, *options, by_hand=there, size=(28, 28), outputs=3)
    seen: set[int] = set()
    get = RowDataset.__getitem__
    monkeypatch.setattr(
        RowDataset, "__getitem__", lambda self, rows: seen.update(rows.tolist()) or get(self, rows)
    )
    kept: list[Any] = []
    fit = module.fit
    monkeypatch.setattr(module, "fit", lambda *given: kept.extend(given) or fit(*given))
    monkeypatch.setattr(module, "RACED_FROM", 0)
    monkeypatch.setattr(
        module, "decide", lambda plan, field, budget, score: score(field[1], 1, 9e9)
    )
    found: Any = race(plan, by_hand, RunDir(tmp_path), Budget(36000), [])
    assert isfinite(found)
    cfg, _, _, samples = kept
    assert set(samples.table["split"].iloc[[*seen]]) == {"train", "val"}
    assert cfg.augment["flip"] == ([-2] if by_hand else [-1])
    assert list(tmp_path.iterdir()) == []
