"""Pictures: PNG, JPEG, BMP and TIFF."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.data.formats import tiff
from medcnn.data.formats.values import check_shape, pick, to_stored, type_range
from medcnn.data.image import Array, Image, Range
from medcnn.errors import UserError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
PNG = b"\x89PNG"
JPEG = b"\xff\xd8\xff"


def decode_picture(path: Path, frame: int | str | None = None) -> Image:
    """Read a PNG, JPEG, BMP or TIFF file through MONAI's PILReader, or tifffile.

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
    from monai.data import PILReader  # slow to import

    with path.open("rb") as file:
        head = file.read(4)
    notes: dict[str, Any] = {"frame": frame, "layout": None}
    if head in tiff.MARKS:
        notes["layout"] = found = tiff.layout(path)
        if not found.is_pillows:
            return tiff.decode_tiff(path, found, frame)
    elif head.startswith(JPEG):
        _check_jpeg(path)
    reader = PILReader(
        converter=lambda picture: _convert(picture, notes), reverse_indexing=False, formats=FORMATS
    )
    _verify(path)
    values, _ = reader.get_data(reader.read(path))
    if values.dtype.kind == "i" and notes["format"] == "PNG":
        values = values.astype(np.uint16)  # how Pillow before 11.3 gives 16 bits
    values = values[None] if values.ndim == 2 or notes["stack"] else np.moveaxis(values, 2, 0)
    return Image(to_stored(values), value_range=_range(values, notes))


def _verify(path: Path) -> None:
    """Check the size and the checksums of a PNG, which Pillow leaves alone when it decodes."""
    import PIL.Image

    _set_filters()
    try:
        with PIL.Image.open(path, formats=FORMATS) as picture:
            check_shape((picture.height, picture.width, len(picture.getbands())))
            if picture.format == "PNG":
                picture.verify()
    except PIL.UnidentifiedImageError:
        with path.open("rb") as file:
            if not file.read(len(PNG)) == PNG:  # of which there is no kind that Pillow lacks
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


def _convert(picture: Any, notes: dict[str, Any]) -> Any:
    """Return a picture, or a TIFF's pages, upright in grey or RGB; note what the values mean."""
    with picture:
        picture.filename = ""  # else Pillow maps the file, and mangles a TIFF turned by a quarter
        pages = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
        frame = notes["frame"]
        notes |= {"format": picture.format, "stack": pages > 1 and frame is None}
        if pages > 1 and frame is not None:
            picture.seek(pick(pages, frame, "pictures"))
        if not notes["stack"]:
            return _upright(picture)
        if picture.format != "TIFF":
            raise UserError(
                f"is a film of {pages} pictures: dataset.frame=0, 1, … or centre takes one"
            )
        check_shape((pages, picture.height, picture.width))
        return [_page(picture, page) for page in range(pages)]


def _page(picture: Any, page: int) -> Any:
    """Return one page of a volume."""
    size = picture.size
    picture.seek(page)
    if picture.size != size:
        raise UserError("holds pictures of different sizes: save each in a file of its own")
    upright = _upright(picture)
    if upright.mode == "RGB":
        raise UserError(tiff.COLOURS_STACKED)
    return upright


def _upright(picture: Any) -> Any:
    from PIL import ImageOps

    turned_on_loading = picture.format == "TIFF"
    if turned_on_loading:
        picture = picture.copy()
    else:
        ImageOps.exif_transpose(picture, in_place=True)
    picture.info.pop("transparency", None)
    if picture.mode in ("1", "LA", "La"):
        return picture.convert("L")
    grey = picture.mode in ("L", "F") or picture.mode.startswith("I")
    return picture if grey or picture.mode == "RGB" else picture.convert("RGB")


def _range(values: Array, notes: dict[str, Any]) -> Range | None:
    """Return black and white; a TIFF has its own number of bits, and may have white first."""
    known = type_range(values)
    if known is None or values.dtype.itemsize == 1:  # of 8 bits Pillow itself makes white high
        return known
    low, high = known
    found = notes["layout"]
    if found is None:
        return known
    if values.dtype.kind == "u" and found.samples == 1:
        high = 2**found.bits - 1
    return (high, low) if found.photometric == tiff.WHITE_IS_ZERO else (low, high)


def _check_jpeg(path: Path) -> None:
    """Raise UserError for a JPEG of a kind that Pillow would call no picture."""
    from medcnn.data.formats.dicom_codestream import describe

    with path.open("rb") as file:
        stated = describe(file.read(2**20))
    if stated is not None and stated.bits != 8:
        raise UserError(f"is unsupported: a JPEG of {stated.bits} bits")
