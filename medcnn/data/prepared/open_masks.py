"""Lesion masks of a listing's images: from files that fit them, or from boxes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medcnn.data.formats.volume import orient
from medcnn.data.listing import BOX, SEPARATOR, Listing, boxes_of
from medcnn.data.prepared.cache import Cache
from medcnn.data.prepared.crop import crop_in
from medcnn.data.prepared.entries import Entries
from medcnn.data.prepared.facts import Facts
from medcnn.data.prepared.scan import chain_of, scan
from medcnn.data.prepared.stored import BoxMasks, LabelMasks, Masks, StoredMasks
from medcnn.data.prepared.tiles import FACTS as OF_TILES
from medcnn.data.prepared.tiles import grid_in

BEYOND = 1.05  # times the image's edge: where a box may end, for it may be rounded
Reasons = list[tuple[int, str]]  # against images: their rows in the listing, and why


def open_masks(
    listing: Listing, entries: Entries, folder: str | Path, disk: int
) -> tuple[Masks | None, Reasons]:
    """Return the lesion masks of a listing's images, and the reasons against images.

    Args:
        listing: With masks, or boxes, or neither.
        entries: Of its images, one a row; of several files an image of the first one.
        folder: Of the cache.
        disk: Bytes that it may hold.
    """
    if "mask" in listing.table:
        return _mask_files(listing, entries, folder, disk)
    columns = [f"mask:{name}" for name in listing.class_names]
    if any(name in listing.table for name in columns):
        found = [_mask_files(listing, entries, folder, disk, name) for name in columns]
        parts = [part for part, _ in found]
        shape = (len(entries), *listing.spec.size)
        problems = [one for _, several in found for one in several]
        return LabelMasks(parts, shape) if any(parts) else None, problems
    if BOX[0] not in listing.table:
        return None, []
    boxes = boxes_of(listing.table)
    facts = entries.facts
    shapes = facts.pick("error", "shape")
    reasons = [_no_box(box, fact, listing) for box, fact in zip(boxes, shapes, strict=True)]
    problems = [(row, reason) for row, reason in enumerate(reasons) if reason]
    return BoxMasks(boxes, facts, listing.box_unit, listing.spec), problems


def _no_box(box: np.ndarray, image: Facts, listing: Listing) -> str | None:
    """Return the reason why boxes (M, 4) can't be those of an image, or None."""
    if "error" in image or np.isnan(box).any(1).all():
        return None
    if len(image["shape"]) != 2:
        return "has a box, and boxes are for pictures: of a volume give a mask"
    height, width = image["shape"]
    if listing.box_unit == "pixel" and (box[:, 2:] > BEYOND * np.array(image["shape"])).any():
        return f"has a box that ends beyond its {height}×{width} pixels"
    return None


def misfit(mask: Facts, image: Facts) -> str | None:
    """Return the reason why a mask can't be that of an image, or None."""
    if "error" in mask:
        return str(mask["error"])
    shape, place = mask["shape"], mask["affine"]
    if place is not None and image["affine"] is not None:
        shape, place = _oriented_like(shape, np.array(place), np.array(image["affine"]))
        if list(shape) == image["shape"] and not np.allclose(
            place, image["affine"], rtol=1e-3, atol=0.1
        ):
            return "lies elsewhere in space than its image"
    if list(shape) != image["shape"]:
        sizes = ["×".join(map(str, lengths)) for lengths in (shape, image["shape"])]
        return f"is {sizes[0]}, but its image is {sizes[1]}"
    return None


def _oriented_like(
    shape: Sequence[int], affine: np.ndarray, other: np.ndarray
) -> tuple[tuple[int, ...], np.ndarray]:
    """Return shape and affine of a volume once its axes are turned like those of another."""
    from nibabel.orientations import aff2axcodes

    volume = np.broadcast_to(np.uint8(0), (1, *shape))  # takes no memory
    turned, place = orient(volume, affine, "".join(aff2axcodes(other)))
    return turned.shape[1:], place


def _mask_files(
    listing: Listing, entries: Entries, folder: str | Path, disk: int, column: str = "mask"
) -> tuple[StoredMasks | None, Reasons]:
    given = [str(names).split(SEPARATOR) for names in listing.table[column].fillna("")]
    slots = np.full((len(entries), max(map(len, given), default=1)), -1)
    problems: Reasons = []
    refused = ["error" in fact for fact in entries.facts.pick("error")]
    places = [
        (row, k, name)
        for row, names in enumerate(given)
        for k, name in enumerate(names)
        if name and not refused[row]
    ]
    cache = Cache(folder, chain_of(listing.spec, "mask"))
    paths = [name for *_, name in places]
    of_images = entries.facts.take([row for row, *_ in places])
    cut = of_images.pick("crop", *OF_TILES)
    crops = [grid_in(fact) or crop_in(fact) for fact in cut]
    found = scan(cache, paths, listing.root, listing.spec, "mask", disk, crops)
    pairs = zip(places, found, of_images.pick("shape", "affine"), strict=True)
    for (row, k, _), entry, image in pairs:
        reason = misfit(entry.facts, image)
        if reason is None and entry.kind is None:
            reason = "has another size than its image once both have dataset.spacing"
        if reason is not None:
            problems.append((row, f"its mask {reason}"))
        else:
            slots[row, k] = entry.slot
    return StoredMasks(cache, found.kinds[0], slots) if found.kinds else None, problems
