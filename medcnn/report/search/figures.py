"""The charts of a search, each with its numbers in words for those who can't see it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medcnn.report.comparison.figures import parallel
from medcnn.report.comparison.sweep import WIDE, axes
from medcnn.report.svg import Chart, Floats, Plot, span
from medcnn.report.words import digits, in_words, listed, number, shorten

SLICES = 12  # keys at most
WIDTH = 12  # letters of a choice below a chart


def history(table: pd.DataFrame) -> list[Chart]:
    """Draw the score by the trial's number, and by the time spent, with the best so far.

    Args:
        table: Of summary.csv.
    """
    scored = table[table["score"].notna()]
    if scored.empty:
        return []
    hours = table["seconds"].fillna(0).cumsum() / 3600
    unit, factor = ("hours", 1) if float(hours.max()) >= 1 else ("minutes", 60)
    across = {
        "trial": table["number"].astype(float),
        f"{unit} of training, all trials together": hours * factor,
    }
    finished = scored["state"] == "finished"
    best = scored["score"].where(finished).cummax()
    legend = [("dot", "trial"), ("a", "best so far")]
    legend += [("sample", "pruned, score of its last epoch")] if not finished.all() else []
    charts = []
    for label, places in across.items():
        x = places[scored.index]
        plot = Plot(span([0.0], x), span(scored["score"]), label, "validation score")
        plot.dots(x[~finished], scored["score"][~finished], "sample", 3)
        if finished.any():
            plot.line(*_steps(x[finished].to_numpy(float), best[finished].to_numpy(float)), "a")
        plot.dots(x[finished], scored["score"][finished])
        words = f"{len(scored)} scores from {number(scored['score'].min())} to "
        words += number(scored["score"].max())
        charts.append(Chart("", plot.svg(f"Validation score by {label}; {words}"), tuple(legend)))
    return charts


def slices(table: pd.DataFrame, keys: Sequence[str], best: int) -> list[Chart]:
    """Draw the score of the trials that ran to their end by the value of each key."""
    done = table[table["state"] == "finished"]
    charts = []
    for key in keys[:SLICES]:
        there = done[done[key].notna()]
        if len(there) < 2:
            continue
        values = there[key]
        places, label, names = _places(key, values.tolist())
        plot = Plot(span(places, margin=0.08), span(there["score"]), label, "validation score")
        plot.names = names
        plot.dots(places, there["score"], "sample", 4)
        winner = (there["number"] == best).to_numpy()
        plot.dots(places[winner], there["score"][winner], "dot", 5)
        words = f"{len(there)} trials"
        if winner.any():
            words += f"; the best has {in_words(values[winner].iloc[0])}"
        legend = (("sample", "trial"), ("dot", "the best"))
        svg = plot.svg(f"Validation score by {key}; {words}")
        charts.append(Chart("", svg, legend, words))
    return charts


def coordinates(table: pd.DataFrame, keys: Sequence[str], shares: Mapping[str, float]) -> str:
    """Draw parallel coordinates of the trials that ran to their end; empty for fewer than two."""
    done = table[table["state"] == "finished"].sort_values("score", ascending=False)
    varied = {key: [_plain(v) for v in done[key]] for key in keys if done[key].nunique() > 1}
    if len(done) < 2 or not varied:
        return ""
    ranked = sorted(varied, key=lambda key: -shares.get(key, 0.0))
    shown = axes(varied, done["score"].tolist(), ranked)
    best = listed(f"{one.name} {in_words(varied[one.name][0])}" for one in shown[:-1])
    label = (
        f"Parallel coordinates of {len(done)} trials over {listed(one.name for one in shown)}; the "
        f"best has {best}. The table of all trials has the numbers."
    )
    names = [
        f"trial {n}: {number(score)}"
        for n, score in zip(done["number"], done["score"], strict=True)
    ]
    return parallel(shown, names, label)


def _steps(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return a line that keeps its height until the next point."""
    return np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]


def _places(key: str, values: Sequence[object]) -> tuple[Floats, str, dict[float, str]]:
    """Return where values lie along an axis, its label, and names in place of its numbers."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = np.array(values, float)
        if numbers.min() > 0 and numbers.max() / numbers.min() >= WIDE:
            return np.log10(numbers), f"log₁₀ of {key}", {}
        return numbers, key, {}
    texts, which = np.unique([in_words(value) for value in values], return_inverse=True)
    names = {float(k): shorten(text, WIDTH) for k, text in enumerate(texts.tolist())}
    return which.astype(float), key, names


def _plain(value: object) -> object:
    if isinstance(value, float):
        return None if np.isnan(value) else float(digits(value, 4).replace("−", "-"))
    return value
