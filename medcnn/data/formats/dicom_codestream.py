"""Compressed frames of DICOM files, checked before a decoder sees them.

A frame has to have the size that its header declares, and its end: decoders check neither. Of a
JPEG 2000 frame of 589 bytes that states 12000 × 12000 pixels, under a header of 64 × 64, pylibjpeg
makes 0.9 GB in 11 s before pydicom 3 refuses them; of half a JPEG frame it makes a picture. Of an
RLE segment that decodes to more than its size, pydicom takes the first values.
"""

import struct
from typing import NamedTuple

from medcnn.data.formats.dicom_header import Shape
from medcnn.errors import UserError

# Start of frame, with the size, of JPEG (all processes) and JPEG-LS
SIZE_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
JPEG_2000 = b"\xff\x4f\xff\x51"  # start of codestream, size
JP2 = b"\0\0\0\x0cjP  "  # a JP2 file, whose boxes have the codestream somewhere
END = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike


class Stated(NamedTuple):
    """Size of an image and bits of a value, as its compressed data state them."""

    rows: int
    columns: int
    samples: int
    bits: int


def check_jpeg(frame: bytes, shape: Shape, allocated: int) -> int:
    """Return the bits of a value in a JPEG, JPEG-LS or JPEG 2000 frame.

    Raises:
        UserError: It isn't whole, or of another shape or more bits than the header declares.
    """
    if END not in frame[-16:]:  # some writers pad
        raise UserError("is cut off: a compressed frame lacks its end")
    stated = describe(frame)
    if stated is None:
        raise UserError("has a compressed frame that isn't of the kind that its header says")
    if stated[:3] != shape[1:]:
        raise UserError(
            f"has a compressed frame of {stated.rows} × {stated.columns} pixels with "
            f"{stated.samples} values each where its header says {shape.rows} × {shape.columns} "
            f"with {shape.samples}"
        )
    if stated.bits > max(8, allocated):
        raise UserError(
            f"has compressed values of {stated.bits} bits where its header allocates {allocated}"
        )
    return stated.bits


def check_rle(frame: bytes, shape: Shape, bits: int) -> None:
    """Raise UserError unless the segments of an RLE frame (PS3.5 G) decode to the declared size."""
    if len(frame) < 64:
        raise UserError("is cut off: a compressed frame lacks its head")
    count, *offsets = struct.unpack("<16L", frame[:64])
    if count != shape.samples * bits // 8:
        raise UserError(f"has a compressed frame of {count} segments, which doesn't fit its header")
    pixels = shape.rows * shape.columns
    for start, end in zip(offsets[:count], [*offsets[1:count], len(frame)], strict=True):
        size = _rle_size(frame[start:end])
        if not pixels <= size <= pixels + 1024:  # some writers pad
            raise UserError(
                f"has a compressed segment of {size} values where its header says {pixels}"
            )


def mend_scan(frame: bytes) -> bytes:
    """Return a sequential JPEG whose first scan declares all frequencies (ITU-T T.81, B.2.3).

    Some writers leave zeros there, which libjpeg refuses; others ignore them.
    """
    at = frame.find(b"\xff\xda")
    if not frame.startswith(b"\xff\xd8") or at < 0 or len(frame) < at + 5:
        return frame
    end = at + 5 + 2 * frame[at + 4]  # behind the components
    sequential = any(frame.find(marker, 0, at) >= 0 for marker in (b"\xff\xc0", b"\xff\xc1"))
    return frame[:end] + b"\0\x3f\0" + frame[end + 3 :] if sequential else frame


def describe(frame: bytes) -> Stated | None:
    """Return the size and bits that compressed data state; None if they don't."""
    at = _codestream(frame)
    if frame[at : at + 4] == JPEG_2000:
        if len(frame) < at + 43:
            return None
        right, bottom, left, top = struct.unpack_from(">4I", frame, at + 8)
        samples, bits = struct.unpack_from(">HB", frame, at + 40)
        return Stated(bottom - top, right - left, samples, (bits & 0x7F) + 1)
    at = 2  # after the start of image
    while frame[:2] == b"\xff\xd8" and at + 10 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker in SIZE_MARKERS:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", frame, at + 4)
            return Stated(rows, columns, samples, bits)
        at += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", frame, at + 2)[0]
    return None


def _codestream(frame: bytes) -> int:
    """Return the start of a JPEG 2000 codestream: 0, but for the few with JP2's boxes round it.

    A box that can't be right raises UserError; pydicom would read one without length for ever.
    """
    at = 0
    while frame.startswith(JP2) and at + 8 <= len(frame):
        length, kind = struct.unpack_from(">I4s", frame, at)
        if kind == b"jp2c":
            return at + (16 if length == 1 else 8)
        if length < 8:
            raise UserError("has a compressed frame with a broken box of JPEG 2000")
        at += length
    return 0


def _rle_size(segment: bytes) -> int:
    """Return the number of bytes that a PackBits segment decodes to."""
    at = size = 0
    while at < len(segment) - 1:
        head = segment[at]
        if head < 128:  # that many literal bytes, and one more
            size += min(head + 1, len(segment) - at - 1)
            at += head + 2
        elif head > 128:  # the next byte, repeated
            size += 257 - head
            at += 2
        else:
            at += 1
    return size
