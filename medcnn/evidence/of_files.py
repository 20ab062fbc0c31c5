"""The maps of single files: pictures, arrays, and of volumes maps in the space of the patient."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medcnn import cam
from medcnn.classifier.classifier import Classifier
from medcnn.data.batches import unit_intensity
from medcnn.data.image import Image, ImageSpec, Range, spec_of
from medcnn.data.image_files import list_images, stem
from medcnn.data.inputs import TOO_LARGE, Input, as_asked, decode_as, prepared_input
from medcnn.errors import UserError
from medcnn.evidence import ClassifierMaps, scale_of
from medcnn.evidence.gallery import decision_words
from medcnn.evidence.own_grid import on_own_grid
from medcnn.evidence.plan import methods_of
from medcnn.jobs.atomic_files import check_folder, replacing, write_csv
from medcnn.jobs.progress import progress
from medcnn.jobs.settings.commands import Explain
from medcnn.jobs.terminal import say
from medcnn.report import (
    GalleryItem,
    draw_mosaic,
    draw_planes,
    map_to_source,
    overlay,
    write_nifti,
)

Rows = list[dict[str, Any]]


def explain_files(cfg: Explain, classifier: Classifier) -> pd.DataFrame:
    """Write the maps of a file or a folder of them; return ``maps.csv``, a row an image and method.

    They lie in ``output``, in subfolders as the files do, under the names of the files; see
    `_of_file`. The map explains the decided class; of slices each its own. A file that can't be
    read, or of which the net gives NaN, is named, and the rest goes on.

    Args:
        cfg: See conf/explain.yaml.
        classifier: On its device.

    Raises:
        UserError: Anything that the user can put right; at the end, that some files failed.
    """
    maps = ClassifierMaps(classifier, stage=cfg.stage, smooth=cfg.smooth)
    methods, notes = methods_of(maps, cfg.methods)
    size = classifier.card["config"]["batch_size"] if cfg.batch_size is None else cfg.batch_size
    spec, output = as_asked(spec_of(classifier.card), cfg.dataset), Path(cfg.output or "maps")
    volumes = spec.spatial_dims == 3 or spec.slices is not None
    paths = list_images(str(cfg.image), volumes=volumes, key="image")
    check_folder(f"output={output}", output)
    rows, failed = Rows(), 0
    named = list(zip(paths, output_names(paths), strict=True))
    for path, name in progress(named, "files explained"):
        try:
            rows += _of_file(maps, path, spec, methods, output / name, size, cfg.scale)
        except UserError as error:
            say(f"{path} {error}")
            failed += 1
    for note in notes:
        print(note)
    for row in rows:
        row["picture"] = row["picture"].relative_to(output).as_posix()
    table = pd.DataFrame(rows)
    if rows:
        write_csv(output / "maps.csv", table)
        print(f"{output}: maps of {len(paths) - failed} of {len(paths)} images", flush=True)
    if failed:
        raise UserError(f"{failed} of {len(paths)} images could not be read or explained")
    return table


def _of_file(
    maps: ClassifierMaps,
    path: Path,
    spec: ImageSpec,
    methods: Sequence[str],
    out: Path,
    batch_size: int,
    scale: Any,
) -> Rows:
    """Write the maps of one file; raises UserError, without its path, if it can't be used.

    ``<name>-<method>.png`` has the image beside the map over it, ``.npy`` the raw map at the size
    of the network's input. Of a volume the picture is of the three planes through the maximum;
    ``<name>-<method>-slices.png`` shows slices (for a network of pictures each slice has its own,
    ``-slice_007.png``), and ``.nii.gz`` has the map on the grid of the file, to be opened over it
    in a viewer.
    """
    try:
        decoded = decode_as(path, spec)
        item = prepared_input(decoded, spec, maps.classifier.card["in_channels"])
        for note in item.notes:
            say(f"{path} {note}")
        return [
            {"image": str(path), "method": method, **row}
            for method in methods
            for row in _explain(
                maps, item, decoded, spec, method, out, batch_size, scale, path.name
            )
        ]
    except MemoryError:
        raise UserError(TOO_LARGE) from None


def _explain(
    maps: ClassifierMaps,
    item: Input,
    decoded: Image,
    spec: ImageSpec,
    method: str,
    out: Path,
    batch_size: int,
    scale: Any,
    name: str,
) -> Iterator[dict[str, Any]]:
    """Write the files of one image and method; a row a slice."""
    own = maps.classifier.card["intensity_range"]
    pair = item.pair or own
    ranges = torch.tensor([pair]).float().expand(len(item.stored), 2)
    images = unit_intensity(item.stored, ranges).to(maps.classifier.device)
    found = [maps.decisions(part, method) for part in images.split(batch_size)]
    probs, decided, raw = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    array = raw.numpy() if spec.slices is not None else raw[0].numpy()
    base = out.with_name(f"{out.name}-{method}")
    with replacing(base.with_name(f"{base.name}.npy")) as path:
        np.save(path, array)
    items = _items(maps, decoded, spec, pair, (probs, decided, raw), name)
    pictures = _pictures(items, base, scale_of(method, scale))
    if array.ndim == 3 and decoded.affine is not None:
        affine = decoded.affine
        write_nifti(
            map_to_source(array, decoded, spec),
            base.with_name(f"{base.name}.nii.gz"),
            affine=affine,
        )
    for k, label in enumerate(decided.tolist()):
        place = {"slice": k} if spec.slices is not None else {}
        row = _row(maps.classifier, probs[k], label)
        row |= {"empty": bool(cam.is_empty(raw[k : k + 1])), "picture": pictures[k]}
        yield {**place, **row}


def _row(classifier: Classifier, probs: Tensor, label: int) -> dict[str, Any]:
    """Return the decision at the operating point, and the class that the map explains."""
    names, task = classifier.class_names, classifier.objective.task
    if task == "multilabel":
        called = [n for n, c in zip(names, classifier.decide(probs[None])[0], strict=True) if c]
        words = {"predicted": ";".join(called), "explained": names[label]}
        return words | {"probability": float(probs[label])}
    told_as = "value" if task == "regression" else "probability"
    return {"predicted": names[label], told_as: float(probs[label])}


def _items(
    maps: ClassifierMaps,
    decoded: Image,
    spec: ImageSpec,
    pair: Range,
    found: tuple[Tensor, Tensor, Tensor],
    name: str,
) -> list[GalleryItem]:
    """Return the pictures of one image, of slices of each."""
    probs, decided, raw = found
    classifier, items = maps.classifier, []
    for k, label in enumerate(decided.tolist()):
        words, probability = decision_words(classifier, probs[k], label)
        part = f"{name}, slice {k}" if spec.slices is not None else name
        grid = on_own_grid(decoded, spec, pair, raw[k].numpy(), number=k)
        items.append(
            GalleryItem(
                name=part,
                **grid,
                true="not known",
                predicted=words,
                probability=probability,
                correct=None,
            )
        )
    return items


def _pictures(items: Sequence[GalleryItem], base: Path, scale: Any) -> list[Path]:
    """Draw one image, each slice by itself, and of a volume planes and slices; gives the files."""
    digits = max(3, len(str(len(items) - 1)))  # the same for all, so that names sort as slices lie
    pictures = []
    for k, item in enumerate(items):
        several = f"-slice_{k:0{digits}}" if len(items) > 1 else ""
        pictures.append(picture := base.with_name(f"{base.name}{several}.png"))
        if item.map.ndim == 2:
            overlay(item, picture, scale=scale)
            continue
        draw_planes(item, picture, scale=scale)
        draw_mosaic(item, base.with_name(f"{base.name}-slices.png"), scale=scale)
    return pictures


def output_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each file, no two alike: its path below the folder that all are in.

    Without the endings, unless some file differs from another by its ending alone.

    >>> output_names([Path("in/a/x.png"), Path("in/b/x.png")])
    ['a/x', 'b/x']
    >>> output_names([Path("in/x.png"), Path("in/x.dcm")])
    ['x.png', 'x.dcm']
    """
    absolute = [path.absolute() for path in paths]
    top = os.path.commonpath([path.parent for path in absolute])
    places = [path.relative_to(top) for path in absolute]
    names = [place.with_name(stem(place)).as_posix() for place in places]
    distinct = len(set(names)) == len(names)
    return names if distinct else [place.as_posix() for place in places]
