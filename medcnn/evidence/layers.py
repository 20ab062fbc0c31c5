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
from medcnn.evidence.gallery import items_of
from medcnn.jobs.atomic_files import replacing, write_json
from medcnn.report import GalleryItem
from medcnn.report.maps.item import Panel, slice_panel
from medcnn.report.maps.scale import peak
from medcnn.report.maps.views import main_view, views

LARGEST = 320  # pixels along the longer side of a picture
SLICES = 32  # of a volume, that are kept to be scrolled through
FILE = "layers.json"


def write_layers(
    explainer: Explainer, rows: Mapping[str, Tensor], method: str, folder: Path, batch_size: int
) -> None:
    """Write ``layers.json`` and a picture each of some images, their maps and their lesions.

    The map is that of the decided class, 0 … 255 from zero to its maximum. Of a volume there are
    pictures of three planes; that of the axial one holds slices below each other.

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
            empty, shown = cam.is_empty(maps).tolist(), cam.normalise(maps).cpu()
            items = items_of(explainer, batch, probs, decided, shown)
            for row, item, nothing in zip(batch.rows.tolist(), items, empty, strict=True):
                facts = {"row": row, "kind": kind, "method": method, "empty": nothing}
                records.append(facts | write_pictures(item, folder, row) | _words(item))
    write_json(folder / FILE, records)


def worst_rows(evaluation: Path) -> Tensor:
    """Rows (n,) of the errors that an evaluation.json lists for images; none without the file."""
    if not evaluation.exists():
        return torch.empty(0, dtype=torch.int64)
    image = json.loads(evaluation.read_text(encoding="utf-8"))["levels"].get("image", {})
    return torch.tensor([error["row"] for error in image.get("errors", [])], dtype=torch.int64)


def _words(item: GalleryItem) -> dict[str, Any]:
    return {
        key: getattr(item, key) for key in ("name", "true", "predicted", "probability", "correct")
    }


def write_pictures(item: GalleryItem, folder: Path, row: int) -> dict[str, Any]:
    """Write the pictures of one image.

    Returns:
        What `medcnn.report.run.maps.Pane` tells of them: ``image``, ``map``, ``mask`` (names within
        the folder) and ``ratio``; of a volume a list of such, ``planes``.
    """
    if item.map.ndim == 2:
        down, right = item.steps
        panel = Panel(item.image, item.map, item.mask, None, "", down / right)
        return _write([panel], folder / "layers", str(row))
    main, at = main_view(item.orientation), peak(item.map)
    planes = sorted(views(item.orientation), key=lambda view: view.across != main.across)
    found = []
    for view in planes:
        depth = item.map.shape[view.across]
        numbers = [at[view.across]]
        if view == main:
            numbers = _spread(depth, numbers[0])
        panels = [slice_panel(item, view, number, None) for number in numbers]
        stem = f"{row}-{view.name.replace(' ', '-')}"
        place = {"name": view.name, "ends": list(view.ends), "depth": depth, "slices": numbers}
        place |= {"shown": numbers.index(at[view.across]), "up": view.up}
        place["width"] = item.map.shape[view.columns] * item.steps[view.columns]
        found.append(place | _write(panels, folder / "layers", stem))
    return {"planes": found}


def _spread(depth: int, through: int) -> list[int]:
    """Slices evenly from the first to the last, one of them moved to where the maximum is."""
    numbers = np.linspace(0, depth - 1, min(SLICES, depth)).round().astype(int)
    numbers[np.abs(numbers - through).argmin()] = through
    return [int(number) for number in numbers]


def _write(panels: list[Panel], folder: Path, stem: str) -> dict[str, Any]:
    """Write image, map and mask of slices, below each other; see `write_pictures`."""
    first = panels[0]
    size = _size(first.map.shape, first.ratio)
    layers = {"image": [panel.image for panel in panels], "map": [panel.map for panel in panels]}
    if first.mask is not None and any(np.any(panel.mask) for panel in panels):
        layers["mask"] = [np.asarray(panel.mask, np.float32) for panel in panels]
    files: dict[str, Any] = {"ratio": 1 / first.ratio, "mask": None}
    for name, slices in layers.items():
        file = folder / (f"{stem}.png" if name == "image" else f"{stem}-{name}.png")
        strip = np.concatenate([_bytes(one, size) for one in slices])
        with replacing(file) as path:
            Image.fromarray(strip).save(path)
        files[name] = f"{folder.name}/{file.name}"
    return files


def _size(shape: tuple[int, ...], ratio: float) -> tuple[int, int]:
    """Width and height of a picture; a small one keeps its own pixels, whatever their form."""
    height, width = shape
    if max(shape) <= LARGEST:
        return width, height
    tall, wide = (ratio, 1.0) if ratio < 1 else (1.0, 1 / ratio)
    return max(1, round(LARGEST * wide)), max(1, round(LARGEST * tall))


def _bytes(values: NDArray[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3) in 0 … 1 → the same in 0 … 255, of this width and height."""
    whole = np.ascontiguousarray((values.clip(0, 1) * 255).round().astype(np.uint8))
    picture = Image.fromarray(whole)
    return np.asarray(
        picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
    )
