"""The charts of a diagnosis, each with its numbers in words for those who can't see it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from medcnn.report.svg import Chart, Plot, floats, span
from medcnn.report.words import Record, digits

SHARE = "share of the highest bin"


def inputs(figures: Record) -> list[Chart]:
    """Draw the histogram of what the net sees; none without its counts."""
    if not figures.get("histogram"):
        return []
    low, high = figures["range"]
    words = f"mean {_listed(figures['mean'])}, standard deviation {_listed(figures['std'])}"
    bins = {"low": low, "high": high, "counts": figures["histogram"]}
    return [_histogram("", bins, "value that the net sees", words)]


def activations(stages: Sequence[Record]) -> list[Chart]:
    """Draw the histogram of what each stage gives."""
    return [
        _histogram(
            one["name"],
            one["activations"],
            "activation",
            f"standard deviation {_of(one['std'])}, "
            f"{one['zeros']:.0%} zero"
            + (f", {one['dead']:.0%} of units dead" if one["dead"] else ""),
        )
        for one in stages
        if one.get("activations")
    ]


def gradients(stages: Sequence[Record]) -> list[Chart]:
    """Draw the histogram of the gradients of each stage's weights, by their order of magnitude."""
    return [
        _histogram(
            one["name"],
            one["gradients"],
            "log₁₀ of the gradient's size",
            f"norm {_of(one['gradient'])} of that of the weights",
        )
        for one in stages
        if one.get("gradients")
    ]


def learning(figures: Record, chance: float | None) -> list[Chart]:
    """Draw the loss of the short training on a few images."""
    courses = [(figures.get("losses"), "a", "own optimiser")]
    courses.append((figures.get("reference"), "b", "Adam, 3e-4"))
    there = [(values, style, name) for values, style, name in courses if values]
    if not there:
        return []
    values = [np.array([np.nan if v is None else v for v in one], float) for one, _, _ in there]
    top = 3 * max(float(np.nanmax(one[:1])) for one in values)  # what explodes leaves the chart
    plot = Plot(
        (0, max(map(len, values))), span([0.0], *(v[v < top] for v in values)), "step", "loss"
    )
    legend, words = [], []
    if chance is not None:
        plot.line((0, max(map(len, values))), (chance, chance), "c")
        legend.append(("c", "chance"))
    for one, (_, style, name) in zip(values, there, strict=True):
        plot.line(np.arange(1, len(one) + 1), one, style)
        legend.append((style, name))
        words.append(f"{name}: from {_of(one[0])} to {_of(one[-1])} in {len(one)} steps")
    note = "; ".join(words)
    return [Chart("", plot.svg(f"Loss by step; {note}"), tuple(legend), note)]


def rates(figures: Record) -> list[Chart]:
    """Draw the loss by learning rate, with the rate that it suggests and the one that is set."""
    if not figures.get("rates"):
        return []
    x, smoothed = np.log10(figures["rates"]), floats(figures["smoothed"])
    x_range, y_range = (float(x[0]), float(x[-1])), span(smoothed)
    plot = Plot(x_range, y_range, "log₁₀ of the learning rate", "loss")
    legend = [("c", "loss"), ("a", "smoothed")]
    plot.line(x, floats(figures["losses"]), "c")
    plot.line(x, smoothed, "a")
    if x_range[0] <= (now := float(np.log10(figures["rate"]))) <= x_range[1]:
        plot.line([now] * 2, y_range, "b")
        legend.append(("b", "optimizer.lr as it is"))
    words = f"lowest {_of(smoothed.min())}, first {_of(smoothed[0])}"
    if (rate := figures["suggested"]) is not None:
        plot.dots(np.log10(rate), np.interp(np.log10(rate), x, smoothed))
        legend.append(("dot", "suggested"))
        words += f"; suggested: {rate:.1g}"
    return [Chart("", plot.svg(f"Loss by learning rate; {words}"), tuple(legend), words)]


def _histogram(name: str, bins: Record, xlabel: str, words: str) -> Chart:
    low, high = bins["low"], bins["high"]
    if high <= low:
        low, high = low - 0.5, high + 0.5
    counts = np.array(bins["counts"], float)
    width = (high - low) / len(counts)
    plot = Plot((low, high), (0.0, 1.0), xlabel, SHARE)
    plot.bars(low + width * (np.arange(len(counts)) + 0.5), counts / max(counts.max(), 1), width)
    return Chart(
        name, plot.svg(f"Histogram {name}, {xlabel} {low:.3g} to {high:.3g}; {words}"), (), words
    )


def _of(value: Any) -> str:
    return "–" if value is None else f"{float(value):.2g}"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(digits(value, 2) for value in values)
