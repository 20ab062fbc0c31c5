"""Runs that differ in their seeds alone."""

import json
import statistics
from pathlib import Path
from typing import Any

from compared_runs import page, sections
from fixture_runs import write_run

from medcnn.report.comparison.seeds import seed_table
from medcnn.report.runs import read_run


def made(folder: Path, seed: int, **settings: Any) -> Path:
    name = "-".join(map(str, (seed, *settings.values())))
    return write_run(folder / f"run-{name}", seed=seed, config={"seed": seed, **settings})


def test_mean_and_spread_of_each_set_of_seeds(tmp_path: Path) -> None:
    rates = {rate: {"optimizer.lr": rate} for rate in (0.1, 0.2)}
    runs = [made(tmp_path, seed, **rates[0.1]) for seed in (0, 1, 2)]
    runs += [made(tmp_path, seed, **rates[0.2]) for seed in (3, 4)]
    table = seed_table([read_run(run) for run in runs], "image")
    assert table is not None
    assert [(row.name, row.about) for row in table.rows] == [
        ("3 seeds", "optimizer.lr=0.1"),
        ("2 seeds", "optimizer.lr=0.2"),
    ]
    contents = [json.loads((run / "evaluation.json").read_text()) for run in runs[:3]]
    areas = [one["levels"]["image"]["figures"]["auroc"]["value"] for one in contents]
    first = table.rows[0].cells[0]
    assert first.value == f"{statistics.mean(areas):.3f} ± {statistics.stdev(areas):.3f}"
    assert first.below == f"{min(areas):.3f} … {max(areas):.3f}"
    shown = page(runs)
    assert "seeds" in sections(shown)
    assert "Over the seeds" in shown.text


def test_a_seed_twice_counts_once_and_other_splits_are_another_test(tmp_path: Path) -> None:
    runs = [made(tmp_path, seed) for seed in (0, 1)]
    again = write_run(tmp_path / "again", seed=0, config={"seed": 0})
    other = made(tmp_path, 2, **{"splits.seed": 5})
    table = seed_table([read_run(run) for run in [*runs, again, other]], "image")
    assert table is not None
    assert [row.name for row in table.rows] == ["2 seeds"]


def test_runs_that_differ_otherwise_are_not_taken_together(tmp_path: Path) -> None:
    runs = [made(tmp_path, seed, **{"optimizer.lr": 0.1 + seed}) for seed in (0, 1)]
    assert seed_table([read_run(run) for run in runs], "image") is None
    assert "seeds" not in sections(page(runs))
