"""Pictures of a data set: samples as the network receives them, and their intensities."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from medcnn.files import replacing

PER_ROW = 2  # samples side by side
COLOURS = {"train": "#0072b2", "val": "#d55e00", "test": "#009e73"}


def contact_sheet(versions: Sequence[Tensor], names: Sequence[str], out: Path) -> None:
    """Draws samples, each as it is and as augmented.

    Args:
        versions: Images (N, C, *spatial) in 0 … 1: first as they are, then augmented ones. Of a
            volume the middle slice of its first axis is shown; of other channels than 3 the first.
        names: N labels.
        out: The PNG file to write.
    """
    columns = PER_ROW * len(versions)
    lines = -(-len(names) // PER_ROW)
    figure = Figure(figsize=(1.7 * columns, 1.95 * lines + 0.4), dpi=100, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for k, name in enumerate(names):
        line, first = k // PER_ROW, k % PER_ROW * len(versions)
        for j, images in enumerate(versions):
            ax = axes[line, first + j]
            ax.imshow(_picture(images[k]), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            title = _short(name) if j == 0 else f"augmented {j}"
            ax.set_title(title, fontsize=8, parse_math=False)
    with replacing(out) as path:
        figure.savefig(path)


def _picture(image: Tensor) -> NDArray[Any]:
    """(H, W) or (H, W, 3) of an image (C, *spatial)."""
    if image.ndim == 4:
        image = image[:, image.shape[1] // 2]
    picture: NDArray[Any] = image.movedim(0, -1).cpu().numpy()
    return picture if picture.shape[-1] == 3 else picture[..., 0]


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def intensity_histogram(values: Mapping[str, NDArray[Any]], out: Path) -> None:
    """Draws the share of pixels by intensity, a line a split.

    Args:
        values: Intensities in 0 … 1 of each split.
        out: The PNG file to write.
    """
    figure = Figure(figsize=(7, 4), dpi=100, layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0, 1, 65)
    for split, numbers in values.items():
        shares = np.histogram(numbers, edges)[0] / len(numbers)
        axes.stairs(shares, edges, label=split, color=COLOURS.get(split))
    axes.set_yscale("log")
    axes.set_xlabel("intensity, as the network receives it before normalisation")
    axes.set_ylabel("share of pixels")
    axes.legend()
    with replacing(out) as path:
        figure.savefig(path)
