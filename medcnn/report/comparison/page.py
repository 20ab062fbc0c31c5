"""The page that compares runs: figures, settings, curves and paired tests in one HTML file."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcnn.errors import UserError
from medcnn.jobs.progress import saying
from medcnn.report.comparison.figures import CLASSES, STYLES, curve_charts, history_charts
from medcnn.report.comparison.paired_tests import RESAMPLES, TESTED, Paired, paired_tests
from medcnn.report.comparison.seeds import seed_table
from medcnn.report.comparison.sweep import differing
from medcnn.report.comparison.sweep_section import is_sweep, sweep_section
from medcnn.report.comparison.tables import (
    SURE,
    difference_table,
    figure_table,
    figures_there,
    setting_table,
)
from medcnn.report.pages import write_page
from medcnn.report.runs import Run, read_run
from medcnn.report.words import in_words, listed, number, words_of

MOST_PAIRS = 4  # that differ and are named in the summary
SECTIONS = {
    "sweep": "What was varied",
    "seeds": "Over the seeds",
    "figures": "Figures",
    "differences": "Differences",
    "settings": "Settings",
    "curves": "Curves",
    "training": "Training",
    "how": "How it was made",
}
FACTS = {"task": "task is", "class_names": "classes are", "positive": "positive class is"}
OPTIONAL = ("sweep", "seeds", "curves", "training")  # sections that may be empty


@saying("comparison")
def write_comparison(runs: Sequence[Path], out: Path, *, notes: Sequence[str] = ()) -> Path:
    """Write a page that compares finished runs; it holds all it needs.

    More runs than lines can tell apart, and the jobs of a sweep, are sorted by their validation
    score. Then the page shows which values were varied and how much they matter, and its curves and
    paired tests are those of the best six.

    Args:
        runs: Directories of at least two runs of one task and the same classes.
        out: The HTML file.
        notes: Sentences to show at the top.

    Returns:
        `out`.

    Raises:
        UserError: A run given twice, or runs that can't be read or compared.
    """
    if len({path.resolve() for path in runs}) < len(runs):
        raise UserError("runs: a comparison needs at least two runs, each of them once")
    read = [read_run(path) for path in runs]
    check_comparable(read)
    return write_page(out, "compare_page.html.j2", {**_content(read), "notes": notes})


def distinct_names(runs: Sequence[Run]) -> list[str]:
    """Return the names of runs' folders, with a number where two of them are the same."""
    names = [run.name for run in runs]
    return [
        f"{name} ({names[: k + 1].count(name)})" if names.count(name) > 1 else name
        for k, name in enumerate(names)
    ]


def check_comparable(runs: Sequence[Run]) -> None:
    """Raise UserError unless all runs have one task, the same classes, and a level in common."""
    first = runs[0]
    for run in runs[1:]:
        for key, what in FACTS.items():
            theirs, ours = getattr(run, key), getattr(first, key)
            if theirs != ours:
                raise UserError(
                    f"{run.path} can't be compared with {first.path}: its {what} "
                    f"{in_words(theirs)}, not {in_words(ours)}"
                )
    if not _levels(runs):
        raise UserError(
            f"{first.path} and the others can't be compared: there is no level (image, study, "
            "patient) that all of them were tested by"
        )


def _levels(runs: Sequence[Run]) -> list[str]:
    """Return the levels that all runs have."""
    return [name for name in runs[0].levels if all(name in run.levels for run in runs)]


def _content(runs: list[Run]) -> dict[str, Any]:
    sweep = None
    if is_sweep(runs):
        runs = sorted(runs, key=lambda run: math.inf if run.score is None else -run.score)
    names = distinct_names(runs)
    if is_sweep(runs):
        sweep = sweep_section(runs, names)
    shown, shown_names, levels = runs[:STYLES], names[:STYLES], _levels(runs)
    paired = paired_tests(shown, shown_names)
    classes = len(runs[0].class_names)
    content = {
        "title": f"Comparison of {len(runs)} runs",
        "summary": _summary(runs, names, paired, sweep=sweep is not None),
        "warnings": _warnings(runs, names),
        "names": shown_names,
        "total": len(runs),
        "tables": [figure_table(shown, shown_names, level) for level in levels],
        "seeds": list(filter(None, (seed_table(runs, level) for level in levels))),
        "words": [words_of(name) for name in figures_there(runs, levels)],
        "sweep": sweep,
        "paired": paired,
        "differences": difference_table(paired.differences, shown_names),
        "settings": setting_table(differing(shown), shown_names),
        "curves": curve_charts(shown, shown_names, levels[0]),
        "level": levels[0],
        "curves_of": (CLASSES, classes) if runs[0].positive is None else (1, 1),
        "training": history_charts(shown, shown_names),
        "how": _how(runs, paired),
    }
    sections = {k: title for k, title in SECTIONS.items() if k not in OPTIONAL or content[k]}
    return content | {"sections": sections}


