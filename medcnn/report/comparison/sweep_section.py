"""The section on a sweep: varied values, how much they matter, and all runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from medcnn.report.comparison.figures import STYLES, colour, parallel
from medcnn.report.comparison.paired_tests import TESTED
from medcnn.report.comparison.sweep import HINT, Importance, Varied, axes, importance, varied
from medcnn.report.runs import Run
from medcnn.report.svg import bar
from medcnn.report.tables import Cell, Row, Table, figure_cell, headed
from medcnn.report.words import NOTHING, in_words, listed, number, words_of

COLUMNS = 16  # values of a sweep that the table has room for
FIGURES = 3  # of the test that stand in the table


def is_sweep(runs: Sequence[Run]) -> bool:
    """Return True for more runs than lines can tell apart, and for jobs of one sweep."""
    folders = {run.path.resolve().parent for run in runs}
    return len(runs) > STYLES or (
        len(folders) == 1 and (next(iter(folders)) / "summary.csv").is_file()
    )


def sweep_section(runs: Sequence[Run], names: Sequence[str]) -> dict[str, Any]:
    """Return all that is shown of a sweep whose runs are sorted, the best first."""
    settings = varied(runs)
    found = importance(settings, [run.score for run in runs])
    shares = found.shares if found else {}
    ranked = list(shares or settings)
    keys, figures = ranked[:COLUMNS], TESTED[runs[0].task][:FIGURES]
    level = next(iter(runs[0].levels))
    return {
        "chart": _chart(settings, runs, names, ranked),
        "colours": [colour(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)],
        "importance": _importance_table(shares) if shares else None,
        "hint": _hint(found, sum(run.score is not None for run in runs)),
        "settings": keys,
        "figures": [words_of(name) for name in figures],
        "runs": [
            {
                "name": name,
                "score": number(run.score),
                "settings": [in_words(settings[key][place]) for key in keys],
                "figures": [figure_cell("", run.figure(level, figure)) for figure in figures],
                "minutes": _minutes(run),
            }
            for place, (run, name) in enumerate(zip(runs, names, strict=True))
        ],
    }


def _importance_table(shares: Mapping[str, float]) -> Table:
    rows = [Row(k, [Cell(f"{100 * share:.0f} %", mark=bar(share))]) for k, share in shares.items()]
    return Table("", headed("importance"), rows, "value")


def _minutes(run: Run) -> str:
    seconds = run.status.get("seconds")
    return f"{seconds / 60:.1f}" if isinstance(seconds, int | float) else NOTHING


def _chart(
    settings: Varied, runs: Sequence[Run], names: Sequence[str], ranked: Sequence[str]
) -> str:
    """Draw parallel coordinates of the runs that have a score."""
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


def _hint(found: Importance | None, runs: int) -> str:
    """Return a sentence on how far the importance of values can be trusted."""
    if found is None:
        return (
            f"How much each value matters isn't shown: {runs} runs with a validation score are too "
            "few, they all have the same, or nothing was varied."
        )
    words = (
        f"A random forest explains {100 * max(found.explained, 0.0):.0f} % of the variance of the "
        "scores of runs that its trees haven't seen."
    )
    if found.explained <= 0:
        return f"{words} It has learnt nothing that holds, so these numbers mean nothing."
    if found.runs < HINT:
        return f"{words} With {found.runs} runs this is a hint, not a finding."
    return words
