"""Runs that differ in their seed alone, taken together: mean and spread of each figure."""

from collections.abc import Sequence
from typing import Any

from medcnn.report.comparison.sweep import differing, flat
from medcnn.report.comparison.tables import figures_there
from medcnn.report.runs import Run
from medcnn.report.tables import Cell, Column, Row, Table
from medcnn.report.words import in_words, mean_and_spread, words_of

SEED = "seed"  # of weights, order and augmentation; that of the splits draws other test images


def seed_table(runs: Sequence[Run], level: str) -> Table | None:
    """Return a row for each set of runs whose configs differ in nothing but the seed.

    It holds mean ± standard deviation (of the sample, n − 1) over these runs, below it the lowest
    and the highest. None where no two runs differ so.
    """
    groups: dict[str, dict[Any, Run]] = {}  # by settings, then by seed
    for run in runs:
        settings = {key: value for key, value in flat(run.config) if key != SEED}
        same = groups.setdefault(repr(sorted(settings.items(), key=str)), {})
        same.setdefault(run.config.get(SEED), run)  # not the same training twice
    several = [list(group.values()) for group in groups.values() if len(group) > 1]
    if not several:
        return None
    figures = figures_there(runs, [level])
    others = differing([group[0] for group in several]) if len(several) > 1 else {}
    rows = []
    for place, group in enumerate(several):
        facts = [f"{key}={in_words(v[place])}" for key, v in others.items() if key != SEED]
        values = ([run.figure(level, name).get("value") for run in group] for name in figures)
        cells = [Cell(*mean_and_spread(each)) for each in values]
        rows.append(Row(f"{len(group)} seeds", cells, ", ".join(facts)))
    caption = f"By {level}: mean ± standard deviation, lowest … highest"
    return Table(caption, [Column(words_of(name)) for name in figures], rows, "runs")