def _warnings(runs: Sequence[Run], names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the warnings of the evaluations, each with the runs that it is of."""
    found: dict[str, list[str]] = {}
    for run, name in zip(runs, names, strict=True):
        for note in run.notes:
            found.setdefault(note, []).append(name)
    return [
        (note, "all runs" if len(who) == len(runs) else listed(who)) for note, who in found.items()
    ]


def _summary(
    runs: Sequence[Run], names: Sequence[str], paired: Paired, *, sweep: bool
) -> list[str]:
    """Return the comparison and its result in sentences."""
    first, figure = runs[0], TESTED[runs[0].task][0]
    about = f", positive class {first.positive}" if first.positive else ""
    splits = listed(dict.fromkeys(run.split for run in runs))
    data = listed(dict.fromkeys(run.data for run in runs))
    article = "an" if first.task[0] in "aeiou" else "a"
    sentences = [
        f"{len(runs)} runs of {article} {first.task} task{about}, tested on the {splits} split of "
        f"{data}."
    ]
    words = words_of(figure)
    values = {n: run.figure(_levels(runs)[0], figure) for n, run in zip(names, runs, strict=True)}
    known = {name: one["value"] for name, one in values.items() if one.get("value") is not None}
    if sweep and first.score is not None:
        tested = known.get(names[0])
        beside = "" if tested is None else f"; its {words.title} in the test is {number(tested)}"
        sentences.append(
            f"The highest validation score ({number(first.score)}) is that of {names[0]}{beside}."
        )
    elif known:
        best = max(known, key=lambda name: words.way * known[name])
        extreme = "highest" if words.way > 0 else "lowest"
        sentences.append(f"The {extreme} {words.title} ({number(known[best])}) is that of {best}.")
    if len(runs) > STYLES:
        sentences.append(
            f"Curves, differences and settings are shown of the {STYLES} runs with the highest "
            "validation score."
        )
    return [*sentences, *_verdict(paired, names, figure)]


def _verdict(paired: Paired, names: Sequence[str], figure: str) -> list[str]:
    """Return the pairs that differ in the figure to decide by, in a sentence."""
    pairs = [d for d in paired.differences if d.figure == figure and not math.isnan(d.corrected)]
    title, apart = words_of(figure).title, [d for d in pairs if d.corrected < SURE]
    if not pairs:
        return []
    if not apart:
        return [f"On the same images no two of them differ in {title} beyond chance."]
    named = []
    for one in apart[:MOST_PAIRS]:
        first, second = names[one.first], names[one.second]
        higher, lower = (first, second) if one.difference > 0 else (second, first)
        named.append(f"{higher} lies {number(abs(one.difference))} above {lower}")
    if len(apart) > MOST_PAIRS:
        named.append(f"{len(apart) - MOST_PAIRS} more")
    return [
        f"On the same images {len(apart)} of {len(pairs)} pairs differ in {title} beyond chance: "
        f"{'; '.join(named)}."
    ]


def _how(runs: Sequence[Run], paired: Paired) -> list[tuple[str, str]]:
    """Return the ways in which intervals and tests were made."""
    intervals = [(f"Interval of {title}", how) for title, how in runs[0].intervals]
    if not paired.differences:
        return intervals
    binary = runs[0].positive is not None
    tests = [("Test of AUROC", "paired test of DeLong" + " over patients" * paired.clustered)]
    if not paired.clustered and runs[0].task not in ("multilabel", "regression"):
        tests.append(("Test of accuracy", "McNemar, mid-p"))
    rest = f"bootstrap over patients, {RESAMPLES:,} resamples, the same for both runs"
    others = "all other figures" if binary or len(tests) > 1 else "all figures"
    return [*intervals, *(tests if binary else tests[1:]), (f"Test of {others}", rest)]
