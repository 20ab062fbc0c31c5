"""Several files, and the mask of the lesion, as one input of a checkpoint's network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medcnn.data.batches import unit_intensity
from medcnn.data.formats import decode
from medcnn.data.image import Image, ImageSpec
from medcnn.data.prepared.crop import Marked, crop_in
from medcnn.data.prepared.facts import Facts
from medcnn.data.prepared.grid import Grid
from medcnn.data.prepared.intensity import TRAINING, file_range
from medcnn.data.prepared.one_file import prepare_image, read_file
from medcnn.data.prepared.open_masks import misfit
from medcnn.errors import UserError

File = str | Path


def decode_as(path: Path, spec: ImageSpec) -> Image:
    """Read a file, or the part of it that `spec` asks for.

    Raises:
        UserError: The reason why the file can't be used, without its path.
    """
    return decode(path, allow_missing_geometry=spec.allow_missing_geometry, frame=spec.frame)


def read_together(
    paths: File | Sequence[File | None], spec: ImageSpec, ranges: Any, mask: File | None
) -> Tensor:
    """Return the images of files in 0 … 1, (S, C, *spatial) float32, prepared as in training.

    Args:
        paths: One for each of `ImageSpec.columns`, None for one that is missing; or the only one.
        spec: Of the training, with a layout.
        ranges: (C, 2) of the training, where its images say what becomes 0 and 1; else None.
        mask: Of the lesion, where the layout has it.

    Raises:
        UserError: A file can't be used, or is one too many or too few.
    """
    layout = spec.layout
    assert layout is not None
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    _check_given(given, spec, mask)
    place: Marked | Grid | None = _marked(mask, spec) if spec.crop == "mask" else None
    first: Facts = {}
    parts: list[Tensor | None] = []
    for number, path in enumerate(given):
        if path is None:
            parts.append(None)
            continue
        own = spec.of_file(number)
        try:
            stored, facts = prepare_image(decode_as(Path(path), own), own, place)
            known = spec.intensity == TRAINING  # to the checkpoint alone
            at = layout.files[number].start
            pair = ranges[at] if known else file_range(facts, spec.intensity)
        except UserError as error:
            raise UserError(f"{path} {error}") from None
        first = first or facts
        place = Grid.of(first)
        parts.append(unit_intensity(torch.from_numpy(stored), tuple(pair)))
    like = next(part for part in parts if part is not None)[:, :1]
    pictures = [
        part if part is not None else torch.zeros_like(like).expand(-1, count, *like.shape[2:])
        for part, count in zip(parts, layout.counts, strict=True)
    ]
    flags = [torch.full_like(like, float(part is not None)) for part in parts]
    lesion = [_mask(mask, spec, first).to(like)] if layout.lesion else []
    return torch.cat([*pictures, *(flags if layout.presence else []), *lesion], 1)


def _check_given(given: Sequence[File | None], spec: ImageSpec, mask: File | None) -> None:
    """Raise UserError unless there are the files and the mask that a network takes."""
    names = ", ".join(spec.columns) or "image"
    if len(given) != (len(spec.columns) or 1):
        raise UserError(
            f"{len(given)} files: this network takes {len(spec.columns) or 1} as one image, "
            f"read([{names}]), in this order"
        )
    there = [path is not None for path in given]
    if not any(there) or not (all(there) or spec.missing_channel == "zero"):
        lacking = "all" if not any(there) else (spec.columns or ("image",))[there.index(False)]
        raise UserError(f"read([{names}]): {lacking} can't be missing, as in training")
    if spec.crop == "box":
        raise UserError("dataset.crop=box, as in training: a file alone doesn't say where to cut")
    wanted = spec.mask_as == "channel" or spec.crop == "mask"
    if wanted != (mask is not None):
        need = "needs the mask of the lesion, read(…, mask)" if wanted else "takes no mask"
        raise UserError(f"this network {need}")


def _marked(mask: File | None, spec: ImageSpec) -> Marked:
    """Return where the lesion of a mask lies."""
    edges = _facts_of(mask, spec, "extent", None)[1]["edges"]
    if edges is None:
        raise UserError(f"{mask} is empty, and dataset.crop=mask cuts to it")
    return Marked(tuple((low, high) for low, high in edges))


def _mask(mask: File | None, spec: ImageSpec, image: Facts) -> Tensor:
    """Return a mask (S, 1, *spatial) prepared as its image, of which these are the facts."""
    masks, facts = _facts_of(mask, spec, "mask", crop_in(image))
    if (reason := misfit(facts, image)) is not None:
        raise UserError(f"{mask} {reason}")
    return torch.from_numpy(masks)[:, None]


def _facts_of(mask: File | None, spec: ImageSpec, kind: str, place: Any) -> tuple[Any, Facts]:
    try:
        return read_file(Path(str(mask)), spec, kind, place)
    except UserError as error:
        raise UserError(f"{mask} {error}") from None
