"""Images and maps as separate pictures, which a page lays over each other."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from medcnn import cam
from medcnn.evidence.explainer import Batch, Explainer
from medcnn.evidence.gallery import items_of
from medcnn.evidence.study_gallery import study_items_of
from medcnn.jobs.atomic_files import replacing, write_json
from medcnn.report.maps.item import GalleryItem, Panel, panel, slice_panel
from medcnn.report.maps.scale import peak
from medcnn.report.maps.views import main_view, views

LARGEST = 320  # pixels along the longer side of a picture
SLICES = 32  # of a volume, that are kept to be scrolled through
FILE = "layers.json"
WORDS = ("name", "true", "predicted", "probability", "correct")  # of an item, that are kept


def write_layers(
    explainer: Explainer, rows: Mapping[str, Tensor], method: str, folder: Path, batch_size: int
) -> None:
    """Write ``layers.json`` and a picture each of some images, their maps and their lesions.

    The map is that of the decided class, 0 … 255 from zero to its maximum. Of a volume there are
    pictures of three planes; that of the axial one holds slices below each other, and so does that
    of a study its images, whose maps are divided by the maximum of them all. They go to
    ``layers/`` in the folder. Rows of the sample table are given by kind: ``sample``, ``error``.
    """
    records = []
    for kind, part in rows.items():
        for batch in explainer.batches(part, batch_size) if len(part) else ():
            probs, decided, maps = explainer.decisions(batch.images, method, batch.context)
            if explainer.of_studies:
                records += _of_studies(explainer, batch, probs, decided, maps, folder, kind, method)
                continue
            empty, shown = cam.is_empty(maps).tolist(), cam.normalise(maps).cpu()
            items = items_of(explainer, batch, probs, decided, shown)
            for row, item, nothing in zip(batch.rows.tolist(), items, empty, strict=True):
                facts = {"row": row, "kind": kind, "method": method, "empty": nothing}
                records.append(item_record(item, folder, str(row), facts))
    write_json(folder / FILE, records)


def _of_studies(
    explainer: Explainer,
    batch: Batch,
    probs: Tensor,
    decided: Tensor,
    maps: Tensor,
    folder: Path,
    kind: str,
    method: str,
) -> list[dict[str, Any]]:
    """Write the images of studies as slices below each other; return the records."""
    records, rows = [], batch.rows.tolist()
    items = study_items_of(explainer, batch, probs, decided, maps.cpu())
    for row, item in zip(rows, items, strict=True):
        peaks = [float(one.map.max()) for one in item.images]
        most, highest = max(peaks), max(range(len(peaks)), key=peaks.__getitem__)
        scale = 1 / most if most > 0 else 0.0
        panels = [panel(replace(one, map=one.map.clip(0) * scale), "own") for one in item.images]
        place = {
            "name": "study", "ends": ["", ""], "depth": item.total, "slices": item.places,
            "shown": highest, "up": False, "width": 1.0, "unit": "image",
        }  # fmt: skip
        place |= _write(panels, folder / "layers", f"{row}", most > 0)
        facts = {"row": row, "kind": kind, "method": method, "empty": not most > 0}
        words = {key: getattr(item.images[0], key) for key in WORDS}
        records.append(facts | {"planes": [place]} | words)
    return records


def worst_rows(evaluation: Path) -> Tensor:
    """Return rows (n,) of the errors that an evaluation.json lists; none without the file."""
    if not evaluation.exists():
        return torch.empty(0, dtype=torch.int64)
    levels = json.loads(evaluation.read_text(encoding="utf-8"))["levels"]
    finest = levels.get("image") or levels.get("study") or {}
    return torch.tensor([error["row"] for error in finest.get("errors", [])], dtype=torch.int64)


def item_record(
    item: GalleryItem, folder: Path, stem: str, facts: dict[str, Any]
) -> dict[str, Any]:
    """Write the pictures of one image; return its record in ``layers.json``, with these facts."""
    words = {key: getattr(item, key) for key in WORDS}
    return facts | write_pictures(item, folder, stem) | words


def write_pictures(item: GalleryItem, folder: Path, stem: str) -> dict[str, Any]:
    """Write the pictures of one image; return what `medcnn.report.run.maps.Pane` tells of them.

    That is ``image``, ``map``, ``mask`` (names within the folder, of an empty map none) and
    ``ratio``; of a volume a list of such, ``planes``. The names of the files begin with `stem`.
    """
    mapped = bool(item.map.any())
    if item.map.ndim == 2:
        down, right = item.steps
        panel = Panel(item.image, item.map, item.mask, None, "", down / right)
        return _write([panel], folder / "layers", stem, mapped)
    main, at = main_view(item.orientation), peak(item.map)
    planes = sorted(views(item.orientation), key=lambda view: view.across != main.across)
    found = []
    for view in planes:
        depth, middle = item.map.shape[view.across], at[view.across]
        numbers = _spread(depth, middle) if view == main else [middle]
        panels = [slice_panel(item, view, number, None) for number in numbers]
        name = f"{stem}-{view.name.replace(' ', '-')}"
        place = {"name": view.name, "ends": list(view.ends), "depth": depth, "slices": numbers}
        place |= {"shown": numbers.index(middle), "up": view.up}
        place["width"] = item.map.shape[view.columns] * item.steps[view.columns]
        found.append(place | _write(panels, folder / "layers", name, mapped))
    return {"planes": found}


def _spread(depth: int, through: int) -> list[int]:
    """Return slices evenly from first to last, one of them moved to where the maximum is."""
    numbers = np.linspace(0, depth - 1, min(SLICES, depth)).round().astype(int)
    numbers[np.abs(numbers - through).argmin()] = through
    return list(numbers.tolist())


def _write(panels: list[Panel], folder: Path, stem: str, mapped: bool) -> dict[str, Any]:
    """Write image, map and mask of slices, below each other; see `write_pictures`."""
    first = panels[0]
    size = _size(first.map.shape, first.ratio)
    layers = {"image": [panel.image for panel in panels]}
    if mapped:
        layers["map"] = [panel.map for panel in panels]
    if first.mask is not None and any(np.any(panel.mask) for panel in panels):
        layers["mask"] = [np.asarray(panel.mask, np.float32) for panel in panels]
    files: dict[str, Any] = {"ratio": 1 / first.ratio, "map": None, "mask": None}
    for name, slices in layers.items():
        file = folder / (f"{stem}.png" if name == "image" else f"{stem}-{name}.png")
        strip = np.concatenate([_bytes(one, size) for one in slices])
        with replacing(file) as path:
            Image.fromarray(strip).save(path)
        files[name] = f"{folder.name}/{file.name}"
    return files


def _size(shape: tuple[int, ...], ratio: float) -> tuple[int, int]:
    """Return width and height of a picture; a small one keeps its pixels, whatever their form."""
    height, width = shape
    if max(shape) <= LARGEST:
        return width, height
    tall, wide = (ratio, 1.0) if ratio < 1 else (1.0, 1 / ratio)
    return max(1, round(LARGEST * wide)), max(1, round(LARGEST * tall))


def _bytes(values: NDArray[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return (H, W) or (H, W, 3) in 0 … 1 as 0 … 255, of this width and height."""
    picture = Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))
    return np.asarray(
        picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
    )
