"""Loss and the monitored figure over the epochs of a training."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medcnn.errors import UserError
from medcnn.report.figure_files import save_figure
from medcnn.report.runs import MONITORED, best_epoch, read_epochs

LOSSES = {"train/loss": "training", "val/loss": "validation"}
# Those of the page of a run: line style and colour.
STYLES = {"training": ("--", "#c14f00"), "validation": ("-", "#0072b2")}
GREY = "#555555"


def curves(metrics_csv: Path, out: Path) -> None:
    """Draw the curves of a training, 1200 × 450 pixels.

    Left the loss of training and validation, right the AUROC of the validation, or in regression
    its R²; a dotted line marks the best epoch, the first with the highest ``val/score``.

    Args:
        metrics_csv: Columns ``epoch`` and any of ``train/loss``, ``val/loss``, ``val/score``,
            ``val/auroc`` and ``val/r2``; others are ignored. An epoch may be spread over several
            rows with gaps.
        out: The PNG file to write.

    Raises:
        UserError: The file can't be read, or holds no number to draw.
    """
    table = _read(metrics_csv)
    figure = Figure(figsize=(12, 4.5), dpi=100)
    figure.subplots_adjust(0.06, 0.12, 0.99, 0.92, wspace=0.13)  # a layout by itself takes longer
    left, right = figure.subplots(1, 2)
    monitor = str(table.columns[-1])
    best = best_epoch(table)
    for column, name in LOSSES.items():
        _line(left, table[column], name)
    _line(right, table[monitor], "validation")
    for axes, title in ((left, "loss"), (right, f"{MONITORED[monitor]} (validation)")):
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlim(table.index.min() - 0.5, table.index.max() + 0.5)
        axes.grid(alpha=0.3)
        if best is not None:
            label = f"best epoch: {best}"
            if axes is right and pd.notna(table[monitor][best]):
                label += f", {MONITORED[monitor]} {table[monitor][best]:.3f}"
            axes.axvline(best, color=GREY, linestyle=":", label=label)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
        else:
            axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=GREY)
            axes.set_yticks([])
    save_figure(figure, out)


def _read(metrics_csv: Path) -> pd.DataFrame:
    """Read two losses and the monitored figure, one row an epoch."""
    table = read_epochs(metrics_csv)
    columns = [*LOSSES, "val/score", "val/auroc"]
    if table is not None:
        columns[-1] = "val/r2" if "val/r2" in table else "val/auroc"
        table = table.reindex(columns=columns)
    if table is None or not np.isfinite(table.to_numpy(float)).any():
        raise UserError(
            f"{metrics_csv} can't be read, or holds no number by epoch in {', '.join(columns)}; "
            "curves need the metrics of a training"
        )
    return table


def _line(axes: Axes, values: "pd.Series[float]", name: str) -> None:
    known, (style, colour) = values.dropna(), STYLES[name]
    if len(known):
        axes.plot(known.index, known, style, color=colour, marker="o", markersize=3, label=name)
