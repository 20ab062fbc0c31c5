"""One image file as input of a checkpoint's network."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.batches import unit_intensity
from medcnn.data.formats import in_our_words, open_slide
from medcnn.data.formats.slide import Picture
from medcnn.data.image import Crop, Image, ImageSpec, Range, spec_of
from medcnn.data.input_files import File, decode_as, read_together
from medcnn.data.prepared.crop import MARKED, crop_in, crop_of
from medcnn.data.prepared.facts import Facts
from medcnn.data.prepared.geometry import check_spec, own_size
from medcnn.data.prepared.intensity import TRAINING, file_range
from medcnn.data.prepared.one_file import prepare_image
from medcnn.data.prepared.tiled_file import tiles_of, windows_of
from medcnn.data.prepared.tiles import TileGrid, grid_in
from medcnn.errors import UserError

TOO_LARGE = "is too large for this machine's memory"
ASKED = ("frame", "slices", "allow_missing_geometry")

NAN = "makes the net give NaN or infinite numbers, which decide nothing"
_FAR = 0.5  # beyond 0 … 1, more than any interpolation overshoots by


class Input(NamedTuple):
    """An image in stored units, prepared but for its intensities.

    Args:
        stored: (S, C, *spatial), S slices or tiles, or 1; many tiles are mapped from the disk.
        pair: The values that become 0 and 1; None: those of the training.
        notes: Of `medcnn.data.image.Image`.
        crop: The part of the file that this is; None for all of it.
        grid: Where its tiles lie; None of a whole image.
    """

    stored: Tensor
    pair: Range | None
    notes: tuple[str, ...] = ()
    crop: Crop | None = None
    grid: TileGrid | None = None


def read_input(path: Path, spec: ImageSpec, channels: int, *, whole: bool = False) -> Input:
    """Read a file.

    Args:
        path: A file, or the folder of a DICOM series.
        spec: Of the training.
        channels: Of the network; a grey image is repeated.
        whole: Leave the image at its own size (`medcnn.data.prepared.geometry.own_size`).

    Raises:
        UserError: The reason why the file can't be used, without its path.
    """
    try:
        if spec.tiles is not None and spec.spatial_dims == 2:
            with in_our_words(path), open_slide(path, spec.frame) as slide:
                spool, facts = tiles_of(slide, spec)
            return _as_input(torch.from_numpy(spool.mapped()), facts, spec, channels)
        image = decode_as(path, spec)
        if whole:
            spec = replace(spec, size=own_size(image, spec, crop_of(image, spec)))
        return prepared_input(image, spec, channels)
    except MemoryError:
        raise UserError(TOO_LARGE) from None


def as_asked(spec: ImageSpec, asked: Mapping[str, Any] | None) -> ImageSpec:
    """Return the spec of the training, but for what a config's ``dataset`` sets of `ASKED`."""
    given = {key: (asked or {}).get(key) for key in ASKED}
    spec = replace(spec, **{key: value for key, value in given.items() if value is not None})
    _check_alone(spec)
    check_spec(spec)
    return spec


def _check_alone(spec: ImageSpec) -> None:
    """Raise UserError where a file alone isn't an input, or doesn't say what is to be cut out."""
    if spec.columns:
        names = ", ".join(spec.columns)
        raise UserError(
            f"a file alone is no image of this network, which takes {len(spec.columns)} files as "
            f"one ({names}): list them in a table, and medcnn.predict checkpoint=… dataset=csv "
            f"dataset.path=table.csv dataset.columns.image=[{','.join(spec.columns)}] writes "
            f"predictions.csv; in Python medcnn.load(…).read([{names}])"
        )
    if spec.mask_as == "channel":
        raise UserError(
            "dataset.mask_as=channel, as in training: a file alone doesn't say where its lesion "
            "is; list files with their mask in a table, and medcnn.predict checkpoint=… "
            "dataset=csv dataset.path=table.csv writes predictions.csv; in Python "
            "medcnn.load(…).read(image, mask)"
        )
    if spec.crop in MARKED:
        raise UserError(
            f"dataset.crop={spec.crop}, as in training: a file alone doesn't say where its lesion "
            f"is; list files with their {spec.crop} in a table, and medcnn.predict checkpoint=… "
            "dataset=csv dataset.path=table.csv writes predictions.csv"
        )


def prepared_input(image: Image, spec: ImageSpec, channels: int) -> Input:
    """Prepare a decoded image; raise UserError as `read_input`."""
    _check_alone(spec)
    if spec.tiles is None:
        images, facts = prepare_image(image, spec)
        return _as_input(torch.from_numpy(images), facts, spec, channels)
    if spec.spatial_dims == 2:
        spool, facts = tiles_of(Picture(image), spec)
    else:
        spool, facts = windows_of(image, spec)
    return _as_input(torch.from_numpy(spool.mapped()), facts, spec, channels)


def _as_input(stored: Tensor, facts: Facts, spec: ImageSpec, channels: int) -> Input:
    """Return what `read_input` does of images (S, C, *spatial) and their facts."""
    if stored.shape[1] < channels:
        stored = stored.expand(-1, channels, *stored.shape[2:])
    known = spec.intensity == TRAINING  # to the checkpoint alone
    pair = None if known else file_range(facts, spec.intensity)
    return Input(stored, pair, tuple(facts["notes"]), crop_in(facts), grid_in(facts))


def read_images(
    path: File | Sequence[File | None], card: Mapping[str, Any], mask: File | None = None
) -> Tensor:
    """Return the images of a file in 0 … 1, (S, C, *spatial) float32, prepared as in training.

    Args:
        path: Of a file; of a network that takes several files as one image these, None for one that
            is missing.
        card: Of the checkpoint.
        mask: Of the lesion, for a network that takes it as a channel.

    Raises:
        UserError: A file can't be used, or is one too many or too few.
    """
    spec = spec_of(card)
    if spec.layout is not None:
        return read_together(path, spec, card["intensity_range"], mask)
    if mask is not None or not isinstance(path, str | Path):
        raise UserError("this network takes one file an image, and no mask: give its path")
    try:
        found = read_input(Path(path), spec, card["in_channels"])
    except UserError as error:
        raise UserError(f"{path} {error}") from None
    return unit_intensity(found.stored, tuple(found.pair or card["intensity_range"]))


def checked_images(images: Tensor | NDArray[Any], card: Mapping[str, Any]) -> Tensor:
    """Return images (N, C, *spatial) in 0 … 1 as a tensor; raise UserError if they are others."""
    tensor = torch.as_tensor(images)
    channels, spatial = card["in_channels"], len(card["input_size"])
    own = "classifier.read(path) prepares a file as in training"
    if tensor.ndim != 2 + spatial or tensor.shape[1] != channels:
        wanted = f"(N, {channels}, {', '.join(['depth', 'height', 'width'][-spatial:])})"
        raise UserError(f"images have the shape {tuple(tensor.shape)}: give {wanted}; {own}")
    if not tensor.is_floating_point():
        raise UserError(f"images are {tensor.dtype}: give floating point in 0 … 1; {own}")
    if tensor.numel():
        low, high = float(tensor.min()), float(tensor.max())
        if not (low >= -_FAR and high <= 1 + _FAR):  # nor NaN
            raise UserError(f"images hold {low:g} … {high:g}: give them in 0 … 1; {own}")
    return tensor
