"""Pictures: PNG, JPEG, BMP and TIFF."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.data.formats import tiff
from medcnn.data.formats.dicom_codestream import describe
from medcnn.data.formats.values import check_shape, pick, to_stored, type_range
from medcnn.data.image import Array, Image, Range
from medcnn.errors import UserError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
MARKS = (PNG, JPEG, b"BM", *tiff.MARKS)


def decode_picture(path: Path, frame: int | str | None = None) -> Image:
    """Read a PNG, JPEG, BMP or TIFF file with Pillow, or where that errs with tifffile.

    Turned as its EXIF tag says. A palette, CMYK and other colour spaces become RGB, transparency is
    dropped. Grey may have 1 to 16 bits, or be integers or floating-point numbers of up to 64
    (TIFF); colour of 16 bits in PNG files is cut to its upper 8. The grey pages of a TIFF that has
    several, of one size, are a volume which doesn't say how it lies; `frame` takes one of them, see
    `medcnn.data.formats.decode`. Resolution tags are of paper and screens, so there is no spacing.

    Returns:
        Image (C, H, W), or (1, pages, H, W).

    Raises:
        UserError: Too large (Pillow's `MAX_IMAGE_PIXELS` a page, `MAX_VALUES` in all), of pages
            that make no volume, or of a kind that isn't supported.
        Exception: Damaged (whatever Pillow raises).
    """
    import PIL.Image

    with path.open("rb") as file:
        head = file.read(4)
    layout = None
    if head in tiff.MARKS:
        layout = tiff.layout(path)
        if not layout.is_pillows:
            return tiff.decode_tiff(path, layout, frame)
    elif head.startswith(JPEG):
        _check_jpeg(path)
    _verify(path, is_png=PNG.startswith(head))
    with PIL.Image.open(path, formats=FORMATS) as picture:
        values = _values(picture, frame)
        if values.dtype.kind == "i" and picture.format == "PNG":
            values = values.astype(np.uint16)  # how Pillow before 11.3 gives 16 bits
    return Image(to_stored(values), value_range=_range(values, layout))


def _verify(path: Path, is_png: bool) -> None:
    """Check the size and the checksums of a PNG, which Pillow leaves alone when it decodes."""
    import PIL.Image

    _set_filters()
    try:
        with PIL.Image.open(path, formats=FORMATS) as picture:
            check_shape((picture.height, picture.width, len(picture.getbands())))
            if picture.format == "PNG":
                picture.verify()
    except PIL.UnidentifiedImageError:
        if not is_png:  # of which there is no kind that Pillow lacks
            raise
        raise UserError("is damaged: its head can't be read") from None
    except (PIL.Image.DecompressionBombWarning, PIL.Image.DecompressionBombError):
        most = PIL.Image.MAX_IMAGE_PIXELS
        raise UserError(f"declares a size of more than the {most} pixels allowed") from None


def _set_filters() -> None:
    """Make Pillow's warning of too large pictures an error, and those of odd TIFF tags silent.

    For good, as filters belong to the process, and pictures are read by several threads.
    """
    from PIL.Image import DecompressionBombWarning as Bomb

    if not any(action == "error" and kind is Bomb for action, _, kind, *_ in warnings.filters):
        warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")
        warnings.filterwarnings("error", category=Bomb)


def _values(picture: Any, frame: int | str | None) -> Array:
    """Return (C, H, W) of a picture or (1, pages, H, W) of a TIFF's pages, upright, grey or RGB."""
    picture.filename = ""  # else Pillow maps the file, and mangles a TIFF turned by a quarter
    pages = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
    if pages > 1 and frame is not None:
        picture.seek(pick(pages, frame, "pictures"))
    if pages == 1 or frame is not None:
        values = np.asarray(_upright(picture))
        return values[None] if values.ndim == 2 else np.moveaxis(values, 2, 0)
    if picture.format != "TIFF":
        raise UserError(f"is a film of {pages} pictures: dataset.frame=0, 1, … or centre takes one")
    check_shape((pages, picture.height, picture.width))
    return np.stack([_page(picture, page) for page in range(pages)])[None]


def _page(picture: Any, page: int) -> Array:
    """Return one page (H, W) of a volume."""
    size = picture.size
    picture.seek(page)
    if picture.size != size:
        raise UserError("holds pictures of different sizes: save each in a file of its own")
    upright = _upright(picture)
    if upright.mode == "RGB":
        raise UserError(tiff.COLOURS_STACKED)
    return np.asarray(upright)


def _upright(picture: Any) -> Any:
    from PIL import ImageOps

    if picture.format == "TIFF":  # turned on loading
        picture = picture.copy()
    else:
        ImageOps.exif_transpose(picture, in_place=True)
    picture.info.pop("transparency", None)
    if picture.mode in ("1", "LA", "La"):
        return picture.convert("L")
    grey = picture.mode in ("L", "F") or picture.mode.startswith("I")
    return picture if grey or picture.mode == "RGB" else picture.convert("RGB")


def _range(values: Array, layout: tiff.Layout | None) -> Range | None:
    """Return black and white; a TIFF has its own number of bits, and may have white first."""
    known = type_range(values)
    if known is None or layout is None or values.dtype.itemsize == 1:
        return known  # of 8 bits Pillow itself makes white high
    low, high = known
    if values.dtype.kind == "u" and layout.samples == 1:
        high = 2**layout.bits - 1
    return (high, low) if layout.photometric == tiff.WHITE_IS_ZERO else (low, high)


def _check_jpeg(path: Path) -> None:
    """Raise UserError for a JPEG of a kind that Pillow would call no picture."""
    with path.open("rb") as file:
        stated = describe(file.read(2**20))
    if stated is not None and stated.bits != 8:
        raise UserError(f"is unsupported: a JPEG of {stated.bits} bits")
