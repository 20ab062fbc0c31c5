"""DICOM pixel data → stored values: decoded, and brought to the bits that the header says."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from medcnn.data.formats import dicom_header as header
from medcnn.data.formats.dicom_codestream import check_jpeg, check_rle, mend_scan
from medcnn.data.formats.dicom_header import Shape
from medcnn.data.image import Array
from medcnn.errors import UserError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# The same decoders everywhere, whatever else is installed. Differences of lossless JPEG are modulo
# 2^16 (ITU-T T.81, H.1.2.1): libjpeg clips where an encoder made use of that, GDCM doesn't.
DECODERS = ("pylibjpeg", "gdcm")
DECODERS_OF = {
    "1.2.840.10008.1.2.5": ("pydicom",),  # RLE
    "1.2.840.10008.1.2.4.57": ("gdcm",),  # lossless JPEG
    "1.2.840.10008.1.2.4.70": ("gdcm",),
}
LOSSY = ("4.50", "4.51", "4.81", "4.91", "4.203")  # ends of the syntaxes that may be
SLACK = 16  # part of their range by which values of lossy compression may be beyond it


class Bits(NamedTuple):
    """Place of a value in the bits allocated for it."""

    allocated: int
    stored: int
    top: int  # of the stored bits, and one more: HighBit + 1


def decode_stored(dataset: "Dataset", shape: Shape) -> tuple[Array, str]:
    """Decode the stored values (PS3.5, 8.1.1), without the bits beside them.

    Returns:
        (frames, rows, columns[, 3]), and the photometric interpretation that they have now.

    Raises:
        UserError: Cut off, damaged, or of a kind that isn't supported.
    """
    from pydicom import uid
    from pydicom.pixels import get_decoder

    bits = _bits(dataset)
    syntax = uid.UID(dataset.file_meta.TransferSyntaxUID)
    with header.reason("is unsupported: compressed in a way that no decoder here knows"):
        decoder = get_decoder(syntax)
    precision = bits.allocated
    with header.reason("has pixel data that don't fit its header"):
        if syntax.is_encapsulated:
            rle = syntax == uid.RLELossless
            precision = _check_frames(dataset, shape, bits, rle)
        else:
            _check_length(dataset, shape, bits.allocated)
    values, photometric = _decode(dataset, shape.frames, decoder, syntax)
    with header.reason("has pixel data that don't fit its header"):
        values = values.reshape(shape[:3] + shape[3:] * (shape.samples > 1))
    return _own_bits(values, bits, precision, syntax.endswith(LOSSY)), photometric


def padding(dataset: "Dataset", stored: Array) -> Array | None:
    """Return the mask of stored values (frames, rows, columns) that are no measurement.

    See PS3.3 C.7.5.1.1.2; None for none.
    """
    first = header.number(dataset, "PixelPaddingValue")
    if first is None or stored.ndim != 3:
        return None
    last = header.number(dataset, "PixelPaddingRangeLimit")  # the range's other end
    ends = sorted((first, first if last is None else last))
    if stored.dtype.kind == "u" and ends[0] < 0:  # some writers give 63536 as −2000
        stored = stored.view(f"i{stored.itemsize}")
    if stored.dtype.kind == "i":  # and others −2000 as 63536
        ends = sorted(end - 2**16 if end >= 2**15 else end for end in ends)
    found = (stored >= ends[0]) & (stored <= ends[1])
    return found if found.any() else None


def _bits(dataset: "Dataset") -> Bits:
    """Return the header's bits; raise UserError for missing, impossible or unsupported ones."""
    header.need(dataset, "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation")
    allocated = int(header.number(dataset, "BitsAllocated") or 0)
    if allocated not in (1, 8, 16, 32, 64):
        raise UserError(f"is unsupported: BitsAllocated {allocated} in its header")
    if "PixelData" not in dataset:  # floating-point numbers
        return Bits(allocated, allocated, allocated)
    header.need(dataset, "BitsStored", "PixelRepresentation")
    stored = int(header.number(dataset, "BitsStored") or 0)
    if not 1 <= stored <= allocated:
        raise UserError(f"says BitsStored {stored} of BitsAllocated {allocated}, which can't be")
    top = int(header.number(dataset, "HighBit") or 0) + 1
    return Bits(allocated, stored, top if stored < top <= allocated else stored)


