"""What the page of a sweep shows: what was varied, how much it matters, and all runs."""

from collections.abc import Sequence
from typing import NamedTuple

from medcnn.report.comparison.figures import STYLES, bar, colour, parallel
from medcnn.report.comparison.paired_tests import TESTED
from medcnn.report.comparison.sweep import (
    HINT,
    Importance,
    Varied,
    axes,
    importance,
    in_words,
    varied,
)
from medcnn.report.comparison.tables import in_brackets
from medcnn.report.runs import Run
from medcnn.report.words import Words, listed, number, words_of

COLUMNS = 16  # values of a sweep that the table has room for
FIGURES = 3  # of the test that stand in the table


class SweepRow(NamedTuple):
    """A run in the table of all, as text."""

    name: str
    score: str
    values: list[str]
    figures: list[tuple[str, str]]
    minutes: str


class SweepSection(NamedTuple):
    """What is shown of a sweep.

    Args:
        chart: Parallel coordinates as SVG; empty where fewer than two runs have a score.
        colours: Of the scores, from the lowest to the highest.
        importance: Value, number and bar, the most important first.
        hint: How far to trust it, in a sentence.
        keys: What was varied, as far as the table has room.
        figures: Words for the figures of the test in the table.
        rows: The runs.
    """

    chart: str
    colours: list[str]
    importance: list[tuple[str, str, str]]
    hint: str
    keys: list[str]
    figures: list[Words]
    rows: list[SweepRow]


def is_sweep(runs: Sequence[Run]) -> bool:
    """Whether runs are more than lines can tell apart, or jobs of one sweep."""
    folders = {run.path.resolve().parent for run in runs}
    return len(runs) > STYLES or (
        len(folders) == 1 and (next(iter(folders)) / "summary.csv").is_file()
    )


def sweep_section(runs: Sequence[Run], names: Sequence[str]) -> SweepSection:
    """What is shown of a sweep whose runs are sorted, the best first."""
    settings = varied(runs)
    found = importance(settings, [run.score for run in runs])
    ranked = list(found.shares) if found else list(settings)
    shares = found.shares if found else {}
    keys, figures = ranked[:COLUMNS], TESTED[runs[0].task][:FIGURES]
    level = next(iter(runs[0].levels))
    return SweepSection(
        chart=_chart(settings, runs, names, ranked),
        colours=[colour(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)],
        importance=[(key, f"{100 * share:.0f} %", bar(share)) for key, share in shares.items()],
        hint=_hint(found, sum(run.score is not None for run in runs)),
        keys=keys,
        figures=[words_of(name) for name in figures],
        rows=[
            _row(run, level, name, [in_words(settings[key][place]) for key in keys], figures)
            for place, (run, name) in enumerate(zip(runs, names, strict=True))
        ],
    )


def _chart(
    settings: Varied, runs: Sequence[Run], names: Sequence[str], ranked: Sequence[str]
) -> str:
    """Parallel coordinates of the runs that have a score, the best first."""
    scores = {place: run.score for place, run in enumerate(runs) if run.score is not None}
    if not settings or len(scores) < 2:
        return ""
    part = {key: [values[place] for place in scores] for key, values in settings.items()}
    shown = axes(part, list(scores.values()), ranked)
    best = listed(f"{a.name} {in_words(part[a.name][0])}" for a in shown[:-1])
    label = (
        f"Parallel coordinates of {len(scores)} runs over {listed(a.name for a in shown)}; the "
        f"best run has {best}. The table of all runs has the numbers."
    )
    return parallel(shown, [f"{names[p]}: {number(s)}" for p, s in scores.items()], label)


def _row(run: Run, level: str, name: str, values: list[str], figures: Sequence[str]) -> SweepRow:
    tested = [run.figure(level, figure) for figure in figures]
    seconds = run.files.status.get("seconds")
    return SweepRow(
        name,
        number(run.score),
        values,
        [(number(one.get("value")), in_brackets(one)) for one in tested],
        f"{seconds / 60:.1f}" if isinstance(seconds, int | float) else "–",
    )


def _hint(found: Importance | None, runs: int) -> str:
    """How far to trust the importance of values."""
    if found is None:
        return (
            f"How much each value matters isn't shown: {runs} runs with a validation score are too "
            "few, they all have the same, or nothing was varied."
        )
    told = (
        f"A random forest explains {100 * max(found.explained, 0.0):.0f} % of the variance of the "
        "scores of runs that its trees haven't seen."
    )
    if found.explained <= 0:
        return f"{told} It has learnt nothing that holds, so these numbers mean nothing."
    if found.runs < HINT:
        return f"{told} With {found.runs} runs this is a hint, not a finding."
    return told
