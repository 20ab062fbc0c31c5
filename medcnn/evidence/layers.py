"""Images and maps as separate pictures, which a page lays over each other."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from medcnn import cam
from medcnn.evidence.explainer import Explainer
from medcnn.evidence.gallery import caption
from medcnn.files import replacing, write_json

LARGEST = 256  # pixels along the longer side of a picture
FILE = "layers.json"


def write_layers(
    explainer: Explainer, rows: Mapping[str, Tensor], method: str, folder: Path, batch_size: int
) -> None:
    """Write ``layers.json`` and a picture each of some images, their maps and their lesions.

    The map is that of the decided class, 0 … 255 from zero to its maximum. Of a volume the pictures
    show the plane, along the first axis, through the map's maximum.

    Args:
        explainer: What gives images and maps.
        rows: Of the sample table, by kind: ``sample``, ``error``.
        method: One of `medcnn.cam.METHODS`.
        folder: For layers.json; pictures go to ``layers/`` in it.
        batch_size: Images at a time.
    """
    records = []
    for kind, part in rows.items():
        for batch in explainer.batches(part, batch_size) if len(part) else ():
            probs, decided, maps = explainer.decisions(batch.images, method)
            labels = explainer.samples.labels[batch.rows]
            masks = explainer.lesions(batch, decided)
            empty, shown = cam.is_empty(maps).tolist(), cam.normalise(maps).cpu()
            for k, row in enumerate(batch.rows.tolist()):
                layers = {"image": batch.images[k].cpu(), "map": shown[k]}
                if masks is not None and masks[k].any():
                    layers["mask"] = masks[k].cpu().float()
                words = caption(explainer.classifier, labels[k], probs[k].cpu(), int(decided[k]))
                files = {"mask": None, **_write(layers, folder, row)}
                facts = {"row": row, "kind": kind, "method": method, "empty": empty[k]}
                records.append(facts | files | words)
    write_json(folder / FILE, records)


def worst_rows(evaluation: Path) -> Tensor:
    """Rows (n,) of the errors that an evaluation.json lists for images; none without the file."""
    if not evaluation.exists():
        return torch.empty(0, dtype=torch.int64)
    image = json.loads(evaluation.read_text(encoding="utf-8"))["levels"].get("image", {})
    return torch.tensor([error["row"] for error in image.get("errors", [])], dtype=torch.int64)


def _write(layers: dict[str, Tensor], folder: Path, row: int) -> dict[str, Any]:
    """Write the pictures of one image; their names within the folder."""
    if layers["map"].dim() == 3:
        plane = int(layers["map"].flatten(1).amax(1).argmax())
        layers = {name: values[..., plane, :, :] for name, values in layers.items()}
    names = {}
    for name, values in layers.items():
        names[name] = f"layers/{row}.png" if name == "image" else f"layers/{row}-{name}.png"
        picture = Image.fromarray(_bytes(values))
        picture.thumbnail((LARGEST, LARGEST))
        with replacing(folder / names[name]) as path:
            picture.save(path)
    return names


def _bytes(values: Tensor) -> NDArray[np.uint8]:
    """(H, W) or (C, H, W) in 0 … 1 → (H, W) or (H, W, 3) in 0 … 255."""
    whole = (values.clamp(0, 1) * 255).round().byte()
    if whole.dim() == 3:
        whole = whole.movedim(0, -1) if len(whole) == 3 else whole[0]
    return np.ascontiguousarray(whole.numpy())
