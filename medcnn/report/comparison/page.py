"""The page that compares runs: figures, settings, curves and paired tests in one HTML file."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcnn._version import __version__
from medcnn.errors import UserError
from medcnn.jobs.atomic_files import write_text
from medcnn.jobs.progress import saying
from medcnn.report.comparison.figures import CLASSES, STYLES, curve_charts, history_charts
from medcnn.report.comparison.paired_tests import (
    RESAMPLES,
    TESTED,
    Difference,
    Paired,
    paired_tests,
)
from medcnn.report.comparison.seeds import seed_table
from medcnn.report.comparison.sweep import differing, in_words
from medcnn.report.comparison.sweep_section import SweepSection, is_sweep, sweep_section
from medcnn.report.comparison.tables import (
    SURE,
    better,
    difference_table,
    figure_table,
    figures_there,
)
from medcnn.report.pages import environment
from medcnn.report.privacy import without_paths
from medcnn.report.runs import Run, distinct_names, read_run
from medcnn.report.words import listed, number, words_of

TOLD = 4  # pairs that differ which the summary names


@saying("comparison")
def write_comparison(runs: Sequence[Path], out: Path, *, notes: Sequence[str] = ()) -> Path:
    """Writes a page that compares finished runs; it holds all it needs.

    More runs than lines can tell apart, and the jobs of a sweep, are sorted by their validation
    score. Then the page shows what was varied and how much it matters, and its curves and paired
    tests are those of the best six.

    Args:
        runs: Directories of at least two runs of one task and the same classes.
        out: The HTML file.
        notes: Sentences to show at the top.

    Returns:
        `out`.

    Raises:
        UserError: Fewer than two runs, one twice, or runs that can't be read or compared.
    """
    if len({path.resolve() for path in runs}) < max(2, len(runs)):
        raise UserError("runs: a comparison needs at least two runs, each of them once")
    read = [read_run(path) for path in runs]
    check_comparable(read)
    page = (
        environment()
        .get_template("compare_page.html.j2")
        .render(**_content(read), notes=notes, version=__version__)
    )
    write_text(out, page)
    return out


def check_comparable(runs: Sequence[Run]) -> None:
    """Raise UserError unless all runs have one task, the same classes, and a level in common."""
    first = runs[0]
    for run in runs[1:]:
        wrong = ""
        if run.task != first.task:
            wrong = f"its task is {run.task}, not {first.task}"
        elif run.class_names != first.class_names:
            theirs, ours = (", ".join(one.class_names) for one in (run, first))
            wrong = f"its classes are {theirs}, not {ours}"
        elif run.positive != first.positive:
            wrong = f"its positive class is {run.positive}, not {first.positive}"
        if wrong:
            raise UserError(f"{run.path} can't be compared with {first.path}: {wrong}")
    if not _levels(runs):
        raise UserError(
            f"{first.path} and the others can't be compared: there is no level (image, study, "
            "patient) that all of them were tested by"
        )


def _levels(runs: Sequence[Run]) -> list[str]:
    """The levels that all runs have."""
    return [name for name in runs[0].levels if all(name in run.levels for run in runs)]


def _content(runs: list[Run]) -> dict[str, Any]:
    """What the template shows."""
    sweep = None
    if is_sweep(runs):
        runs = sorted(runs, key=lambda run: math.inf if run.score is None else -run.score)
    names = distinct_names(runs)
    if is_sweep(runs):
        sweep = sweep_section(runs, names)
    shown, shown_names, levels = runs[:STYLES], names[:STYLES], _levels(runs)
    paired = paired_tests(shown, shown_names)
    classes = len(runs[0].class_names)
    return {
        "title": f"Comparison of {len(runs)} runs",
        "summary": _summary(runs, names, paired, sweep),
        "warnings": _warnings(runs, names),
        "names": shown_names,
        "total": len(runs),
        "tables": [figure_table(shown, shown_names, level) for level in levels],
        "seeds": list(filter(None, (seed_table(runs, level) for level in levels))),
        "words": [words_of(name) for name in figures_there(runs, levels)],
        "sweep": sweep,
        "paired": paired,
        "differences": difference_table(paired.differences, shown_names),
        "settings": [(k, list(map(in_words, v))) for k, v in differing(shown).items()],
        "curves": curve_charts(shown, shown_names, levels[0]),
        "level": levels[0],
        "curves_of": (CLASSES, classes) if runs[0].positive is None else (1, 1),
        "history": history_charts(shown, shown_names),
        "how": _how(runs, paired),
    }


def _warnings(runs: Sequence[Run], names: Sequence[str]) -> list[tuple[str, str]]:
    """What the evaluations warn of, and of which runs."""
    found: dict[str, list[str]] = {}
    for run, name in zip(runs, names, strict=True):
        for note in run.files.evaluation.get("notes") or []:
            found.setdefault(without_paths(str(note)), []).append(name)
    return [
        (note, "all runs" if len(who) == len(runs) else listed(who)) for note, who in found.items()
    ]


def _summary(
    runs: Sequence[Run], names: Sequence[str], paired: Paired, sweep: SweepSection | None
) -> list[str]:
    """What was compared and what came out, in sentences."""
    first, figure = runs[0], TESTED[runs[0].task][0]
    about = f", positive class {first.positive}" if first.positive else ""
    splits = listed(dict.fromkeys(run.split for run in runs))
    data = listed(dict.fromkeys(run.data for run in runs))
    article = "an" if first.task[0] in "aeiou" else "a"
    sentences = [
        f"{len(runs)} runs of {article} {first.task} task{about}, tested on the {splits} split of "
        f"{data}."
    ]
    title = words_of(figure).title
    values = {n: run.figure(_levels(runs)[0], figure) for n, run in zip(names, runs, strict=True)}
    known = {name: one["value"] for name, one in values.items() if one.get("value") is not None}
    if sweep and first.score is not None:
        tested = f"; its {title} in the test is {number(known[names[0]])}" * (names[0] in known)
        sentences.append(
            f"The highest validation score ({number(first.score)}) is that of {names[0]}{tested}."
        )
    elif known:
        best = max(known, key=lambda name: better(figure) * known[name])
        extreme = "highest" if better(figure) > 0 else "lowest"
        sentences.append(f"The {extreme} {title} ({number(known[best])}) is that of {best}.")
    if len(runs) > STYLES:
        sentences.append(
            f"Curves, differences and settings are shown of the {STYLES} runs with the highest "
            "validation score."
        )
    return [*sentences, *_verdict(paired, names, figure)]


def _verdict(paired: Paired, names: Sequence[str], figure: str) -> list[str]:
    """Which pairs differ in the figure to decide by."""
    pairs = [d for d in paired.differences if d.figure == figure and not math.isnan(d.corrected)]
    title, apart = words_of(figure).title, [d for d in pairs if d.corrected < SURE]
    if not pairs:
        return []
    if not apart:
        return [f"On the same images no two of them differ in {title} beyond chance."]
    told = [_higher(d, names) for d in apart]
    more = [f"{len(told) - TOLD} more"] if len(told) > TOLD else []
    return [
        f"On the same images {len(apart)} of {len(pairs)} pairs differ in {title} beyond chance: "
        f"{'; '.join([*told[:TOLD], *more])}."
    ]


def _higher(one: Difference, names: Sequence[str]) -> str:
    pair = (names[one.first], names[one.second])
    higher, lower = pair if one.difference > 0 else pair[::-1]
    return f"{higher} lies {number(abs(one.difference))} above {lower}"


def _how(runs: Sequence[Run], paired: Paired) -> list[tuple[str, str]]:
    """How intervals and tests were made."""
    made = runs[0].files.evaluation.get("intervals") or {}
    intervals = [
        (f"Interval of {'all other figures' if k == '*' else words_of(k).title}", str(v))
        for k, v in made.items()
    ]
    if not paired.differences:
        return intervals
    binary = runs[0].positive is not None
    tests = [("Test of AUROC", "paired test of DeLong" + " over patients" * paired.clustered)]
    if not paired.clustered and runs[0].task not in ("multilabel", "regression"):
        tests.append(("Test of accuracy", "McNemar, mid-p"))
    rest = f"bootstrap over patients, {RESAMPLES:,} resamples, the same for both runs"
    others = "all other figures" if binary or len(tests) > 1 else "all figures"
    return [*intervals, *(tests if binary else tests[1:]), (f"Test of {others}", rest)]
