"""The maps of single files: pictures, arrays, and of volumes maps in the space of the patient."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medcnn import cam
from medcnn.classifier.classifier import Classifier
from medcnn.data.batches import unit_intensity
from medcnn.data.image import Array, Crop, Image, ImageSpec, spec_of
from medcnn.data.image_files import list_images, stem
from medcnn.data.inputs import TOO_LARGE, as_asked, decode_as, prepared_input
from medcnn.errors import UserError
from medcnn.evidence import ClassifierMaps, scale_of
from medcnn.evidence.gallery import decision_words
from medcnn.evidence.own_grid import on_own_grid
from medcnn.evidence.plan import methods_of
from medcnn.jobs.atomic_files import check_folder, replacing, write_csv
from medcnn.jobs.progress import progress
from medcnn.jobs.settings.commands import Explain
from medcnn.jobs.terminal import say
from medcnn.report.maps.item import GalleryItem
from medcnn.report.maps.nifti import map_to_source, write_nifti
from medcnn.report.maps.overlay import overlay
from medcnn.report.maps.volume import draw_mosaic, draw_planes

Rows = list[dict[str, Any]]


def explain_files(cfg: Explain, classifier: Classifier) -> pd.DataFrame:
    """Write the maps of a file or a folder of them; return ``maps.csv``, a row an image and method.

    They lie in ``output``, in subfolders as the files do, under the names of the files; see
    `_of_file`. The map explains the decided class; of slices each its own. A file that can't be
    read, or of which the net gives NaN, is named, and the rest goes on.

    Raises:
        UserError: Anything that the user can put right; at the end, that some files failed.
    """
    maps = ClassifierMaps(classifier, stage=cfg.stage, smooth=cfg.smooth)
    methods, notes = methods_of(maps, cfg.methods)
    spec, output = as_asked(spec_of(classifier.card), cfg.dataset), Path(cfg.output or "maps")
    volumes = spec.spatial_dims == 3 or spec.slices is not None
    paths = list_images(str(cfg.image), volumes=volumes, key="image")
    check_folder(f"output={output}", output)
    named = list(zip(paths, output_names(paths), strict=True))
    if not cfg.overwrite:
        _refuse_if_there(output, [f"{name}-{method}" for _, name in named for method in methods])
    rows, failed = Rows(), 0
    for path, name in progress(named, "files explained"):
        try:
            rows += _of_file(maps, path, spec, methods, output / name, cfg)
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


def _refuse_if_there(output: Path, names: Sequence[str]) -> None:
    """Raise UserError if a folder has maps by these names, or the table of others."""
    files = (f"{name}{ending}" for name in names for ending in (".npy", ".png"))
    for file in ("maps.csv", *files):
        if (output / file).exists():
            raise UserError(f"output={output}: {file} exists; overwrite=true replaces it")


def _of_file(
    maps: ClassifierMaps,
    path: Path,
    spec: ImageSpec,
    methods: Sequence[str],
    out: Path,
    cfg: Explain,
) -> Rows:
    """Write the maps of one file; raises UserError, without its path, if it can't be used.

    ``<name>-<method>.png`` has the image beside the map over it, ``.npy`` the raw map at the size
    of the network's input. Of a volume the picture is of the three planes through the maximum;
    ``<name>-<method>-slices.png`` shows slices (for a network of pictures each slice has its own,
    ``-slice_007.png``), and ``.nii.gz`` has the map on the grid of the file, to be opened over it
    in a viewer.
    """
    classifier, rows = maps.classifier, Rows()
    size = classifier.card["config"]["batch_size"] if cfg.batch_size is None else cfg.batch_size
    try:
        decoded = decode_as(path, spec)
        item = prepared_input(decoded, spec, classifier.card["in_channels"])
        for note in item.notes:
            say(f"{path} {note}")
        pair = item.pair or classifier.card["intensity_range"]
        ranges = torch.tensor([pair]).float().expand(len(item.stored), 2)
        images = unit_intensity(item.stored, ranges).to(classifier.device)
        for method in methods:
            found = [maps.decisions(part, method) for part in images.split(size)]
            probs, decided, raw = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
            base = out.with_name(f"{out.name}-{method}")
            _write_raw(raw.numpy(), decoded, spec, item.crop, base)
            grids = [
                on_own_grid(decoded, spec, pair, map_.numpy(), crop=item.crop, number=k)
                for k, map_ in enumerate(raw)
            ]
            items = _items(classifier, path.name, spec, probs, decided, grids)
            pictures = _pictures(items, base, scale_of(method, cfg.scale))
            for k, empty in enumerate(cam.is_empty(raw).tolist()):
                place = {"slice": k} if spec.slices is not None else {}
                row = {"image": str(path), "method": method, **place}
                row |= _row(classifier, probs[k], int(decided[k]))
                rows.append(row | {"empty": empty, "picture": pictures[k]})
    except MemoryError:
        raise UserError(TOO_LARGE) from None
    return rows


def _write_raw(raw: Array, decoded: Image, spec: ImageSpec, crop: Crop | None, base: Path) -> None:
    """Write raw maps (N, *spatial): all slices', or the one of an image, of a volume twice."""
    array = raw if spec.slices is not None else raw[0]
    with replacing(base.with_name(f"{base.name}.npy")) as path:
        np.save(path, array)
    if array.ndim == 3 and decoded.affine is not None:
        volume = map_to_source(array, decoded, spec, crop)
        write_nifti(volume, base.with_name(f"{base.name}.nii.gz"), affine=decoded.affine)


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
    classifier: Classifier,
    name: str,
    spec: ImageSpec,
    probs: Tensor,
    decided: Tensor,
    grids: Sequence[dict[str, Any]],
) -> list[GalleryItem]:
    """Return the pictures of one image, of slices of each."""
    items = []
    for k, label in enumerate(decided.tolist()):
        predicted, probability = decision_words(classifier, probs[k], label)
        words: dict[str, Any] = {"true": "not known", "predicted": predicted, "correct": None}
        part = f"{name}, slice {k}" if spec.slices is not None else name
        items.append(GalleryItem(name=part, **grids[k], **words, probability=probability))
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
