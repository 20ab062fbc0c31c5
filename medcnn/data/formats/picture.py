"""Pictures: PNG, JPEG, BMP and TIFF."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.data.formats.values import check_shape, to_stored, type_range
from medcnn.data.image import Array, Image, Range
from medcnn.errors import UserError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR = 258, 262, 284  # tags of TIFF
WHITE_IS_ZERO, IN_PLANES = 0, 2  # values of the last two


def decode_picture(path: Path) -> Image:
    """Reads a PNG, JPEG, BMP or TIFF file through MONAI's PILReader.

    Turned as its EXIF tag says. A palette, CMYK and other colour spaces become RGB, transparency is
    dropped. Grey may have 1 to 16 bits, or be 32-bit integers or floating-point numbers (TIFF);
    colour of 16 bits is cut to its upper 8. The grey pages of a TIFF that has several, of one size,
    are a volume which doesn't say how it lies. Resolution tags are of paper and screens, so
    there is no spacing.

    Returns:
        Image (C, H, W), or (1, pages, H, W).

    Raises:
        UserError: Too large (Pillow's `MAX_IMAGE_PIXELS` a page, `MAX_VALUES` in all), of pages
            that make no volume, or with 16-bit colour in planes (which Pillow misreads).
        Exception: Damaged (whatever Pillow raises).
    """
    from monai.data import PILReader  # slow to import

    notes: dict[str, Any] = {}
    reader = PILReader(
        converter=lambda picture: _convert(picture, notes), reverse_indexing=False, formats=FORMATS
    )
    _verify(path)
    values, _ = reader.get_data(reader.read(path))
    if values.dtype.kind == "i" and notes["format"] == "PNG":
        values = values.astype(np.uint16)  # how Pillow before 11.3 gives 16 bits
    values = values[None] if values.ndim == 2 or notes["pages"] > 1 else np.moveaxis(values, 2, 0)
    return Image(to_stored(values), value_range=_range(values, notes))


def _verify(path: Path) -> None:
    """Checks what Pillow doesn't when it decodes: the size, and the checksums of a PNG."""
    import PIL.Image

    _set_filters()
    try:
        with PIL.Image.open(path, formats=FORMATS) as picture:
            check_shape((picture.height, picture.width, len(picture.getbands())))
            if picture.format == "PNG":
                picture.verify()
    except (PIL.Image.DecompressionBombWarning, PIL.Image.DecompressionBombError):
        most = PIL.Image.MAX_IMAGE_PIXELS
        raise UserError(f"declares a size of more than the {most} pixels allowed") from None


def _set_filters() -> None:
    """Makes Pillow's warning of too large pictures an error, and those of odd TIFF tags silent.

    For good, as filters belong to the process, and pictures are read by several threads.
    """
    from PIL.Image import DecompressionBombWarning as Bomb

    if not any(action == "error" and kind is Bomb for action, _, kind, *_ in warnings.filters):
        warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")
        warnings.filterwarnings("error", category=Bomb)


def _convert(picture: Any, notes: dict[str, Any]) -> Any:
    """Upright and in a mode that is grey or RGB; the pages of a TIFF as a list.

    Notes what is needed to understand the values.
    """
    with picture:
        picture.filename = ""  # else Pillow maps the file, and mangles a TIFF turned by a quarter
        tags = getattr(picture, "tag_v2", {})
        pages = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
        notes |= {"format": picture.format, "pages": pages}
        bits = tags.get(BITS_PER_SAMPLE, (8,))
        notes |= {"bits": bits[0], "photometric": tags.get(PHOTOMETRIC)}
        if len(bits) > 1 and max(bits) > 8 and tags.get(PLANAR) == IN_PLANES:
            raise UserError("has colours of 16 bits in planes, one after another: save it as PNG")
        if pages == 1:
            return _upright(picture)
        if picture.format != "TIFF":
            raise UserError(f"is a film of {pages} pictures: save each in a file of its own")
        check_shape((pages, picture.height, picture.width))
        return [_page(picture, page) for page in range(pages)]


def _page(picture: Any, page: int) -> Any:
    """One page of a volume."""
    size = picture.size
    picture.seek(page)
    if picture.size != size:
        raise UserError("holds pictures of different sizes: save each in a file of its own")
    upright = _upright(picture)
    if upright.mode == "RGB":
        raise UserError("holds several colour pictures: save each in a file of its own")
    return upright


def _upright(picture: Any) -> Any:
    from PIL import ImageOps

    turned_on_loading = picture.format == "TIFF"
    picture = picture.copy() if turned_on_loading else ImageOps.exif_transpose(picture)
    picture.info.pop("transparency", None)
    if picture.mode in ("1", "LA", "La"):
        return picture.convert("L")
    grey = picture.mode in ("L", "F") or picture.mode.startswith("I")
    return picture if grey or picture.mode == "RGB" else picture.convert("RGB")


def _range(values: Array, notes: dict[str, Any]) -> Range | None:
    """Black and white; TIFF says how many of its bits are used, and may have white first."""
    known = type_range(values)
    if known is None or values.dtype.itemsize == 1:  # of 8 bits Pillow itself makes white high
        return known
    low, high = known
    if values.dtype.kind == "u" and notes["format"] == "TIFF":
        high = 2 ** notes["bits"] - 1
    return (high, low) if notes["photometric"] == WHITE_IS_ZERO else (low, high)
