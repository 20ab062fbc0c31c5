"""How a training fared: the charts of health.csv, and what is to be said of them."""

import numpy as np
import pandas as pd

from medcnn.report.judge import SOUND, judge
from medcnn.report.privacy import without_paths
from medcnn.report.runs import Run
from medcnn.report.svg import Chart, Plot, span
from medcnn.report.words import percent

SIZE = (420, 280)


def sentences_on_training(run: Run) -> list[str]:
    """Return what is wrong with a training, by its curves."""
    epochs = None if run.epochs is None else run.epochs.reset_index()
    return [without_paths(verdict.line) for verdict in judge(epochs, run.health)]


def health_charts(table: pd.DataFrame) -> list[Chart]:
    """Draw step sizes, gradient, dead channels and waiting over the steps of a training.

    Args:
        table: As health.csv holds it.
    """
    drawn = (
        _by_stage(table, "update", "step size", "log₁₀ ‖Δw‖ / ‖w‖", logarithmic=True),
        _over_steps(table, "gradient_norm", "gradient", "log₁₀ of its norm", logarithmic=True),
        _by_stage(table, "dead", "dead channels", "share of a stage", logarithmic=False),
        _over_steps(table, "waiting", "waiting for images", "share of time", logarithmic=False),
    )
    return [chart for chart in drawn if chart is not None]


def _by_stage(
    table: pd.DataFrame, kind: str, title: str, ylabel: str, *, logarithmic: bool
) -> Chart | None:
    """Draw the middle stage, and the band from the lowest to the highest."""
    columns = table.filter(like=f"{kind}/")
    columns.columns = [str(name).removeprefix(f"{kind}/") for name in columns]
    shown = columns.where(columns > 0).map(np.log10) if logarithmic else columns
    if not shown.notna().any(axis=None):
        return None
    steps, low, high = table["step"], shown.min(axis=1), shown.max(axis=1)
    ends = span(shown, [np.log10(SOUND)]) if logarithmic else (0.0, 1.0)
    plot = Plot(_ends(steps), ends, "step", ylabel, size=SIZE)
    plot.band(steps, low, high)
    plot.line(steps, shown.median(axis=1), "a")
    legend = [("a", "middle stage"), ("band", "lowest to highest stage")]
    if logarithmic:
        plot.line(plot.x, [np.log10(SOUND)] * 2, "c")
        legend.append(("c", f"sound: about {SOUND:g}"))
    last = columns.iloc[-1].dropna()
    words = [f"{name} {_words(value, logarithmic)}" for name, value in last.items()]
    label = f"{title[0].upper()}{title[1:]} by stage; at the end {', '.join(words)}"
    return Chart(title, plot.svg(label), tuple(legend))


def _over_steps(
    table: pd.DataFrame, column: str, title: str, ylabel: str, *, logarithmic: bool
) -> Chart | None:
    values = table.get(column, pd.Series(np.nan, table.index))
    shown = values.where(values > 0).map(np.log10) if logarithmic else values
    if not shown.notna().any():
        return None
    plot = Plot(
        _ends(table["step"]), span(shown) if logarithmic else (0.0, 1.0), "step", ylabel, size=SIZE
    )
    plot.line(table["step"], shown, "a")
    three = (values.min(), values.median(), values.max())
    known = [_words(value, logarithmic) for value in three]
    label = f"{title[0].upper()}{title[1:]} over the steps: " + "lowest {}, median {}, highest {}"
    return Chart(title, plot.svg(label.format(*known)), (("a", "each row of health.csv"),))


def _words(value: float, small: bool) -> str:
    """Return a share in percent, or two digits of a number that may be very small."""
    return f"{value:.1e}" if small else percent(value)


def _ends(steps: pd.Series) -> tuple[float, float]:
    return float(steps.min()) - 0.5, float(steps.max()) + 0.5
