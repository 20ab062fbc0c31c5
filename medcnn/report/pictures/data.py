"""Pictures of a data set: samples as the network receives them, and their intensities."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.layout import Layout
from medcnn.report.figure_files import draw_outline, save_figure
from medcnn.report.words import shorten

LESION = "#ffd400"
SEEN = "#00b5ff"
WIDEST = 4.0  # times its height: what a picture's width may be
PER_ROW = 2  # samples side by side
FILES_PER_ROW = 6  # files side by side
COLOURS = {"train": "#c14f00", "val": "#0072b2", "test": "#009e73"}  # as in `training_curves`


def contact_sheet(
    versions: Sequence[Tensor], names: Sequence[str], out: Path, masks: Tensor | None = None
) -> None:
    """Draw samples, each as it is and as augmented.

    Args:
        versions: Images (N, C, *spatial) in 0 … 1: first as they are, then augmented ones. Of a
            volume the slice with most of its lesion is shown, or the middle one; of other channels
            than 3 the first.
        names: N labels.
        out: The PNG file to write.
        masks: (N, *spatial) bool, outlined on the samples as they are; None where not known.
    """
    columns = PER_ROW * len(versions)
    lines = -(-len(names) // PER_ROW)
    height = 1.95 * lines + 0.4
    wide = min(max(1.0, versions[0].shape[-1] / versions[0].shape[-2]), WIDEST)
    figure = Figure(figsize=(1.7 * columns * wide, height), dpi=100)
    axes = figure.subplots(lines, columns, squeeze=False)
    figure.subplots_adjust(0.01, 0.1 / height, 0.99, 1 - 0.4 / height, 0.06, 0.18)
    for ax in axes.flat:
        ax.axis("off")
    for k, name in enumerate(names):
        at = _slice(versions[0][k], None if masks is None else masks[k])
        line, first = k // PER_ROW, k % PER_ROW * len(versions)
        for j, images in enumerate(versions):
            ax = axes[line, first + j]
            ax.imshow(
                picture_of(images[k], at), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
            )
            ax.autoscale(False)
            if j == 0 and masks is not None:
                lesion = picture_of(masks[k][None], at)
                if lesion.min() < lesion.max():
                    draw_outline(ax, lesion, colors=LESION, linewidths=1)
            title = shorten(name, 24) if j == 0 else f"augmented {j}"
            ax.set_title(title, fontsize=8, parse_math=False)
    save_figure(figure, out)


def side_by_side(images: Tensor, layout: Layout | None) -> Tensor:
    """Return images (N, C, *spatial) with their files beside each other, as channels of one.

    Behind them stands the mask of the lesion, where it is an input. Without a layout they stay.
    """
    if layout is None:
        return images
    tiles = [images[:, channels] for channels in layout.files]
    tiles += [images[:, -1:]] if layout.lesion else []
    most = max(tile.shape[1] for tile in tiles)
    same = [tile.expand(-1, most, *tile.shape[2:]) for tile in tiles]
    return torch.cat(same, dim=-1)


def crop_sheet(items: Sequence[Mapping[str, Any]], names: Sequence[str], out: Path) -> None:
    """Draw whole images, and on them the outlines of what the network sees and of known lesions.

    Args:
        items: Of each the ``image`` (*spatial[, 3]) in 0 … 1, the ``map`` (*spatial) that is above
            0.5 where the network sees it, the ``mask`` (*spatial) of the lesion, and maybe the
            ``spacing`` in mm. Of a volume the middle slice of what the network sees is shown.
        names: Their labels.
        out: The PNG file to write.
    """
    lines = -(-len(items) // FILES_PER_ROW)
    height = 1.95 * lines + 0.4
    figure = Figure(figsize=(1.7 * FILES_PER_ROW, height), dpi=100)
    axes = figure.subplots(lines, FILES_PER_ROW, squeeze=False)
    figure.subplots_adjust(0.01, 0.1 / height, 0.99, 1 - 0.4 / height, 0.06, 0.18)
    for ax in axes.flat:
        ax.axis("off")
    for ax, item, name in zip(axes.flat, items, names, strict=False):
        picture, seen, lesion = item["image"], item["map"] > 0.5, item["mask"]
        if seen.ndim == 3:
            at = int(np.median(np.flatnonzero(seen.any((1, 2))))) if seen.any() else len(seen) // 2
            picture, seen, lesion = picture[at], seen[at], None if lesion is None else lesion[at]
        height_mm, width_mm = (item.get("spacing") or (1.0, 1.0))[-2:]
        ax.imshow(picture, cmap="gray", vmin=0, vmax=1, aspect=height_mm / width_mm)
        ax.autoscale(False)
        for mask, colour in ((seen, SEEN), (lesion, LESION)):
            if mask is not None and mask.min() < mask.max():
                draw_outline(ax, mask, colors=colour, linewidths=1)
        ax.set_title(shorten(name, 24), fontsize=8, parse_math=False)
    save_figure(figure, out)


def _slice(image: Tensor, mask: Tensor | None) -> int:
    """Return the slice of a volume (C, D, H, W) to show; see `contact_sheet`."""
    if mask is None or not mask.any():
        return image.shape[1] // 2
    return int(mask.flatten(1).sum(1).argmax())


def picture_of(image: Tensor, at: int = 0) -> NDArray[Any]:
    """Return (H, W) or (H, W, 3) of an image (C, *spatial), of a volume its slice `at`."""
    if image.ndim == 4:
        image = image[:, at]
    picture: NDArray[Any] = image.movedim(0, -1).cpu().numpy()
    return picture if picture.shape[-1] == 3 else picture[..., 0]


def intensity_histogram(values: Mapping[str, NDArray[Any]], out: Path) -> None:
    """Draw the share of pixels by intensity, a line a split.

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
    save_figure(figure, out)
