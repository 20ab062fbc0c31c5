"""An image as a file holds it, and how it becomes a network's input."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from numpy.typing import NDArray

from medcnn.data.layout import Layout
from medcnn.errors import UserError

Array = NDArray[Any]
Range = tuple[float, float]
Crop = tuple[tuple[int, int], ...]  # first voxel and end along each axis of the turned image


@dataclass(frozen=True, eq=False)
class Image:
    """Content of one file, or of a folder with a DICOM series.

    Args:
        values: (C, H, W), or of a volume (C, I, J, K) in the file's own axis order; C is 1 (grey)
            or 3 (red, green, blue). uint8, uint16, int16 or float32; of a DICOM file after its
            modality rescale (Hounsfield units, …).
        value_range: The values that stand for black and white where the type says so, (0, 255) for
            8 bits; None where it doesn't (signed, floating-point). MONOCHROME1: white comes first,
            so that ``(values - low) / (high - low)`` is bright where the picture is.
        window: Values at the lower and the upper end of the header's VOI window, in the units of
            `values` and in the same sense as `value_range`; None without.
        spacing: Distance of neighbouring pixels along each spatial axis, mm; None where unknown.
        affine: Of a volume, (4, 4) from indices (i, j, k, 1) to mm in RAS+ (x grows to the
            patient's right, y to the front, z to the head); None where the file doesn't say.
        modality: DICOM's code (CT, MR, …) where known.
        frame_of_reference: DICOM's UID of the space that `affine` leads to, where known.
        padding: (H, W) or (I, J, K) bool: pixels that the file declares not measured, whose
            `values` are the image's background; None: none.
        notes: Parts of the file that were ignored, each as the end of a sentence that begins with
            its path.
    """

    values: Array
    value_range: Range | None = None
    window: Range | None = None
    spacing: tuple[float, ...] | None = None
    affine: Array | None = None
    modality: str | None = None
    frame_of_reference: str | None = None
    padding: Array | None = None
    notes: tuple[str, ...] = ()

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return self.values.ndim - 1


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """Preparation of files as inputs of one size; stored in the checkpoint.

    Args:
        size: (H, W) or (D, H, W) of the network's input.
        channels: 1 or 3, of several files of each; None for 3 where any picture has colour, else 1.
            Where there is a `layout`, a number for each file once the files were opened.
        spacing: mm of each axis of `size`: resampled to it, then cut or padded about the centre to
            `size`. None: the whole image is stretched to `size`.
        orientation: Of volumes: the directions, as letters of R L A P S I, in which the axes
            (D, H, W) run. SPL: slices from feet to head, rows from front to back, columns from the
            patient's right to the left, as a radiologist sees them.
        frame: Of files that hold several volumes or frames (a fourth axis; a film, or pages, that
            don't say where in the patient each lies) the number of the one that is taken, from 0,
            or centre; None: several volumes are refused, and frames are the slices of a volume.
        slices: For 2-D networks on volumes: centre, all or every:k slices along the first axis of
            `orientation`; None where images have to be pictures.
        allow_missing_geometry: Take a volume that doesn't say how it lies, in its own axis order;
            and where `spacing` is asked for, images without a spacing, as if they had it.
        crop: none, or what the image is cut to before it is brought to `size`: body, or the
            surroundings of its lesion as a mask or a box marks it, see `medcnn.data.prepared.crop`.
        crop_margin: Kept around that on each side, as a share of its longest side; None for the
            default of `medcnn.data.prepared.crop.MARGINS`.
        tiles: The edges of the tiles that a picture is cut into, in pixels of the resolution that
            they are taken at; with three dimensions of the windows of a volume, in voxels after
            `spacing`. Each becomes an input. None: the whole image is one.
        tile_level: The number of that resolution in the file, from 0, the full one.
        tile_spacing: In its place µm a pixel, of files that say theirs.
        tile_overlap: Of neighbours, as a share of their edge.
        tissue: The least share of a tile that is tissue, by its colour; None for all tiles.
        intensity: The values that become 0 and 1, see `medcnn.data.prepared.intensity`.
        columns: Of a table, whose files together are one input; () for one file.
        missing_channel: Of those a file that is missing is refused (``refuse``), or is 0, and
            channels of 0 and 1 say which ones are there (``zero``).
        mask_as: ``channel``: the lesion's mask is a channel of its own, the last one; or ``none``.
    """

    size: tuple[int, ...]
    channels: int | tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    orientation: str = "SPL"
    frame: int | str | None = None
    slices: str | None = None
    allow_missing_geometry: bool = False
    crop: str = "none"
    crop_margin: float | None = None
    tiles: tuple[int, ...] | None = None
    tile_level: int = 0
    tile_spacing: float | None = None
    tile_overlap: float = 0.0
    tissue: float | None = None
    intensity: str | Range = "auto"
    columns: tuple[str, ...] = ()
    missing_channel: str = "refuse"
    mask_as: str = "none"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Return the spec of plain values of a config or checkpoint, with lists for tuples."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in options.items()
        }
        return cls(**values)

    @property
    def spatial_dims(self) -> int:
        """Dimensions of the network: 2 or 3."""
        return len(self.size)

    @property
    def cut(self) -> bool:
        """Whether an input is a part of an image: what a crop keeps, or a tile."""
        return self.crop != "none" or self.tiles is not None

    @property
    def several(self) -> bool:
        """Whether a file becomes several inputs: slices of a volume, or tiles."""
        return self.slices is not None or self.tiles is not None

    @property
    def layout(self) -> Layout | None:
        """What the channels are, once the files were opened; None where they are one file's."""
        if not self.columns and self.mask_as == "none":
            return None
        given = self.channels if isinstance(self.channels, tuple) else ()
        return Layout(given, self.missing_channel == "zero", self.mask_as == "channel")

    def of_file(self, number: int) -> Self:
        """Return the spec of one of the files, of which there may be several."""
        return replace(self, channels=self.channels_of(number))

    def channels_of(self, number: int) -> int | None:
        """Return the channels of one of the files; None where they aren't known yet."""
        return self.channels[number] if isinstance(self.channels, tuple) else self.channels


def spec_of(card: Mapping[str, Any], spec: ImageSpec | None = None) -> ImageSpec:
    """Return the spec of a checkpoint's network; `spec` where it was trained on arrays.

    Raises:
        UserError: `spec` is of another number of files an image.
    """
    size, channels = tuple(card["input_size"]), card["in_channels"]
    given = spec or ImageSpec(size=size)
    if card["image_spec"] is None:
        return replace(given, size=size, channels=channels)
    trained = ImageSpec.of(card["image_spec"])
    if spec is not None and len(spec.columns) != len(trained.columns):
        raise UserError(
            f"dataset.columns.image names {len(spec.columns) or 1} of the "
            f"{len(trained.columns) or 1} columns of files that the checkpoint takes as one image"
            + (f": {', '.join(trained.columns)}, in this order" if trained.columns else "")
        )
    return replace(
        trained,
        size=size,
        channels=trained.channels if trained.layout else channels,
        columns=given.columns or trained.columns,
        allow_missing_geometry=given.allow_missing_geometry or trained.allow_missing_geometry,
    )


def layout_of(card: Mapping[str, Any]) -> Layout | None:
    """Return what the channels of a checkpoint's network are; None where they are one file's."""
    spec = card.get("image_spec")
    return None if spec is None else ImageSpec.of(spec).layout
