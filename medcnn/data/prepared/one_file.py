"""One file as network inputs, and facts about it."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.data.formats import decode
from medcnn.data.image import Array, Crop, Image, ImageSpec
from medcnn.data.prepared.crop import Marked, crop_of, extent
from medcnn.data.prepared.facts import Facts
from medcnn.data.prepared.geometry import prepare, prepare_mask, turned
from medcnn.data.prepared.grid import Grid, onto_grid
from medcnn.data.prepared.intensity import percentiles
from medcnn.errors import UserError

Place = Marked | Grid | Crop
FRAME_BYTES = 6  # of the hash of a DICOM frame of reference: a whole number that a float holds


def read_file(
    path: Path, spec: ImageSpec, kind: str = "image", place: Place | None = None
) -> tuple[Array | None, Facts]:
    """Read one file as network inputs in stored units, and facts about it.

    Its kind is ``image``; ``mask``, of which every value above 0 is the lesion; or ``extent``, the
    same, of which only that is told where the lesion begins and ends.

    Args:
        path: A file, or the folder of a DICOM series.
        spec: How it becomes an input.
        kind: See above.
        place: Of an image where its lesion lies, for `ImageSpec.crop`, or the grid that it is
            brought to; of a mask the crop of its image. None: nothing is marked, or cut off.

    Returns:
        Images (S, C, *size) with S slices (1 if it isn't cut into slices), or masks (S, *size)
        uint8 of 0 and 1 with C left out, or None; and facts for JSON: ``shape`` (of the file,
        spatial), ``channels``, ``dtype``, ``spacing``, ``affine`` (of a volume, see `Image`),
        ``modality``, ``value_range``, ``window``, ``notes`` (see `Image`), ``frame_of_reference``
        (a hash; see `Image`), ``extremes`` and
        ``percentiles`` (without padding, the latter of what the network sees), for each slice
        ``digests``, and, where something was cut off, the ``crop``. Of an extent: ``edges``.

    Raises:
        UserError: The reason why the file can't be used, without its path.
    """
    image = decode(path, allow_missing_geometry=spec.allow_missing_geometry, frame=spec.frame)
    if kind == "image":
        return prepare_image(image, spec, None if isinstance(place, tuple) else place)
    _check_finite(image)
    if kind == "extent":
        return None, {"edges": extent(image, spec)}
    crop = place if isinstance(place, tuple) and _fits(place, image, spec) else None
    masks = prepare_mask(image, spec, crop).astype(np.uint8)
    return masks, {"shape": list(image.values.shape[1:]), "affine": plain(image.affine)}


def prepare_image(
    image: Image, spec: ImageSpec, place: Marked | Grid | None = None
) -> tuple[Array, Facts]:
    """Return what `read_file` gives, of a decoded image."""
    _check_finite(image)
    own = image
    if isinstance(place, Grid):
        image, crop = onto_grid(image, place, spec.orientation), place.crop
    else:
        crop = crop_of(image, spec, place)
    images = np.ascontiguousarray(prepare(image, spec, crop))
    measured = images
    values = own.values if own.padding is None else own.values[:, ~own.padding]
    if image.padding is not None:  # which is no measurement
        padded = prepare_mask(replace(image, values=image.padding[None]), spec, crop)
        measured = images.swapaxes(0, 1)[:, ~padded]
    facts = _facts(own, images)
    facts["extremes"] = [float(values.min()), float(values.max())]
    facts["percentiles"] = list(percentiles(measured if measured.size else images))
    return images, facts if crop is None else facts | {"crop": [list(edges) for edges in crop]}


def _check_finite(image: Image) -> None:
    if image.values.dtype.kind == "f" and not np.isfinite(image.values).all():
        bad = ~np.isfinite(image.values)
        raise UserError(f"holds NaN or infinite values ({int(bad.sum())} of {bad.size})")


def _fits(crop: Crop, mask: Image, spec: ImageSpec) -> bool:
    """Return whether a crop lies within a mask; else that isn't of the image, as its size tells."""
    shape = turned(mask, spec)[0].shape[1:]
    return len(crop) == len(shape) and all(
        end <= side for (_, end), side in zip(crop, shape, strict=True)
    )


def _facts(image: Image, images: Array) -> Facts:
    values = image.values
    flat = images.reshape(len(images), -1)
    constant = flat.min(1) == flat.max(1)
    return {
        "shape": list(values.shape[1:]),
        "channels": int(values.shape[0]),
        "dtype": str(values.dtype),
        "spacing": plain(image.spacing),
        "affine": plain(image.affine),
        "modality": image.modality,
        "frame_of_reference": _hashed(image.frame_of_reference),
        "value_range": plain(image.value_range),
        "window": plain(image.window),
        "notes": list(image.notes),
        "digests": [
            None if c else sha256(s).hexdigest() for s, c in zip(images, constant, strict=True)
        ],
    }


def _hashed(uid: str | None) -> list[int] | None:
    """Return what tells one UID from another, without saying it."""
    if uid is None:
        return None
    return [int.from_bytes(sha256(uid.encode()).digest()[:FRAME_BYTES], "big")]


def plain(numbers: Any) -> Any:
    """Return numbers, of whatever shape, as lists of float; None for None."""
    return None if numbers is None else np.asarray(numbers, float).tolist()
