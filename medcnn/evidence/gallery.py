"""The images of a gallery, with their maps and what was decided."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from medcnn import cam
from medcnn.cam.studies import of_each_study
from medcnn.data.row_names import names_of_rows
from medcnn.evidence.captions import caption
from medcnn.evidence.explainer import Batch, Explainer
from medcnn.evidence.own_grid import item_of_row
from medcnn.evidence.study_gallery import study_items_of
from medcnn.jobs.atomic_files import replacing
from medcnn.report.figure_files import save_figure
from medcnn.report.maps.gallery import gallery_figure
from medcnn.report.maps.item import GalleryItem
from medcnn.report.maps.study_sheet import study_figure


def draw_gallery(
    shown: Sequence[tuple[Explainer, Tensor]],
    method: str,
    out: Path,
    raw: Path,
    batch_size: int,
    scale: Any = "own",
) -> None:
    """Draw the maps of the decided classes of some rows, and keep the raw maps.

    Args:
        shown: What gives the maps, and rows (n,) of its sample table; several of a
            cross-validation.
        method: One of `medcnn.cam.METHODS`.
        out: The PNG file.
        raw: Folder of the raw maps, ``<row>.npy``, float32, high for important; of a study
            (n, *spatial).
        batch_size: Images at a time.
        scale: What the colours span: own, or the same (low, high) for all.
    """
    items: Iterator[Any] = (
        item
        for explainer, rows in shown
        for batch in explainer.batches(rows, batch_size)
        for item in _items(explainer, batch, method, raw)
    )
    explainer, rows = shown[0]
    samples = explainer.samples
    what = {
        "regression": f"the predicted {samples.class_names[0]}",
        "multilabel": "the most probable label",
    }.get(samples.task, "the decided class")
    split = samples.table["split"].iloc[int(rows[0])]
    at = at_threshold(explainer.classifier.operating_point) if len(shown) == 1 else ""
    title = f"{samples.name}, {split}: {method} of {what}{at}"
    save_figure(figure_of(explainer, items, title, scale_of(method, scale)), out)


def figure_of(explainer: Explainer, items: Iterable[Any], title: str, scale: Any) -> Figure:
    """Return the sheet of what `pictures_of` gives."""
    draw: Any = study_figure if explainer.of_studies else gallery_figure
    figure: Figure = draw(items, title=title, scale=scale)
    return figure


def _items(explainer: Explainer, batch: Batch, method: str, raw: Path) -> Iterator[Any]:
    """Return the pictures of a batch; keep the raw maps, of a study's images in one file."""
    probs, decided = explainer.decided(batch.images, batch.context)
    maps = explainer.maps(batch, decided, method).cpu()
    of_each = of_each_study(batch.bag.cpu(), maps) if explainer.of_studies else zip(maps)
    for row, (own,) in zip(batch.rows.tolist(), of_each, strict=True):
        with replacing(raw / f"{row}.npy") as path:
            np.save(path, own.numpy())
    return pictures_of(explainer, batch, probs, decided, maps)


def pictures_of(
    explainer: Explainer, batch: Batch, probs: Tensor, decided: Tensor, maps: Tensor
) -> Iterator[Any]:
    """Yield the images of a batch (`items_of`), or its studies (`study_items_of`)."""
    how: Any = study_items_of if explainer.of_studies else items_of
    yield from how(explainer, batch, probs, decided, maps)


def items_of(
    explainer: Explainer, batch: Batch, probs: Tensor, decided: Tensor, maps: Tensor
) -> Iterator[GalleryItem]:
    """Yield the images of a batch with their maps, on the grids of their files.

    Of probabilities (N, K), the class (N,) that each map explains, and raw maps (N, *spatial).
    """
    samples, rows = explainer.samples, batch.rows.tolist()
    labels = samples.labels[batch.rows]
    masks = explainer.lesions(batch, decided)
    for k, name in enumerate(names_of_rows(samples.table, rows)):
        lesion = None if masks is None else masks[k]
        picture = item_of_row(samples, rows[k], batch.images[k], maps[k], lesion)
        words = caption(explainer.classifier, labels[k], probs[k].cpu(), int(decided[k]))
        yield GalleryItem(name=name, **picture, **words)


def at_threshold(point: Mapping[str, Any] | None) -> str:
    """Return the threshold of a decision, to be put behind it; "" without an operating point."""
    if point is None:
        return ""
    if "labels" in point:
        return " (each label at its own threshold)"
    return f" (at the threshold {point['threshold']:.3g})"


def scale_of(method: str, given: Any) -> Any:
    """Return the span of the colours of a method's maps: each map's own values, unless given."""
    if given != "own":
        return tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else given
    return "signed" if method in cam.SIGNED else "own"
