"""The images of a gallery, with their maps and what was decided."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from medcnn.classifier.classifier import Classifier
from medcnn.data.row_names import names_of_rows
from medcnn.evidence.explainer import Batch, Explainer, scale_of
from medcnn.evidence.own_grid import item_of_row
from medcnn.jobs.atomic_files import replacing
from medcnn.objective import known
from medcnn.report.maps.gallery import gallery
from medcnn.report.maps.item import GalleryItem


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
        raw: Folder of the raw maps, ``<row>.npy``, float32, high for important.
        batch_size: Images at a time.
        scale: What the colours span: own, or the same (low, high) for all.
    """
    items = (
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
    gallery(items, out, title=title, scale=scale_of(method, scale))


def _items(explainer: Explainer, batch: Batch, method: str, raw: Path) -> Iterator[GalleryItem]:
    """Return the pictures of a batch; keep the raw maps."""
    probs, decided = explainer.decided(batch.images)
    maps = explainer.maps(batch, decided, method).cpu()
    for row, map_ in zip(batch.rows.tolist(), maps, strict=True):
        with replacing(raw / f"{row}.npy") as path:
            np.save(path, map_.numpy())
    return items_of(explainer, batch, probs, decided, maps)


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


def caption(classifier: Classifier, label: Tensor, probs: Tensor, chosen: int) -> dict[str, Any]:
    """Return the words of a `GalleryItem` on the truth and the decision, at the operating point.

    The label is () or (K,); for the rest see `decision_words`.
    """
    names, task = classifier.class_names, classifier.objective.task
    words, probability = decision_words(classifier, probs, chosen)
    there, correct = known(label), None
    if task == "regression":
        true = f"{float(label[chosen]):.4g}" if there[chosen] else "unknown"
    else:
        true = _names(names, label)
        right = classifier.decide(probs[None])[0] == label
        correct = bool(right[there].all()) if there.any() else None
    return {"true": true, "predicted": words, "probability": probability, "correct": correct}


def decision_words(classifier: Classifier, probs: Tensor, chosen: int) -> tuple[str, float | None]:
    """Return the decision on an image in words, and its probability where it is of one class.

    Of several labels all that are called, each with its probability, the most probable first; and
    the one that the map explains where that isn't the first.

    Of probabilities (K,) on the CPU, and the class that the map explains; of a regression that is
    the target.
    """
    names, task = classifier.class_names, classifier.objective.task
    if task == "regression":
        return f"{float(probs[chosen]):.4g}", None
    decided = classifier.decide(probs[None])[0]
    if task != "multilabel":
        return names[int(decided)], float(probs[int(decided)])
    called = [k for k in probs.argsort(descending=True).tolist() if decided[k] == 1]
    words = ", ".join(f"{names[k]} {probs[k]:.2f}" for k in called) or "none"
    mapped = "" if called[:1] == [chosen] else f" (map: {names[chosen]} {probs[chosen]:.2f})"
    return words + mapped, None


def _names(names: Sequence[str], label: Tensor) -> str:
    """Return the class, or of several labels those that are there."""
    if label.ndim == 0:
        return names[int(label)] if known(label) else "unknown"
    found = [name for name, there in zip(names, label, strict=True) if there == 1]
    return ", ".join(found) or ("none" if known(label).all() else "unknown")


def at_threshold(point: Mapping[str, Any] | None) -> str:
    """Return the threshold of a decision, to be put behind it; "" without an operating point."""
    if point is None:
        return ""
    if "labels" in point:
        return " (each label at its own threshold)"
    return f" (at the threshold {point['threshold']:.3g})"
