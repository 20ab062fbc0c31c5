"""The images of a gallery, with their maps and what was decided."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from medcnn.data.samples import Samples
from medcnn.evidence.explainer import Batch, Explainer, scale_of
from medcnn.files import replacing
from medcnn.objective import known
from medcnn.report import GalleryItem, gallery


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
    items: list[GalleryItem] = []
    for explainer, rows in shown:
        for batch in explainer.batches(rows, batch_size):
            items += _items(explainer, batch, method, raw)
    explainer, rows = shown[0]
    samples = explainer.samples
    regression = samples.task == "regression"
    what = f"the predicted {samples.class_names[0]}" if regression else "the decided class"
    split = samples.table["split"].iloc[int(rows[0])]
    title = f"{samples.name}, {split}: {method} of {what}"
    gallery(items, out, title=title, scale=scale_of(method, scale))


def _items(explainer: Explainer, batch: Batch, method: str, raw: Path) -> Sequence[GalleryItem]:
    """The pictures of a batch; the raw maps are kept."""
    samples = explainer.samples
    probs, decided = explainer.decided(batch.images)
    maps = explainer.maps(batch, decided, method).cpu()
    labels, masks = samples.labels[batch.rows], explainer.lesions(batch, decided)
    items = []
    for k, row in enumerate(batch.rows.tolist()):
        with replacing(raw / f"{row}.npy") as path:
            np.save(path, maps[k].numpy())
        items.append(
            GalleryItem(
                image=batch.images[k].movedim(0, -1).squeeze(-1).cpu().numpy(),
                map=maps[k].numpy(),
                mask=None if masks is None else masks[k].cpu().numpy(),
                **caption(samples, labels[k], probs[k].cpu(), int(decided[k])),
            )
        )
    return items


def caption(samples: Samples, label: Tensor, probs: Tensor, chosen: int) -> dict[str, Any]:
    """What a `GalleryItem` says of the truth and of what was decided."""
    if samples.task == "regression":
        true, predicted = label[chosen], f"{float(probs[chosen]):.4g}"
        shown = f"{float(true):.4g}" if known(true) else "unknown"
        return {"true": shown, "predicted": predicted, "probability": None, "correct": None}
    answer = label[chosen] == 1 if label.ndim else label == chosen
    there = known(label[chosen] if label.ndim else label)
    return {
        "true": _names(samples, label),
        "predicted": samples.class_names[chosen],
        "probability": float(probs[chosen]),
        "correct": bool(answer) if there else None,
    }


def _names(samples: Samples, label: Tensor) -> str:
    """The class, or of several labels those that are there."""
    if label.ndim == 0:
        return samples.class_names[int(label)] if known(label) else "unknown"
    found = [name for name, there in zip(samples.class_names, label, strict=True) if there == 1]
    return ", ".join(found) or ("none" if known(label).all() else "unknown")
