"""DICOM pixel data → values, with black and white among them."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medcnn.data.formats import dicom_header as header
from medcnn.data.formats.dicom_stored import decode_stored, padding
from medcnn.data.image import Array, Image
from medcnn.errors import UserError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

GREY = ("MONOCHROME1", "MONOCHROME2")
UNITS = ("CT", "PT")  # rescaled values mean the same in every file, however it is shown
AIR = -1000.0  # Hounsfield units
UNSCALED = (*UNITS, "MR", "NM")  # beyond 8 bits, the largest possible value isn't white


def changed(image: Image, change: Callable[[Array], Array]) -> Image:
    """Return an image with a change of its values (C, …), and the same one of its padding."""
    padding = None if image.padding is None else change(image.padding[None])[0]
    return replace(image, values=change(image.values), padding=padding)


def decode(dataset: "Dataset") -> Image:
    """Decode pixel data (C, frames, rows, columns), up to where a display would apply its window.

    Grey values are rescaled, or sent through the Modality LUT (PS3.3 C.11.1); a VOI LUT is applied
    where there is no window (C.11.2). Colours become red, green and blue.

    MONOCHROME1, whose lowest value is white, gives ranges that run from high to low. Without a
    range to say so (signed or fractional values) the values are negated, unless they are CT or PET
    units. Of several frames, the middle one gives the window.

    Raises:
        UserError: No image, damaged, or of a kind that isn't supported.
    """
    header.check_kind(dataset)
    shape = header.shape(dataset)
    stored, photometric = decode_stored(dataset, shape)
    if photometric not in (*GREY, "PALETTE COLOR", "RGB"):
        raise UserError("is unsupported: its colours are of another kind than grey, palette or RGB")
    if shape.samples != (3 if photometric == "RGB" else 1):
        raise UserError(f"has {shape.samples} values a pixel, which doesn't fit its colours")
    bits = int(header.number(dataset, "BitsStored") or 0)  # 0 of floating-point pixel data
    if photometric == "RGB":
        return Image(np.moveaxis(_narrow(stored, "u"), -1, 0), (0, 2**bits - 1))
    if photometric == "PALETTE COLOR":
        return _palette(dataset, stored)
    grey = _voi(dataset, _modality(dataset, stored, bits), shape.frames // 2)
    grey = _reverse(dataset, grey) if photometric == "MONOCHROME1" else grey
    return replace(grey, padding=padding(dataset, stored))


def join(slices: list[Image]) -> Image:
    """Join the slices of a series, in a type that holds all values; the middle one has the window.

    Raises:
        UserError: Their values mean different things.
    """
    middle = slices[len(slices) // 2]
    if any(one.value_range != middle.value_range for one in slices):
        raise UserError("has slices whose values mean different things: it is not one volume")
    parts = [one.values for one in slices]
    kind: Any = np.result_type(*parts)
    if kind == np.int32:  # int16 and uint16 together
        low, high = min(part.min() for part in parts), max(part.max() for part in parts)
        kind = _kind(float(low), float(high), whole=True)
    values = np.concatenate([part.astype(kind, copy=False) for part in parts], axis=1)
    padding = None
    if any(one.padding is not None for one in slices):
        nothing = np.zeros(parts[0].shape[1:], bool)
        padding = np.concatenate([nothing if p.padding is None else p.padding for p in slices])
    return replace(middle, values=values, padding=padding)


def filled(pixels: Image, modality: str) -> Array:
    """Return the values, with the image's background in place of padding.

    The background is the lowest of the values, of what is shown as black, and of CT the air; the
    highest where white is lower than black. UserError where there is nothing but padding.
    """
    if pixels.padding is None:
        return pixels.values
    if pixels.padding.all():
        raise UserError("holds padding alone: each of its pixels has the PixelPaddingValue")
    measured = pixels.values[:, ~pixels.padding]
    shown = [pair for pair in (pixels.value_range, pixels.window) if pair]
    blacks = [float(black) for black, _ in shown]
    if shown and shown[0][0] > shown[0][1]:
        value = max([float(measured.max()), *blacks])
    else:
        value = min([float(measured.min()), *blacks, *[AIR] * (modality == "CT")])
    dtype = pixels.values.dtype
    if dtype.kind in "ui":
        value = min(max(round(value), np.iinfo(dtype).min), np.iinfo(dtype).max)
    return np.where(pixels.padding, np.array(value, dtype), pixels.values)


def _modality(dataset: "Dataset", stored: Array, bits: int) -> Image:
    """Return grey values after the modality transformation; no window yet."""
    unsigned = stored.dtype.kind == "u"
    with header.reason("has a broken modality lookup table"):
        table = _first_table(dataset, "ModalityLUTSequence")
        if table is not None:  # writers often declare more bits than its entries use
            ends = int(table.entries.min()), int(table.entries.max())
            return Image(_look_up(table, stored)[None], ends if ends[0] < ends[1] else None)
    frames = range(len(stored))  # value = slope × stored + intercept, for each
    found = [header.number(dataset, "RescaleSlope", frame) for frame in frames]
    slopes = [1.0 if slope is None else slope for slope in found]
    intercepts = [header.number(dataset, "RescaleIntercept", frame) or 0.0 for frame in frames]
    if 0 in slopes:
        raise UserError("has a RescaleSlope of 0, which makes all its values one")
    same = all(slope == 1 for slope in slopes) and not any(intercepts)
    picture = same and bits <= 8
    ranged = unsigned and (picture or header.text(dataset, "Modality") not in UNSCALED)
    values = _narrow(stored, stored.dtype.kind) if same else _rescale(stored, slopes, intercepts)
    if not ranged or values.dtype.kind == "f" or len({*zip(slopes, intercepts, strict=True)}) > 1:
        return Image(values[None])
    low, high = sorted((intercepts[0], intercepts[0] + slopes[0] * (2**bits - 1)))
    return Image(values[None], (low, high))


def _rescale(stored: Array, slopes: list[float], intercepts: list[float]) -> Array:
    ends = [
        slope * float(end) + intercept
        for frame, slope, intercept in zip(stored, slopes, intercepts, strict=True)
        for end in (frame.min(), frame.max())
    ]
    whole = stored.dtype.kind != "f" and all(one.is_integer() for one in slopes + intercepts)
    values: Array = np.empty(stored.shape, _kind(min(ends), max(ends), whole))
    for target, frame, slope, intercept in zip(values, stored, slopes, intercepts, strict=True):
        target[...] = frame * np.float64(slope) + intercept
    return values


def _kind(low: float, high: float, whole: bool) -> type:
    """Return the smallest type that an `Image` may have, of 16 bits at least."""
    if whole and low >= -(2**15) and high < 2**15:
        return np.int16
    return np.uint16 if whole and low >= 0 and high < 2**16 else np.float32


def _narrow(stored: Array, sign: str) -> Array:
    """Return values in their own type where an `Image` may have it, else in one that it may."""
    if stored.dtype in (np.uint8, np.uint16, np.int16, np.float32):
        return stored
    low, high = float(stored.min()), float(stored.max())
    if sign == "u" and high < 2**16:
        return stored.astype(np.uint16)
    return stored.astype(_kind(low, high, whole=sign != "f"))


def _voi(dataset: "Dataset", grey: Image, frame: int) -> Image:
    """Apply the first VOI window (C.11.2.1.2; a sigmoid as linear), or without one the VOI LUT."""
    try:
        center = header.number(dataset, "WindowCenter", frame)
        width = header.number(dataset, "WindowWidth", frame)
    except UserError as error:
        center = width = None
        grey = replace(grey, notes=(f"{error}: its window is left out",))
    if center is not None and width is not None:
        function = header.value(dataset, "VOILUTFunction", frame) or "LINEAR"
        linear = function == "LINEAR"
        if width > (1 if linear else 0):  # LINEAR has width - 1 steps from black to white
            return replace(grey, window=(center - width / 2, center + width / 2 - linear))
        return grey
    with header.reason("has a broken VOI lookup table"):
        table = _first_table(dataset, "VOILUTSequence", frame)
        if table is None:
            return grey
        white = 2 ** int(table.entries.max()).bit_length() - 1
        ends = (0, min(white, table.full)) if white else None
        return replace(grey, values=_look_up(table, grey.values[0])[None], value_range=ends)


def _reverse(dataset: "Dataset", grey: Image) -> Image:
    """Exchange black and white, for MONOCHROME1."""
    window = grey.window and grey.window[::-1]
    if grey.value_range is not None or header.text(dataset, "Modality") in UNITS:
        return replace(grey, value_range=grey.value_range and grey.value_range[::-1], window=window)
    whole = grey.values.dtype.kind != "f"
    low, high = float(grey.values.min()), float(grey.values.max())
    values = -grey.values.astype(np.int32 if whole else np.float32)
    window = window and (-window[0], -window[1])
    return Image(values.astype(_kind(-high, -low, whole), copy=False), None, window)


def _palette(dataset: "Dataset", stored: Array) -> Image:
    """Return palette colours (C.7.6.3.1.5) as red, green and blue."""
    from pydicom.pixels import apply_color_lut

    with header.reason("has a broken colour palette"):
        count, first, depth = (int(one) for one in dataset.RedPaletteColorLookupTableDescriptor)
        if "RedPaletteColorLookupTableData" in dataset:
            tables = [
                _lookup_table(dataset, dataset, f"{colour}PaletteColorLookupTable")
                for colour in ("Red", "Green", "Blue")
            ]
        else:  # segmented: unfolded by pydicom, which counts in the type of the entries
            if depth == 8 and count > 256:
                raise UserError("has a segmented palette of a size that isn't supported")
            first = _signed(dataset, first)
            entries = apply_color_lut(np.arange(count or 2**16) + first, dataset)
            tables = [_Table(entries[:, index], first, 2**depth - 1) for index in range(3)]
        values = np.stack([_look_up(table, stored) for table in tables])
    return Image(values, (0, tables[0].full))


class _Table(NamedTuple):
    """A lookup table: its entries, the value that the first is for, and the largest possible."""

    entries: Array
    first: int
    full: int


def _first_table(dataset: "Dataset", key: str, frame: int | None = None) -> _Table | None:
    """Return the first table of a sequence; None without, or where it is an empty item."""
    items = header.value(dataset, key, frame)
    if not items or not (items[0].get("LUTDescriptor") or items[0].get("LUTData")):
        return None
    return _lookup_table(dataset, items[0], "LUT")


def _lookup_table(dataset: "Dataset", item: "Dataset", prefix: str) -> _Table:
    """Return the table of a descriptor and data (C.11.1.1)."""
    count, first, depth = (int(one) for one in item[f"{prefix}Descriptor"].value)
    count = count or 2**16
    data = item[f"{prefix}Data"].value
    if isinstance(data, bytes):
        little = dataset.original_encoding[1] is not False
        entries = np.frombuffer(data, "<u2" if little else ">u2").astype("<u2")
        if len(data) < 2 * count:  # two entries of 8 bits in a word
            entries, depth = entries.view(np.uint8), 8
    else:
        entries = np.atleast_1d(np.asarray(data, np.uint16))
    if len(entries) < count or not 8 <= depth <= 16:
        raise ValueError
    entries = entries[:count].astype(np.uint8 if depth == 8 else np.uint16)
    return _Table(entries, _signed(dataset, first), 2**depth - 1)


def _signed(dataset: "Dataset", first: int) -> int:
    """Return a descriptor's first value, signed where the pixels are; pydicom may not know."""
    signed = header.number(dataset, "PixelRepresentation")
    return first - 2**16 if signed and first >= 2**15 else first


def _look_up(table: _Table, values: Array) -> Array:
    """Return entries for values (frames, …); the end ones for values beyond the ends."""
    result = np.empty(values.shape, table.entries.dtype)
    for target, frame in zip(result, values, strict=True):  # one at a time, for memory
        index = np.rint(frame).astype(np.int64) - table.first
        target[...] = table.entries[np.clip(index, 0, len(table.entries) - 1)]
    return result
