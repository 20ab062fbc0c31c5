"""The maps of single files: pictures, arrays, and of volumes maps in the space of the patient."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig
from torch import Tensor

from medcnn import cam
from medcnn.classifier import Classifier
from medcnn.config import plain
from medcnn.data.batches import unit_intensity
from medcnn.data.geometry import prepared_affine
from medcnn.data.image import Image, ImageSpec
from medcnn.data.image_files import list_images, stem
from medcnn.datasets import spec_of
from medcnn.errors import UserError
from medcnn.evidence import ClassifierMaps, scale_of
from medcnn.evidence.gallery import decision_told
from medcnn.evidence.plan import methods_of
from medcnn.files import replacing, write_csv
from medcnn.inputs import Input, as_asked, decode_as, prepared_input
from medcnn.report import (
    GalleryItem,
    draw_mosaic,
    draw_planes,
    map_to_source,
    overlay,
    write_nifti,
)
from medcnn.terminal import say

Rows = list[dict[str, Any]]


def explain_files(cfg: DictConfig, classifier: Classifier) -> pd.DataFrame:
    """Write the maps of a file or a folder of them; one row an image and method comes back.

    Of each file, in ``output``: ``<name>-<method>.png`` (the image beside the map over it) and
    ``.npy`` (raw, at the size of the network's input). Of a volume the picture is of the three
    planes through the maximum; ``<name>-<method>-slices.png`` shows slices, and
    ``<name>-<method>.nii.gz`` has the map on the grid of the file, to be opened over it in a
    viewer. The name is the file's own, in subfolders as the files are in theirs; ``maps.csv`` says
    which file each picture is of. The map explains the decided class; of slices each its own. A
    file that can't be read is named, and the rest goes on.

    Args:
        cfg: As composed from conf/explain.yaml.
        classifier: On its device.

    Raises:
        UserError: Anything that the user can put right; also, at the end, files that couldn't be
            read.
    """
    maps = ClassifierMaps(classifier, stage=plain(cfg.stage), smooth=cfg.smooth)
    methods, notes = methods_of(maps, plain(cfg.methods))
    size = classifier.card["config"]["batch_size"] if cfg.batch_size is None else cfg.batch_size
    spec = as_asked(spec_of(classifier.card), cfg.dataset)
    volumes = spec.spatial_dims == 3 or spec.slices is not None
    paths = list_images(cfg.image, volumes=volumes, key="image")
    output = Path(cfg.output or "maps")
    rows: Rows = []
    failed = 0
    for path, name in zip(paths, output_names(paths), strict=True):
        try:
            decoded = decode_as(path, spec)
            item = prepared_input(decoded, spec, classifier.card["in_channels"])
            for note in item.notes:
                say(f"{path} {note}")
        except UserError as error:
            say(f"{path} {error}")
            failed += 1
            continue
        for method in methods:
            for row in _explain(maps, item, decoded, spec, method, output / name, size, cfg.scale):
                picture = row.pop("picture").relative_to(output)
                rows.append(
                    {"image": str(path), "method": method, **row, "picture": picture.as_posix()}
                )
    for note in notes:
        print(note)
    table = pd.DataFrame(rows)
    if rows:
        write_csv(output / "maps.csv", table)
        print(f"{output}: maps of {len(paths) - failed} of {len(paths)} images", flush=True)
    if failed:
        raise UserError(f"{failed} of {len(paths)} images could not be read")
    return table


def _explain(
    maps: ClassifierMaps,
    item: Input,
    decoded: Image,
    spec: ImageSpec,
    method: str,
    out: Path,
    batch_size: int,
    scale: Any,
) -> Iterator[dict[str, Any]]:
    """Write the files of one image and method; a row a slice."""
    own = maps.classifier.card["intensity_range"]
    pair = torch.tensor([item.pair or own]).float().expand(len(item.stored), 2)
    images = unit_intensity(item.stored, pair).to(maps.classifier.device)
    found = [maps.decisions(part, method) for part in images.split(batch_size)]
    probs, decided, raw = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    array = raw.numpy() if spec.slices is not None else raw[0].numpy()
    base = out.with_name(f"{out.name}-{method}")
    with replacing(base.with_name(f"{base.name}.npy")) as path:
        np.save(path, array)
    lies = prepared_affine(decoded, spec)
    spacing = None if lies is None else np.linalg.norm(lies[:3, :3], axis=0).tolist()
    options = {"scale": scale_of(method, scale), "spacing": spacing}
    options["orientation"] = None if lies is None else spec.orientation
    pictures = _pictures(maps, images.cpu(), probs, decided, raw, base, options)
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
    """What is decided, at the operating point, and of which class the map is."""
    names, task = classifier.class_names, classifier.objective.task
    if task == "multilabel":
        called = [n for n, c in zip(names, classifier.decide(probs[None])[0], strict=True) if c]
        told = {"predicted": ";".join(called), "explained": names[label]}
        return told | {"probability": float(probs[label])}
    told_as = "value" if task == "regression" else "probability"
    return {"predicted": names[label], told_as: float(probs[label])}


def _pictures(
    maps: ClassifierMaps,
    images: Tensor,
    probs: Tensor,
    decided: Tensor,
    raw: Tensor,
    base: Path,
    options: dict[str, Any],
) -> list[Path]:
    """Draw one image, each slice by itself, and of a volume planes and slices; gives the files."""
    pictures = []
    names = maps.classifier.class_names
    regression = maps.classifier.objective.task == "regression"
    for k, label in enumerate(decided.tolist()):
        told, probability = decision_told(maps.classifier, probs[k], label)
        item = GalleryItem(
            image=images[k].movedim(0, -1).squeeze(-1).numpy(),
            map=raw[k].numpy(),
            mask=None,
            true="not known",
            predicted=f"{names[label]} {told}" if regression else told,
            probability=probability,
            correct=None,
        )
        several = f"-slice{k}" if len(raw) > 1 else ""
        pictures.append(picture := base.with_name(f"{base.name}{several}.png"))
        if raw.dim() == 3:
            overlay(item, picture, scale=options["scale"])
            continue
        draw_planes(item, picture, **options)
        draw_mosaic(item, base.with_name(f"{base.name}-slices.png"), **options)
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
