"""Charts of several runs: their curves over one another, and parallel coordinates of a sweep."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from medcnn.report.runs import Run
from medcnn.report.svg import Chart, Floats, Plot, drawing, span, text
from medcnn.report.words import number, words_of

STYLES = 6  # runs that lines can tell apart: so many colours and dashes has the page's style sheet
CLASSES = 8  # of which curves are drawn
FEWEST_EPOCHS = 5  # that the axis of a training spans, so that its marks are whole numbers
UNIT = (0.0, 1.0)
PANELS = {  # columns of metrics.csv
    "train/loss": "Loss, training",
    "val/loss": "Loss, validation",
    "val/auroc": "AUROC, validation",
    "val/r2": "R², validation",
}
KINDS = (
    ("roc", "fpr", "sensitivity", "ROC curve", "1 − specificity", "auroc"),
    ("pr", "recall", "precision", "Precision and recall", "recall (sensitivity)",
     "average_precision"),
)  # fmt: skip
# The ends and the middle of a scale of colours that can be seen on white and on black.
SCALE = np.array([[52, 118, 196], [160, 90, 160], [214, 84, 30]])
LEFT, TOP, GAP, HEIGHT = 96, 54, 150, 300  # of parallel coordinates, pixels


def curve_charts(runs: Sequence[Run], names: Sequence[str], level: str) -> list[Chart]:
    """Draw ROC and precision–recall curves of at most `STYLES` runs over one another, by class.

    Of many classes those `CLASSES` are drawn in which the runs' AUROCs differ most.
    """
    curves = [run.levels[level].get("curves") or {} for run in runs]
    classes = [name for name in runs[0].class_names if any(name in found for found in curves)]
    if len(classes) > CLASSES:
        most = sorted(classes, key=lambda name: -_spread(runs, level, name))[:CLASSES]
        classes = [name for name in classes if name in most]
    return [
        chart
        for name in classes
        for kind in KINDS
        if (chart := _curve_chart(kind, name, curves, runs, names, level))
    ]


def history_charts(runs: Sequence[Run], names: Sequence[str]) -> list[Chart]:
    """Draw losses and the monitored figure over the epochs, the runs over one another."""
    charts = []
    for column, title in PANELS.items():
        lines = {
            style: line
            for style, run in enumerate(runs)
            if run.epochs is not None and column in run.epochs
            if len(line := run.epochs[column].dropna())
        }
        if not lines:
            continue
        epochs = [float(epoch) for line in lines.values() for epoch in line.index]
        across = min(epochs), max(*epochs, min(epochs) + FEWEST_EPOCHS)
        plot = Plot(across, span(*lines.values()), "epoch", "")
        for style, line in lines.items():
            plot.line(line.index, line, f"run-{style}")
            if len(line) == 1:
                plot.dots(line.index, line, f"run-{style} dot")
        ends = [
            f"{names[style]} from {number(line.iloc[0])} to {number(line.iloc[-1])}"
            for style, line in lines.items()
        ]
        charts.append(Chart(title, plot.svg(f"{title}, by epoch: {'; '.join(ends)}")))
    return charts


class Axis(NamedTuple):
    """An axis of parallel coordinates."""

    name: str
    places: Floats  # (N,) of the runs' values, 0 below … 1 above
    ticks: Mapping[float, str]  # places, and the words there


def parallel(axes: Sequence[Axis], names: Sequence[str], label: str) -> str:
    """Draw parallel coordinates, a line a run, coloured by its place on the last axis.

    The best runs are drawn last, so that they lie above, and the best of all is bold.

    Args:
        axes: At least two; the last is the score.
        names: (N,) of the runs.
        label: The chart in words, for those who can't see it.
    """
    width, height = LEFT + GAP * (len(axes) - 1) + 60, TOP + HEIGHT + 20
    score = axes[-1].places
    down = TOP + (1 - np.array([axis.places for axis in axes])) * HEIGHT
    parts = []
    for run in np.argsort(score, kind="stable").tolist():
        points = "L".join(f"{LEFT + GAP * k} {y:.1f}" for k, y in enumerate(down[:, run]))
        best = " best" if score[run] == score.max() else ""
        parts.append(
            f'<path class="way{best}" style="stroke:{colour(float(score[run]))}" d="M{points}">'
            f"<title>{escape(names[run])}</title></path>"
        )
    for k, axis in enumerate(axes):
        x = LEFT + GAP * k
        head, dot, tail = axis.name.rpartition(".")  # a long name is broken at its last dot
        first, second = (head + dot, tail) if len(axis.name) > 16 else ("", axis.name)
        parts.append(f'<path class="axis" d="M{x} {TOP}v{HEIGHT}"/>')
        parts.append(text(x, 16, first, "middle") + text(x, 34, second, "middle", "name"))
        for place, words in axis.ticks.items():
            y = TOP + (1 - place) * HEIGHT
            parts.append(f'<path class="axis" d="M{x} {y:.1f}h-5"/>')
            parts.append(text(x - 9, y + 4, words, "end", "tick halo"))
    style = f"min-width:{0.75 * width:g}px;max-width:{1.25 * width:g}px"
    return drawing("plot parallel", label, (width, height), "".join(parts), style)


def colour(share: float) -> str:
    """Return the colour of a place 0 … 1 on the scale of scores.

    >>> colour(0.0), colour(1.0)
    ('#3476c4', '#d6541e')
    """
    steps = np.linspace(0, 1, len(SCALE))
    mixed = [round(float(np.interp(share, steps, channel))) for channel in SCALE.T]
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _curve_chart(
    kind: tuple[str, ...],
    name: str,
    curves: Sequence[Mapping[str, Any]],
    runs: Sequence[Run],
    names: Sequence[str],
    level: str,
) -> Chart | None:
    """Draw one kind of curve of one class; None where no run has it."""
    key, x, y, title, x_label, figure = kind
    plot = Plot(UNIT, UNIT, x_label, y)
    if key == "roc":
        plot.line(UNIT, UNIT, "c")
    areas = []
    for style, (found, run) in enumerate(zip(curves, runs, strict=True)):
        curve = (found.get(name) or {}).get(key)
        if curve:
            plot.line(curve[x], curve[y], f"run-{style}")
            value = run.figure(level, figure if run.positive else f"{figure}/{name}").get("value")
            areas.append(names[style] + ("" if value is None else f" {number(value)}"))
    if not areas:
        return None
    label = f"{title} of {name}, with the {words_of(figure).title}: {'; '.join(areas)}"
    return Chart(f"{title}: {name}", plot.svg(label))


def _spread(runs: Sequence[Run], level: str, name: str) -> float:
    """Return the range of the runs' AUROCs of a class; -1 where they aren't known."""
    values = [run.figure(level, f"auroc/{name}").get("value") for run in runs]
    known = [value for value in values if value is not None]
    return max(known) - min(known) if known else -1.0
