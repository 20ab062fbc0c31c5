"""One file as network inputs, and facts about it."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.data.formats import decode
from medcnn.data.image import Array, Image, ImageSpec
from medcnn.data.prepared.cache import Facts
from medcnn.data.prepared.geometry import prepare, prepare_mask
from medcnn.data.prepared.intensity import percentiles
from medcnn.errors import UserError


def read_file(path: Path, spec: ImageSpec, kind: str = "image") -> tuple[Array, Facts]:
    """Read one file as network inputs in stored units, and facts about it.

    Its kind is ``image``; or ``mask``, of which every value above 0 is the lesion.

    Returns:
        Images (S, C, *size) with S slices (1 if it isn't cut into slices), or masks (S, *size)
        uint8 of 0 and 1 with C left out; and facts for JSON: ``shape`` (of the file, spatial),
        ``channels``, ``dtype``, ``spacing``, ``affine`` (of a volume, see `Image`),
        ``modality``, ``value_range``, ``window``, ``notes`` (see `Image`), ``extremes`` and
        ``percentiles`` (without padding), and for each slice ``digests``.

    Raises:
        UserError: The reason why the file can't be used, without its path.
    """
    image = decode(path, allow_missing_geometry=spec.allow_missing_geometry, frame=spec.frame)
    return prepare_image(image, spec, kind)


def prepare_image(image: Image, spec: ImageSpec, kind: str = "image") -> tuple[Array, Facts]:
    """Return what `read_file` gives, of a decoded image."""
    if image.values.dtype.kind == "f" and not np.isfinite(image.values).all():
        bad = ~np.isfinite(image.values)
        raise UserError(f"holds NaN or infinite values ({int(bad.sum())} of {bad.size})")
    if kind == "mask":
        masks = prepare_mask(image, spec).astype(np.uint8)
        return masks, {"shape": list(image.values.shape[1:]), "affine": _plain(image.affine)}
    images = np.ascontiguousarray(prepare(image, spec))
    values, measured = image.values, images
    if image.padding is not None:  # which is no measurement
        values = values[:, ~image.padding]
        padded = prepare_mask(replace(image, values=image.padding[None]), spec)
        measured = images.swapaxes(0, 1)[:, ~padded]
    facts = _facts(image, images)
    facts["extremes"] = [float(values.min()), float(values.max())]
    facts["percentiles"] = list(percentiles(measured if measured.size else images))
    return images, facts


def _facts(image: Image, images: Array) -> Facts:
    values = image.values
    flat = images.reshape(len(images), -1)
    constant = flat.min(1) == flat.max(1)
    return {
        "shape": list(values.shape[1:]),
        "channels": int(values.shape[0]),
        "dtype": str(values.dtype),
        "spacing": _plain(image.spacing),
        "affine": _plain(image.affine),
        "modality": image.modality,
        "value_range": _plain(image.value_range),
        "window": _plain(image.window),
        "notes": list(image.notes),
        "digests": [
            None if c else sha256(s).hexdigest() for s, c in zip(images, constant, strict=True)
        ],
    }


def _plain(numbers: Any) -> Any:
    """Return numbers, of whatever shape, as lists of float; None for None."""
    return None if numbers is None else np.asarray(numbers, float).tolist()