def _decode(dataset: "Dataset", count: int, decoder: Any, syntax: Any) -> tuple[Array, str]:
    """Decode pixel data with the first plugin that can."""
    # pydicom takes the lowest bits, whatever HighBit says
    options: dict[str, Any] = {"allow_excess_frames": False, "correct_unused_bits": False}
    plugins = DECODERS_OF.get(syntax, DECODERS) if syntax.is_encapsulated else ("",)
    if "gdcm" in plugins:
        import gdcm

        for off in (gdcm.Trace.WarningOff, gdcm.Trace.ErrorOff, gdcm.Trace.DebugOff):
            off()  # or it writes to the screen
    for _ in range(2):
        for plugin in plugins:
            try:
                values, facts = decoder.as_array(dataset, decoding_plugin=plugin, **options)
            except MemoryError:
                raise
            except Exception:  # decoders raise almost anything
                continue
            return values, str(facts["photometric_interpretation"])
        if not syntax.is_encapsulated or not _mend(dataset, count):
            break
    raise UserError("can't be decoded: it is damaged, or compressed in a way that isn't supported")


def _mend(dataset: "Dataset", count: int) -> bool:
    """Correct JPEG scans that declare no frequencies; return whether there were any."""
    from pydicom.encaps import encapsulate

    frames = list(_frames(dataset, count))
    mended = [mend_scan(frame) for frame in frames]
    if frames == mended:
        return False
    dataset.PixelData = encapsulate(mended)
    for key in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        dataset.pop(key, None)
    return True


def _frames(dataset: "Dataset", count: int) -> Iterator[bytes]:
    """Return the compressed data of each frame."""
    from pydicom.encaps import generate_frames

    offsets = None
    if "ExtendedOffsetTable" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    return generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=offsets)


def _own_bits(values: Array, bits: Bits, precision: int, lossy: bool) -> Array:
    """Return stored values without the bits beside them, which may be an overlay or rubbish.

    Where values have as few bits in the compressed data (`precision`) as stored ones, it is the
    stored bits that were compressed. Lossy ones may be a little beyond their range: clipped.
    """
    held = 8 * values.dtype.itemsize
    if values.dtype.kind == "f" or bits.stored >= held or bits.allocated == 1:
        return values
    top = bits.top if bits.top <= precision else bits.stored
    if not lossy:
        return (values << (held - top)) >> (held - bits.stored)
    values = values >> (top - bits.stored)
    low, high = 0, 2**bits.stored - 1
    if values.dtype.kind == "i":
        low, high = -(2 ** (bits.stored - 1)), 2 ** (bits.stored - 1) - 1
    slack = 2**bits.stored // SLACK
    if values.min() < low - slack or values.max() > high + slack:
        raise UserError(
            f"is unsupported: lossy pixel data with values of {values.min()} … {values.max()} "
            f"where its header says {low} … {high}"
        )
    return values.clip(low, high)


def _check_length(dataset: "Dataset", shape: Shape, allocated: int) -> None:
    """Raise UserError unless all uncompressed pixel data are there, and no further frame."""
    key = next(key for key in header.PIXELS if key in dataset)
    each = math.prod(shape[1:]) * allocated  # bits, as frames of 1 bit a pixel follow unpadded
    if header.text(dataset, "PhotometricInterpretation") == "YBR_FULL_422":
        each = each * 2 // 3
    wanted, held = math.ceil(each * shape.frames / 8), len(dataset[key].value or b"")
    if held < wanted:
        raise UserError(f"is cut off: {held} of {wanted} bytes of its pixel data are there")
    if held >= wanted + max(each / 8, 2):
        raise UserError(f"holds {held} bytes of pixel data where its header says {wanted}")


def _check_frames(dataset: "Dataset", shape: Shape, bits: Bits, rle: bool) -> int:
    """Check all compressed frames; return the bits of a value in them."""
    count, precision = 0, bits.allocated if rle else 0
    with header.reason("is cut off or damaged: its compressed frames can't be told apart"):
        for frame in _frames(dataset, shape.frames):
            count += 1
            if rle:
                check_rle(frame, shape, bits.allocated)
            else:
                precision = max(precision, check_jpeg(frame, shape, bits.allocated))
    if count != shape.frames:
        raise UserError(f"holds {count} compressed frames where its header says {shape.frames}")
    return precision
