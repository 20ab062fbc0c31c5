"""Compressed frames of DICOM files, checked before a decoder sees them.

Decoders allocate what the compressed data ask for, and some give a picture of cut-off data; so what
a frame says of its own size has to be what the header says, and it has to have its end.
"""

import struct

from medcnn.data.formats.dicom_header import Shape
from medcnn.errors import UserError

# Start of frame, with the size, of JPEG (all processes) and JPEG-LS
SIZE_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
JPEG_2000 = b"\xff\x4f\xff\x51"  # start of codestream, size
END = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike


def check_jpeg(frame: bytes, shape: Shape) -> None:
    """Raise UserError unless a JPEG, JPEG-LS or JPEG 2000 frame is whole and of the declared size.

    Args:
        frame: Compressed data of one frame.
        shape: What the header declares.
    """
    if END not in frame[-16:]:  # some writers pad
        raise UserError("is cut off: a compressed frame lacks its end")
    size = _size(frame)
    if size is None:
        raise UserError("has a compressed frame that isn't of the kind that its header says")
    if size != shape[1:]:
        raise UserError(
            f"has a compressed frame of {size[0]} × {size[1]} pixels with {size[2]} values each "
            f"where its header says {shape.rows} × {shape.columns} with {shape.samples}"
        )


def check_rle(frame: bytes, shape: Shape, bits: int) -> None:
    """Raise UserError unless the segments of an RLE frame (PS3.5 G) decode to the declared size.

    Args:
        frame: Compressed data of one frame.
        shape: What the header declares.
        bits: Bits allocated for a value.
    """
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


def _size(frame: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components that compressed data state; None if they don't."""
    at = frame[:256].find(JPEG_2000)  # a few files have the boxes of a JP2 file around it
    if at >= 0 and len(frame) >= at + 42:
        right, bottom, left, top = struct.unpack_from(">4I", frame, at + 8)
        return bottom - top, right - left, struct.unpack_from(">H", frame, at + 40)[0]
    at = 2  # after the start of image
    while frame[:2] == b"\xff\xd8" and at + 10 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker in SIZE_MARKERS:
            rows, columns, components = struct.unpack_from(">HHB", frame, at + 5)
            return rows, columns, components
        at += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", frame, at + 2)[0]
    return None


def _rle_size(segment: bytes) -> int:
    """Bytes that a PackBits segment decodes to."""
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
